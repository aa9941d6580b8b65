//! Answers out of a byte stream: where each one ends, and what it says.
//!
//! The connection speaks RESP2, so an answer is a line, a counted string, or an array of answers.
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
                b'$' => length += count(line)?.map_or(0, |body| body.saturating_add(2)),
                b'*' => inside = count(line)?.unwrap_or(0),
                b'+' | b'-' | b':' => {}
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
mod tests {
    use super::*;

    const ANSWERS: &[u8] =
        b"+OK\r\n:-2\r\n$3\r\na\r\n\r\n$-1\r\n$0\r\n\r\n*-1\r\n*2\r\n*1\r\n$1\r\nx\r\n:7\r\n-ERR no\r\n*0\r\n+PONG\r\n";

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    /// All answers in `bytes` if they come in pieces of `size`.
    fn in_pieces(bytes: &[u8], size: usize) -> Result<Vec<Value>, RedisError> {
        let mut replies = Replies::new();
        let mut values = Vec::new();
        for piece in bytes.chunks(size) {
            let mut piece = piece;
            while !piece.is_empty() {
                let mut cx = Context::from_waker(std::task::Waker::noop());
                assert!(matches!(replies.poll_read(&mut piece, &mut cx), Poll::Ready(Ok(1..))));
                while let Some(value) = replies.next()? {
                    values.push(value);
                }
            }
        }
        Ok(values)
    }

    #[test]
    fn answers_are_the_same_however_they_are_cut() {
        let whole = in_pieces(ANSWERS, ANSWERS.len()).unwrap();
        assert_eq!(whole[..3], [Value::Okay, Value::Int(-2), text("a\r\n")]);
        assert_eq!(whole[3..6], [Value::Nil, text(""), Value::Nil]);
        assert_eq!(whole[6], Value::Array(vec![Value::Array(vec![text("x")]), Value::Int(7)]));
        assert!(matches!(&whole[7], Value::ServerError(error) if error.code() == "ERR"));
        assert_eq!(whole[8..], [Value::Array(vec![]), Value::SimpleString("PONG".into())]);
        for size in 1..ANSWERS.len() {
            assert_eq!(in_pieces(ANSWERS, size).unwrap(), whole, "{size}");
        }
    }

    #[test]
    fn an_answer_may_be_larger_than_the_room_and_gives_it_back() {
        let body = "v".repeat(5 * KEPT);
        let mut replies = Replies::new();
        let bytes = format!("{}${}\r\n{body}\r\n:1\r\n", ":0\r\n".repeat(KEPT), body.len());
        let mut rest = bytes.as_bytes();
        let mut values = Vec::new();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while !rest.is_empty() {
            assert!(replies.poll_read(&mut rest, &mut cx).is_ready());
            while let Some(value) = replies.next().unwrap() {
                values.push(value);
            }
        }
        assert_eq!(values.len(), KEPT + 2);
        assert_eq!(values[KEPT..], [text(&body), Value::Int(1)]);
        let mut end: &[u8] = &[];
        assert!(replies.poll_read(&mut end, &mut cx).is_ready());
        assert_eq!(replies.buffer.len(), KEPT);
    }

    #[test]
    fn what_is_no_answer_is_an_error_and_takes_no_memory() {
        for bytes in [
            "\r\n",
            "x\r\n",
            "$a\r\n",
            "$\r\n",
            "*1x\r\n",
            ":\n",
            "$2\r\nabcd",
            "HTTP/1.1 400 Bad Request\r\n",
            // Only -1 stands for an absence.
            "$-2\r\n",
            "$-1x\r\n",
            "*-2\r\n",
            "*1\r\n$-2\r\n",
            "$-9223372036854775808\r\n",
            // A line ends with both.
            ":12\n",
            "$12\nA\r\n",
            "+a\nb\r\n",
        ] {
            for size in 1..=bytes.len() {
                assert!(in_pieces(bytes.as_bytes(), size).is_err(), "{bytes:?}");
            }
        }
        for bytes in ["$1000000000\r\nx", "*1000000000\r\n*70000000\r\n:1\r\n"] {
            assert_eq!(in_pieces(bytes.as_bytes(), 64).unwrap(), [], "{bytes:?}");
        }
    }

    #[test]
    fn an_answer_without_an_end_is_an_error_as_soon_as_that_shows() {
        for bytes in
            ["$9223372036854775807\r\n", "$1073741824\r\n", "*9223372036854775807\r\n", "*1000000000\r\n*100000000\r\n"]
        {
            assert!(in_pieces(bytes.as_bytes(), 64).is_err(), "{bytes:?}");
        }
        for start in ["+", "-ERR ", ":", "$", "*1\r\n:", "*"] {
            let endless = format!("{start}{}", "7".repeat(LINE));
            assert!(in_pieces(endless.as_bytes(), KEPT).is_err(), "{start:?}");
        }
        let long = format!("-ERR {}\r\n", "x".repeat(LINE - 7));
        assert!(matches!(in_pieces(long.as_bytes(), KEPT).unwrap()[..], [Value::ServerError(_)]));
    }

    #[test]
    fn an_error_that_quotes_foreign_bytes_is_an_answer_like_another() {
        let values = in_pieces(b"-ERR unknown command 'x', with args '\xff\xc3'\r\n+\xff\r\n:1\r\n", 5).unwrap();
        let Value::ServerError(error) = &values[0] else { panic!("{values:?}") };
        assert_eq!(error.details(), Some("unknown command 'x', with args '\u{fffd}\u{fffd}'"));
        assert_eq!(values[1..], [Value::SimpleString("\u{fffd}".into()), Value::Int(1)]);
    }

    #[test]
    fn arrays_in_arrays_are_an_error_where_they_go_too_deep_for_a_thread() {
        let nested = |depth: usize| format!("{}:1\r\n", "*1\r\n".repeat(depth));
        let mut value = &in_pieces(nested(90).as_bytes(), 64).unwrap()[0];
        let mut depth = 0;
        while let Value::Array(values) = value {
            (value, depth) = (&values[0], depth + 1);
        }
        assert_eq!((value, depth), (&Value::Int(1), 90));
        assert!(in_pieces(nested(100_000).as_bytes(), KEPT).is_err());
    }
}
