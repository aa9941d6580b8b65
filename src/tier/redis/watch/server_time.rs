//! The server's clock as it is seen from here.

use std::collections::VecDeque;
use std::time::Duration;

/// One answer to TIME.
#[derive(Clone, Copy)]
struct Sample {
    /// What the server's clock is ahead of ours, in nanoseconds, if the answer took as long as the question.
    ahead: i128,
    /// By how much that may be wrong.
    error: i128,
}

/// How many answers are kept.
const KEPT: usize = 8;
/// A server tells its time in microseconds, which it does not read anew for every command.
const COARSE: i128 = 1_000_000;

/// An estimate from the last few answers: that of the shortest round trip counts.
#[derive(Default)]
pub(super) struct ServerTime(VecDeque<Sample>);

impl ServerTime {
    /// The server said `server`, asked at `sent` and heard at `heard` on our clock.
    pub(super) fn sample(&mut self, sent: Duration, heard: Duration, server: Duration) {
        let round_trip = signed(heard) - signed(sent);
        let sample =
            Sample { ahead: signed(server) - signed(sent) - round_trip / 2, error: round_trip.max(0) / 2 + COARSE };
        // Two answers that cannot both be right: one of the clocks was set.
        self.0.retain(|older| (older.ahead - sample.ahead).abs() <= older.error + sample.error);
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    /// What the server's clock is ahead of ours, in nanoseconds.
    pub(super) fn ahead(&self) -> Option<i128> {
        // Of two that are equally good the later one.
        self.0.iter().rev().min_by_key(|sample| sample.error).map(|sample| sample.ahead)
    }
}

/// Our time `now` on a clock that is ahead by so much.
pub(super) fn shifted(now: Duration, ahead: i128) -> Duration {
    let nanos = (signed(now) + ahead).max(0).unsigned_abs();
    let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
    Duration::new(seconds, (nanos % 1_000_000_000) as u32)
}

fn signed(time: Duration) -> i128 {
    i128::from(time.as_secs()) * 1_000_000_000 + i128::from(time.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_shortest_round_trip_counts() {
        let mut time = ServerTime::default();
        assert_eq!(time.ahead(), None);
        time.sample(ms(100), ms(140), ms(5_030));
        time.sample(ms(200), ms(202), ms(5_101));
        time.sample(ms(300), ms(320), ms(5_219));
        assert_eq!(shifted(ms(400), time.ahead().unwrap()), ms(5_300));
        for n in 0..KEPT as u64 {
            time.sample(ms(400 + n), ms(420 + n), ms(5_315 + n));
        }
        assert_eq!(shifted(ms(500), time.ahead().unwrap()), ms(5_405), "what is old is forgotten");
    }

    #[test]
    fn a_clock_that_was_set_is_believed_at_once() {
        let mut time = ServerTime::default();
        time.sample(ms(100), ms(102), ms(5_101));
        time.sample(ms(200), ms(210), ms(1_205));
        assert_eq!(shifted(ms(300), time.ahead().unwrap()), ms(1_300));
        assert_eq!(shifted(ms(0), -1), ms(0));
        assert_eq!(shifted(Duration::MAX, i128::MAX / 2).as_secs(), u64::MAX);
    }
}
