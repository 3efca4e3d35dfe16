//! Lists within strategic merge patches: what their items are, and finding items by their merge key.

use serde_json::Value;

use super::{Object, PatchError, spelt};

pub(super) const PATCH: &str = "$patch";
pub(super) const RETAIN_KEYS: &str = "$retainKeys";
pub(super) const DELETE_FROM: &str = "$deleteFromPrimitiveList";
pub(super) const SET_ORDER: &str = "$setElementOrder";

/// Whether two values are of one JSON type, whole and broken numbers being two.
pub(super) fn same_type(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.is_f64() == b.is_f64(),
        _ => std::mem::discriminant(a) == std::mem::discriminant(b),
    }
}

/// Whether the items of the lists are objects; they must all be of one type.
pub(super) fn holds_objects(lists: &[&[Value]]) -> Result<bool, PatchError> {
    let mut items = lists.iter().copied().flatten();
    let first =
        items.next().ok_or_else(|| PatchError::Internal("no elements in any of the given slices".into()))?;
    match first {
        Value::Array(_) => Err(PatchError::Unprocessable("lists of lists are not supported".into())),
        _ if first.is_null() || !items.all(|item| same_type(first, item)) => {
            let lists: Vec<_> = lists.iter().map(|list| spelt(&Value::Array(list.to_vec()))).collect();
            Err(PatchError::Internal(format!("list element types are not identical: [{}]", lists.join(" "))))
        }
        _ => Ok(first.is_object()),
    }
}

pub(super) fn bad_type(expected: &str, found: &Value) -> PatchError {
    let found = match found {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    PatchError::Internal(format!("expected a {expected}, but received a {found}"))
}

pub(super) fn no_merge_key(item: &Object, key: &str) -> PatchError {
    PatchError::Internal(format!(
        "map: {} does not contain declared merge key: {key}",
        spelt(&Value::Object(item.clone()))
    ))
}

pub(super) fn as_object(item: &Value) -> Result<&Object, PatchError> {
    item.as_object().ok_or_else(|| bad_type("map[string]interface {}", item))
}

pub(super) fn merge_key<'v>(item: &'v Value, key: &str) -> Result<&'v Value, PatchError> {
    let map = as_object(item)?;
    map.get(key).ok_or_else(|| no_merge_key(map, key))
}

pub(super) fn position(items: &[Value], key: &str, value: &Value) -> Result<Option<usize>, PatchError> {
    for (at, item) in items.iter().enumerate() {
        if as_object(item)?.get(key) == Some(value) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

pub(super) fn is_delete(item: &Value) -> bool {
    item.get(PATCH).is_some_and(|directive| directive == "delete")
}

/// Whether two items are the same one: by merge key, or, for scalars, by value.
pub(super) fn same_item(a: &Value, b: &Value, key: &str) -> Result<bool, PatchError> {
    if key.is_empty() {
        return Ok(a == b);
    }
    Ok(merge_key(a, key)? == merge_key(b, key)?)
}

/// Drops repetitions by moving the last item into the gap. That this disturbs the order is part of the recorded
/// behaviour; a later step puts most items back.
pub(super) fn dedup_scalars(items: &mut Vec<Value>) {
    let mut i = 0;
    while i + 1 < items.len() {
        let mut j = i + 1;
        while j < items.len() {
            if items[i] == items[j] {
                items.swap_remove(j);
            } else {
                j += 1;
            }
        }
        i += 1;
    }
}

/// Orders scalars by their text.
pub(super) fn sort_scalars(items: &mut [Value]) {
    items.sort_by_cached_key(spelt);
}
