//! Hints to the processor. What they say never changes what a program does.

/// Says that what lies at `at` is soon looked at. Any address will do, also one where nothing lies.
#[inline(always)]
pub(crate) fn prefetch<T>(at: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        #[expect(unsafe_code, reason = "the one way to say it")]
        // SAFETY: a prefetch of an address that is not mapped has no effect.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(at.cast());
        }
    }
    // Elsewhere nothing is said.
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}
