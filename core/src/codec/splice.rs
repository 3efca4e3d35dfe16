//! Changing fields of a stored object without decoding the rest of it.

use bytes::Bytes;
use serde_json::Value;

use super::DEPTH_MAX;
use super::encode::Writer;
use crate::body::{Body, Header};
use crate::schema::{Schema, StructId, StructType, Type};

/// A field of one of an object's parts, and what it is to be: `spec`, `nodeName`, `"node-1"`. Null takes it away.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// A field of the object itself, whose type is an object.
    pub part: &'static str,
    /// A field of that.
    pub field: &'static str,
    /// Its value from now on.
    pub value: Value,
}

/// The object with these fields changed, in the bytes that [`super::encode()`] would make of it.
///
/// `None` where that takes more than putting values between slices of what is stored: for a part that is absent, and
/// for metadata that lookups need, but for labels; nor for what is nested too deeply. Decode then, change and encode.
pub fn splice(schema: &Schema, ty: StructId, body: &Body, changes: &[Change]) -> Option<Body> {
    let top = &schema[ty];
    let header = header(body, changes)?;
    let mut old = Scanner { bytes: body.bytes(), at: 0 };
    let mut out = Vec::with_capacity(old.bytes.len() + 512);
    let mut metadata_at = None;
    let mut done = 0;
    old.open()?;
    out.push(b'{');
    while let Some(name) = old.key()? {
        out.extend_from_slice(if out.len() > 1 { b",\"" } else { b"\"" });
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        if name == "metadata" {
            metadata_at = Some(out.len() + 1);
        }
        let wanted: Vec<&Change> = changes.iter().filter(|change| change.part == name).collect();
        if wanted.is_empty() {
            out.extend_from_slice(old.value()?);
            continue;
        }
        let Some(Type::Struct(id)) = top.field(name).map(|field| &field.ty) else { return None };
        done += wanted.len();
        part(schema, &schema[*id], &mut old, wanted, &mut out)?;
    }
    out.push(b'}');
    let metadata_at = metadata_at.filter(|at| out.get(*at) != Some(&b'}'))?;
    (done == changes.len()).then(|| Body::assemble(Bytes::copy_from_slice(&out), metadata_at, header))
}

/// The text of these fields of an object's parts (`spec`, `nodeName`) as they are stored, in the order in which they are
/// asked for; `None` for those that are absent. Decodes nothing.
///
/// The outer `None`: the object is not stored as [`super::encode()`] writes it, or a part is none.
pub fn peek<'a, const N: usize>(body: &'a Body, fields: [(&str, &str); N]) -> Option<[Option<&'a [u8]>; N]> {
    let mut old = Scanner { bytes: body.bytes(), at: 0 };
    let mut found = [None; N];
    old.open()?;
    while let Some(part) = old.key()? {
        if fields.iter().all(|(wanted, _)| *wanted != part) {
            old.value()?;
            continue;
        }
        old.open()?;
        while let Some(name) = old.key()? {
            let value = old.value()?;
            if let Some(at) = fields.iter().position(|field| *field == (part, name)) {
                found[at] = Some(value);
            }
        }
    }
    Some(found)
}

/// Copies a part, with the changes in their places.
fn part(
    schema: &Schema,
    ty: &StructType,
    old: &mut Scanner<'_>,
    changes: Vec<&Change>,
    out: &mut Vec<u8>,
) -> Option<()> {
    let mut changes: Vec<(u16, &Value)> = changes
        .into_iter()
        .map(|change| Some((ty.rank(change.field)?, &change.value)))
        .collect::<Option<_>>()?;
    changes.sort_unstable_by_key(|(place, _)| *place);
    let mut changes = changes.into_iter().peekable();
    old.open()?;
    out.push(b'{');
    let start = out.len();
    let mut deepest = 0;
    let mut write = |out: &mut Vec<u8>, (place, value): (u16, &Value)| {
        let mut writer = Writer::within(schema, out, 2);
        writer.written(ty, start, place, Some(value), &mut Writer::field);
        deepest = writer.deepest.max(deepest);
    };
    while let Some(name) = old.key()? {
        // What the type does not know comes last.
        let place = ty.rank(name).unwrap_or(u16::MAX);
        while let Some(change) = changes.next_if(|(changed, _)| *changed < place) {
            write(out, change);
        }
        let value = old.value()?;
        if let Some(change) = changes.next_if(|(changed, _)| *changed == place) {
            write(out, change);
            continue;
        }
        if out.len() > start {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value);
    }
    changes.for_each(|change| write(out, change));
    out.push(b'}');
    (deepest <= DEPTH_MAX).then_some(())
}

/// The header from now on; `None` where more than labels and what lookups do not need changes.
fn header(body: &Body, changes: &[Change]) -> Option<Header> {
    let mut header = body.header().clone();
    for change in changes.iter().filter(|change| change.part == "metadata") {
        match change.field {
            "labels" => {
                let one = serde_json::Map::from_iter([("labels".to_owned(), change.value.clone())]);
                header.labels = Header::of(&one)?.labels;
            }
            "annotations" | "managedFields" => {}
            _ => return None,
        }
    }
    Some(header)
}

/// Reads canonical JSON: no white space, and known to be well-formed.
pub(super) struct Scanner<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Enters an object.
    pub(super) fn open(&mut self) -> Option<()> {
        let opens = self.peek()? == b'{';
        self.at += 1;
        opens.then_some(())
    }

    /// The next key, its colon passed; the inner `None`: the object has ended.
    pub(super) fn key(&mut self) -> Option<Option<&'a str>> {
        if self.peek()? == b',' {
            self.at += 1;
        }
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(None);
        }
        let quoted = self.value()?;
        let name = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        // The names of fields have no escapes; what has is left to those who decode.
        if name.contains(&b'\\') || self.peek()? != b':' {
            return None;
        }
        self.at += 1;
        std::str::from_utf8(name).ok().map(Some)
    }

    /// The next value as it is written.
    pub(super) fn value(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                    if depth == 0 {
                        break;
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' | b',' if depth == 0 => break,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        break;
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
        self.bytes.get(start..self.at)
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            let rest = self.bytes.get(self.at..)?;
            let end = rest.iter().position(|b| matches!(b, b'"' | b'\\'))?;
            self.at += end + 1;
            if rest[end] == b'"' {
                return Some(());
            }
            self.at += 1;
        }
    }
}
