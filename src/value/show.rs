//! `Debug`: the document itself, in the manner of JSON, cut off where it gets long.

use std::fmt::{self, Write};

use super::msgpack::{Flaw, Head, Reader};
use super::{Kind, Value};
use crate::entry::Entry;

/// How much of a document is printed, in bytes.
const SHOWN: usize = 200;

/// How much of a raw payload is printed, in bytes.
const PREVIEW: usize = 32;

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        document(self.entry(), f)
    }
}

pub(super) fn document(entry: Entry<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let body = entry.body();
    match entry.kind() {
        Kind::Raw => {
            let preview = &body[..body.len().min(PREVIEW)];
            let more = if preview.len() < body.len() { "…" } else { "" };
            write!(f, "bytes({}, b\"{}\"{more})", body.len(), preview.escape_ascii())
        }
        Kind::Invalid => match entry.fault() {
            Some(fault) => write!(f, "invalid({fault})"),
            None => f.write_str("invalid"),
        },
        Kind::Absent => f.write_str("absent"),
        Kind::MessagePack => {
            let mut out = Limited { out: f, left: SHOWN, full: false };
            match show(&mut Reader(body), &mut out) {
                Err(Stop::Full) => f.write_char('…'),
                Err(Stop::Malformed | Stop::Output) => Err(fmt::Error),
                Ok(()) => Ok(()),
            }
        }
    }
}

/// Why printing ends before the document does.
enum Stop {
    Full,
    Malformed,
    Output,
}

impl From<Flaw> for Stop {
    fn from(_: Flaw) -> Self {
        Stop::Malformed
    }
}

/// Takes so many bytes and refuses more, between characters.
struct Limited<'a, 'b> {
    out: &'a mut fmt::Formatter<'b>,
    left: usize,
    full: bool,
}

impl Limited<'_, '_> {
    fn put(&mut self, text: fmt::Arguments<'_>) -> Result<(), Stop> {
        self.write_fmt(text).map_err(|_| if self.full { Stop::Full } else { Stop::Output })
    }
}

impl Write for Limited<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut fits = self.left.min(text.len());
        while !text.is_char_boundary(fits) {
            fits -= 1;
        }
        self.left -= fits;
        self.out.write_str(&text[..fits])?;
        self.full = fits < text.len();
        if self.full { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Prints one element. The recursion is as deep as the document, 128 at most (V1).
fn show(reader: &mut Reader<'_>, out: &mut Limited<'_, '_>) -> Result<(), Stop> {
    match reader.head()? {
        Head::Nil => out.put(format_args!("null")),
        Head::Bool(flag) => out.put(format_args!("{flag}")),
        Head::Unsigned(number) => out.put(format_args!("{number}")),
        Head::Signed(number) => out.put(format_args!("{number}")),
        Head::Single(number) => out.put(format_args!("{number:?}")),
        Head::Double(number) => out.put(format_args!("{number:?}")),
        Head::Text(text) => out.put(format_args!("{text:?}")),
        Head::Binary(bytes) => out.put(format_args!("b\"{}\"", bytes.escape_ascii())),
        Head::Extension(tag, bytes) => out.put(format_args!("ext({tag}, b\"{}\")", bytes.escape_ascii())),
        Head::Array(length) => {
            out.put(format_args!("["))?;
            for index in 0..length {
                separate(index, out)?;
                show(reader, out)?;
            }
            out.put(format_args!("]"))
        }
        Head::Map(length) => {
            out.put(format_args!("{{"))?;
            for index in 0..length {
                separate(index, out)?;
                show(reader, out)?;
                out.put(format_args!(":"))?;
                show(reader, out)?;
            }
            out.put(format_args!("}}"))
        }
    }
}

fn separate(index: u32, out: &mut Limited<'_, '_>) -> Result<(), Stop> {
    if index > 0 { out.put(format_args!(",")) } else { Ok(()) }
}
