//! Answers out of a byte stream: where each one ends, and what it says.
//!
//! An answer is a line, a counted string, or an array of answers. Over RESP3 there are two more of each of the first two
//! kinds than over RESP2, and what the server says unasked is an array with another first byte; of RESP3's other kinds no
//! command makes use that is sent here.
//!
//! # Invariants
//! P1. What was looked at once is not looked at again, but for the last line or the head of the last string: an answer
//! that comes in many pieces costs no more than its length.
//! P2. Memory is taken for bytes that came, never for those that were announced, and for no more than [`LARGEST`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::redis::{RedisError, Value, parse_redis_value};
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes that were read and are not answered for yet.
pub(super) struct Replies {
    buffer: Vec<u8>,
    /// The first answer begins here.
    start: usize,
    /// What was read ends here.
    end: usize,
    /// The part of the first answer that is known to be all there.
    seen: usize,
    /// Values that the first answer still lacks after that.
    open: usize,
}

/// The room that an idle connection keeps.
const KEPT: usize = 16 << 10;
/// No answer is larger: twice the largest value that a server takes unless it is told otherwise.
const LARGEST: usize = 1 << 30;
/// No line is longer. The longest are the errors of scripts.
const LINE: usize = 1 << 20;

impl Replies {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; KEPT], start: 0, end: 0, seen: 0, open: 1 }
    }

    /// Reads once; how many bytes came, none at the stream's end.
    pub(super) fn poll_read<R>(&mut self, reader: &mut R, cx: &mut Context<'_>) -> Poll<io::Result<usize>>
    where
        R: AsyncRead + Unpin + ?Sized,
    {
        self.make_room();
        let mut room = ReadBuf::new(&mut self.buffer[self.end..]);
        ready!(Pin::new(reader).poll_read(cx, &mut room))?;
        let read = room.filled().len();
        self.end += read;
        Poll::Ready(Ok(read))
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > KEPT {
                self.buffer = vec![0; KEPT];
            }
        }
        if self.end < self.buffer.len() {
            return;
        }
        if self.start > self.buffer.len() / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        } else {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
    }

    /// Whether there are bytes of an answer that is not all there.
    pub(super) fn has_begun(&self) -> bool {
        self.start < self.end
    }

    /// The next answer that is all there.
    ///
    /// # Errors
    /// The bytes are no answer, or one that is too large to be.
    pub(super) fn next(&mut self) -> Result<Option<Value>, RedisError> {
        let bytes = &self.buffer[self.start..self.end];
        while self.open > 0 {
            let rest = &bytes[self.seen..];
            let Some(line) = rest.iter().position(|&byte| byte == b'\n').map(|at| &rest[..=at]) else {
                return if rest.len() < LINE { Ok(None) } else { Err(endless()) };
            };
            if !line.ends_with(b"\r\n") {
                return Err(garbled());
            }
            let (mut length, mut inside) = (line.len(), 0);
            match line[0] {
                // An absent string has no body.
                b'$' | b'=' => length += count(line)?.map_or(0, |body| body.saturating_add(2)),
                b'*' | b'>' => inside = count(line)?.unwrap_or(0),
                b'+' | b'-' | b':' | b'_' => {}
                _ => return Err(garbled()),
            }
            let open = (self.open - 1).saturating_add(inside);
            // What is missing has a byte each at least.
            if self.seen.saturating_add(length).saturating_add(open) > LARGEST {
                return Err(endless());
            }
            if rest.len() < length {
                return Ok(None);
            }
            (self.seen, self.open) = (self.seen + length, open);
        }
        let value = decode(&bytes[..self.seen])?;
        self.start += self.seen;
        (self.seen, self.open) = (0, 1);
        Ok(Some(value))
    }
}

/// One whole answer.
fn decode(bytes: &[u8]) -> Result<Value, RedisError> {
    match bytes {
        b"+OK\r\n" => Ok(Value::Okay),
        [b':', ..] => number(bytes).map(Value::Int),
        [b'$', ..] => match bytes.iter().position(|&byte| byte == b'\n') {
            // An absent string is its head alone.
            Some(line) if line + 1 == bytes.len() => Ok(Value::Nil),
            Some(line) if bytes.ends_with(b"\r\n") => Ok(Value::BulkString(bytes[line + 1..bytes.len() - 2].to_vec())),
            _ => Err(garbled()),
        },
        // A server quotes what it was sent, and cuts it at any byte.
        [b'-' | b'+', ..] => parse_redis_value(String::from_utf8_lossy(bytes).as_bytes()),
        _ => parse_redis_value(bytes),
    }
}

/// How long a string or an array is. An absent one says -1.
fn count(line: &[u8]) -> Result<Option<usize>, RedisError> {
    match number(line)? {
        -1 => Ok(None),
        count => usize::try_from(count).map(Some).map_err(|_| garbled()),
    }
}

/// The number in a whole line.
fn number(line: &[u8]) -> Result<i64, RedisError> {
    let digits = line.get(1..line.len().saturating_sub(2)).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(garbled)
}

fn garbled() -> RedisError {
    io::Error::new(io::ErrorKind::InvalidData, "the server sent what is no answer").into()
}

fn endless() -> RedisError {
    io::Error::new(io::ErrorKind::InvalidData, "the server began an answer that is too large to be one").into()
}

#[cfg(test)]
#[path = "replies_tests.rs"]
mod tests;
