//! Reaching into trees whose shape is not to be relied on.

use serde_json::Value;

pub(super) type Object = serde_json::Map<String, Value>;

/// Whether the value says nothing: absent, null, empty text, or 0.
pub(super) fn is_zero(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(s)) => s.is_empty(),
        Some(Value::Number(n)) => n.as_i64() == Some(0),
        Some(_) => false,
    }
}

/// Sets the field where it is absent.
pub(super) fn absent(map: &mut Object, key: &str, value: impl Into<Value>) {
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key.to_owned(), value.into());
    }
}

/// Sets the field where it is absent or zero.
pub(super) fn zero(map: &mut Object, key: &str, value: impl Into<Value>) {
    if is_zero(map.get(key)) {
        map.insert(key.to_owned(), value.into());
    }
}

/// The object below, where there is one.
pub(super) fn child<'a>(map: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    map.get_mut(key)?.as_object_mut()
}

/// The object below; made where nothing is there.
pub(super) fn made<'a>(map: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    absent(map, key, Object::new());
    child(map, key)
}

/// Does something with the object below, where there is one.
pub(super) fn at(map: &mut Object, key: &str, then: impl FnOnce(&mut Object)) {
    if let Some(below) = child(map, key) {
        then(below);
    }
}

/// Does something with the object below; made where nothing is there.
pub(super) fn within(map: &mut Object, key: &str, then: impl FnOnce(&mut Object)) {
    if let Some(below) = made(map, key) {
        then(below);
    }
}

/// Does something with each object in the list below.
pub(super) fn each(map: &mut Object, key: &str, then: impl FnMut(&mut Object)) {
    if let Some(items) = map.get_mut(key).and_then(Value::as_array_mut) {
        items.iter_mut().filter_map(Value::as_object_mut).for_each(then);
    }
}

pub(super) fn text<'a>(map: &'a Object, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Whether the list or object below is absent or empty.
pub(super) fn is_empty(map: &Object, key: &str) -> bool {
    match map.get(key) {
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        other => is_zero(other),
    }
}
