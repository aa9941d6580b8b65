//! The messages of a partition's channel and the entries of its log, as bytes. Numbers are little endian.
//!
//! ```text
//! message   kind (1) · number (8) · origin (8) · body
//!   'I' removed, 'P' updated     body = (length (4), key) for each key
//!   'C' bump                     body = how (1) · length (4) · name; after them, where how is 'x', cleared (8)
//!   'F' the lease has ended      number and origin 0, body = key
//!   'S' suspect all              number 0, no body: from a server that is out of memory and gives no number; its clock and
//!                                its log go in the same step, so that the next answer tells whoever did not hear it
//! entry     field 'i' | 'p' | 'c', value = origin (8) · body, under the id `<number>-1`
//! ```
//!
//! The bytes may be anybody's. Whatever they are, reading them neither panics nor allocates.
//!
//! # Invariants
//! - M1: what is read and written again has the bytes that it had, and the other way round.
//! - M2: bytes that are refused although they have room for a number may have been a change: the number comes with the
//!   refusal. Those that have none, and a wake-up that names no key, are no loss.

use crate::shared::{Change, Control};

/// Tells what one instance says from what the others say.
pub(crate) type Origin = [u8; 8];

const REMOVED: u8 = b'I';
const UPDATED: u8 = b'P';
const BUMP: u8 = b'C';
const SETTLED: u8 = b'F';
const SUSPECT: u8 = b'S';

/// Kind, number and origin.
const HEAD: usize = 1 + 8 + size_of::<Origin>();

/// A message of the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// A change with its number, which is not 0.
    Numbered(u64, Said<'a>),
    /// The lease of this key has ended.
    Settled(&'a str),
    /// Something has changed, and it is not said what.
    SuspectAll(Origin),
}

/// A change, and who made it: what the log keeps under a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said<'a> {
    pub(crate) origin: Origin,
    pub(crate) what: What<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What<'a> {
    Changed(Change, Keys<'a>),
    Bump(How, &'a str),
}

/// How the control clock was bumped, beside the name that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// The name is a tag.
    Tag,
    /// The name is a glob.
    Rule,
    /// The name is empty.
    Clear,
    /// The name is the tag that was one too many.
    TagFloor,
    /// The name is the glob that was one too many; the oldest became a clear at this number.
    RuleAfter(u64),
}

/// Bytes that say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The number, if there is room for one.
    pub(crate) number: Option<u64>,
    pub(crate) why: &'static str,
}

impl<'a> Message<'a> {
    /// What the bytes of a message say.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Refused> {
        let Some((head, body)) = bytes.split_first_chunk::<HEAD>() else {
            return Err(Refused { number: None, why: "it is shorter than any message" });
        };
        let [kind, rest @ ..] = head;
        let (number, origin) = halves(rest);
        let number = u64::from_le_bytes(number);
        let refused = |why| Refused { number: Some(number), why };
        match (*kind, number) {
            (REMOVED | UPDATED | BUMP, 0) => Err(refused("a change has no number")),
            (REMOVED | UPDATED | BUMP, _) => {
                What::read(*kind, body).map(|what| Self::Numbered(number, Said { origin, what })).map_err(refused)
            }
            (SETTLED, 0) if origin == [0; 8] => match std::str::from_utf8(body) {
                Ok(key) if !key.is_empty() => Ok(Self::Settled(key)),
                _ => Err(Refused { number: None, why: "a wake-up names no key" }),
            },
            (SUSPECT, 0) if body.is_empty() => Ok(Self::SuspectAll(origin)),
            _ => Err(refused("it is no kind of message")),
        }
    }

    /// The message as bytes.
    pub(crate) fn write(&self) -> Vec<u8> {
        let (kind, number, origin) = match self {
            Self::Numbered(number, said) => (said.what.kind(), *number, said.origin),
            Self::Settled(_) => (SETTLED, 0, [0; 8]),
            Self::SuspectAll(origin) => (SUSPECT, 0, *origin),
        };
        let mut bytes = Vec::with_capacity(HEAD + 64);
        bytes.push(kind);
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&origin);
        match self {
            Self::Numbered(_, said) => said.what.write(&mut bytes),
            Self::Settled(key) => bytes.extend_from_slice(key.as_bytes()),
            Self::SuspectAll(_) => {}
        }
        bytes
    }
}

impl<'a> Said<'a> {
    /// What an entry of the log says, from its field and its value.
    ///
    /// # Errors
    /// Why it says nothing.
    pub(crate) fn read(field: &[u8], value: &'a [u8]) -> Result<Self, &'static str> {
        let kind = match field {
            b"i" => REMOVED,
            b"p" => UPDATED,
            b"c" => BUMP,
            _ => return Err("it is no kind of entry"),
        };
        let (origin, body) = value.split_first_chunk::<8>().ok_or("it is shorter than any entry")?;
        Ok(Self { origin: *origin, what: What::read(kind, body)? })
    }

    /// The entry's field.
    pub(crate) fn field(&self) -> &'static str {
        match self.what {
            What::Changed(Change::Removed, _) => "i",
            What::Changed(Change::Updated, _) => "p",
            What::Bump(..) => "c",
        }
    }

    /// The entry's value.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut bytes = self.origin.to_vec();
        self.what.write(&mut bytes);
        bytes
    }
}

impl<'a> What<'a> {
    fn read(kind: u8, body: &'a [u8]) -> Result<Self, &'static str> {
        match kind {
            REMOVED => Keys::read(body).map(|keys| Self::Changed(Change::Removed, keys)),
            UPDATED => Keys::read(body).map(|keys| Self::Changed(Change::Updated, keys)),
            _ => {
                let (how, rest) = body.split_first().ok_or("a bump says nothing")?;
                let (name, rest) = text(rest)?;
                let how = match (how, rest) {
                    (b't', []) => How::Tag,
                    (b'r', []) => How::Rule,
                    (b'c', []) if name.is_empty() => How::Clear,
                    (b'b', []) => How::TagFloor,
                    (b'x', rest) => How::RuleAfter(u64::from_le_bytes(
                        rest.try_into().map_err(|_| "a bump does not say what it cleared")?,
                    )),
                    _ => return Err("it is no kind of bump"),
                };
                Ok(Self::Bump(how, name))
            }
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Changed(Change::Removed, _) => REMOVED,
            Self::Changed(Change::Updated, _) => UPDATED,
            Self::Bump(..) => BUMP,
        }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let (how, name) = match self {
            Self::Changed(_, keys) => return bytes.extend_from_slice(keys.0),
            Self::Bump(how, name) => (how, name),
        };
        bytes.push(match how {
            How::Tag => b't',
            How::Rule => b'r',
            How::Clear => b'c',
            How::TagFloor => b'b',
            How::RuleAfter(_) => b'x',
        });
        // Longer names do not get as far as here: no message that was read has one, and none is given to an instance.
        bytes.extend_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
        if let How::RuleAfter(cleared) = how {
            bytes.extend_from_slice(&cleared.to_le_bytes());
        }
    }
}

impl How {
    /// The bump as it is told.
    pub(crate) fn control(self, name: &str) -> Control {
        match self {
            Self::Tag => Control::Tag(name.to_owned()),
            Self::Rule => Control::Pattern(name.to_owned()),
            Self::Clear => Control::Clear,
            Self::TagFloor => Control::TagFloor,
            Self::RuleAfter(cleared) => Control::Rule { cleared, pattern: name.to_owned() },
        }
    }
}

/// Keys one after the other, each behind its length. They were looked through once: there is no key in them that cannot be
/// read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keys<'a>(&'a [u8]);

impl<'a> Keys<'a> {
    /// The keys of a body.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, &'static str> {
        let mut rest = body;
        while !rest.is_empty() {
            let (key, more) = text(rest)?;
            if key.is_empty() {
                return Err("a key is empty");
            }
            rest = more;
        }
        Ok(Self(body))
    }

    /// The body of these keys; `None` if one is empty, or longer than its length can say.
    pub(crate) fn pack(keys: &[&str]) -> Option<Vec<u8>> {
        let mut body = Vec::with_capacity(keys.iter().map(|key| 4 + key.len()).sum());
        for key in keys.iter().filter(|key| !key.is_empty()) {
            body.extend_from_slice(&u32::try_from(key.len()).ok()?.to_le_bytes());
            body.extend_from_slice(key.as_bytes());
        }
        keys.iter().all(|key| !key.is_empty()).then_some(body)
    }

    /// Hands the keys on, many at once.
    pub(crate) fn each(self, mut tell: impl FnMut(&[&'a str])) {
        let mut some = [""; 32];
        let mut keys = self.peekable();
        while keys.peek().is_some() {
            let mut count = 0;
            for (place, key) in some.iter_mut().zip(&mut keys) {
                *place = key;
                count += 1;
            }
            tell(&some[..count]);
        }
    }
}

impl<'a> Iterator for Keys<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (key, rest) = text(self.0).ok()?;
        self.0 = rest;
        Some(key)
    }
}

impl std::fmt::Debug for Keys<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// The text behind its length, and what follows it.
fn text(bytes: &[u8]) -> Result<(&str, &[u8]), &'static str> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or("a length is cut off")?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (text, rest) = rest.split_at_checked(length).ok_or("a text is longer than what there is of it")?;
    Ok((std::str::from_utf8(text).map_err(|_| "a text is not UTF-8")?, rest))
}

fn halves(bytes: &[u8; 16]) -> ([u8; 8], [u8; 8]) {
    let (mut one, mut two) = ([0; 8], [0; 8]);
    one.copy_from_slice(&bytes[..8]);
    two.copy_from_slice(&bytes[8..]);
    (one, two)
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
