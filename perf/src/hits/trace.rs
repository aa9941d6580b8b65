//! Traces: streams of requests, read from files or generated.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use benches::workload;
use ruzstd::decoding::StreamingDecoder;

/// Requests in order, their keys renumbered densely in the order of their first request.
pub(crate) struct Trace {
    pub(crate) name: String,
    pub(crate) requests: Vec<u32>,
    /// How many keys there are; every request lies below.
    pub(crate) keys: usize,
}

const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

impl Trace {
    pub(super) fn new(name: impl Into<String>, keys: impl Iterator<Item = u64>) -> Self {
        let mut numbers = HashMap::new();
        let requests = keys
            .map(|key| {
                let next = numbers.len() as u32;
                *numbers.entry(key).or_insert(next)
            })
            .collect();
        Self { name: name.into(), requests, keys: numbers.len() }
    }

    fn read(path: &Path) -> Result<Self, String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.strip_suffix(".zst").unwrap_or(&name);
        let bytes = fs::read(path).map_err(|error| error.to_string());
        let trace = bytes.and_then(|bytes| Self::parse(name, bytes));
        trace.map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Little-endian `u64`, one a request, plain or compressed by zstd.
    fn parse(name: &str, mut bytes: Vec<u8>) -> Result<Self, String> {
        if bytes.starts_with(&ZSTD) {
            bytes = decompress(&bytes)?;
        }
        let (requests, rest) = bytes.as_chunks::<8>();
        if requests.is_empty() || !rest.is_empty() {
            return Err(format!("{} bytes are no stream of 64-bit numbers", bytes.len()));
        }
        Ok(Self::new(name, requests.iter().map(|request| u64::from_le_bytes(*request))))
    }
}

/// The trace in a file, or those of a directory in the order of their names: there, what is neither `.zst` nor `.u64` is
/// something else.
pub(crate) fn load(path: &Path) -> Result<Vec<Trace>, String> {
    if !path.is_dir() {
        return Ok(vec![Trace::read(path)?]);
    }
    let listed = fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let is_trace = |path: &PathBuf| path.extension().is_some_and(|end| end == "zst" || end == "u64");
    let mut files: Vec<PathBuf> = listed.filter_map(|entry| Some(entry.ok()?.path())).filter(is_trace).collect();
    files.sort();
    if files.is_empty() {
        return Err(format!("{}: no .zst and no .u64 file in there", path.display()));
    }
    files.iter().map(|file| Trace::read(file)).collect()
}

/// What is replayed where no trace is given.
pub(crate) fn generated() -> Vec<Trace> {
    let zipf = |keys, exponent, count| workload::zipf(keys, exponent, count).into_iter().map(u64::from);
    let turn = |keys: u64, count| (0..keys).cycle().take(count);
    // Nine scattered requests, then one of a scan that never comes back.
    let scanned = zipf(50_000, 0.9, 500_000).enumerate();
    let scanned = scanned.map(|(at, key)| if at % 10 == 9 { 1 << 32 | at as u64 } else { key });
    vec![
        Trace::new("generated: Zipf 0.8", zipf(50_000, 0.8, 500_000)),
        Trace::new("generated: Zipf 0.99", zipf(50_000, 0.99, 500_000)),
        Trace::new("generated: Zipf 0.9 and a scan", scanned),
        Trace::new("generated: loop", turn(5000, 200_000)),
    ]
}

fn decompress(mut bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    // One frame after the other.
    while !bytes.is_empty() {
        let mut frame = StreamingDecoder::new(&mut bytes).map_err(|error| error.to_string())?;
        frame.read_to_end(&mut plain).map_err(|error| error.to_string())?;
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::{Trace, ZSTD};

    fn stream(keys: &[u64]) -> Vec<u8> {
        keys.iter().flat_map(|key| key.to_le_bytes()).collect()
    }

    /// A frame of zstd (RFC 8878) with one block as it is.
    fn frame(plain: &[u8]) -> Vec<u8> {
        let (single_segment, last_raw_block) = (0x20, (plain.len() as u8) << 3 | 1);
        [&ZSTD[..], &[single_segment, plain.len() as u8, last_raw_block, 0, 0], plain].concat()
    }

    #[test]
    fn keys_are_numbered_in_the_order_of_their_first_request() {
        let trace = Trace::parse("t", stream(&[900, 7, 900, u64::MAX, 7])).expect("a trace");
        assert_eq!((trace.requests, trace.keys), (vec![0, 1, 0, 2, 1], 3));
    }

    #[test]
    fn compressed_frames_are_read_one_after_the_other() {
        let bytes = [frame(&stream(&[5, 6])), frame(&stream(&[5]))].concat();
        assert_eq!(Trace::parse("t", bytes).expect("a trace").requests, [0, 1, 0]);
    }

    #[test]
    fn what_is_no_stream_of_numbers_is_refused() {
        assert!(Trace::parse("t", vec![1; 12]).is_err());
        assert!(Trace::parse("t", Vec::new()).is_err());
        assert!(Trace::parse("t", [&ZSTD[..], &[0xff; 9]].concat()).is_err());
    }
}
