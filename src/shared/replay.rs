//! Reading again, from the log, what was not heard.

#[cfg(test)]
use crate::shared::law::planted;
use crate::shared::message::Said;
#[cfg(not(test))]
use crate::sync::planted;

/// More than this is not read from the log.
pub(crate) const MOST_REPLAYED: u64 = 16_384;

/// The numbers after the first up to the second, the second included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) after: u64,
    pub(crate) through: u64,
}

/// An entry of the log as the server has it: its id, its first field, and that field's value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) id: &'a [u8],
    pub(crate) field: &'a [u8],
    pub(crate) value: &'a [u8],
}

impl Missing {
    /// How many there are.
    pub(crate) fn count(self) -> u64 {
        self.through - self.after
    }

    /// Whether these are all the entries that were missing, and all of them can be read.
    pub(crate) fn is_whole(self, entries: &[Entry<'_>]) -> bool {
        let is_next = |(number, entry): (u64, &Entry<'_>)| {
            entry.number() == Some(number) && Said::read(entry.field, entry.value).is_ok()
        };
        planted("count_not_checked")
            || entries.len() as u64 == self.count() && (self.after + 1..).zip(entries).all(is_next)
    }
}

impl Entry<'_> {
    /// The number in its id, which is `<number>-1`.
    pub(crate) fn number(&self) -> Option<u64> {
        std::str::from_utf8(self.id.strip_suffix(b"-1")?).ok()?.parse().ok()
    }
}
