//! Paths of fields, and reading values whose shape is not to be relied on.

use std::fmt;

use serde_json::Value;

/// A field's place in its object; costs nothing until it is printed.
#[derive(Clone, Copy)]
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    part: Part<'a>,
}

#[derive(Clone, Copy)]
enum Part<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    pub(crate) const fn root(field: &'a str) -> Path<'a> {
        Path { parent: None, part: Part::Field(field) }
    }

    pub(crate) const fn field(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), part: Part::Field(name) }
    }

    pub(crate) const fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), part: Part::Index(index) }
    }

    pub(crate) const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), part: Part::Key(key) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.part {
            Part::Field(name) if self.parent.is_some() => write!(f, ".{name}"),
            Part::Field(name) => f.write_str(name),
            Part::Index(index) => write!(f, "[{index}]"),
            Part::Key(key) => write!(f, "[{key}]"),
        }
    }
}

/// Reading what may not be there: an absent field reads as the zero of its type.
pub(crate) trait Read {
    fn text(&self, field: &str) -> &str;
    fn int(&self, field: &str) -> i64;
    fn list(&self, field: &str) -> &[Value];
    fn has(&self, field: &str) -> bool;
    fn is_true(&self, field: &str) -> bool;
    /// The entries of an object.
    fn entries(&self, field: &str) -> Vec<(&str, &Value)>;
    /// Whether there is no such list or object, or nothing in it.
    fn is_empty(&self, field: &str) -> bool;
}

impl Read for Value {
    fn text(&self, field: &str) -> &str {
        self[field].as_str().unwrap_or_default()
    }

    fn int(&self, field: &str) -> i64 {
        self[field].as_i64().unwrap_or_default()
    }

    fn list(&self, field: &str) -> &[Value] {
        self[field].as_array().map_or(&[], Vec::as_slice)
    }

    fn has(&self, field: &str) -> bool {
        !self[field].is_null()
    }

    fn is_true(&self, field: &str) -> bool {
        self[field] == true
    }

    fn entries(&self, field: &str) -> Vec<(&str, &Value)> {
        self[field]
            .as_object()
            .map_or_else(Vec::new, |map| map.iter().map(|(k, v)| (k.as_str(), v)).collect())
    }

    fn is_empty(&self, field: &str) -> bool {
        match &self[field] {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::String(text) => text.is_empty(),
            _ => false,
        }
    }
}
