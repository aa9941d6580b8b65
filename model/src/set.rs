//! A set of the variants of an enumeration.

use std::marker::PhantomData;

pub(crate) trait Member: Copy {
    /// Below 64, and its own.
    fn place(self) -> u32;
}

#[derive(Debug)]
pub(crate) struct Set<T> {
    bits: u64,
    of: PhantomData<T>,
}

impl<T> Clone for Set<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Set<T> {}

impl<T: Member> Set<T> {
    pub(crate) const ALL: Self = Self { bits: u64::MAX, of: PhantomData };

    pub(crate) fn of(members: &[T]) -> Self {
        Self { bits: members.iter().fold(0, |bits, member| bits | 1 << member.place()), of: PhantomData }
    }

    pub(crate) fn without(self, member: T) -> Self {
        Self { bits: self.bits & !(1 << member.place()), of: PhantomData }
    }

    pub(crate) fn has(self, member: T) -> bool {
        self.bits & 1 << member.place() != 0
    }
}
