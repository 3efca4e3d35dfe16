//! What was asked, and whether the same is asked again.

use std::hash::{Hash, Hasher};
use std::ops::Range;

use bytes::Bytes;
use orlop_core::Name;
use rustc_hash::FxHasher;
use serde_json::{Map, Value};

use super::super::admit::Call;
use super::text;
use crate::request::{Body, MediaType, Options, User};
use crate::tree::text as text_at;

/// A longer body is not worth keeping.
const TEXT_MAX: usize = 64 << 10;

/// What is asked.
pub(super) struct Asked<'a> {
    pub(super) user: &'a User,
    options: &'a Options,
    body: &'a Body,
}

/// The name that an object is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named<'a> {
    /// The client's choice.
    As(&'a str),
    /// To be drawn.
    Drawn,
}

impl<'a> Asked<'a> {
    /// `None` for a body in a form in which the like of it is not found.
    pub(super) fn new(call: &Call<'a>, body: &'a Body) -> Option<Asked<'a>> {
        let fits = match body {
            Body::Value(_) => true,
            Body::Bytes(MediaType::Json | MediaType::Protobuf, bytes) => bytes.len() <= TEXT_MAX,
            Body::Bytes(MediaType::Yaml, _) => false,
        };
        fits.then_some(Asked { user: call.user, options: call.options, body })
    }

    /// A number that those have in common who ask for the same, but for the name.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut out = FxHasher::default();
        self.user.name.hash(&mut out);
        self.options.field_manager.hash(&mut out);
        match self.body {
            Body::Value(value) => hash(value, Level::Object, &mut out),
            Body::Bytes(media, bytes) => {
                let name = text::name(*media, bytes);
                let (before, after) = match &name {
                    Some(name) => (&bytes[..name.start], &bytes[name.end..]),
                    None => (&bytes[..], &b""[..]),
                };
                (before, after).hash(&mut out);
            }
        }
        out.finish()
    }
}

/// What was asked once.
#[derive(Debug)]
pub(super) struct Question {
    user: User,
    manager: Name,
    validation: Name,
    body: Kept,
}

#[derive(Debug)]
enum Kept {
    Tree { value: Value, named: bool },
    Text { media: MediaType, bytes: Bytes, name: Option<Range<usize>> },
}

impl Question {
    /// `name`: what the object was named; `None`: that was drawn. `None` where it is not known for sure where in the
    /// body the name stands.
    pub(super) fn of(asked: &Asked<'_>, name: Option<&str>) -> Option<Question> {
        let body = match asked.body {
            Body::Value(value) => {
                let given = text_at(value, &["metadata", "name"]);
                if given != name.unwrap_or_default() {
                    return None;
                }
                Kept::Tree { value: value.clone(), named: name.is_some() }
            }
            Body::Bytes(media, bytes) => {
                let place = text::name(*media, bytes);
                let given = place.clone().and_then(|place| bytes.get(place));
                if given != name.map(str::as_bytes) {
                    return None;
                }
                // A part of what came over the wire would keep all of it.
                Kept::Text { media: *media, bytes: Bytes::copy_from_slice(bytes), name: place }
            }
        };
        let Options { field_manager, field_validation, .. } = asked.options;
        let (manager, validation) = (field_manager.clone(), field_validation.clone());
        Some(Question { user: asked.user.clone(), manager, validation, body })
    }

    /// Whether the same is asked, but for the name: the name that is asked for.
    pub(super) fn like<'a>(&self, asked: &Asked<'a>) -> Option<Named<'a>> {
        let named = match (&self.body, asked.body) {
            (Kept::Tree { value, named }, Body::Value(other)) => {
                let name = text_at(other, &["metadata", "name"]);
                if *named == name.is_empty() || !same_object(value, other, *named) {
                    return None;
                }
                if *named { Named::As(name) } else { Named::Drawn }
            }
            (Kept::Text { media, bytes, name }, Body::Bytes(other_media, other)) if media == other_media => {
                match name {
                    None if bytes == other => Named::Drawn,
                    Some(name) => Named::As(between(*media, bytes, name, other)?),
                    None => return None,
                }
            }
            _ => return None,
        };
        let same = self.manager == asked.options.field_manager
            && self.validation == asked.options.field_validation
            && self.user == *asked.user;
        same.then_some(named)
    }

    /// Roughly the memory that it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        match &self.body {
            Kept::Tree { value, .. } => size(value),
            Kept::Text { bytes, .. } => bytes.len(),
        }
    }
}

/// What `other` has where `bytes` has a name, all else being equal, and its length, too, where lengths are written.
fn between<'a>(media: MediaType, bytes: &[u8], name: &Range<usize>, other: &'a [u8]) -> Option<&'a str> {
    let (before, after) = (&bytes[..name.start], &bytes[name.end..]);
    let found = other.strip_prefix(before)?.strip_suffix(after)?;
    if media == MediaType::Protobuf && found.len() != name.len() {
        return None;
    }
    std::str::from_utf8(found).ok()
}

/// Where in an object a value is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Object,
    Metadata,
    Other,
}

impl Level {
    fn below(self, field: &str) -> Level {
        if self == Level::Object && field == "metadata" { Level::Metadata } else { Level::Other }
    }
}

/// Whether two objects say the same in the same order; `named`: but for their names.
fn same_object(a: &Value, b: &Value, named: bool) -> bool {
    same(a, b, if named { Level::Object } else { Level::Other })
}

fn same(a: &Value, b: &Value, level: Level) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a == b,
        (Value::Object(a), Value::Object(b)) => a.len() == b.len() && same_fields(a, b, level),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, Level::Other))
        }
        // Zero has two forms, which are equal as numbers and not as texts.
        (Value::Number(a), Value::Number(b)) => {
            a == b && a.as_f64().map(f64::to_bits) == b.as_f64().map(f64::to_bits)
        }
        _ => a == b,
    }
}

fn same_fields(a: &Map<String, Value>, b: &Map<String, Value>, level: Level) -> bool {
    // The order counts where free-form parts keep it.
    a.iter().zip(b).all(|((field, a), (other, b))| {
        field == other
            && (level == Level::Metadata && field == "name" && a.is_string() && b.is_string()
                || same(a, b, level.below(field)))
    })
}

fn hash(value: &Value, level: Level, out: &mut FxHasher) {
    match value {
        Value::Null => out.write_u8(0),
        Value::Bool(value) => out.write_u8(1 + u8::from(*value)),
        Value::Number(number) => number.hash(out),
        Value::String(text) => text.hash(out),
        Value::Array(items) => {
            out.write_usize(items.len());
            items.iter().for_each(|item| hash(item, Level::Other, out));
        }
        Value::Object(fields) => {
            out.write_usize(fields.len());
            for (field, value) in fields {
                field.hash(out);
                if level != Level::Metadata || field != "name" {
                    hash(value, level.below(field), out);
                }
            }
        }
    }
}

fn size(value: &Value) -> usize {
    let below = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(fields) => fields.iter().map(|(field, value)| 32 + field.len() + size(value)).sum(),
        _ => 0,
    };
    size_of::<Value>() + below
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_alike_but_for_their_own_names() {
        let like = |a: Value, b: Value| same_object(&a, &b, true);
        let pod = |name: &str, inner: &str| json!({"metadata": {"name": name}, "spec": {"metadata": {"name": inner}, "n": 1.5}});
        assert!(like(pod("a", "x"), pod("b", "x")));
        assert!(!like(pod("a", "x"), pod("a", "y")));
        assert!(!like(json!({"a": 1, "b": 2}), json!({"b": 2, "a": 1})), "another order");
        assert!(!like(json!({"a": 0.0}), json!({"a": -0.0})), "another zero");
        assert!(!like(json!({"a": 1}), json!({"a": 1.0})), "another number");
        assert!(!like(json!({"metadata": {"name": "a"}}), json!({"metadata": {"name": null}})));
        assert!(!same_object(&pod("a", "x"), &pod("b", "x"), false), "nobody asked for a name to be drawn");
        let print = |value: &Value| {
            let mut out = FxHasher::default();
            hash(value, Level::Object, &mut out);
            out.finish()
        };
        assert_eq!(print(&pod("a", "x")), print(&pod("b", "x")));
        assert_ne!(print(&pod("a", "x")), print(&pod("a", "y")));
    }

    #[test]
    fn protobuf_tells_lengths_and_json_does_not() {
        let found = |media, other: &'static [u8]| between(media, b"<<name>>", &(2..6), other);
        assert_eq!(found(MediaType::Json, b"<<other>>"), Some("other"));
        assert_eq!(found(MediaType::Protobuf, b"<<nbme>>"), Some("nbme"));
        assert_eq!(found(MediaType::Protobuf, b"<<other>>"), None);
        assert_eq!(found(MediaType::Json, b"<<other>"), None);
        assert_eq!(found(MediaType::Json, b"<<>"), None, "shorter than what is around it");
    }
}
