//! Frames: a value as it lies in a lower tier, behind a versioned header of 64 bytes, little endian.
//!
//! ```text
//!  0 'T' 'C'   2 layout = 1   3 flags: 1 negative, 2 hold, 4 tags   4 codec: 1 MessagePack, 2 raw   5 compression = 0
//!  6 schema u16 = 0   8 write id u64   16 version u64   24 created, ms since the epoch, u64   32 control clock u64
//! 40 ttl_ms u64   48 cost_us u32   52 number of tags u16   54 grace u16 (see below)   56 raw length u32   60 checksum u32
//! 64 tags, u64 each   then the payload
//! ```
//! The checksum is CRC-32 (IEEE) over the key, the header but for bytes 16..32 and the checksum itself, the tags and the
//! payload: bytes 16..32 are a server's to stamp, and a value handed out under another key never passes.
//! Grace is a floating number of milliseconds: 11 bits of mantissa, 5 of binary exponent; [`round_grace`] makes one fit.
//! A tag is there as its stable hash. A hold is a header alone, for any key, without a checksum.
//!
//! Bytes that are not exactly this are refused with a reason, and read as a miss. Flags 8 (compressed) and 16 (no stale
//! answers) are a later release's.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{self, Error, Result};
use crate::hash::stable_hash;
use crate::value::{Kind, Value};

/// The length of a header, and of the frame of a hold.
pub(crate) const HEADER: usize = 64;
const MAGIC: [u8; 2] = *b"TC";
const LAYOUT: u8 = 1;
const NEGATIVE: u8 = 1;
const HOLD: u8 = 2;
const TAGS: u8 = 4;
const MSGPACK: u8 = 1;
const RAW: u8 = 2;
const TAG: usize = 8;

/// What a frame says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    /// `None`: the source has no value.
    pub(crate) value: Option<Value>,
    /// The base time to live, before any tier's scale.
    pub(crate) ttl: Duration,
    pub(crate) grace: Duration,
    /// When it was made, since the epoch; on the clock of the server that stored it if that has stamped it.
    pub(crate) created: Duration,
    /// Frames of one key with the same write id are the same, but for what a server stamps.
    pub(crate) wid: u64,
    /// Where the write stands in its partition's sequence; 0 unless a server has stamped it.
    pub(crate) version: u64,
    /// The control clock that the writer knew when it began to load.
    pub(crate) cseq: u64,
    /// What it took to load, in microseconds.
    pub(crate) cost_us: u32,
    /// [`tag_hash`] of each tag.
    pub(crate) tags: Box<[u64]>,
}

/// What the first 64 bytes of a frame say, without the checksum, which needs all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) wid: u64,
    pub(crate) version: u64,
    pub(crate) created: Duration,
    pub(crate) cseq: u64,
    /// The source has no value.
    pub(crate) negative: bool,
    /// No value but a hold: nothing is to be stored under the key while it lasts.
    pub(crate) held: bool,
}

/// Why bytes are no frame of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Truncated,
    Foreign,
    Layout(u8),
    /// Flags that are unknown, or do not go together.
    Flags(u8),
    Codec(u8),
    /// The key is under a hold.
    Held,
    Checksum,
    Document,
}

/// A tag as a frame has it: the same in every process and every release.
#[cfg_attr(not(test), expect(dead_code, reason = "the engine does not stand on it yet"))]
pub(crate) fn tag_hash(tag: &str) -> u64 {
    stable_hash(tag)
}

/// The frame of a hold.
pub(crate) fn hold(wid: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..4].copy_from_slice(&[MAGIC[0], MAGIC[1], LAYOUT, HOLD]);
    bytes[8..16].copy_from_slice(&wid.to_le_bytes());
    bytes
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
    /// `is_codec` if the value is a document that cannot be written; `is_too_large` with more than 65,535 tags.
    pub(crate) fn encode(&self, key: &str) -> Result<Bytes> {
        let (negative, codec, payload) = match &self.value {
            None => (NEGATIVE, MSGPACK, &[][..]),
            Some(value) => {
                value.check()?;
                let codec = if value.kind() == Kind::Raw { RAW } else { MSGPACK };
                (0, codec, value.body())
            }
        };
        let tags = u16::try_from(self.tags.len()).map_err(|_| {
            Error::new(error::Kind::TOO_LARGE, format!("{} tags are more than a value can have", self.tags.len()))
        })?;
        let flags = negative | if tags > 0 { TAGS } else { 0 };
        let mut bytes = BytesMut::with_capacity(HEADER + self.tags.len() * TAG + payload.len());
        bytes.extend_from_slice(&[MAGIC[0], MAGIC[1], LAYOUT, flags, codec, 0, 0, 0]);
        bytes.put_u64_le(self.wid);
        bytes.put_u64_le(self.version);
        bytes.put_u64_le(millis(self.created));
        bytes.put_u64_le(self.cseq);
        bytes.put_u64_le(millis(self.ttl));
        bytes.put_u32_le(self.cost_us);
        bytes.put_u16_le(tags);
        bytes.put_u16_le(pack_grace(self.grace));
        bytes.put_u32_le(payload.len() as u32);
        bytes.put_u32_le(0);
        self.tags.iter().for_each(|&tag| bytes.put_u64_le(tag));
        bytes.extend_from_slice(payload);
        let checksum = checksum(key, &bytes);
        bytes[60..HEADER].copy_from_slice(&checksum.to_le_bytes());
        Ok(bytes.freeze())
    }

    /// The frame that `bytes` hold for `key`. The payload is not copied.
    pub(crate) fn decode(key: &str, bytes: &Bytes) -> Result<Frame, Refusal> {
        let head = Head::decode(bytes)?;
        if head.held {
            return Err(Refusal::Held);
        }
        let codec = bytes[4];
        if bytes[5..8] != [0, 0, 0] {
            return Err(Refusal::Codec(codec));
        }
        let tags = usize::from(u16_at(bytes, 52));
        if (tags > 0) != (bytes[3] & TAGS != 0) {
            return Err(Refusal::Flags(bytes[3]));
        }
        let start = HEADER + tags * TAG;
        let length = bytes.len().checked_sub(start).ok_or(Refusal::Truncated)?;
        if length as u64 != u64::from(u32_at(bytes, 56)) {
            return Err(Refusal::Truncated);
        }
        if checksum(key, bytes) != u32_at(bytes, 60) {
            return Err(Refusal::Checksum);
        }
        let payload = bytes.slice(start..);
        let value = match (head.negative, codec) {
            (true, _) => None,
            (false, MSGPACK) => Some(Value::from_parts(Kind::MessagePack, payload).map_err(|_| Refusal::Document)?),
            (false, RAW) => Some(Value::from_parts(Kind::Raw, payload).map_err(|_| Refusal::Document)?),
            (false, unknown) => return Err(Refusal::Codec(unknown)),
        };
        Ok(Frame {
            value,
            ttl: Duration::from_millis(u64_at(bytes, 40)),
            grace: unpack_grace(u16_at(bytes, 54)),
            created: head.created,
            wid: head.wid,
            version: head.version,
            cseq: head.cseq,
            cost_us: u32_at(bytes, 48),
            tags: (0..tags).map(|tag| u64_at(bytes, HEADER + tag * TAG)).collect(),
        })
    }
}

impl Head {
    /// The head of the frame that begins with `bytes`; what follows the first 64 is not looked at.
    ///
    /// An equal write id says that the frame is the one that was read whole before. Nothing else is proven: there is no
    /// checksum over the head alone.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Head, Refusal> {
        if bytes.len() < HEADER {
            return Err(if bytes.starts_with(&MAGIC) { Refusal::Truncated } else { Refusal::Foreign });
        }
        if bytes[..2] != MAGIC {
            return Err(Refusal::Foreign);
        }
        if bytes[2] != LAYOUT {
            return Err(Refusal::Layout(bytes[2]));
        }
        let flags = bytes[3];
        let held = flags == HOLD;
        if !held && flags & !(NEGATIVE | TAGS) != 0 {
            return Err(Refusal::Flags(flags));
        }
        Ok(Head {
            wid: u64_at(bytes, 8),
            version: u64_at(bytes, 16),
            created: Duration::from_millis(u64_at(bytes, 24)),
            cseq: u64_at(bytes, 32),
            negative: flags & NEGATIVE != 0,
            held,
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Over all of a frame but what a server stamps, and itself.
fn checksum(key: &str, frame: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key.as_bytes());
    crc.update(&frame[..16]);
    crc.update(&frame[32..60]);
    crc.update(&frame[HEADER..]);
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
mod tests;
