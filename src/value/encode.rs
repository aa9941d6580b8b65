//! Writing documents: named fields, readable forms, a bounded depth, and lengths that hold.
//!
//! The form is that of `rmp_serde` with struct maps and readable types, byte for byte: an enum is its variant's name, or a
//! map from the name to the content. A `Vec<u8>` is an array of numbers unless its type asks for bytes.
//!
//! Checked by: a comparison with `rmp_serde`.

use std::fmt;

use serde::ser::{self, Serialize};

use super::MAX_DEPTH;
use super::msgpack::{self, ARRAY, BINARY, Family, MAP, TEXT};
use crate::error::Error;

/// How many options and newtypes may be open at once. They take no bytes, but each takes stack.
const MAX_WRAPPERS: usize = 512;

/// Why a value has no document.
#[derive(Debug)]
pub(super) enum Refusal {
    TooDeep,
    TooLong,
    OtherLength,
    /// The type's own `Serialize` refuses. Its words may hold content and are not kept.
    Type,
}

impl Refusal {
    /// The error for a value of the type named.
    pub(super) fn of(self, type_name: &str) -> Error {
        Error::codec(format!("a `{type_name}` does not encode: {self}"))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::TooDeep => "it nests deeper than 128",
            Refusal::TooLong => "a part is longer than 4 GiB",
            Refusal::OtherLength => "a part has another length than it announces",
            Refusal::Type => "its own Serialize refuses",
        })
    }
}

impl std::error::Error for Refusal {}

impl ser::Error for Refusal {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Refusal::Type
    }
}

/// The document of a value.
pub(super) fn document<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Refusal> {
    let mut writer = Writer { out: Vec::with_capacity(128), depth: 0, wrappers: 0, broken: false };
    value.serialize(&mut writer)?;
    if writer.broken {
        return Err(Refusal::Type);
    }
    Ok(writer.out)
}

pub(super) struct Writer {
    out: Vec<u8>,
    /// Open arrays and maps.
    depth: usize,
    /// Open options and newtypes.
    wrappers: usize,
    /// A part was refused, and what was written of it is still there: holds even if its parent ignores the refusal.
    broken: bool,
}

impl Writer {
    fn length(&mut self, family: &Family, length: usize) -> Result<(), Refusal> {
        family.put(&mut self.out, u32::try_from(length).map_err(|_| Refusal::TooLong)?);
        Ok(())
    }

    fn scalar<const N: usize>(&mut self, marker: u8, bytes: [u8; N]) {
        self.out.push(marker);
        self.out.extend_from_slice(&bytes);
    }

    fn unsigned(&mut self, number: u64) {
        let bytes = number.to_be_bytes();
        let [.., a, b, c, d] = bytes;
        match number {
            0..=0x7f => self.out.push(d),
            0x80..=0xff => self.scalar(0xcc, [d]),
            0x100..=0xffff => self.scalar(0xcd, [c, d]),
            0x1_0000..=0xffff_ffff => self.scalar(0xce, [a, b, c, d]),
            _ => self.scalar(0xcf, bytes),
        }
    }

    fn negative(&mut self, number: i64) {
        let bytes = number.to_be_bytes();
        let [.., a, b, c, d] = bytes;
        match number {
            -0x20.. => self.out.push(d),
            -0x80..-0x20 => self.scalar(0xd0, [d]),
            -0x8000..-0x80 => self.scalar(0xd1, [c, d]),
            -0x8000_0000..-0x8000 => self.scalar(0xd2, [a, b, c, d]),
            _ => self.scalar(0xd3, bytes),
        }
    }

    fn text(&mut self, text: &str) -> Result<(), Refusal> {
        self.length(&TEXT, text.len())?;
        self.out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn binary(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.length(&BINARY, bytes.len())?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn enter(&mut self) -> Result<(), Refusal> {
        if self.depth == MAX_DEPTH {
            return Err(Refusal::TooDeep);
        }
        self.depth += 1;
        Ok(())
    }

    /// Opens an array or a map. The head of one whose length is not known yet is written when it closes.
    fn open(&mut self, family: &'static Family, length: Option<usize>) -> Result<Compound<'_>, Refusal> {
        self.enter()?;
        if let Some(length) = length {
            self.length(family, length)?;
        }
        let start = self.out.len();
        Ok(Compound { writer: self, family, start, announced: length, written: 0, keyed: false, levels: 1 })
    }

    /// Opens the content of an enum variant, within the map of one entry that names it.
    fn open_variant(&mut self, variant: &str, family: &'static Family, length: usize) -> Result<Compound<'_>, Refusal> {
        self.name(variant)?;
        Ok(Compound { levels: 2, ..self.open(family, Some(length))? })
    }

    /// Opens the map from a variant's name to its content, and writes the name.
    fn name(&mut self, variant: &str) -> Result<(), Refusal> {
        self.enter()?;
        self.length(&MAP, 1)?;
        self.text(variant)
    }

    /// Writes what is inside an option or a newtype.
    fn within<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        if self.wrappers == MAX_WRAPPERS {
            return Err(Refusal::TooDeep);
        }
        self.wrappers += 1;
        value.serialize(&mut *self)?;
        self.wrappers -= 1;
        Ok(())
    }

    /// Writes what `rmp_serde` knows as an extension: a newtype by that name around a tag and bytes.
    fn extension<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refusal> {
        let start = self.out.len();
        ser::Serializer::serialize_newtype_struct(&mut rmp_serde::Serializer::new(&mut self.out), name, value)
            .map_err(|_| Refusal::Type)?;
        msgpack::validate(&self.out[start..]).map_err(|_| Refusal::OtherLength)
    }
}

impl<'a> ser::Serializer for &'a mut Writer {
    type Ok = ();
    type Error = Refusal;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Compound<'a>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Compound<'a>;

    fn is_human_readable(&self) -> bool {
        true
    }

    fn serialize_bool(self, flag: bool) -> Result<(), Refusal> {
        self.out.push(if flag { 0xc3 } else { 0xc2 });
        Ok(())
    }

    fn serialize_i8(self, number: i8) -> Result<(), Refusal> {
        self.serialize_i64(number.into())
    }

    fn serialize_i16(self, number: i16) -> Result<(), Refusal> {
        self.serialize_i64(number.into())
    }

    fn serialize_i32(self, number: i32) -> Result<(), Refusal> {
        self.serialize_i64(number.into())
    }

    fn serialize_i64(self, number: i64) -> Result<(), Refusal> {
        match u64::try_from(number) {
            Ok(number) => self.unsigned(number),
            Err(_) => self.negative(number),
        }
        Ok(())
    }

    fn serialize_i128(self, number: i128) -> Result<(), Refusal> {
        self.binary(&number.to_be_bytes())
    }

    fn serialize_u8(self, number: u8) -> Result<(), Refusal> {
        self.serialize_u64(number.into())
    }

    fn serialize_u16(self, number: u16) -> Result<(), Refusal> {
        self.serialize_u64(number.into())
    }

    fn serialize_u32(self, number: u32) -> Result<(), Refusal> {
        self.serialize_u64(number.into())
    }

    fn serialize_u64(self, number: u64) -> Result<(), Refusal> {
        self.unsigned(number);
        Ok(())
    }

    fn serialize_u128(self, number: u128) -> Result<(), Refusal> {
        self.binary(&number.to_be_bytes())
    }

    fn serialize_f32(self, number: f32) -> Result<(), Refusal> {
        self.scalar(0xca, number.to_be_bytes());
        Ok(())
    }

    fn serialize_f64(self, number: f64) -> Result<(), Refusal> {
        self.scalar(0xcb, number.to_be_bytes());
        Ok(())
    }

    fn serialize_char(self, c: char) -> Result<(), Refusal> {
        self.text(c.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Result<(), Refusal> {
        self.text(text)
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Refusal> {
        self.binary(bytes)
    }

    fn serialize_none(self) -> Result<(), Refusal> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refusal> {
        self.within(value)
    }

    fn serialize_unit(self) -> Result<(), Refusal> {
        self.out.push(0xc0);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Refusal> {
        self.length(&ARRAY, 0)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Refusal> {
        self.text(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<(), Refusal> {
        if name == rmp_serde::MSGPACK_EXT_STRUCT_NAME { self.extension(name, value) } else { self.within(value) }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Refusal> {
        self.name(variant)?;
        value.serialize(&mut *self)?;
        self.depth -= 1;
        Ok(())
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Compound<'a>, Refusal> {
        self.open(&ARRAY, length)
    }

    fn serialize_tuple(self, length: usize) -> Result<Compound<'a>, Refusal> {
        self.open(&ARRAY, Some(length))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Compound<'a>, Refusal> {
        self.open(&ARRAY, Some(length))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Compound<'a>, Refusal> {
        self.open_variant(variant, &ARRAY, length)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Compound<'a>, Refusal> {
        self.open(&MAP, length)
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Compound<'a>, Refusal> {
        self.open(&MAP, Some(length))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Compound<'a>, Refusal> {
        self.open_variant(variant, &MAP, length)
    }
}

/// An open array or map.
pub(super) struct Compound<'a> {
    writer: &'a mut Writer,
    family: &'static Family,
    /// Where the content begins.
    start: usize,
    announced: Option<usize>,
    /// Elements of an array, entries of a map.
    written: usize,
    /// A key of a map waits for its value.
    keyed: bool,
    /// How many levels end with this one: 2 inside an enum variant.
    levels: usize,
}

impl Compound<'_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        self.written += 1;
        self.part(value)
    }

    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        let written = value.serialize(&mut *self.writer);
        self.writer.broken |= written.is_err();
        written
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Refusal> {
        self.writer.text(name)?;
        self.element(value)
    }

    fn close(self) -> Result<(), Refusal> {
        match self.announced {
            _ if self.keyed => return Err(Refusal::OtherLength),
            Some(length) if length != self.written => return Err(Refusal::OtherLength),
            Some(_) => {}
            None => {
                let mut head = Vec::with_capacity(5);
                self.family.put(&mut head, u32::try_from(self.written).map_err(|_| Refusal::TooLong)?);
                self.writer.out.splice(self.start..self.start, head);
            }
        }
        self.writer.depth -= self.levels;
        Ok(())
    }
}

macro_rules! compound {
    ($($shape:ident: $method:ident),+) => {$(
        impl ser::$shape for Compound<'_> {
            type Ok = ();
            type Error = Refusal;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
                self.element(value)
            }

            fn end(self) -> Result<(), Refusal> {
                self.close()
            }
        }
    )+};
}

compound!(SerializeSeq: serialize_element, SerializeTuple: serialize_element);
compound!(SerializeTupleStruct: serialize_field, SerializeTupleVariant: serialize_field);

macro_rules! named {
    ($($shape:ident),+) => {$(
        impl ser::$shape for Compound<'_> {
            type Ok = ();
            type Error = Refusal;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refusal> {
                self.field(name, value)
            }

            fn end(self) -> Result<(), Refusal> {
                self.close()
            }
        }
    )+};
}

named!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = Refusal;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refusal> {
        if std::mem::replace(&mut self.keyed, true) {
            return Err(Refusal::OtherLength);
        }
        self.part(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        if !std::mem::replace(&mut self.keyed, false) {
            return Err(Refusal::OtherLength);
        }
        self.element(value)
    }

    fn end(self) -> Result<(), Refusal> {
        self.close()
    }
}
