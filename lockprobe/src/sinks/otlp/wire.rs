//! Protobuf as it goes out: fields appended to one buffer, without messages in between.
//!
//! A span in the types of `opentelemetry-proto` is some seventy small allocations, and at twenty
//! thousand spans a second these were most of what the exporter cost. Tests read everything that
//! is written here back with those types.

use std::fmt::{self, Write as _};
use std::ops::Range;

use prost::encoding::{WireType, encoded_len_varint};

/// A varint; nearly all of ours are lengths and keys of one byte.
#[inline]
fn encode_varint(value: u64, buffer: &mut Vec<u8>) {
    match u8::try_from(value) {
        Ok(short) if short < 0x80 => buffer.push(short),
        _ => prost::encoding::encode_varint(value, buffer),
    }
}

#[inline]
fn encode_key(field: u32, kind: WireType, buffer: &mut Vec<u8>) {
    encode_varint(u64::from(field << 3 | kind as u32), buffer);
}

/// A message on its way into bytes.
#[derive(Debug, Default)]
pub struct Wire {
    bytes: Vec<u8>,
    scratch: String,
}

impl Wire {
    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// How much was written.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// A number, as a varint.
    pub fn uint(&mut self, field: u32, value: u64) {
        encode_key(field, WireType::Varint, &mut self.bytes);
        encode_varint(value, &mut self.bytes);
    }

    /// A `sint32`: small also where it is negative.
    pub fn zigzag(&mut self, field: u32, value: i32) {
        self.uint(field, u64::from(((value << 1) ^ (value >> 31)) as u32));
    }

    /// Eight bytes, the lowest first.
    pub fn fixed64(&mut self, field: u32, value: u64) {
        encode_key(field, WireType::SixtyFourBit, &mut self.bytes);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// Four bytes, the lowest first.
    pub fn fixed32(&mut self, field: u32, value: u32) {
        encode_key(field, WireType::ThirtyTwoBit, &mut self.bytes);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A floating-point number.
    pub fn real(&mut self, field: u32, value: f64) {
        self.fixed64(field, value.to_bits());
    }

    /// Bytes, a text, or a message that is bytes already.
    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        encode_key(field, WireType::LengthDelimited, &mut self.bytes);
        encode_varint(value.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(value);
    }

    /// A text put together from parts.
    pub fn parts(&mut self, field: u32, parts: &[&str]) {
        encode_key(field, WireType::LengthDelimited, &mut self.bytes);
        encode_varint(parts.iter().map(|part| part.len() as u64).sum(), &mut self.bytes);
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part.as_bytes()));
    }

    /// Many numbers in one field.
    pub fn packed(&mut self, field: u32, values: &[u64]) {
        encode_key(field, WireType::LengthDelimited, &mut self.bytes);
        let length: usize = values.iter().map(|value| encoded_len_varint(*value)).sum();
        encode_varint(length as u64, &mut self.bytes);
        values.iter().for_each(|value| encode_varint(*value, &mut self.bytes));
    }

    /// A message, written by `fill`; its length comes before it, and is known after it.
    pub fn message(&mut self, field: u32, fill: impl FnOnce(&mut Self)) {
        encode_key(field, WireType::LengthDelimited, &mut self.bytes);
        let at = self.bytes.len();
        self.bytes.push(0);
        fill(self);
        let length = self.bytes.len() - at - 1;
        match u8::try_from(length) {
            Ok(short) if short < 0x80 => self.bytes[at] = short,
            _ => {
                let more = encoded_len_varint(length as u64) - 1;
                let end = self.bytes.len();
                self.bytes.resize(end + more, 0);
                self.bytes.copy_within(at + 1..end, at + 1 + more);
                let mut place = &mut self.bytes[at..=at + more];
                prost::encoding::encode_varint(length as u64, &mut place);
            }
        }
    }

    /// Fields that are bytes already.
    pub fn fields(&mut self, fields: &[u8]) {
        self.bytes.extend_from_slice(fields);
    }

    /// What was written from here to there.
    pub fn between(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// Attributes into a field of the message that is being written.
    pub fn attributes(&mut self, field: u32) -> Attributes<'_> {
        Attributes { wire: self, field }
    }
}

/// Tags of `AnyValue`.
mod any {
    pub const TEXT: u32 = 1;
    pub const FLAG: u32 = 2;
    pub const INT: u32 = 3;
    pub const REAL: u32 = 4;
    pub const LIST: u32 = 5;
    pub const MAP: u32 = 6;
}

/// Tags of `KeyValue`.
mod pair {
    pub const KEY: u32 = 1;
    pub const VALUE: u32 = 2;
}

/// `KeyValue`s, one after the other.
pub struct Attributes<'a> {
    wire: &'a mut Wire,
    field: u32,
}

impl Attributes<'_> {
    /// A key, and a value of so many bytes; the caller writes those.
    fn open(&mut self, key: &str, length: usize) {
        // Lengths of what is in front are known, so nothing has to be moved.
        let buffer = &mut self.wire.bytes;
        let key_length = 1 + encoded_len_varint(key.len() as u64) + key.len();
        let value_length = 1 + encoded_len_varint(length as u64) + length;
        encode_key(self.field, WireType::LengthDelimited, buffer);
        encode_varint((key_length + value_length) as u64, buffer);
        encode_key(pair::KEY, WireType::LengthDelimited, buffer);
        encode_varint(key.len() as u64, buffer);
        buffer.extend_from_slice(key.as_bytes());
        encode_key(pair::VALUE, WireType::LengthDelimited, buffer);
        encode_varint(length as u64, buffer);
    }

    /// A text.
    pub fn text(&mut self, key: &str, value: &str) {
        self.open(key, 1 + encoded_len_varint(value.len() as u64) + value.len());
        self.wire.bytes(any::TEXT, value.as_bytes());
    }

    /// Something that shows itself as text.
    pub fn shown(&mut self, key: &str, value: fmt::Arguments<'_>) {
        let mut scratch = std::mem::take(&mut self.wire.scratch);
        scratch.clear();
        // Writing to a string cannot fail.
        let _ = scratch.write_fmt(value);
        self.text(key, &scratch);
        self.wire.scratch = scratch;
    }

    /// Bytes as hexadecimal digits: identities.
    pub fn hex<const N: usize>(&mut self, key: &str, bytes: [u8; N]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.open(key, 1 + encoded_len_varint(2 * N as u64) + 2 * N);
        let buffer = &mut self.wire.bytes;
        encode_key(any::TEXT, WireType::LengthDelimited, buffer);
        encode_varint(2 * N as u64, buffer);
        for byte in bytes {
            let digit = |half: u8| DIGITS[usize::from(half & 15)];
            buffer.extend_from_slice(&[digit(byte >> 4), digit(byte)]);
        }
    }

    /// A whole number.
    pub fn int(&mut self, key: &str, value: i64) {
        self.open(key, 1 + encoded_len_varint(value as u64));
        self.wire.uint(any::INT, value as u64);
    }

    /// A number.
    pub fn real(&mut self, key: &str, value: f64) {
        self.open(key, 9);
        self.wire.real(any::REAL, value);
    }

    /// Yes or no.
    pub fn flag(&mut self, key: &str, value: bool) {
        self.open(key, 2);
        self.wire.uint(any::FLAG, u64::from(value));
    }

    /// Nanoseconds, as seconds.
    pub fn seconds(&mut self, key: &str, nanoseconds: u64) {
        self.real(key, nanoseconds as f64 / 1e9);
    }

    /// Attributes under one key.
    pub fn map(&mut self, key: &str, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.wire.message(self.field, |pair| {
            pair.bytes(pair::KEY, key.as_bytes());
            pair.message(pair::VALUE, |value| {
                value.message(any::MAP, |map| fill(&mut map.attributes(1)));
            });
        });
    }

    /// For each item attributes, as a list under one key.
    pub fn list<T>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        fill: impl Fn(&mut Attributes<'_>, T),
    ) {
        self.wire.message(self.field, |pair| {
            pair.bytes(pair::KEY, key.as_bytes());
            pair.message(pair::VALUE, |value| {
                value.message(any::LIST, |list| {
                    for item in items {
                        list.message(1, |value| {
                            value.message(any::MAP, |map| fill(&mut map.attributes(1), item));
                        });
                    }
                });
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use prost::Message as _;

    /// A Resource is the smallest message with attributes.
    fn read(wire: Wire) -> Vec<(String, Value)> {
        let resource = Resource::decode(&*wire.into_bytes()).unwrap();
        let pair = |a: opentelemetry_proto::tonic::common::v1::KeyValue| {
            (a.key, a.value.unwrap().value.unwrap())
        };
        resource.attributes.into_iter().map(pair).collect()
    }

    #[test]
    fn every_kind_of_value_is_read_back_by_the_official_types() {
        let mut wire = Wire::default();
        let mut list = wire.attributes(1);
        list.text("text", "a\u{e9}");
        list.text("empty", "");
        list.shown("shown", format_args!("{:04x}", 255));
        list.hex("hex", [0x0a, 0xff, 0x10]);
        list.int("int", -5);
        list.int("most", i64::MAX);
        list.real("real", 0.25);
        list.flag("flag", true);
        list.seconds("seconds", 1_500_000_000);
        let expected = [
            ("text", Value::StringValue("a\u{e9}".into())),
            ("empty", Value::StringValue(String::new())),
            ("shown", Value::StringValue("00ff".into())),
            ("hex", Value::StringValue("0aff10".into())),
            ("int", Value::IntValue(-5)),
            ("most", Value::IntValue(i64::MAX)),
            ("real", Value::DoubleValue(0.25)),
            ("flag", Value::BoolValue(true)),
            ("seconds", Value::DoubleValue(1.5)),
        ];
        assert_eq!(read(wire), expected.map(|(key, value)| (key.to_owned(), value)));
    }

    #[test]
    fn lengths_of_any_size_come_out_right() {
        for length in [0, 1, 100, 127, 128, 129, 16_000, 16_383, 16_384, 70_000, 3_000_000] {
            let text = "x".repeat(length);
            let mut wire = Wire::default();
            wire.attributes(1).list("list", [&*text, "y"], |map, text| map.text("k", text));
            wire.attributes(1).map("map", |map| map.text("k", &text));
            let read = read(wire);
            let inner = |value: &Value| match value {
                Value::KvlistValue(KeyValueList { values }) => values[0].clone(),
                other => panic!("{other:?}"),
            };
            let Value::ArrayValue(ArrayValue { values }) = &read[0].1 else { panic!() };
            assert_eq!(values.len(), 2);
            let first = inner(values[0].value.as_ref().unwrap());
            let own = Some(Value::StringValue(text));
            assert_eq!(first.value.unwrap().value, own);
            assert_eq!(inner(&read[1].1).value.unwrap().value, own);
        }
    }
}
