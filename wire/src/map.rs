//! The part of MessagePack that control cells use: one map with short text keys, read without
//! allocation and without trusting any length, written in the order given.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a value of any other type is one case: the wrong one"
)]

use alloc::string::String;
use alloc::vec::Vec;

use rmp::Marker;
use rmp::encode;
use rmp::encode::ByteBuf;

use crate::control::ControlError;
use crate::limits::{CONTROL_DEPTH_MAX, CONTROL_FIELDS_MAX};
use crate::text::{is_plain, plain};

/// A value as it stands in the map. Containers stay raw until somebody asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Bool(bool),
    Uint(u64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Array {
        len: usize,
        raw: &'a [u8],
    },
    Map {
        raw: &'a [u8],
    },
    /// Nil, floats, negative numbers, extensions: valid MessagePack that no operation uses.
    Other,
}

/// The fields of one map.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    fields: Vec<(&'a str, Value<'a>)>,
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], ControlError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(ControlError::Malformed)?;
        self.rest = rest;
        Ok(head)
    }

    fn uint(&mut self, len: usize) -> Result<u64, ControlError> {
        Ok(self.bytes(len)?.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn length(&mut self, len: usize) -> Result<usize, ControlError> {
        usize::try_from(self.uint(len)?).map_err(|_| ControlError::Malformed)
    }

    fn marker(&mut self) -> Result<Marker, ControlError> {
        Ok(Marker::from_u8(self.bytes(1)?[0]))
    }

    fn text(&mut self, len: usize) -> Result<&'a str, ControlError> {
        core::str::from_utf8(self.bytes(len)?).map_err(|_| ControlError::Malformed)
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, ControlError> {
        if depth > CONTROL_DEPTH_MAX {
            return Err(ControlError::Malformed);
        }
        let whole = self.rest;
        let value = match self.marker()? {
            Marker::Null => Value::Other,
            Marker::True => Value::Bool(true),
            Marker::False => Value::Bool(false),
            Marker::FixPos(value) => Value::Uint(u64::from(value)),
            Marker::U8 => Value::Uint(self.uint(1)?),
            Marker::U16 => Value::Uint(self.uint(2)?),
            Marker::U32 => Value::Uint(self.uint(4)?),
            Marker::U64 => Value::Uint(self.uint(8)?),
            Marker::FixNeg(_) => Value::Other,
            Marker::I8 => self.skip(1)?,
            Marker::I16 => self.skip(2)?,
            Marker::I32 | Marker::F32 => self.skip(4)?,
            Marker::I64 | Marker::F64 => self.skip(8)?,
            Marker::FixStr(len) => Value::Text(self.text(usize::from(len))?),
            Marker::Str8 => Value::Text(self.sized_text(1)?),
            Marker::Str16 => Value::Text(self.sized_text(2)?),
            Marker::Str32 => Value::Text(self.sized_text(4)?),
            Marker::Bin8 => Value::Bytes(self.sized_bytes(1)?),
            Marker::Bin16 => Value::Bytes(self.sized_bytes(2)?),
            Marker::Bin32 => Value::Bytes(self.sized_bytes(4)?),
            Marker::FixArray(len) => self.array(usize::from(len), depth)?,
            Marker::Array16 => {
                let len = self.length(2)?;
                self.array(len, depth)?
            }
            Marker::Array32 => {
                let len = self.length(4)?;
                self.array(len, depth)?
            }
            Marker::FixMap(len) => self.map(usize::from(len), depth, whole)?,
            Marker::Map16 => {
                let len = self.length(2)?;
                self.map(len, depth, whole)?
            }
            Marker::Map32 => {
                let len = self.length(4)?;
                self.map(len, depth, whole)?
            }
            Marker::FixExt1 => self.skip(2)?,
            Marker::FixExt2 => self.skip(3)?,
            Marker::FixExt4 => self.skip(5)?,
            Marker::FixExt8 => self.skip(9)?,
            Marker::FixExt16 => self.skip(17)?,
            Marker::Ext8 => self.sized_extension(1)?,
            Marker::Ext16 => self.sized_extension(2)?,
            Marker::Ext32 => self.sized_extension(4)?,
            Marker::Reserved => return Err(ControlError::Malformed),
        };
        Ok(value)
    }

    fn skip(&mut self, len: usize) -> Result<Value<'a>, ControlError> {
        self.bytes(len).map(|_| Value::Other)
    }

    fn sized_text(&mut self, len: usize) -> Result<&'a str, ControlError> {
        let len = self.length(len)?;
        self.text(len)
    }

    fn sized_bytes(&mut self, len: usize) -> Result<&'a [u8], ControlError> {
        let len = self.length(len)?;
        self.bytes(len)
    }

    fn sized_extension(&mut self, len: usize) -> Result<Value<'a>, ControlError> {
        let len = self.length(len)?.checked_add(1).ok_or(ControlError::Malformed)?;
        self.skip(len)
    }

    /// Every element takes at least a byte, so a lying length runs out of input, not of time.
    fn array(&mut self, len: usize, depth: usize) -> Result<Value<'a>, ControlError> {
        let raw = self.rest;
        for _ in 0..len {
            self.value(depth + 1)?;
        }
        Ok(Value::Array { len, raw: &raw[..raw.len() - self.rest.len()] })
    }

    fn map(
        &mut self,
        len: usize,
        depth: usize,
        whole: &'a [u8],
    ) -> Result<Value<'a>, ControlError> {
        for _ in 0..len {
            self.value(depth + 1)?;
            self.value(depth + 1)?;
        }
        Ok(Value::Map { raw: &whole[..whole.len() - self.rest.len()] })
    }
}

impl<'a> Fields<'a> {
    /// Reads the map that `content` is, to its last byte.
    pub(crate) fn read(content: &'a [u8]) -> Result<Self, ControlError> {
        let mut reader = Reader { rest: content };
        let len = match reader.marker()? {
            Marker::FixMap(len) => usize::from(len),
            Marker::Map16 => reader.length(2)?,
            _ => return Err(ControlError::Malformed),
        };
        if len > CONTROL_FIELDS_MAX {
            return Err(ControlError::Malformed);
        }
        let mut fields: Vec<(&str, Value<'_>)> = Vec::with_capacity(len);
        for _ in 0..len {
            let Value::Text(key) = reader.value(0)? else { return Err(ControlError::Malformed) };
            let value = reader.value(1)?;
            if fields.iter().any(|(other, _)| *other == key) {
                return Err(ControlError::Malformed);
            }
            fields.push((key, value));
        }
        if reader.rest.is_empty() { Ok(Self { fields }) } else { Err(ControlError::Malformed) }
    }

    pub(crate) fn value(&self, key: &'static str) -> Option<Value<'a>> {
        self.fields.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    fn need(&self, key: &'static str) -> Result<Value<'a>, ControlError> {
        self.value(key).ok_or(ControlError::Field(key))
    }

    pub(crate) fn uint<T: TryFrom<u64>>(&self, key: &'static str) -> Result<T, ControlError> {
        match self.need(key)? {
            Value::Uint(value) => T::try_from(value).map_err(|_| ControlError::Field(key)),
            _ => Err(ControlError::Field(key)),
        }
    }

    pub(crate) fn boolean(&self, key: &'static str) -> Result<bool, ControlError> {
        match self.need(key)? {
            Value::Bool(value) => Ok(value),
            _ => Err(ControlError::Field(key)),
        }
    }

    pub(crate) fn bytes(&self, key: &'static str) -> Result<&'a [u8], ControlError> {
        match self.need(key)? {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(ControlError::Field(key)),
        }
    }

    pub(crate) fn array<const N: usize>(&self, key: &'static str) -> Result<[u8; N], ControlError> {
        self.bytes(key)?.try_into().map_err(|_| ControlError::Field(key))
    }

    pub(crate) fn str(&self, key: &'static str) -> Result<&'a str, ControlError> {
        match self.need(key)? {
            Value::Text(text) => Ok(text),
            _ => Err(ControlError::Field(key)),
        }
    }

    /// A text for people: at most `bytes_max` long, and nothing in it steers a terminal.
    pub(crate) fn prose(
        &self,
        key: &'static str,
        bytes_max: usize,
    ) -> Result<String, ControlError> {
        let text = self.str(key)?;
        if text.len() <= bytes_max && text.chars().all(is_plain) {
            Ok(text.into())
        } else {
            Err(ControlError::Field(key))
        }
    }

    pub(crate) fn map(&self, key: &'static str) -> Result<Fields<'a>, ControlError> {
        match self.need(key)? {
            Value::Map { raw } => Fields::read(raw),
            _ => Err(ControlError::Field(key)),
        }
    }

    /// A list of at most `max` values.
    pub(crate) fn list(
        &self,
        key: &'static str,
        max: usize,
    ) -> Result<Vec<Value<'a>>, ControlError> {
        let Value::Array { len, raw } = self.need(key)? else {
            return Err(ControlError::Field(key));
        };
        if len > max {
            return Err(ControlError::Field(key));
        }
        let mut reader = Reader { rest: raw };
        (0..len).map(|_| reader.value(0)).collect()
    }

    pub(crate) fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Self) -> Result<T, ControlError>,
    ) -> Result<Option<T>, ControlError> {
        if self.value(key).is_some() { read(self).map(Some) } else { Ok(None) }
    }
}

/// Writes one map. The number of fields is patched in at the end; fifteen are enough for every operation.
#[derive(Debug)]
pub(crate) struct Writer {
    buffer: ByteBuf,
    fields: u8,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self { buffer: ByteBuf::from_vec(alloc::vec![0]), fields: 0 }
    }

    fn key(&mut self, key: &str) -> &mut ByteBuf {
        self.fields += 1;
        infallible(encode::write_str(&mut self.buffer, key));
        &mut self.buffer
    }

    pub(crate) fn uint(&mut self, key: &str, value: impl Into<u64>) -> &mut Self {
        infallible(encode::write_uint(self.key(key), value.into()));
        self
    }

    pub(crate) fn boolean(&mut self, key: &str, value: bool) -> &mut Self {
        let Ok(()) = encode::write_bool(self.key(key), value);
        self
    }

    pub(crate) fn bytes(&mut self, key: &str, value: &[u8]) -> &mut Self {
        infallible(encode::write_bin(self.key(key), value));
        self
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) -> &mut Self {
        infallible(encode::write_str(self.key(key), value));
        self
    }

    /// What [`Fields::prose`] will accept, made from whatever `value` is.
    pub(crate) fn prose(&mut self, key: &str, value: &str, bytes_max: usize) -> &mut Self {
        self.text(key, &plain(value, bytes_max))
    }

    pub(crate) fn map(&mut self, key: &str, inner: Self) -> &mut Self {
        let inner = inner.finish();
        self.key(key).as_mut_vec().extend_from_slice(&inner);
        self
    }

    pub(crate) fn uints(&mut self, key: &str, values: &[u8]) -> &mut Self {
        let buffer = self.key(key);
        infallible(encode::write_array_len(buffer, values.len() as u32));
        for &value in values {
            infallible(encode::write_uint(buffer, u64::from(value)));
        }
        self
    }

    pub(crate) fn byte_strings<const N: usize>(
        &mut self,
        key: &str,
        values: &[[u8; N]],
    ) -> &mut Self {
        let buffer = self.key(key);
        infallible(encode::write_array_len(buffer, values.len() as u32));
        for value in values {
            infallible(encode::write_bin(buffer, value));
        }
        self
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        assert!(self.fields < 16, "a control map is written with at most fifteen fields");
        let mut bytes = self.buffer.into_vec();
        bytes[0] = 0x80 | self.fields;
        bytes
    }
}

/// Writing into memory cannot fail; the type of the library's error cannot say so.
fn infallible<T, E: core::fmt::Debug>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => unreachable!("writing into memory failed: {error:?}"),
    }
}
