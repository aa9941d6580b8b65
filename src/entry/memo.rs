//! The decoded form of a value: of one type, the first that was asked for.

#![expect(unsafe_code, reason = "a hit compares the type once, inline")]

use std::any::{Any, TypeId};
use std::sync::Arc;

/// A decoded value.
#[derive(Clone)]
pub(crate) struct Memo {
    of: TypeId,
    decoded: Arc<dyn Any + Send + Sync>,
}

impl Memo {
    pub(crate) fn new<T: Send + Sync + 'static>(decoded: Arc<T>) -> Self {
        Self { of: TypeId::of::<T>(), decoded }
    }

    /// The value, if it is a `T`. Another type costs no reference count.
    #[inline]
    pub(crate) fn recall<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        if self.of != TypeId::of::<T>() {
            return None;
        }
        let decoded = Arc::into_raw(Arc::clone(&self.decoded));
        // SAFETY: it was made from an `Arc<T>`: `of` says so.
        Some(unsafe { Arc::from_raw(decoded.cast::<T>()) })
    }
}

impl std::fmt::Debug for Memo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memo")
    }
}
