//! Keys, values and the order in which keys are asked for.

use std::fmt::Write;

use bytes::Bytes;

/// `count` keys of 16 bytes.
pub fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("key:{n:012}")).collect()
}

/// Keys of 16 bytes in the order in which they are asked for, one after the other in memory: reading a
/// request is reading on in memory, and costs no rival a miss of the processor's caches.
pub struct Requests(String);

impl Requests {
    const LENGTH: usize = 16;

    /// A request for each of `picks`, numbers of keys.
    pub fn new(picks: impl IntoIterator<Item = u32>) -> Self {
        let mut text = String::new();
        for pick in picks {
            write!(text, "key:{pick:012}").expect("a string takes all");
        }
        Self(text)
    }

    /// The key of each request.
    pub fn keys(&self) -> Vec<&str> {
        (0..self.0.len()).step_by(Self::LENGTH).map(|at| &self.0[at..at + Self::LENGTH]).collect()
    }
}

/// A value of `length` bytes, the first of which is 0.
pub fn value(length: usize) -> Bytes {
    (0..length).map(|n| n as u8).collect::<Vec<u8>>().into()
}

/// `count` indexes below `keys`, drawn with the probability 1 / rank^`exponent`, the same for every call.
pub fn zipf(keys: usize, exponent: f64, count: usize) -> Vec<u32> {
    let mut total = 0.0;
    let cumulative: Vec<f64> = (1..=keys)
        .map(|rank| {
            total += 1.0 / (rank as f64).powf(exponent);
            total
        })
        .collect();
    let mut random = fastrand::Rng::with_seed(0x7e12_ce1d);
    // Ranks are scattered over the keys, so that neighbours in rank are no neighbours in memory.
    let mut scattered: Vec<u32> = (0..keys as u32).collect();
    random.shuffle(&mut scattered);
    let mut draw = || cumulative.partition_point(|&sum| sum < random.f64() * total).min(keys - 1);
    (0..count).map(|_| scattered[draw()]).collect()
}
