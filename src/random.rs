//! Chance behind a trait: jitter, pauses, names and draws of lots come from here, so that a simulation can draw them from its
//! seed. Nothing of it is for secrets.

/// A source of chance, shared by threads.
pub(crate) trait Random: Send + Sync {
    /// 64 bits, each as likely as not.
    fn bits(&self) -> u64;

    /// A number below `n`, or 0 if `n` is 0. The bias is at most one in 2^64 / `n`.
    fn below(&self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// A number from 0 up to, and without, 1.
    fn fraction(&self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Each thread's own generator, seeded when the thread begins.
pub(crate) struct SystemRandom;

impl Random for SystemRandom {
    fn bits(&self) -> u64 {
        fastrand::u64(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Always the same bits.
    struct Fixed(u64);

    impl Random for Fixed {
        fn bits(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn draws_stay_within_their_bounds() {
        for bits in [0, 1, u64::MAX / 2, u64::MAX] {
            for n in [1, 2, 3, 1000, u64::MAX] {
                assert!(Fixed(bits).below(n) < n);
            }
            assert_eq!(Fixed(bits).below(0), 0);
            assert!((0.0..1.0).contains(&Fixed(bits).fraction()));
        }
        assert_eq!((Fixed(0).below(10), Fixed(u64::MAX).below(10)), (0, 9));
    }

    #[test]
    fn the_systems_draws_reach_every_number() {
        let mut seen = [false; 8];
        (0..1000).for_each(|_| seen[SystemRandom.below(8) as usize] = true);
        assert_eq!(seen, [true; 8]);
    }
}
