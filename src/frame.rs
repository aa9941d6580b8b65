//! Frames: a value as it lies in a lower tier, behind a versioned header of 64 bytes, little endian.
//!
//! ```text
//!  0 'T' 'C'   2 layout = 1   3 flags: 1 negative   4 codec: 1 MessagePack, 2 raw   5 compression = 0   6 schema u16 = 0
//!  8 write id u64   16 version u64   24 created, ms since the epoch, u64   32 control clock u64   40 ttl_ms u64
//! 48 cost_us u32   52 number of tags u16 = 0   54 grace u16 (see below)   56 raw length u32   60 checksum u32
//! 64 payload
//! ```
//! The checksum is CRC-32 (IEEE) over the key, the header but for bytes 16..32 and the checksum itself, and the payload:
//! bytes 16..32 are a server's to stamp, and a value handed out under another key never passes.
//! Grace is a floating number of milliseconds: 11 bits of mantissa, 5 of binary exponent; [`round_grace`] makes one fit.
//!
//! Bytes that are not exactly this are refused with a reason, and read as a miss.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::error::Result;
use crate::value::{Kind, Value};

const HEADER: usize = 64;
const MAGIC: [u8; 2] = *b"TC";
const LAYOUT: u8 = 1;
const NEGATIVE: u8 = 1;
const MSGPACK: u8 = 1;
const RAW: u8 = 2;

/// What a frame says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    /// `None`: the source has no value.
    pub(crate) value: Option<Value>,
    /// The base time to live, before any tier's scale.
    pub(crate) ttl: Duration,
    pub(crate) grace: Duration,
    /// When it was made, since the epoch.
    pub(crate) created: Duration,
}

/// Why bytes are no frame of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Truncated,
    Foreign,
    Layout(u8),
    Codec(u8),
    Checksum,
    Document,
}

/// Grace as a frame can say it: rounded down to 11 significant bits of milliseconds.
pub(crate) fn round_grace(grace: Duration) -> Duration {
    unpack_grace(pack_grace(grace))
}

fn pack_grace(grace: Duration) -> u16 {
    const MOST: u64 = 2047 << 31;
    let millis = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX).min(MOST);
    let exponent = (u64::BITS - millis.leading_zeros()).saturating_sub(11);
    (exponent as u16) << 11 | (millis >> exponent) as u16
}

fn unpack_grace(packed: u16) -> Duration {
    Duration::from_millis(u64::from(packed & 0x7ff) << (packed >> 11))
}

impl Frame {
    /// The bytes of this frame for `key`.
    ///
    /// # Errors
    /// `is_codec` if the value is a document that cannot be written.
    pub(crate) fn encode(&self, key: &str, write_id: u64) -> Result<Bytes> {
        let (flags, codec, payload) = match &self.value {
            None => (NEGATIVE, MSGPACK, &[][..]),
            Some(value) => {
                value.check()?;
                let codec = if value.kind() == Kind::Raw { RAW } else { MSGPACK };
                (0, codec, value.body())
            }
        };
        let mut bytes = BytesMut::with_capacity(HEADER + payload.len());
        bytes.extend_from_slice(&[MAGIC[0], MAGIC[1], LAYOUT, flags, codec, 0, 0, 0]);
        bytes.extend_from_slice(&write_id.to_le_bytes());
        bytes.extend_from_slice(&0u64.to_le_bytes());
        bytes.extend_from_slice(&millis(self.created).to_le_bytes());
        bytes.extend_from_slice(&0u64.to_le_bytes());
        bytes.extend_from_slice(&millis(self.ttl).to_le_bytes());
        bytes.extend_from_slice(&0u32.to_le_bytes());
        bytes.extend_from_slice(&0u16.to_le_bytes());
        bytes.extend_from_slice(&pack_grace(self.grace).to_le_bytes());
        bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        let checksum = checksum(key, &bytes, payload);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(payload);
        Ok(bytes.freeze())
    }

    /// The frame that `bytes` hold for `key`. The payload is not copied.
    pub(crate) fn decode(key: &str, bytes: &Bytes) -> Result<Frame, Refusal> {
        if bytes.len() < HEADER {
            return Err(if bytes.starts_with(&MAGIC) { Refusal::Truncated } else { Refusal::Foreign });
        }
        if bytes[..2] != MAGIC {
            return Err(Refusal::Foreign);
        }
        if bytes[2] != LAYOUT {
            return Err(Refusal::Layout(bytes[2]));
        }
        let (flags, codec) = (bytes[3], bytes[4]);
        if flags & !NEGATIVE != 0 || bytes[5..8] != [0, 0, 0] || u16_at(bytes, 52) != 0 {
            return Err(Refusal::Codec(codec));
        }
        let payload = bytes.slice(HEADER..);
        if payload.len() as u64 != u64::from(u32_at(bytes, 56)) {
            return Err(Refusal::Truncated);
        }
        if checksum(key, &bytes[..60], &payload) != u32_at(bytes, 60) {
            return Err(Refusal::Checksum);
        }
        let value = match (flags & NEGATIVE != 0, codec) {
            (true, _) => None,
            (false, MSGPACK) => Some(Value::from_parts(Kind::MessagePack, payload).map_err(|_| Refusal::Document)?),
            (false, RAW) => Some(Value::from_parts(Kind::Raw, payload).map_err(|_| Refusal::Document)?),
            (false, unknown) => return Err(Refusal::Codec(unknown)),
        };
        Ok(Frame {
            value,
            ttl: Duration::from_millis(u64_at(bytes, 40)),
            grace: unpack_grace(u16_at(bytes, 54)),
            created: Duration::from_millis(u64_at(bytes, 24)),
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn checksum(key: &str, header: &[u8], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key.as_bytes());
    crc.update(&header[..16]);
    crc.update(&header[32..60]);
    crc.update(payload);
    crc.finalize()
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |n, &byte| n << 8 | u32::from(byte))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame {
            value: Some(Value::encode(&("hello", 42)).unwrap()),
            ttl: Duration::from_secs(300),
            grace: Duration::from_millis(2047 << 3),
            created: Duration::from_millis(1_700_000_000_123),
        }
    }

    #[test]
    fn every_kind_survives_the_round_trip() {
        for value in [Some(Value::encode("text").unwrap()), Some(Value::bytes(&b"raw"[..])), None] {
            let frame = Frame { value, ..frame() };
            assert_eq!(Frame::decode("k", &frame.encode("k", 7).unwrap()), Ok(frame));
        }
    }

    #[test]
    fn a_frame_under_another_key_is_refused() {
        let bytes = frame().encode("a", 7).unwrap();
        assert_eq!(Frame::decode("b", &bytes), Err(Refusal::Checksum));
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_refused() {
        let bytes = frame().encode("k", 7).unwrap();
        for end in 0..bytes.len() {
            assert!(Frame::decode("k", &bytes.slice(..end)).is_err(), "cut at {end}");
        }
        for bit in 0..bytes.len() * 8 {
            // The server's own stamps are outside the checksum.
            if (16 * 8..32 * 8).contains(&bit) {
                continue;
            }
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode("k", &flipped.into()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn bytes_of_others_are_foreign() {
        assert_eq!(Frame::decode("k", &Bytes::from_static(b"")), Err(Refusal::Foreign));
        assert_eq!(Frame::decode("k", &Bytes::from(vec![0xff; 1000])), Err(Refusal::Foreign));
        assert_eq!(Frame::decode("k", &Bytes::from_static(b"{\"json\":true}")), Err(Refusal::Foreign));
    }

    #[test]
    fn grace_is_rounded_down_by_less_than_a_thousandth() {
        for millis in [0, 1, 2047, 2048, 4097, 60_000, 86_400_000, u64::from(u32::MAX)] {
            let rounded = round_grace(Duration::from_millis(millis)).as_millis() as u64;
            assert!(rounded <= millis && millis - rounded <= millis / 1000, "{millis} became {rounded}");
        }
        assert!(round_grace(Duration::MAX) > Duration::from_secs(100 * 365 * 86_400));
    }
}
