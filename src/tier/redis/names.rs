//! What the keys and channels are called. All names of a partition share its hash tag, so that one script may use them.

/// The names of one namespace.
pub(super) struct Names {
    partitions: Box<[Partition]>,
    pub(super) control: Control,
}

/// The names of one partition.
pub(super) struct Partition {
    data: String,
    lease: String,
    staged: String,
    /// Holds the newest number.
    pub(super) sequence: String,
    /// The latest changes under their numbers, a stream.
    pub(super) log: String,
    pub(super) channel: String,
}

/// The names of what concerns entries of every partition.
pub(super) struct Control {
    pub(super) sequence: String,
    pub(super) log: String,
    /// What the tags were bumped at, and how the namespace is laid out, a hash.
    pub(super) stamps: String,
    /// Patterns by the number at which they were invalidated, a sorted set.
    pub(super) rules: String,
    pub(super) channel: String,
}

impl Names {
    pub(super) fn new(namespace: &str, partitions: u16) -> Self {
        let control = format!("tc:{{{namespace}.ctl}}:");
        Self {
            partitions: (0..partitions).map(|index| Partition::new(namespace, index)).collect(),
            control: Control {
                sequence: format!("{control}seq"),
                log: format!("{control}log"),
                stamps: format!("{control}h"),
                rules: format!("{control}r"),
                channel: format!("{control}inv"),
            },
        }
    }

    pub(super) fn partitions(&self) -> u16 {
        self.partitions.len() as u16
    }

    /// The partition of a key; every instance agrees.
    pub(super) fn index(&self, key: &str) -> u16 {
        match self.partitions.len() as u64 {
            1 => 0,
            many => (crate::hash::stable_hash(key) % many) as u16,
        }
    }

    pub(super) fn partition(&self, index: u16) -> &Partition {
        &self.partitions[usize::from(index)]
    }

    /// The partition that `key` is in.
    pub(super) fn of(&self, key: &str) -> &Partition {
        self.partition(self.index(key))
    }
}

impl Partition {
    fn new(namespace: &str, index: u16) -> Self {
        let prefix = format!("tc:{{{namespace}.p{index:02x}}}:");
        Self {
            data: format!("{prefix}d:"),
            lease: format!("{prefix}l:"),
            staged: format!("{prefix}s:"),
            sequence: format!("{prefix}seq"),
            log: format!("{prefix}log"),
            channel: format!("{prefix}inv"),
        }
    }

    /// Where the frame of `key` lies.
    pub(super) fn data(&self, key: &str) -> String {
        [&self.data, key].concat()
    }

    /// Where the token of whoever computes `key` lies.
    pub(super) fn lease(&self, key: &str) -> String {
        [&self.lease, key].concat()
    }

    /// Where a payload waits for its script.
    pub(super) fn staged(&self, token: u128) -> String {
        format!("{}{token:032x}", self.staged)
    }
}
