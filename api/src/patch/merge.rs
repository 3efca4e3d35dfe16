//! JSON merge patches (RFC 7386).

use serde_json::Value;

use super::{Object, PatchError, check_depth};

/// Merges the patch into the target: objects field by field, null removes, all else replaces.
///
/// As in Kubernetes nulls below a value that is new are dropped, inside lists too; a patch that is no object replaces
/// the target.
///
/// # Errors
/// `BadRequest` where the patch is neither an object nor a list.
pub fn merge(target: Value, patch: Value) -> Result<Value, PatchError> {
    check_depth(&[&target, &patch])?;
    match (target, patch) {
        (Value::Object(mut target), Value::Object(patch)) => {
            merge_objects(&mut target, patch, false);
            Ok(Value::Object(target))
        }
        (_, mut patch @ (Value::Object(_) | Value::Array(_))) => {
            prune(&mut patch);
            Ok(patch)
        }
        _ => Err(PatchError::BadRequest("Invalid JSON Patch".into())),
    }
}

/// Merges patches into objects, or, where `nulls` are kept, into patches.
fn merge_objects(target: &mut Object, patch: Object, nulls: bool) {
    for (key, mut value) in patch {
        if value.is_null() {
            match nulls {
                true => {
                    target.insert(key, Value::Null);
                }
                false => {
                    target.shift_remove(&key);
                }
            }
            continue;
        }
        match (target.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge_objects(old, new, nulls),
            (Some(old @ Value::Object(_)), new) => *old = new,
            (Some(old), new) if nulls && old.is_null() => *old = new,
            (Some(old), mut new) => {
                prune(&mut new);
                *old = new;
            }
            (None, new) => {
                value = new;
                if !nulls {
                    prune(&mut value);
                }
                target.insert(key, value);
            }
        }
    }
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(prune);
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

/// The merge patch that turns `original` into `modified`.
///
/// # Errors
/// `BadRequest` where either is no object.
pub fn create(original: &Value, modified: &Value) -> Result<Value, PatchError> {
    check_depth(&[original, modified])?;
    match (original, modified) {
        (Value::Object(original), Value::Object(modified)) => Ok(Value::Object(diff(original, modified))),
        _ => Err(PatchError::BadRequest("Invalid JSON Document".into())),
    }
}

fn diff(original: &Object, modified: &Object) -> Object {
    let mut patch = Object::new();
    for (key, new) in modified {
        match (original.get(key), new) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                let below = diff(old, new);
                if !below.is_empty() {
                    patch.insert(key.clone(), Value::Object(below));
                }
            }
            (Some(old), new) if old == new => {}
            _ => {
                patch.insert(key.clone(), new.clone());
            }
        }
    }
    for key in original.keys().filter(|key| !modified.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    patch
}

/// The merge patch by which `kubectl apply` brings `current` to `modified`: what the new manifest says otherwise than
/// the live object, and removals of what only the last applied manifest (`original`) said. For custom resources.
///
/// # Errors
/// `BadRequest` where one of them is no object.
pub fn three_way(original: &Value, modified: &Value, current: &Value) -> Result<Value, PatchError> {
    let empty = Value::Object(Object::new());
    let original = if original.is_null() { &empty } else { original };
    let (Value::Object(changes), Value::Object(removals)) =
        (create(current, modified)?, create(original, modified)?)
    else {
        return Err(PatchError::BadRequest("Invalid JSON Document".into()));
    };
    let changes = keep(changes, false);
    let mut patch = keep(removals, true);
    merge_objects(&mut patch, changes, true);
    Ok(Value::Object(patch))
}

/// The nulls of a patch alone, or all but them.
fn keep(patch: Object, nulls: bool) -> Object {
    let mut kept = Object::new();
    for (key, value) in patch {
        match value {
            Value::Null if nulls => {
                kept.insert(key, Value::Null);
            }
            Value::Null => {}
            Value::Object(map) if !map.is_empty() => {
                let below = keep(map, nulls);
                if !below.is_empty() {
                    kept.insert(key, Value::Object(below));
                }
            }
            value if !nulls => {
                kept.insert(key, value);
            }
            _ => {}
        }
    }
    kept
}
