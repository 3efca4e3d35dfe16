//! A tree to canonical bytes.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::conform::is_zero;
use super::scalar;
use crate::body::{Body, Malformed};
use crate::schema::{Field, Schema, StructId, StructType, Type};

/// Encodes an object as it is stored: fields in the schema's order, map keys sorted, what means nothing left out as
/// Kubernetes leaves it out, amounts and moments in canonical form; without `resourceVersion` and `selfLink`.
///
/// Equal objects have equal bytes.
///
/// # Errors
/// When the tree is not an object with metadata.
pub fn encode(schema: &Schema, ty: StructId, value: &Value) -> Result<Body, Malformed> {
    // A copy of the right size, and not the buffer cut short: what a buffer that grew leaves behind at the end of each
    // of a hundred thousand bodies fits nobody else, and costs a third of the memory.
    Body::parse(Bytes::copy_from_slice(&encode_to_vec(schema, ty, value)))
}

/// The bytes that [`encode`] makes, for any type; metadata of an object loses its `resourceVersion` and `selfLink`.
pub fn encode_to_vec(schema: &Schema, ty: StructId, value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    Writer { schema, out: &mut out, in_own_metadata: false }.top(&schema[ty], value);
    out
}

/// The tree that [`encode`]'s bytes decode to, with the `resourceVersion` that `value` has.
pub fn canonical(schema: &Schema, ty: StructId, value: &Value) -> Value {
    let bytes = encode_to_vec(schema, ty, value);
    let mut out: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if let Some(version) = value.pointer("/metadata/resourceVersion").filter(|v| v.as_str() != Some(""))
        && let Some(metadata) = out.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.insert("resourceVersion".to_owned(), version.clone());
    }
    out
}

struct Writer<'a> {
    schema: &'a Schema,
    out: &'a mut Vec<u8>,
    /// Within the object's own metadata, and not that of a template in it.
    in_own_metadata: bool,
}

impl Writer<'_> {
    fn top(&mut self, ty: &StructType, value: &Value) {
        let Value::Object(map) = value else { return self.raw(value) };
        self.object(ty, Some(map), |w, field, value| match (field.name.as_str(), &field.ty, value) {
            ("metadata", Type::Struct(id), Some(Value::Object(meta)))
                if w.schema[*id].name.ends_with(".ObjectMeta") =>
            {
                w.in_own_metadata = true;
                w.object(&w.schema[*id], Some(meta), Self::field);
                w.in_own_metadata = false;
            }
            _ => w.field(field, value),
        });
    }

    fn object(
        &mut self,
        ty: &StructType,
        map: Option<&Map<String, Value>>,
        mut write: impl FnMut(&mut Self, &Field, Option<&Value>),
    ) {
        self.out.push(b'{');
        let start = self.out.len();
        for field in ty.in_order() {
            let value = map.and_then(|m| m.get(field.name.as_str()));
            let value = value.filter(|v| !v.is_null() || ty.custom);
            // An empty list of a built-in type is none once it was stored; but lists of objects say that they are empty.
            let lists = field.name == "items" && ty.name.ends_with("List");
            let none = |v: &&Value| {
                !ty.custom
                    && !field.pointer
                    && !lists
                    && matches!(field.ty, Type::List(_))
                    && v.as_array().is_some_and(Vec::is_empty)
            };
            let value = value.filter(|v| !none(v));
            if self.in_own_metadata && matches!(field.name.as_str(), "resourceVersion" | "selfLink") {
                continue;
            }
            let written = match value {
                None => field.keep_empty,
                Some(value) => field.keep_empty || field.pointer || !is_zero(&field.ty, value),
            };
            if written {
                self.key(start, &field.name);
                write(self, field, value);
            }
        }
        if ty.preserve_unknown || ty.additional.is_some() {
            let mut others: Vec<_> =
                map.into_iter().flatten().filter(|(key, _)| ty.field(key).is_none()).collect();
            others.sort_by_key(|(key, _)| *key);
            for (key, value) in others {
                self.key(start, key);
                match &ty.additional {
                    Some(additional) => self.value(additional, value),
                    None => self.raw(value),
                }
            }
        }
        self.out.push(b'}');
    }

    fn key(&mut self, start: usize, key: &str) {
        if self.out.len() > start {
            self.out.push(b',');
        }
        self.text(key);
        self.out.push(b':');
    }

    fn field(&mut self, field: &Field, value: Option<&Value>) {
        match (value, &field.ty) {
            (Some(value), ty) => self.value(ty, value),
            (None, _) if field.pointer => self.out.extend_from_slice(b"null"),
            (None, Type::Struct(id)) => self.object(&self.schema[*id], None, Self::field),
            (None, Type::String) => self.out.extend_from_slice(b"\"\""),
            (None, Type::Quantity) => self.out.extend_from_slice(b"\"0\""),
            (None, Type::Bool) => self.out.extend_from_slice(b"false"),
            (None, Type::Int32 | Type::Int64 | Type::Float | Type::IntOrString) => self.out.push(b'0'),
            (None, _) => self.out.extend_from_slice(b"null"),
        }
    }

    fn value(&mut self, ty: &Type, value: &Value) {
        match (ty, value) {
            (Type::Struct(id), Value::Object(map)) => self.object(&self.schema[*id], Some(map), Self::field),
            (Type::List(list), Value::Array(items)) => {
                self.out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.out.push(b',');
                    }
                    self.value(&list.item, item);
                }
                self.out.push(b']');
            }
            (Type::Map(map_type), Value::Object(map)) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                self.out.push(b'{');
                let start = self.out.len();
                for (key, value) in entries {
                    self.key(start, key);
                    self.value(&map_type.value, value);
                }
                self.out.push(b'}');
            }
            (Type::Quantity, Value::String(text)) => self.text(&scalar::canonical_quantity(text)),
            (Type::Quantity, Value::Number(n)) => self.text(&scalar::canonical_quantity(&n.to_string())),
            (Type::Time, Value::String(text)) => self.text(&scalar::canonical_time(text, false)),
            (Type::MicroTime, Value::String(text)) => self.text(&scalar::canonical_time(text, true)),
            (Type::Bytes, Value::String(text)) if text.contains(['\r', '\n']) => {
                self.text(&text.replace(['\r', '\n'], ""));
            }
            _ => self.raw(value),
        }
    }

    fn text(&mut self, text: &str) {
        serde_json::to_writer(&mut *self.out, text).expect("writing to memory");
    }

    fn raw(&mut self, value: &Value) {
        serde_json::to_writer(&mut *self.out, value).expect("writing to memory");
    }
}
