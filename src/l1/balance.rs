//! What the policy decides by: how the room is shared between its two queues, and which of them an entry enters.
//!
//! Times are insertions into the shard. An entry that comes back soon after it was evicted has a reuse distance, and the entry
//! at the end of main has been idle for some time; the one with the shorter of both is worth more. So an entry that comes back
//! enters main if main's coldest has been idle for clearly longer than its reuse distance, as in LIRS (Jiang, Zhang, SIGMETRICS
//! 2002) and CLOCK-Pro (Jiang, Chen, Zhang, USENIX 2005).
//!
//! In a loop longer than the cache no reuse distance is shorter than main's idle time: main keeps what it has, which is the
//! best there is. Where what is asked for changes, main's entries grow idle and give way.
//!
//! The share of the small queue follows the ghosts, as in ARC (Megiddo, Modha, FAST 2003): it grows when what comes back would
//! have been caught by a larger small queue, and shrinks when a larger main would have caught it, or none.

use super::ghost::Ghost;

/// Where an entry is, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    Small,
    Main,
}

/// What happens to the entry at the end of its queue when room is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is evicted.
    Leave,
    /// It goes to the head of main, with this frequency.
    Stay(u8),
}

/// The weights of the queues.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights {
    pub(super) small: u64,
    pub(super) main: u64,
}

/// The balance of one shard.
#[derive(Debug)]
pub(super) struct Balance {
    /// Insertions so far; wraps.
    now: u32,
    /// The small queue's share of the weight.
    share: f64,
    /// Whether an entry was evicted since the last insertion.
    pressed: bool,
}

impl Balance {
    /// Hits that carry an entry from the small queue to main.
    const PROMOTE_AT: u8 = 2;
    const FIRST_SHARE: f64 = 1.0 / 32.0;
    const LEAST_SHARE: f64 = 0.01;
    const MOST_SHARE: f64 = 0.9;

    pub(super) fn new() -> Self {
        Self { now: 0, share: Self::FIRST_SHARE, pressed: false }
    }

    pub(super) fn now(&self) -> u32 {
        self.now
    }

    /// The queue that gives way for room, where neither is empty.
    pub(super) fn gives_way(&self, weights: Weights) -> Queue {
        let all = weights.small + weights.main;
        if weights.small as f64 >= self.share * all as f64 { Queue::Small } else { Queue::Main }
    }

    /// What happens to the entry at the end of `queue`. Staying costs it hits, so that it leaves at last.
    pub(super) fn fate(queue: Queue, frequency: u8) -> Fate {
        match queue {
            Queue::Small if frequency < Self::PROMOTE_AT => Fate::Leave,
            Queue::Small => Fate::Stay(0),
            Queue::Main if frequency == 0 => Fate::Leave,
            Queue::Main => Fate::Stay(frequency / 2),
        }
    }

    /// An entry is evicted.
    pub(super) fn evicted(&mut self) {
        self.pressed = true;
    }

    /// An entry comes: the time goes on.
    pub(super) fn arrival(&mut self) -> u32 {
        self.now = self.now.wrapping_add(1);
        self.now
    }

    /// The queue of an arrival of which nothing is remembered.
    pub(super) fn place_new(&mut self, weights: Weights, weight: u64) -> Queue {
        let pressed = std::mem::take(&mut self.pressed);
        // It fills main as long as it pushes nobody out.
        if !pressed && self.main_has_room(weights, weight) { Queue::Main } else { Queue::Small }
    }

    /// The queue of an arrival that came back, while main's coldest entry has been idle for `idle` (`None`: it is in use) and
    /// `resident` entries are there. `held` are the ghosts of each queue. Moves the share.
    pub(super) fn place_ghost(
        &mut self,
        ghost: Ghost,
        idle: Option<u32>,
        weights: Weights,
        weight: u64,
        resident: usize,
        held: impl Fn(Queue) -> usize,
    ) -> Queue {
        self.pressed = false;
        let queue = match idle {
            // Clearly longer: in a loop they are equal but for what is lost in counting.
            Some(idle) if idle - idle / 8 > ghost.distance => Queue::Main,
            _ if self.main_has_room(weights, weight) => Queue::Main,
            _ => Queue::Small,
        };
        let (small, main) = (held(Queue::Small) as f64 + 1.0, held(Queue::Main) as f64 + 1.0);
        let entries = match (ghost.left, queue) {
            (Queue::Main, _) => -(small / main).max(1.0),
            (Queue::Small, Queue::Small) => -0.5,
            (Queue::Small, Queue::Main) if (ghost.distance as usize) < resident => (main / small).max(1.0),
            // No share would have kept it.
            (Queue::Small, Queue::Main) => 0.0,
        };
        self.share = (self.share + entries / (resident + 1) as f64).clamp(Self::LEAST_SHARE, Self::MOST_SHARE);
        queue
    }

    fn main_has_room(&self, weights: Weights, weight: u64) -> bool {
        let all = weights.small + weights.main + weight;
        (weights.main + weight) as f64 <= (1.0 - self.share) * all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Weights = Weights { small: 10, main: 990 };

    /// The queue that a ghost enters, and whether the share grew, shrank or stayed.
    fn place(left: Queue, distance: u32, idle: Option<u32>) -> (Queue, std::cmp::Ordering) {
        let mut balance = Balance { share: 0.5, ..Balance::new() };
        let weights = Weights { small: 500, main: 500 };
        let queue = balance.place_ghost(Ghost { left, distance }, idle, weights, 1, 1000, |_| 1000);
        (queue, balance.share.total_cmp(&0.5))
    }

    #[test]
    fn what_comes_back_enters_main_if_the_coldest_there_is_clearly_longer_idle() {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let main = Queue::Main;
        let small = Queue::Small;
        assert_eq!(place(small, 500, Some(1000)), (main, Greater), "a larger small queue would have caught it");
        assert_eq!(place(small, 875, Some(1000)), (small, Less), "main is worth more");
        assert_eq!(place(small, 500, None), (small, Less), "so it is while all of it is in use");
        assert_eq!(place(small, 1500, Some(u32::MAX)), (main, Equal), "no share would have caught it");
        assert_eq!(place(main, 500, Some(1000)), (main, Less), "a larger main would have kept it");
        assert_eq!(place(main, 1500, Some(1000)), (small, Less));
    }

    #[test]
    fn the_rarer_ghost_weighs_more() {
        let step = |small, main, left| {
            let mut balance = Balance { share: 0.5, ..Balance::new() };
            let held = |queue| if queue == Queue::Small { small } else { main };
            balance.place_ghost(Ghost { left, distance: 1 }, Some(9), FULL, 1, 999, held);
            ((balance.share - 0.5) * 1000.0).round()
        };
        assert_eq!((step(99, 99, Queue::Small), step(99, 99, Queue::Main)), (1.0, -1.0));
        assert_eq!((step(9, 99, Queue::Small), step(9, 99, Queue::Main)), (10.0, -1.0));
        assert_eq!((step(99, 9, Queue::Small), step(99, 9, Queue::Main)), (1.0, -10.0));
    }

    #[test]
    fn the_share_has_bounds() {
        let mut balance = Balance::new();
        for (left, bound) in [(Queue::Small, Balance::MOST_SHARE), (Queue::Main, Balance::LEAST_SHARE)] {
            for _ in 0..10_000 {
                balance.place_ghost(Ghost { left, distance: 1 }, Some(u32::MAX), FULL, 1, 1000, |_| 1000);
            }
            assert_eq!(balance.share, bound);
        }
    }

    #[test]
    fn what_is_new_fills_main_until_it_pushes_somebody_out() {
        let mut balance = Balance::new();
        let room = Weights { small: 10, main: 90 };
        assert_eq!(balance.place_new(Weights { small: 0, main: 0 }, 1), Queue::Small);
        assert_eq!(balance.place_new(room, 1), Queue::Main);
        assert_eq!(balance.place_new(Weights { small: 1, main: 99 }, 1), Queue::Small, "main has its share");
        balance.evicted();
        assert_eq!(balance.place_new(room, 1), Queue::Small);
        assert_eq!(balance.place_new(room, 1), Queue::Main);
    }

    #[test]
    fn every_turn_costs_a_hit() {
        for queue in [Queue::Small, Queue::Main] {
            for frequency in 0..=u8::MAX {
                match Balance::fate(queue, frequency) {
                    Fate::Leave => assert!(frequency == 0 || queue == Queue::Small && frequency < Balance::PROMOTE_AT),
                    Fate::Stay(left) => assert!(left < frequency),
                }
            }
        }
    }
}
