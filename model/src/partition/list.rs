//! A short list that lies in a state.

use std::hash::{Hash, Hasher};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct List<T, const N: usize> {
    length: u8,
    /// Behind the length there is the default, so that equal lists are equal.
    all: [T; N],
}

impl<T: Copy + Default, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        Self { length: 0, all: [T::default(); N] }
    }
}

impl<T: Hash, const N: usize> Hash for List<T, N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u8(self.length);
        for one in &self.all[..usize::from(self.length)] {
            one.hash(state);
        }
    }
}

impl<T: Copy + Default, const N: usize> List<T, N> {
    pub(crate) fn len(&self) -> usize {
        usize::from(self.length)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() == N
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        &self.all[..self.len()]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        let length = self.len();
        &mut self.all[..length]
    }

    /// There has to be room.
    pub(crate) fn push(&mut self, one: T) {
        self.all[self.len()] = one;
        self.length += 1;
    }

    pub(crate) fn remove(&mut self, place: usize) -> T {
        let one = self.all[place];
        let length = self.len();
        self.all.copy_within(place + 1..length, place);
        self.all[length - 1] = T::default();
        self.length -= 1;
        one
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        let kept = *self;
        self.clear();
        for one in kept.as_slice().iter().filter(|one| keep(one)) {
            self.push(*one);
        }
    }
}
