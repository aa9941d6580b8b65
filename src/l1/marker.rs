//! Loading markers: the permission to store what a load finds.
//!
//! A load marks its key before it reads the source, and may store what it found only while its mark is still there.
//! Whatever makes older values of the key invalid kills the mark. So a value read before an invalidation is never stored
//! after it, without any clock or comparison of versions.
//!
//! Used under a shard's lock, the one that the store itself is made under.
//!
//! # Invariants
//! - **M1** A token is given out for one stay of one key: a mark that was killed never comes back.
//! - **M2** A mark is there exactly while somebody holds it and nobody killed it.
//! - **M3** Two keys of one hash share a place: the later displaces the earlier, which then merely does not store.
//!
//! Checked by `loom-tests/`.

extern crate alloc;

use self::alloc::boxed::Box;
use self::alloc::collections::BTreeMap;

/// Proof that a key was marked; good as long as the mark is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Token(u64);

/// The marks of one shard.
pub(crate) struct Markers {
    /// By the key's hash.
    marks: BTreeMap<u64, Mark>,
    last_token: u64,
}

struct Mark {
    key: Box<str>,
    token: Token,
    holders: usize,
}

impl Markers {
    pub(crate) const fn new() -> Self {
        Self { marks: BTreeMap::new(), last_token: 0 }
    }

    /// Marks `key`, or joins its mark: what was read since that mark was made is as good as what is read from now on.
    pub(crate) fn mark(&mut self, hash: u64, key: &str) -> Token {
        if let Some(mark) = self.marks.get_mut(&hash)
            && *mark.key == *key
        {
            mark.holders += 1;
            return mark.token;
        }
        self.last_token += 1;
        let token = Token(self.last_token);
        self.marks.insert(hash, Mark { key: Box::from(key), token, holders: 1 });
        token
    }

    /// Whether the mark is still there: whoever holds it may store.
    pub(crate) fn holds(&self, hash: u64, token: Token) -> bool {
        self.marks.get(&hash).is_some_and(|mark| mark.token == token)
    }

    /// Gives up one hold. Called once for each [`mark`](Self::mark), also after the mark was killed.
    pub(crate) fn release(&mut self, hash: u64, token: Token) {
        let Some(mark) = self.marks.get_mut(&hash) else { return };
        if mark.token != token {
            return;
        }
        mark.holders -= 1;
        if mark.holders == 0 {
            self.marks.remove(&hash);
        }
    }

    /// Takes the permission to store from all who hold the mark of `key`.
    pub(crate) fn kill(&mut self, hash: u64, key: &str) {
        if self.marks.get(&hash).is_some_and(|mark| *mark.key == *key) {
            self.marks.remove(&hash);
        }
    }

    /// [`kill`](Self::kill) for every key.
    #[cfg(test)]
    pub(crate) fn kill_all(&mut self) {
        self.marks.clear();
    }

    /// [`kill`](Self::kill) for every key that is `wanted`.
    pub(crate) fn kill_where(&mut self, mut wanted: impl FnMut(&str) -> bool) {
        self.marks.retain(|_, mark| !wanted(&mark.key));
    }

    /// Keys that are marked.
    pub(crate) fn len(&self) -> usize {
        self.marks.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_mark_permits_nothing_and_does_not_come_back() {
        let mut markers = Markers::new();
        let before = markers.mark(1, "a");
        markers.kill(1, "a");
        assert!(!markers.holds(1, before));
        let after = markers.mark(1, "a");
        assert!(markers.holds(1, after) && !markers.holds(1, before));
        markers.release(1, before);
        assert!(markers.holds(1, after));
        markers.release(1, after);
        assert_eq!(markers.len(), 0);
    }

    #[test]
    fn a_mark_stays_until_its_last_holder_is_gone() {
        let mut markers = Markers::new();
        let token = markers.mark(1, "a");
        assert_eq!(markers.mark(1, "a"), token);
        markers.release(1, token);
        assert!(markers.holds(1, token));
        markers.release(1, token);
        assert_eq!(markers.len(), 0);
    }

    #[test]
    fn a_key_of_the_same_hash_displaces_and_is_never_killed_for_another() {
        let mut markers = Markers::new();
        let a = markers.mark(1, "a");
        let b = markers.mark(1, "b");
        assert!(!markers.holds(1, a) && markers.holds(1, b));
        markers.kill(1, "a");
        assert!(markers.holds(1, b));
        markers.kill(1, "b");
        assert!(!markers.holds(1, b));
    }

    #[test]
    fn patterns_and_clear_kill_what_they_name() {
        let mut markers = Markers::new();
        let (a, b) = (markers.mark(1, "a"), markers.mark(2, "b"));
        markers.kill_where(|key| key == "a");
        assert!(!markers.holds(1, a) && markers.holds(2, b));
        markers.kill_all();
        assert_eq!(markers.len(), 0);
    }
}
