//! Small helpers over object trees.

use serde_json::{Map, Value};

/// A field's text; empty where there is none.
pub(crate) fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or_default()
}

/// The value at a path of field names.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, field| value.get(field))
}

/// The items of a list; none where there is no list.
pub(crate) fn items<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The object at a field, made if it is absent or no object.
pub(crate) fn object<'a>(value: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    let map = as_object(value);
    as_object(map.entry(field.to_owned()).or_insert(Value::Null))
}

fn as_object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was made an object just now"),
    }
}

/// The metadata, made if it is absent.
pub(crate) fn metadata(value: &mut Value) -> &mut Map<String, Value> {
    object(value, "metadata")
}

/// Adds an item to a list, made if it is absent or no list.
pub(crate) fn push(value: &mut Value, field: &str, item: Value) {
    match as_object(value).get_mut(field) {
        Some(Value::Array(items)) => items.push(item),
        _ => {
            as_object(value).insert(field.to_owned(), Value::Array(vec![item]));
        }
    }
}

/// Takes a field away from an object, keeping the others' order.
pub(crate) fn remove(value: &mut Value, field: &str) -> Option<Value> {
    value.as_object_mut()?.shift_remove(field)
}

/// Sets `field` of `to` as it is in `from`.
pub(crate) fn copy(to: &mut Map<String, Value>, from: Option<&Value>, field: &str) {
    match from {
        Some(value) => {
            to.insert(field.to_owned(), value.clone());
        }
        None => {
            to.shift_remove(field);
        }
    }
}

/// The value with the keys of all objects in order.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().map(|(k, v)| (k.clone(), sorted(v))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}
