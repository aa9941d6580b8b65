//! The process's pair of barriers: `membarrier` where the kernel lends it, fences elsewhere.
//!
//! `membarrier(PRIVATE_EXPEDITED)` makes every running thread of the process execute a full barrier before it returns;
//! a thread that does not run executes one when it is switched in or out. So for each thread there is one point in its
//! program at which the barrier lies, and the light side need only keep the compiler from moving accesses across.
//! (Linux 4.14, membarrier(2); `sys_membarrier` in kernel/sched/membarrier.c says what it orders with what.)
//!
//! # Invariants
//! - B1: `lent` is written once, before any heavy barrier and before `asymmetric` becomes true; heavy barriers go by it.
//! - B2: `asymmetric` is true only if `lent` is. A thread that finds it false issues a fence, which is more than is needed.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, compiler_fence, fence};

use super::domain::Barrier;

/// See the module.
pub(crate) struct Process {
    asymmetric: AtomicBool,
    lent: OnceLock<bool>,
}

impl Process {
    /// Finds out at first use what the kernel lends.
    pub(crate) const fn new() -> Self {
        Self { asymmetric: AtomicBool::new(false), lent: OnceLock::new() }
    }

    /// Fences on both sides.
    #[cfg(test)]
    pub(crate) fn fences() -> Self {
        let lent = OnceLock::new();
        lent.get_or_init(|| false);
        Self { asymmetric: AtomicBool::new(false), lent }
    }

    /// Whether the light barrier is free.
    #[cfg(test)]
    pub(crate) fn is_asymmetric(&self) -> bool {
        self.lent()
    }

    fn lent(&self) -> bool {
        *self.lent.get_or_init(kernel::lend)
    }
}

impl Barrier for Process {
    fn prepare(&self) {
        if self.lent() {
            // Relaxed: heavy barriers do not go by it (B2).
            self.asymmetric.store(true, Ordering::Relaxed);
        }
    }

    #[inline(always)]
    fn light(&self) {
        // Relaxed: whichever value is read, the barrier is strong enough (B2).
        if self.asymmetric.load(Ordering::Relaxed) {
            // SeqCst, for the compiler alone: the heavy barrier brings the processor's half.
            compiler_fence(Ordering::SeqCst);
        } else {
            // SeqCst: in one order with the fence of `heavy`.
            fence(Ordering::SeqCst);
        }
    }

    fn heavy(&self) -> bool {
        // SeqCst: in one order with the fences of `light`, of threads too that have yet to learn of the kernel's.
        fence(Ordering::SeqCst);
        let issued = !self.lent() || kernel::barrier();
        // SeqCst: keeps the scan after the kernel's barrier by the language's rules too.
        fence(Ordering::SeqCst);
        issued
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
#[expect(unsafe_code, reason = "the system call has no other door")]
mod kernel {
    use libc::{SYS_membarrier, c_int, c_uint, syscall};

    /// Registers the process for the barrier and tries it once; whether it works.
    ///
    /// An old kernel answers `ENOSYS` or `EINVAL`, a filter whatever it was told to.
    pub(super) fn lend() -> bool {
        membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED as c_int) && barrier()
    }

    /// Every thread of the process executes a full barrier; false if the kernel refuses.
    ///
    /// It may refuse for want of memory, or for good when a filter was installed since: no fence of the caller's could
    /// stand in then, for the light sides count on the kernel.
    pub(super) fn barrier() -> bool {
        membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED as c_int)
    }

    fn membarrier(command: c_int) -> bool {
        let (flags, cpu): (c_uint, c_int) = (0, 0);
        // SAFETY: the call takes three integers, touches no memory of the caller's and sets at most `errno`.
        unsafe { syscall(SYS_membarrier, command, flags, cpu) == 0 }
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
mod kernel {
    pub(super) fn lend() -> bool {
        false
    }

    pub(super) fn barrier() -> bool {
        false
    }
}
