//! MessagePack as it lies in memory: one head after another.
//!
//! Source: the MessagePack specification, <https://github.com/msgpack/msgpack/blob/master/spec.md>.

use std::fmt;

use super::MAX_DEPTH;

/// What stands at the front of some bytes: a scalar with its content, or the length of an array or a map.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Head<'a> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Single(f32),
    Double(f64),
    Text(&'a str),
    Binary(&'a [u8]),
    Extension(i8, &'a [u8]),
    Array(u32),
    Map(u32),
}

/// Why some bytes are not a document.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flaw {
    Truncated,
    Trailing,
    TooDeep,
    Reserved,
    NotUtf8,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flaw::Truncated => "they end within it",
            Flaw::Trailing => "bytes follow it",
            Flaw::TooDeep => "it nests deeper than 128",
            Flaw::Reserved => "the reserved marker 0xc1 occurs",
            Flaw::NotUtf8 => "a string is not UTF-8",
        })
    }
}

/// Checks that `bytes` are exactly one document, as the first invariant of the module above has it.
///
/// # Cost
/// One pass without recursion or allocation. A length that the bytes left cannot hold ends it at once.
pub(super) fn validate(bytes: &[u8]) -> Result<(), Flaw> {
    let mut reader = Reader(bytes);
    // How many elements are still to come in each open array or map, the outermost first; the document itself below.
    let mut left = [0_u64; MAX_DEPTH + 1];
    left[0] = 1;
    let mut depth = 0;
    loop {
        while left[depth] == 0 {
            if depth == 0 {
                return if reader.0.is_empty() { Ok(()) } else { Err(Flaw::Trailing) };
            }
            depth -= 1;
        }
        left[depth] -= 1;
        let elements = match reader.head()? {
            Head::Array(length) => u64::from(length),
            Head::Map(length) => 2 * u64::from(length),
            _ => continue,
        };
        depth += 1;
        if depth > MAX_DEPTH {
            return Err(Flaw::TooDeep);
        }
        // An element takes a byte at least.
        if elements > reader.0.len() as u64 {
            return Err(Flaw::Truncated);
        }
        left[depth] = elements;
    }
}

/// Reads heads off the front of some bytes.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn head(&mut self) -> Result<Head<'a>, Flaw> {
        let [marker] = self.array()?;
        Ok(match marker {
            0x00..=0x7f => Head::Unsigned(marker.into()),
            0x80..=0x8f => Head::Map((marker & 0x0f).into()),
            0x90..=0x9f => Head::Array((marker & 0x0f).into()),
            0xa0..=0xbf => self.text((marker & 0x1f).into())?,
            0xc0 => Head::Nil,
            0xc1 => return Err(Flaw::Reserved),
            0xc2 => Head::Bool(false),
            0xc3 => Head::Bool(true),
            0xc4..=0xc6 => {
                let length = self.length(marker - 0xc4)?;
                Head::Binary(self.take(length)?)
            }
            0xc7..=0xc9 => {
                let length = self.length(marker - 0xc7)?;
                self.extension(length)?
            }
            0xca => Head::Single(f32::from_be_bytes(self.array()?)),
            0xcb => Head::Double(f64::from_be_bytes(self.array()?)),
            0xcc => Head::Unsigned(u8::from_be_bytes(self.array()?).into()),
            0xcd => Head::Unsigned(u16::from_be_bytes(self.array()?).into()),
            0xce => Head::Unsigned(u32::from_be_bytes(self.array()?).into()),
            0xcf => Head::Unsigned(u64::from_be_bytes(self.array()?)),
            0xd0 => Head::Signed(i8::from_be_bytes(self.array()?).into()),
            0xd1 => Head::Signed(i16::from_be_bytes(self.array()?).into()),
            0xd2 => Head::Signed(i32::from_be_bytes(self.array()?).into()),
            0xd3 => Head::Signed(i64::from_be_bytes(self.array()?)),
            0xd4..=0xd8 => self.extension(1 << (marker - 0xd4))?,
            0xd9..=0xdb => {
                let length = self.length(marker - 0xd9)?;
                self.text(length)?
            }
            0xdc | 0xdd => Head::Array(self.length(marker - 0xdb)?),
            0xde | 0xdf => Head::Map(self.length(marker - 0xdd)?),
            0xe0..=0xff => Head::Signed(marker.cast_signed().into()),
        })
    }

    /// A length of 1, 2 or 4 bytes: 2 to the power of `width`.
    fn length(&mut self, width: u8) -> Result<u32, Flaw> {
        Ok(match width {
            0 => u8::from_be_bytes(self.array()?).into(),
            1 => u16::from_be_bytes(self.array()?).into(),
            _ => u32::from_be_bytes(self.array()?),
        })
    }

    fn text(&mut self, length: u32) -> Result<Head<'a>, Flaw> {
        std::str::from_utf8(self.take(length)?).map(Head::Text).map_err(|_| Flaw::NotUtf8)
    }

    fn extension(&mut self, length: u32) -> Result<Head<'a>, Flaw> {
        let tag = i8::from_be_bytes(self.array()?);
        Ok(Head::Extension(tag, self.take(length)?))
    }

    fn take(&mut self, length: u32) -> Result<&'a [u8], Flaw> {
        let length = usize::try_from(length).map_err(|_| Flaw::Truncated)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Flaw::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Flaw::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }
}

/// How one family writes lengths.
pub(super) struct Family {
    /// The marker that holds a length below `short` itself.
    marker: u8,
    short: u32,
    /// The markers before lengths of 8, 16 and 32 bits; 0 where there is none.
    wide: [u8; 3],
}

pub(super) const TEXT: Family = Family { marker: 0xa0, short: 32, wide: [0xd9, 0xda, 0xdb] };
pub(super) const BINARY: Family = Family { marker: 0, short: 0, wide: [0xc4, 0xc5, 0xc6] };
pub(super) const ARRAY: Family = Family { marker: 0x90, short: 16, wide: [0, 0xdc, 0xdd] };
pub(super) const MAP: Family = Family { marker: 0x80, short: 16, wide: [0, 0xde, 0xdf] };

impl Family {
    /// Writes the shortest head for `length`.
    pub(super) fn put(&self, out: &mut Vec<u8>, length: u32) {
        let bytes = length.to_be_bytes();
        if length < self.short {
            out.push(self.marker | bytes[3]);
        } else if length <= 0xff && self.wide[0] != 0 {
            out.extend_from_slice(&[self.wide[0], bytes[3]]);
        } else if length <= 0xffff {
            out.extend_from_slice(&[self.wide[1], bytes[2], bytes[3]]);
        } else {
            out.push(self.wide[2]);
            out.extend_from_slice(&bytes);
        }
    }
}

/// A byte string. A payload past 4 GiB has no such form: it gives no bytes, which are no document.
pub(super) fn binary(payload: &[u8]) -> Vec<u8> {
    let Ok(length) = u32::try_from(payload.len()) else { return Vec::new() };
    let mut out = Vec::with_capacity(payload.len() + 5);
    BINARY.put(&mut out, length);
    out.extend_from_slice(payload);
    out
}
