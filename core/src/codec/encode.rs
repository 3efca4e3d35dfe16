//! A tree to canonical bytes.

use bytes::Bytes;
use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::conform::is_zero;
use super::{DEPTH_MAX, scalar};
use crate::body::{Body, Header, Malformed};
use crate::schema::{Field, Schema, StructId, StructType, Type};

/// Encodes an object as it is stored: fields in the schema's order, map keys sorted, what means nothing left out as
/// Kubernetes leaves it out, amounts and moments in canonical form; without `resourceVersion` and `selfLink`.
///
/// Equal objects have equal bytes.
///
/// # Errors
/// When the tree is not an object with metadata, or nested deeper than [`DEPTH_MAX`].
pub fn encode(schema: &Schema, ty: StructId, value: &Value) -> Result<Body, Malformed> {
    encode_with(schema, ty, value, None)
}

/// [`encode`] of an object whose `managedFields` are not in its tree, but given as they are to be written.
///
/// # Errors
/// Those of [`encode`].
pub fn encode_with(
    schema: &Schema,
    ty: StructId,
    value: &Value,
    managed_fields: Option<&[u8]>,
) -> Result<Body, Malformed> {
    let mut out = Vec::with_capacity(4096);
    let mut writer = Writer { managed_fields, ..Writer::new(schema, &mut out) };
    writer.top(&schema[ty], value);
    let metadata_at = writer.metadata_at;
    if writer.deepest > DEPTH_MAX {
        return Err(Malformed::TooDeep(DEPTH_MAX));
    }
    // A copy of the right size, and not the buffer cut short: what a buffer that grew leaves behind at the end of each
    // of a hundred thousand bodies fits nobody else, and costs a third of the memory.
    let bytes = Bytes::copy_from_slice(&out);
    let header = value.get("metadata").and_then(Value::as_object).and_then(Header::of);
    match (metadata_at, header) {
        (Some(at), Some(header)) if bytes.get(at) != Some(&b'}') => Ok(Body::assemble(bytes, at, header)),
        _ => Body::parse(bytes),
    }
}

/// The bytes that [`encode`] makes, for any type; metadata of an object loses its `resourceVersion` and `selfLink`.
pub fn encode_to_vec(schema: &Schema, ty: StructId, value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    Writer::new(schema, &mut out).top(&schema[ty], value);
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

pub(super) struct Writer<'a> {
    schema: &'a Schema,
    out: &'a mut Vec<u8>,
    /// Just behind the brace that opens the object's own metadata.
    metadata_at: Option<usize>,
    /// Written into the object's own metadata as they are.
    managed_fields: Option<&'a [u8]>,
    /// Within the object's own metadata, and not that of a template in it.
    in_own_metadata: bool,
    /// How many objects and lists are open.
    depth: usize,
    /// How many were, at most.
    pub(super) deepest: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(schema: &'a Schema, out: &'a mut Vec<u8>) -> Writer<'a> {
        Writer::within(schema, out, 0)
    }

    /// One that writes into an object in which so many objects and lists are open.
    pub(super) fn within(schema: &'a Schema, out: &'a mut Vec<u8>, depth: usize) -> Writer<'a> {
        let (metadata_at, managed_fields) = (None, None);
        Writer { schema, out, metadata_at, managed_fields, in_own_metadata: false, depth, deepest: depth }
    }

    fn open(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
    }

    fn close(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.depth -= 1;
    }

    /// Takes notice of something that is written into what is open as it is.
    fn holds(&mut self, height: usize) {
        self.deepest = self.deepest.max(self.depth + height);
    }

    fn top(&mut self, ty: &StructType, value: &Value) {
        let Value::Object(map) = value else { return self.raw(value) };
        self.object(ty, Some(map), |w, field, value| match (field.name.as_str(), &field.ty, value) {
            ("metadata", Type::Struct(id), Some(Value::Object(meta)))
                if w.schema[*id].name.ends_with(".ObjectMeta") =>
            {
                w.metadata_at = Some(w.out.len() + 1);
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
        self.open(b'{');
        let start = self.out.len();
        let mut others: SmallVec<[(&str, &Value); 8]> = SmallVec::new();
        let mut present: SmallVec<[(u16, &Value); 32]> = SmallVec::new();
        if let Some(place) =
            self.managed_fields.and_then(|_| self.in_own_metadata.then(|| ty.rank("managedFields"))?)
        {
            // What stands there is seen to when it is written.
            present.push((place, &Value::Null));
        }
        for (key, value) in map.into_iter().flatten() {
            match ty.rank(key) {
                Some(place) => present.push((place, value)),
                None => others.push((key, value)),
            }
        }
        present.sort_unstable_by_key(|(place, _)| *place);
        // What is there and what is written though absent, merged.
        let mut kept = ty.kept.iter().copied().peekable();
        for (place, value) in present {
            while let Some(absent) = kept.next_if(|kept| *kept < place) {
                self.written(ty, start, absent, None, &mut write);
            }
            kept.next_if_eq(&place);
            self.written(ty, start, place, Some(value), &mut write);
        }
        for absent in kept {
            self.written(ty, start, absent, None, &mut write);
        }
        if ty.preserve_unknown || ty.additional.is_some() {
            others.sort_unstable_by_key(|(key, _)| *key);
            for (key, value) in others {
                self.key(start, key);
                match &ty.additional {
                    Some(additional) => self.value(additional, value),
                    None => self.raw(value),
                }
            }
        }
        self.close(b'}');
    }

    /// Writes one field, if it is to be written.
    pub(super) fn written(
        &mut self,
        ty: &StructType,
        start: usize,
        place: u16,
        value: Option<&Value>,
        write: &mut impl FnMut(&mut Self, &Field, Option<&Value>),
    ) {
        let field = ty.ranked(place);
        if self.in_own_metadata
            && field.name == "managedFields"
            && let Some(text) = self.managed_fields.take()
        {
            self.key(start, &field.name);
            self.out.extend_from_slice(text);
            self.holds(height_of_text(text));
            return;
        }
        if self.in_own_metadata && matches!(field.name.as_str(), "resourceVersion" | "selfLink") {
            return;
        }
        let value = value.filter(|v| !v.is_null() || ty.custom);
        // An empty list of a built-in type is none once it was stored; but lists of objects say that they are empty.
        let none = |v: &&Value| {
            !ty.custom
                && !field.pointer
                && matches!(field.ty, Type::List(_))
                && v.as_array().is_some_and(Vec::is_empty)
                && !(field.name == "items" && ty.name.ends_with("List"))
        };
        let value = value.filter(|v| !none(v));
        let written = match value {
            None => field.keep_empty,
            Some(value) => field.keep_empty || field.pointer || !is_zero(&field.ty, value),
        };
        if written {
            if ty.custom {
                self.key(start, &field.name);
            } else {
                // The names of built-in fields need no escapes.
                self.out.extend_from_slice(if self.out.len() > start { b",\"" } else { b"\"" });
                self.out.extend_from_slice(field.name.as_bytes());
                self.out.extend_from_slice(b"\":");
            }
            write(self, field, value);
        }
    }

    fn key(&mut self, start: usize, key: &str) {
        if self.out.len() > start {
            self.out.push(b',');
        }
        self.text(key);
        self.out.push(b':');
    }

    pub(super) fn field(&mut self, field: &Field, value: Option<&Value>) {
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
                self.open(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.out.push(b',');
                    }
                    self.value(&list.item, item);
                }
                self.close(b']');
            }
            (Type::Map(map_type), Value::Object(map)) => {
                let mut entries: SmallVec<[(&String, &Value); 16]> = map.iter().collect();
                entries.sort_unstable_by_key(|(key, _)| *key);
                self.open(b'{');
                let start = self.out.len();
                for (key, value) in entries {
                    self.key(start, key);
                    self.value(&map_type.value, value);
                }
                self.close(b'}');
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
        self.holds(height(value));
        serde_json::to_writer(&mut *self.out, value).expect("writing to memory");
    }
}

/// How many objects and lists are within each other in a tree.
pub(crate) fn height(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(height).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(height).max().unwrap_or(0),
        _ => 0,
    }
}

/// [`height`] of JSON; or, where that is quicker to tell and small enough for anyone, something greater.
fn height_of_text(json: &[u8]) -> usize {
    let brackets = json.iter().filter(|b| matches!(b, b'{' | b'[')).count();
    if brackets < DEPTH_MAX / 2 {
        return brackets;
    }
    let (mut depth, mut deepest, mut quoted) = (0usize, 0, false);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => _ = bytes.next(),
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
