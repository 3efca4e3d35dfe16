//! What belongs to who creates an object: everything in it, in one walk, and as text.
//!
//! Every create makes such a set, and nobody reads it before it is stored: so it is never made into a tree.

use std::io::Write as _;

use serde_json::Value;
use smallvec::SmallVec;

use super::typed::{At, Shape};
use super::{META, Writer};

/// `managedFields` of a new object: one entry with the fields of `new` that differ from `blank`, the object that has
/// nothing but what its type always writes. `None` where nothing is owned.
pub(super) fn entries(at: At<'_>, blank: &Value, new: &Value, by: &Writer<'_>) -> Option<Vec<u8>> {
    let mut walk = Walk { out: Vec::with_capacity(2048), reset: by.reset };
    let mut first = true;
    let mut field = |out: &mut Vec<u8>, name: &str, text: &str| {
        if !text.is_empty() {
            out.push(if first { b'{' } else { b',' });
            first = false;
            string(out, "", name);
            out.push(b':');
            string(out, "", text);
        }
    };
    walk.out.push(b'[');
    field(&mut walk.out, "manager", by.manager);
    field(&mut walk.out, "operation", "Update");
    field(&mut walk.out, "apiVersion", by.api_version);
    field(&mut walk.out, "time", &by.now.to_string());
    field(&mut walk.out, "fieldsType", "FieldsV1");
    walk.out.extend_from_slice(b",\"fieldsV1\":");
    if !walk.value(at, Some(blank), new, Place::Object) {
        return None;
    }
    field(&mut walk.out, "subresource", by.subresource);
    walk.out.extend_from_slice(b"}]");
    Some(walk.out)
}

struct Walk<'a> {
    out: Vec<u8>,
    reset: &'a [&'a str],
}

/// Where a value is: some places belong to nobody.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The object itself.
    Object,
    /// Its metadata.
    Metadata,
    /// What the server writes, or what identifies the object.
    Served,
    /// Anywhere else.
    Other,
}

impl Place {
    fn of_field(self, name: &str) -> Place {
        match self {
            Place::Object if name == "metadata" => Place::Metadata,
            Place::Object if matches!(name, "apiVersion" | "kind") => Place::Served,
            Place::Metadata if META.contains(&name) => Place::Served,
            _ => Place::Other,
        }
    }
}

impl Walk<'_> {
    /// Appends what of the value is owned; answers whether anything is, and appends nothing otherwise.
    fn value(&mut self, at: At<'_>, old: Option<&Value>, new: &Value, place: Place) -> bool {
        if old == Some(new) {
            return false;
        }
        let ownable = place == Place::Other;
        let shape = at.shape(old, Some(new));
        if is_leaf(shape, old, new) {
            if ownable {
                self.out.extend_from_slice(b"{}");
            }
            return ownable;
        }
        let start = self.out.len();
        self.out.push(b'{');
        let member = ownable && old.is_none();
        if member {
            self.out.extend_from_slice(b"\".\":{}");
        }
        let inner = self.out.len();
        match (shape, new) {
            (Shape::List(list), Value::Array(items)) => {
                // A blank object has no items.
                let mut parts: Vec<(String, &Value)> =
                    items.iter().filter_map(|item| Some((at.element(list, item).ok()?, item))).collect();
                parts.sort_by(|a, b| a.0.cmp(&b.0));
                for same in parts.chunk_by(|a, b| a.0 == b.0) {
                    let (part, item) = &same[0];
                    self.part(start, "", part, |walk| match same.len() {
                        1 => walk.value(at.items(list), None, item, Place::Other),
                        // Of items that cannot be told apart only their being there is owned.
                        _ => {
                            walk.out.extend_from_slice(b"{}");
                            true
                        }
                    });
                }
            }
            (Shape::Object, Value::Object(map)) => {
                let mut fields: SmallVec<[(&str, &Value); 24]> =
                    map.iter().map(|(name, value)| (name.as_str(), value)).collect();
                fields.sort_unstable_by_key(|(name, _)| *name);
                for (name, value) in fields {
                    if place == Place::Object && self.reset.contains(&name) {
                        continue;
                    }
                    let Some((_, below)) = at.child(name) else { continue };
                    let old = old.and_then(|old| old.get(name));
                    self.part(start, "f:", name, |walk| walk.value(below, old, value, place.of_field(name)));
                }
            }
            _ => {}
        }
        if self.out.len() > inner {
            self.out.push(b'}');
            return true;
        }
        self.out.truncate(start);
        if member {
            self.out.extend_from_slice(b"{}");
        }
        member
    }

    /// Appends a part of the object that began at `start`, if anything of it is owned.
    fn part(&mut self, start: usize, kind: &str, name: &str, below: impl FnOnce(&mut Self) -> bool) {
        let before = self.out.len();
        if before > start + 1 {
            self.out.push(b',');
        }
        string(&mut self.out, kind, name);
        self.out.push(b':');
        if !below(self) {
            self.out.truncate(before);
        }
    }
}

/// Whether a value is owned as a whole: for its type, or since it is not of it, or says nothing and so did the old one.
fn is_leaf(shape: Shape<'_>, old: Option<&Value>, new: &Value) -> bool {
    let bare = |v: &Value| match v {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    let misfit = |v: &Value| match shape {
        Shape::Object => !v.is_object() && !v.is_null(),
        Shape::List(_) => !v.is_array() && !v.is_null(),
        Shape::Leaf => true,
    };
    misfit(new) || old.is_some_and(misfit) || bare(new) && old.is_none_or(bare)
}

/// Appends a text in quotes.
fn string(out: &mut Vec<u8>, kind: &str, text: &str) {
    if text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\') {
        out.push(b'"');
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        let _ = write!(out, "{}", Value::from(format!("{kind}{text}")));
    }
}
