//! JSON to a tree that keeps the order of keys and tells which were given twice.

use std::cell::RefCell;
use std::fmt::{self, Write as _};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::conform::COMPLAINTS_MAX;

/// What a body decodes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// The tree; keys in the order of the body. Of a key that was given twice the later value counts.
    pub value: Value,
    /// The keys that were given twice, in the order of the body: as many as strict decoding complains of at most.
    pub duplicates: Vec<Duplicate>,
}

/// A key that was given twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// Where: `spec.containers[0].name`; without its end where that would be long.
    pub path: String,
    /// The path of the object that it is in, likewise; empty for the body itself.
    pub parent: String,
    /// How many keys that object had when the key came again.
    pub at: usize,
}

/// Bytes that are not JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// What is wrong, for people.
    pub message: String,
    /// Line of the body, from 1.
    pub line: usize,
    /// Column, in bytes from 1.
    pub column: usize,
}

/// Decodes JSON. Nesting deeper than [`super::DEPTH_MAX`] is refused. Objects that were given twice are merged, as
/// Kubernetes' decoder does with what it has types for.
///
/// # Errors
/// When the bytes are not one JSON value.
pub fn decode_json(bytes: &[u8]) -> Result<Decoded, SyntaxError> {
    decode(bytes, true)
}

/// [`decode_json`] of what Kubernetes has no types for, such as custom resources: the later of two objects replaces the
/// earlier.
///
/// # Errors
/// Those of [`decode_json`].
pub fn decode_untyped_json(bytes: &[u8]) -> Result<Decoded, SyntaxError> {
    decode(bytes, false)
}

fn decode(bytes: &[u8], merges: bool) -> Result<Decoded, SyntaxError> {
    let duplicates = RefCell::new(Vec::new());
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Node { at: None, merges, duplicates: &duplicates }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| SyntaxError {
            message: if error.is_eof() {
                "unexpected end of JSON input".to_owned()
            } else {
                error.to_string()
            },
            line: error.line(),
            column: error.column(),
        })?;
    Ok(Decoded { value, duplicates: duplicates.into_inner() })
}

/// The way to a value, kept on the stack; spelt out only when it is needed.
#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    pub(super) up: Option<&'a Path<'a>>,
    pub(super) step: Step<'a>,
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(up) = self.up {
            up.fmt(f)?;
        }
        match self.step {
            Step::Key(key) if self.up.is_some() => write!(f, ".{key}"),
            Step::Key(key) => f.write_str(key),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A path's text is not longer than this, in bytes: bodies of a few megabytes can have millions of keys below one that is
/// as long as half the body.
const PATH_MAX: usize = 1024;

impl Path<'_> {
    /// The path as complaints spell it, without its end where that would be long.
    pub(super) fn text(&self) -> String {
        let mut short = Short(String::new());
        // What does not fit ends the writing.
        let _ = write!(short, "{self}");
        short.0
    }
}

/// A text that takes no more than [`PATH_MAX`] bytes in.
struct Short(String);

impl fmt::Write for Short {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let mut end = more.len().min(PATH_MAX - self.0.len());
        while !more.is_char_boundary(end) {
            end -= 1;
        }
        self.0.push_str(&more[..end]);
        if end < more.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[derive(Clone, Copy)]
struct Node<'a> {
    at: Option<&'a Path<'a>>,
    merges: bool,
    duplicates: &'a RefCell<Vec<Duplicate>>,
}

impl Node<'_> {
    /// Takes notice of a key that came again when its object had so many. Kubernetes tells the same only once.
    fn again(&self, path: &Path<'_>, at: usize) {
        let mut duplicates = self.duplicates.borrow_mut();
        if duplicates.len() == COMPLAINTS_MAX {
            return;
        }
        let path = path.text();
        if !duplicates.iter().any(|known| known.path == path) {
            let parent = self.at.map(Path::text).unwrap_or_default();
            duplicates.push(Duplicate { path, parent, at });
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let path = Path { up: self.at, step: Step::Index(items.len()) };
            match seq.next_element_seed(Node { at: Some(&path), ..self })? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        // Keys that came again and were told.
        let mut told: Vec<String> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let path = Path { up: self.at, step: Step::Key(&key) };
            let twice = fields.contains_key(&key);
            if twice && told.len() < COMPLAINTS_MAX && !told.contains(&key) {
                self.again(&path, fields.len());
                told.push(key.clone());
            }
            let value = map.next_value_seed(Node { at: Some(&path), ..self })?;
            if twice
                && self.merges
                && let Some(old) = fields.get_mut(&key)
            {
                merge(old, value);
            } else {
                fields.insert(key, value);
            }
        }
        Ok(Value::Object(fields))
    }
}

/// A later value of a key: objects are filled up, everything else is replaced.
fn merge(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                match old.get_mut(&key) {
                    Some(inner) => merge(inner, value),
                    None => {
                        old.insert(key, value);
                    }
                }
            }
        }
        (old, new) => *old = new,
    }
}
