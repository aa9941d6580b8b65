//! Keys, values and the order in which keys are asked for.

use bytes::Bytes;

/// `count` keys of 16 bytes.
pub fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("key:{n:012}")).collect()
}

/// A value of `length` bytes.
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
