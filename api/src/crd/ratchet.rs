//! Which part of an object is which part of its former state.
//!
//! What has not changed is not held against a change, so that a schema can become stricter while objects live on
//! (KEP-4008). Fields are told apart by name, items of a list by its keys; items without keys by nothing.

use serde_json::Value;

use super::schema::{ListType, Node};

/// A value's former state; [`None`] where there was none or nobody can tell.
pub(crate) type Old<'a> = Option<&'a Value>;

/// The former state of a field.
pub(crate) fn field<'a>(old: Old<'a>, name: &str) -> Old<'a> {
    old.and_then(|old| old.get(name))
}

/// The former state of an item.
pub(crate) fn item<'a>(node: &Node, old: Old<'a>, item: &Value) -> Old<'a> {
    if node.list_type != ListType::Map || node.list_map_keys.is_empty() {
        return None;
    }
    let key = |value: &Value, name: &String| {
        let default =
            || node.items.as_ref().and_then(|i| i.properties.get(name)).and_then(|p| p.default.clone());
        value.get(name).cloned().or_else(default)
    };
    let of = |value: &Value| node.list_map_keys.iter().map(|name| key(value, name)).collect::<Vec<_>>();
    let wanted = of(item);
    old?.as_array()?.iter().find(|old| of(old) == wanted)
}

/// Whether nothing has changed.
pub(crate) fn unchanged(old: Old<'_>, new: &Value) -> bool {
    old.is_some_and(|old| same(old, new))
}

/// Whether two values are the same; numbers by what they are worth, as they may be written in several ways.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || a.as_f64() == b.as_f64() && a.is_f64() != b.is_f64()
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| same(v, w)))
        }
        _ => a == b,
    }
}
