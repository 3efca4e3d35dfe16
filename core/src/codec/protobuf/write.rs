//! A tree to Kubernetes' protobuf form, by the numbers in the schema: the way back from [`super::decode`].

use serde_json::{Map, Value};

use super::super::scalar::{decode_base64, parse_time};
use super::{Invalid, JSON_SCHEMA, MAGIC};
use crate::codec::DEPTH_MAX;
use crate::rules::Quantity;
use crate::schema::{AnyKind, Field, Schema, StructId, StructType, Type};

/// Encodes an object's message, without `apiVersion` and `kind`: [`encode_body`] puts those into the envelope.
///
/// # Errors
/// When the type has no protobuf form, or the tree is not of it.
pub fn encode(schema: &Schema, ty: StructId, value: &Value) -> Result<Vec<u8>, Invalid> {
    let ty = &schema[ty];
    if !ty.protobuf {
        return Err(Invalid::NoMessage(ty.name.to_string()));
    }
    let mut out = Vec::new();
    if let Value::Object(map) = value {
        Encoder { schema }.message(ty, &[], map, &mut out, 0)?;
    }
    Ok(out)
}

/// Wraps an object's message in the envelope of a body.
pub fn encode_body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    bytes(1, api_version.as_bytes(), &mut head);
    bytes(2, kind.as_bytes(), &mut head);
    let mut out = Vec::with_capacity(raw.len() + head.len() + 24);
    out.extend_from_slice(&MAGIC);
    bytes(1, &head, &mut out);
    bytes(2, raw, &mut out);
    // Neither compressed nor of another type: Kubernetes says so even where it is empty.
    bytes(3, b"", &mut out);
    bytes(4, b"", &mut out);
    out
}

/// Appends a field of bytes, text or a message.
pub fn bytes(number: u16, content: &[u8], out: &mut Vec<u8>) {
    tag(number, 2, out);
    varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

fn tag(number: u16, wire: u64, out: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | wire, out);
}

fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn number(at: u16, n: i64, out: &mut Vec<u8>) {
    tag(at, 0, out);
    #[expect(clippy::cast_sign_loss, reason = "negative numbers go with 64 bits")]
    varint(n as u64, out);
}

struct Encoder<'a> {
    schema: &'a Schema,
}

impl Encoder<'_> {
    /// Encodes a message or, below `prefix`, one that is embedded in it.
    fn message(
        &self,
        ty: &StructType,
        prefix: &[u16],
        map: &Map<String, Value>,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), Invalid> {
        if depth > DEPTH_MAX {
            return Err(Invalid::Depth);
        }
        let level = prefix.len();
        let mut here: Vec<(&Field, &Value)> = map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .filter_map(|(name, value)| Some((ty.field(name)?, value)))
            .filter(|(field, _)| field.number[..level] == *prefix && field.number[level] != 0)
            .collect();
        here.sort_by_key(|(field, _)| field.number);
        let mut at = 0;
        while let Some((field, value)) = here.get(at) {
            let number = field.number[level];
            if field.number.get(level + 1).is_none_or(|deeper| *deeper == 0) {
                self.field(ty, field, number, value, out, depth)?;
                at += 1;
                continue;
            }
            let mut inner = Vec::new();
            self.message(ty, &field.number[..=level], map, &mut inner, depth + 1)?;
            bytes(number, &inner, out);
            at += here[at..].iter().take_while(|(f, _)| f.number[level] == number).count();
        }
        Ok(())
    }

    fn field(
        &self,
        of: &StructType,
        field: &Field,
        at: u16,
        value: &Value,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), Invalid> {
        let name = field.name.as_str();
        match (&field.ty, value) {
            (Type::List(_), Value::Array(_)) if name == "verbs" && of.name.ends_with(".APIResource") => {
                // The one list that has a message of its own without being the value of a map.
                self.value(&field.ty, at, value, name, out, depth)
            }
            (Type::List(list), Value::Array(items)) => {
                items.iter().try_for_each(|item| self.value(&list.item, at, item, name, out, depth))
            }
            (Type::Map(of), Value::Object(entries)) => {
                for (key, value) in entries {
                    let mut entry = Vec::new();
                    bytes(1, key.as_bytes(), &mut entry);
                    self.value(&of.value, 2, value, name, &mut entry, depth + 1)?;
                    bytes(at, &entry, out);
                }
                Ok(())
            }
            (ty, value) => self.value(ty, at, value, name, out, depth),
        }
    }

    fn value(
        &self,
        ty: &Type,
        at: u16,
        value: &Value,
        name: &str,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), Invalid> {
        let wrong = || Invalid::WireType(name.to_owned());
        match (ty, value) {
            (Type::String, Value::String(text)) => bytes(at, text.as_bytes(), out),
            (Type::Bytes, Value::String(text)) => {
                bytes(at, &decode_base64(text).map_err(|_| wrong())?, out);
            }
            (Type::Bool, Value::Bool(b)) => number(at, i64::from(*b), out),
            (Type::Int32 | Type::Int64, value) => number(at, value.as_i64().ok_or_else(wrong)?, out),
            (Type::Float, value) => {
                tag(at, 1, out);
                out.extend_from_slice(&value.as_f64().ok_or_else(wrong)?.to_bits().to_le_bytes());
            }
            (Type::Struct(id), Value::Object(map)) => {
                let mut inner = Vec::new();
                self.message(&self.schema[*id], &[], map, &mut inner, depth + 1)?;
                bytes(at, &inner, out);
            }
            // A list as the value of a map has a message of its own.
            (Type::List(list), Value::Array(items)) => {
                let mut inner = Vec::new();
                for item in items {
                    self.value(&list.item, 1, item, name, &mut inner, depth + 1)?;
                }
                bytes(at, &inner, out);
            }
            (Type::Quantity, Value::String(_) | Value::Number(_)) => {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let text = text.parse::<Quantity>().map_or(text, |q| q.to_string());
                let mut inner = Vec::new();
                bytes(1, text.as_bytes(), &mut inner);
                bytes(at, &inner, out);
            }
            (Type::Time | Type::MicroTime, Value::String(text)) => {
                let time = parse_time(text, *ty == Type::MicroTime).ok_or_else(wrong)?;
                let (secs, nanos) = time.parts();
                let mut inner = Vec::new();
                number(1, secs, &mut inner);
                number(2, i64::from(nanos), &mut inner);
                bytes(at, &inner, out);
            }
            (Type::IntOrString, value) => {
                let mut inner = Vec::new();
                number(1, i64::from(value.is_string()), &mut inner);
                number(2, value.as_i64().unwrap_or_default(), &mut inner);
                bytes(3, value.as_str().unwrap_or_default().as_bytes(), &mut inner);
                bytes(at, &inner, out);
            }
            (Type::Any(kind), value) => {
                let mut inner = Vec::new();
                self.any(*kind, value, &mut inner, depth)?;
                bytes(at, &inner, out);
            }
            // What is null within a list or a map is the zero value, which needs no saying.
            (_, Value::Null) => bytes(at, b"", out),
            _ => return Err(wrong()),
        }
        Ok(())
    }

    fn any(&self, kind: AnyKind, value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<(), Invalid> {
        let schema = |at: u16, value: &Value, out: &mut Vec<u8>| {
            let id =
                self.schema.by_name(JSON_SCHEMA).ok_or_else(|| Invalid::NoMessage(JSON_SCHEMA.to_owned()))?;
            self.value(&Type::Struct(id), at, value, "schema", out, depth + 1)
        };
        match (kind, value) {
            (AnyKind::SchemaOrArray, Value::Array(items)) => {
                items.iter().try_for_each(|item| schema(2, item, out))
            }
            (AnyKind::SchemaOrArray, value) => schema(1, value, out),
            (AnyKind::SchemaOrBool, Value::Bool(allows)) => {
                number(1, i64::from(*allows), out);
                Ok(())
            }
            (AnyKind::SchemaOrBool, value) => {
                number(1, 1, out);
                schema(2, value, out)
            }
            (AnyKind::SchemaOrStrings, Value::Array(texts)) => {
                texts.iter().filter_map(Value::as_str).for_each(|text| bytes(2, text.as_bytes(), out));
                Ok(())
            }
            (AnyKind::SchemaOrStrings, value) => schema(1, value, out),
            (AnyKind::Json | AnyKind::FieldsV1 | AnyKind::RawExtension | AnyKind::Object, value) => {
                bytes(1, value.to_string().as_bytes(), out);
                Ok(())
            }
        }
    }
}
