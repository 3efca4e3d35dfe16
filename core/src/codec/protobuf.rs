//! Kubernetes' protobuf form to a tree and back, by the numbers in the schema.

use serde_json::{Map, Value};

use super::DEPTH_MAX;
use super::scalar::encode_base64;
use crate::schema::{AnyKind, Schema, StructId, StructType, Type};
use crate::time::Timestamp;

mod write;

pub use write::{bytes, encode, encode_body};

/// The type that JSON schemas within definitions have.
const JSON_SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// What every protobuf body begins with.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// The envelope of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `apps/v1`.
    pub api_version: &'a str,
    /// `Deployment`.
    pub kind: &'a str,
    /// The object's own message.
    pub raw: &'a [u8],
    /// `application/json` where `raw` is JSON after all.
    pub content_type: &'a str,
}

/// Bytes that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The magic bytes are missing.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
    /// The message breaks off.
    #[error("unexpected EOF")]
    Truncated,
    /// A field is not in the form that its type asks for.
    #[error("proto: wrong wireType in field {0}")]
    WireType(String),
    /// A text is not UTF-8.
    #[error("proto: field {0} contains invalid UTF-8")]
    Utf8(String),
    /// Free-form content is not JSON.
    #[error("field {0} is not JSON")]
    Json(String),
    /// Messages within messages, beyond measure.
    #[error("proto: nested too deeply")]
    Depth,
    /// The type has no protobuf form here.
    #[error("{0} has no protobuf form")]
    NoMessage(String),
}

/// Opens the envelope of a body.
///
/// # Errors
/// When the magic bytes are missing or the envelope is broken.
pub fn envelope(bytes: &[u8]) -> Result<Envelope<'_>, Invalid> {
    let body = bytes.strip_prefix(&MAGIC).ok_or(Invalid::Magic)?;
    let mut out = Envelope::default();
    for field in Fields(body) {
        match field? {
            (1, Wire::Bytes(meta)) => {
                for field in Fields(meta) {
                    match field? {
                        (1, Wire::Bytes(text)) => out.api_version = utf8(text, "apiVersion")?,
                        (2, Wire::Bytes(text)) => out.kind = utf8(text, "kind")?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(raw)) => out.raw = raw,
            (4, Wire::Bytes(text)) => out.content_type = utf8(text, "contentType")?,
            _ => {}
        }
    }
    Ok(out)
}

/// Decodes an object's message to a tree, without `apiVersion` and `kind`: the envelope has those.
///
/// Memory is bounded by the input's size, nesting by [`DEPTH_MAX`]. What the schema does not know is skipped.
///
/// # Errors
/// When the message is broken or does not fit the type.
pub fn decode(schema: &Schema, ty: StructId, raw: &[u8]) -> Result<Value, Invalid> {
    let ty = &schema[ty];
    if !ty.protobuf {
        return Err(Invalid::NoMessage(ty.name.to_string()));
    }
    let mut map = Map::new();
    Decoder { schema }.message(ty, &[], raw, &mut map, 0)?;
    Ok(Value::Object(map))
}

/// Decodes a whole body: the envelope's kind is set in the tree.
///
/// # Errors
/// As [`envelope`] and [`decode`].
pub fn decode_body(
    bytes: &[u8],
    type_of: impl FnOnce(&str, &str) -> Option<(std::sync::Arc<Schema>, StructId)>,
) -> Result<Value, Invalid> {
    let envelope = envelope(bytes)?;
    if envelope.content_type.ends_with("json") {
        return serde_json::from_slice(envelope.raw).map_err(|_| Invalid::Json("raw".to_owned()));
    }
    let (schema, ty) = type_of(envelope.api_version, envelope.kind)
        .ok_or_else(|| Invalid::NoMessage(format!("{}, Kind={}", envelope.api_version, envelope.kind)))?;
    let mut out = Map::new();
    out.insert("kind".to_owned(), envelope.kind.into());
    out.insert("apiVersion".to_owned(), envelope.api_version.into());
    if let Value::Object(fields) = decode(&schema, ty, envelope.raw)? {
        out.extend(fields);
    }
    Ok(Value::Object(out))
}

enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

/// The fields of a message, in order; ends after the first error.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Result<u64, Invalid> {
        let mut out = 0u64;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(Invalid::Truncated)?;
            self.0 = rest;
            out |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Ok(out);
            }
        }
        Err(Invalid::Truncated)
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], Invalid> {
        let count = usize::try_from(count).map_err(|_| Invalid::Truncated)?;
        let (head, rest) = self.0.split_at_checked(count).ok_or(Invalid::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    fn field(&mut self) -> Result<(u64, Wire<'a>), Invalid> {
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().map_err(|_| Invalid::Truncated)?)),
            2 => {
                let count = self.varint()?;
                Wire::Bytes(self.take(count)?)
            }
            5 => {
                self.take(4)?;
                Wire::Fixed32
            }
            _ => return Err(Invalid::WireType((tag >> 3).to_string())),
        };
        Ok((tag >> 3, wire))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Wire<'a>), Invalid>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn utf8<'a>(bytes: &'a [u8], name: &str) -> Result<&'a str, Invalid> {
    std::str::from_utf8(bytes).map_err(|_| Invalid::Utf8(name.to_owned()))
}

struct Decoder<'a> {
    schema: &'a Schema,
}

impl Decoder<'_> {
    /// Decodes a message, or, below `prefix`, one that is embedded in it.
    fn message(
        &self,
        ty: &StructType,
        prefix: &[u16],
        raw: &[u8],
        out: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), Invalid> {
        if depth > DEPTH_MAX {
            return Err(Invalid::Depth);
        }
        let level = prefix.len();
        for field in Fields(raw) {
            let (number, wire) = field?;
            let Ok(number) = u16::try_from(number) else { continue };
            let mut path = [0; 3];
            path[..level].copy_from_slice(prefix);
            if level == path.len() || number == 0 {
                continue;
            }
            path[level] = number;
            if let Some(field) = ty.fields.iter().find(|f| f.number == path) {
                let name = field.name.as_str();
                match &field.ty {
                    Type::List(list) => {
                        let items = out.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                        if let Value::Array(items) = items {
                            self.items(&list.item, wire, name, depth, items)?;
                        }
                    }
                    Type::Map(map) => {
                        let entries = out.entry(name).or_insert_with(|| Value::Object(Map::new()));
                        if let Value::Object(entries) = entries {
                            let (key, value) = self.entry(&map.value, wire, name, depth)?;
                            entries.insert(key, value);
                        }
                    }
                    ty => {
                        let value = self.value(ty, wire, name, depth)?;
                        out.insert(name.to_owned(), value);
                    }
                }
            } else if ty.fields.iter().any(|f| f.number[..=level] == path[..=level])
                && let Wire::Bytes(raw) = wire
            {
                self.message(ty, &path[..=level], raw, out, depth + 1)?;
            }
        }
        Ok(())
    }

    fn items(
        &self,
        ty: &Type,
        wire: Wire<'_>,
        name: &str,
        depth: usize,
        out: &mut Vec<Value>,
    ) -> Result<(), Invalid> {
        let packed = match (&wire, ty) {
            (Wire::Bytes(raw), Type::Bool | Type::Int32 | Type::Int64) => Some(*raw),
            _ => None,
        };
        let Some(raw) = packed else {
            out.push(self.value(ty, wire, name, depth)?);
            return Ok(());
        };
        let mut rest = Fields(raw);
        while !rest.0.is_empty() {
            let number = rest.varint()?;
            out.push(self.value(ty, Wire::Varint(number), name, depth)?);
        }
        Ok(())
    }

    fn entry(&self, ty: &Type, wire: Wire<'_>, name: &str, depth: usize) -> Result<(String, Value), Invalid> {
        let Wire::Bytes(raw) = wire else { return Err(Invalid::WireType(name.to_owned())) };
        let mut key = "";
        let mut value = None;
        for field in Fields(raw) {
            match field? {
                (1, Wire::Bytes(text)) => key = utf8(text, name)?,
                (2, wire) => value = Some(self.value(ty, wire, name, depth + 1)?),
                _ => {}
            }
        }
        let value = match value {
            Some(value) => value,
            None => self.value(ty, Wire::Bytes(&[]), name, depth + 1)?,
        };
        Ok((key.to_owned(), value))
    }

    fn value(&self, ty: &Type, wire: Wire<'_>, name: &str, depth: usize) -> Result<Value, Invalid> {
        Ok(match (ty, wire) {
            (Type::String, Wire::Bytes(text)) => utf8(text, name)?.into(),
            (Type::Bytes, Wire::Bytes(bytes)) => encode_base64(bytes).into(),
            (Type::Bool, Wire::Varint(n)) => (n != 0).into(),
            // Negative numbers come with 64 bits.
            #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
            (Type::Int32, Wire::Varint(n)) => (n as i32).into(),
            #[allow(clippy::cast_possible_wrap)]
            (Type::Int64, Wire::Varint(n)) => (n as i64).into(),
            (Type::Float, Wire::Fixed64(bits)) => float(f64::from_bits(bits)),
            (Type::Struct(id), Wire::Bytes(raw)) => {
                let mut map = Map::new();
                self.message(&self.schema[*id], &[], raw, &mut map, depth + 1)?;
                Value::Object(map)
            }
            // A list as a message of its own, the value of a map.
            (Type::List(list), Wire::Bytes(raw)) => {
                let mut items = Vec::new();
                for field in Fields(raw) {
                    if let (1, wire) = field? {
                        self.items(&list.item, wire, name, depth + 1, &mut items)?;
                    }
                }
                Value::Array(items)
            }
            (Type::Quantity, Wire::Bytes(raw)) => {
                let mut text = "0";
                for field in Fields(raw) {
                    if let (1, Wire::Bytes(inner)) = field? {
                        text = utf8(inner, name)?;
                    }
                }
                text.into()
            }
            (Type::Time | Type::MicroTime, Wire::Bytes(raw)) => time(raw, *ty == Type::MicroTime)?,
            (Type::IntOrString, Wire::Bytes(raw)) => int_or_string(raw, name)?,
            (
                Type::Any(kind @ (AnyKind::SchemaOrArray | AnyKind::SchemaOrBool | AnyKind::SchemaOrStrings)),
                Wire::Bytes(raw),
            ) => self.schema_or(*kind, raw, name, depth)?,
            (Type::Any(kind), Wire::Bytes(raw)) => any(*kind, raw, name)?,
            _ => return Err(Invalid::WireType(name.to_owned())),
        })
    }

    /// A JSON schema, or what may stand in its place.
    fn schema_or(&self, kind: AnyKind, raw: &[u8], name: &str, depth: usize) -> Result<Value, Invalid> {
        let id = self.schema.by_name(JSON_SCHEMA).ok_or_else(|| Invalid::NoMessage(name.to_owned()))?;
        let schema = |wire| self.value(&Type::Struct(id), wire, name, depth + 1);
        let (mut one, mut many, mut allows) = (None, Vec::new(), false);
        for field in Fields(raw) {
            match (kind, field?) {
                (AnyKind::SchemaOrBool, (1, Wire::Varint(n))) => allows = n != 0,
                (AnyKind::SchemaOrBool, (2, wire)) => one = Some(schema(wire)?),
                (AnyKind::SchemaOrStrings, (2, wire)) => {
                    many.push(self.value(&Type::String, wire, name, depth)?);
                }
                (AnyKind::SchemaOrArray, (2, wire)) => many.push(schema(wire)?),
                (_, (1, wire)) => one = Some(schema(wire)?),
                _ => {}
            }
        }
        Ok(match (one, kind) {
            (Some(schema), _) => schema,
            (None, AnyKind::SchemaOrBool) => allows.into(),
            (None, _) => many.into(),
        })
    }
}

/// A number as JSON has it: a whole one without a fraction.
fn float(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole, and within what is exact")]
        return (number as i64).into();
    }
    number.into()
}

fn time(raw: &[u8], micro: bool) -> Result<Value, Invalid> {
    let (mut secs, mut nanos, mut set) = (0i64, 0i64, false);
    for field in Fields(raw) {
        #[allow(clippy::cast_possible_wrap)]
        match field? {
            (1, Wire::Varint(n)) => (secs, set) = (n as i64, true),
            (2, Wire::Varint(n)) => nanos = i64::from(n as u32),
            _ => {}
        }
    }
    if !set && nanos == 0 {
        return Ok(Value::Null);
    }
    let time = Timestamp::from_nanos(Timestamp::from_secs(secs).nanos().saturating_add(nanos));
    Ok(if micro { time.to_micro_string() } else { time.to_string() }.into())
}

fn int_or_string(raw: &[u8], name: &str) -> Result<Value, Invalid> {
    let (mut is_text, mut number, mut text) = (false, 0, "");
    for field in Fields(raw) {
        match field? {
            (1, Wire::Varint(n)) => is_text = n == 1,
            #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
            (2, Wire::Varint(n)) => number = n as i32,
            (3, Wire::Bytes(inner)) => text = utf8(inner, name)?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}

fn any(kind: AnyKind, raw: &[u8], name: &str) -> Result<Value, Invalid> {
    if !matches!(kind, AnyKind::Json | AnyKind::FieldsV1 | AnyKind::RawExtension) {
        return Err(Invalid::NoMessage(name.to_owned()));
    }
    let mut out = Value::Null;
    for field in Fields(raw) {
        if let (1, Wire::Bytes(json)) = field?
            && !json.is_empty()
        {
            out = serde_json::from_slice(json).map_err(|_| Invalid::Json(name.to_owned()))?;
        }
    }
    Ok(out)
}
