//! JSON patches (RFC 6902), with the liberties that Kubernetes takes: `replace` makes a missing field, `copy` of a
//! missing field copies null, null and absent test as equal, negative indices count from the end.

use serde_json::Value;

use super::{DEPTH_MAX, Object, PatchError, check_depth, deeper_than};

const OPERATIONS_MAX: usize = 10_000;
/// The most that all copies of one patch may add, in bytes of JSON.
const COPIED_MAX: usize = 3 * 1024 * 1024;

/// Applies the operations in turn; none has an effect unless all have.
///
/// # Errors
/// `BadRequest` where `patch` is no list of operations, `TooLarge` where they are too many, `Unprocessable` with
/// Kubernetes' sentence where one does not apply.
pub fn json(mut target: Value, patch: &Value) -> Result<Value, PatchError> {
    check_depth(&[&target, patch])?;
    let operations = patch.as_array().ok_or_else(|| {
        PatchError::BadRequest(
            "error decoding patch: json: cannot unmarshal into Go value of type []handlers.jsonPatchOp"
                .into(),
        )
    })?;
    if operations.len() > OPERATIONS_MAX {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
            operations.len()
        )));
    }
    let mut copied = 0;
    for operation in operations {
        let operation = operation.as_object().ok_or_else(|| {
            PatchError::BadRequest("json: cannot unmarshal into Go value of type jsonpatch.Operation".into())
        })?;
        apply(&mut target, operation, &mut copied).map_err(PatchError::Unprocessable)?;
    }
    Ok(target)
}

fn apply(doc: &mut Value, operation: &Object, copied: &mut usize) -> Result<(), String> {
    let op = operation.get("op").and_then(Value::as_str).unwrap_or("unknown");
    if !matches!(op, "add" | "remove" | "replace" | "move" | "test" | "copy") {
        return Err(format!("Unexpected kind: {op}"));
    }
    let text = |field| operation.get(field).and_then(Value::as_str);
    let path = text("path").ok_or_else(|| format!("{op} operation failed to decode path: missing value"))?;
    let value = || operation.get("value").cloned().unwrap_or_default();
    match op {
        "add" => {
            let (place, key) = find(doc, path).ok_or_else(|| {
                format!("add operation does not apply: doc is missing path: \"{path}\": missing value")
            })?;
            let value = value();
            check_nesting(path, &value)?;
            place.add(key, value).map_err(|e| format!("error in add for path: '{path}': {e}"))
        }
        "remove" => {
            let (place, key) = find(doc, path).ok_or_else(|| {
                format!("remove operation does not apply: doc is missing path: \"{path}\": missing value")
            })?;
            place.remove(&key).map(drop).map_err(|e| format!("error in remove for path: '{path}': {e}"))
        }
        "replace" => replace(doc, path, value()),
        "test" => {
            let failed = || format!("testing value {path} failed: test failed");
            let expected = operation.get("value").unwrap_or(&Value::Null);
            if path.is_empty() {
                return if doc == expected { Ok(()) } else { Err(failed()) };
            }
            let (place, key) = find(doc, path).ok_or_else(|| {
                format!("test operation does not apply: is missing path: {path}: missing value")
            })?;
            let found = place.get(&key).map_err(|e| format!("error in test for path: '{path}': {e}"))?;
            if found.unwrap_or(&Value::Null) == expected { Ok(()) } else { Err(failed()) }
        }
        _ => {
            let from =
                text("from").ok_or_else(|| format!("{op} operation failed to decode from: missing value"))?;
            let (place, key) = find(doc, from).ok_or_else(|| {
                format!("{op} operation does not apply: doc is missing from path: {from}: missing value")
            })?;
            let value = if op == "move" {
                place.get(&key).map_err(|e| format!("error in move for path: '{key}': {e}"))?;
                place.remove(&key).map_err(|e| format!("error in move for path: '{key}': {e}"))?
            } else {
                let found = place.get(&key).map_err(|e| format!("error in copy for from: '{from}': {e}"))?;
                found.cloned().unwrap_or_default()
            };
            if op == "copy" {
                *copied += value.to_string().len();
                if *copied > COPIED_MAX {
                    return Err(format!(
                        "Unable to complete the copy, the accumulated size increase of copy is {copied}, \
                         exceeding the limit {COPIED_MAX}"
                    ));
                }
            }
            check_nesting(path, &value)?;
            let (place, key) = find(doc, path).ok_or_else(|| {
                format!(
                    "{op} operation does not apply: doc is missing destination path: {path}: missing value"
                )
            })?;
            let during = |e| match op {
                "move" => format!("error in move for path: '{path}': {e}"),
                _ => format!("error while adding value during copy: {e}"),
            };
            place.add(key, value).map_err(during)
        }
    }
}

fn replace(doc: &mut Value, path: &str, value: Value) -> Result<(), String> {
    if path.is_empty() {
        if !value.is_object() && !value.is_array() {
            return Err("replace operation value must be object or array".into());
        }
        *doc = value;
        return Ok(());
    }
    check_nesting(path, &value)?;
    let (place, key) = find(doc, path).ok_or_else(|| {
        format!("replace operation does not apply: doc is missing path: {path}: missing value")
    })?;
    match place {
        Place::Object(map) => {
            map.insert(key, value);
        }
        Place::Array(items) => {
            let at = index(&key).ok().and_then(|i| within(i, items.len()).ok()).ok_or_else(|| {
                format!("replace operation does not apply: doc is missing key: {path}: missing value")
            })?;
            items[at] = value;
        }
    }
    Ok(())
}

fn check_nesting(path: &str, value: &Value) -> Result<(), String> {
    let above = path.matches('/').count();
    match above > DEPTH_MAX || deeper_than(value, DEPTH_MAX - above) {
        true => Err(format!("exceeded max depth of {DEPTH_MAX}")),
        false => Ok(()),
    }
}

/// What holds the value that a pointer names.
enum Place<'a> {
    Object(&'a mut Object),
    Array(&'a mut Vec<Value>),
}

impl<'a> Place<'a> {
    fn of(value: &'a mut Value) -> Option<Place<'a>> {
        match value {
            Value::Object(map) => Some(Place::Object(map)),
            Value::Array(items) => Some(Place::Array(items)),
            _ => None,
        }
    }

    fn get(&self, key: &str) -> Result<Option<&Value>, String> {
        match self {
            Place::Object(map) => Ok(map.get(key)),
            Place::Array(items) => Ok(items.get(within(index(key)?, items.len())?)),
        }
    }

    fn add(self, key: String, value: Value) -> Result<(), String> {
        match self {
            Place::Object(map) => {
                map.insert(key, value);
            }
            Place::Array(items) if key == "-" => items.push(value),
            Place::Array(items) => {
                let at = index(&key)
                    .map_err(|e| format!("value was not a proper array index: '{key}': {e}"))
                    .and_then(|i| within(i, items.len() + 1))?;
                items.insert(at, value);
            }
        }
        Ok(())
    }

    fn remove(self, key: &str) -> Result<Value, String> {
        match self {
            Place::Object(map) => map
                .shift_remove(key)
                .ok_or_else(|| format!("Unable to remove nonexistent key: {key}: missing value")),
            Place::Array(items) => {
                let at = within(index(key)?, items.len())?;
                Ok(items.remove(at))
            }
        }
    }
}

/// The object or array that holds what `path` names, and its key there.
fn find<'a>(doc: &'a mut Value, path: &str) -> Option<(Place<'a>, String)> {
    let (parents, key) = path.split_once('/')?.1.rsplit_once('/').map_or_else(
        || (None, path.split_once('/').map_or("", |(_, key)| key)),
        |(parents, key)| (Some(parents), key),
    );
    let mut place = Place::of(doc)?;
    for part in parents.into_iter().flat_map(|p| p.split('/')) {
        let part = unescape(part);
        let next = match place {
            Place::Object(map) => map.get_mut(&part)?,
            Place::Array(items) => {
                let at = within(index(&part).ok()?, items.len()).ok()?;
                &mut items[at]
            }
        };
        place = Place::of(next)?;
    }
    Some((place, unescape(key)))
}

fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

fn index(key: &str) -> Result<i64, String> {
    let digits = key.strip_prefix(['+', '-']).unwrap_or(key);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("strconv.Atoi: parsing {key:?}: invalid syntax"));
    }
    key.parse().map_err(|_| format!("strconv.Atoi: parsing {key:?}: value out of range"))
}

fn within(index: i64, len: usize) -> Result<usize, String> {
    let invalid = || format!("Unable to access invalid index: {index}: invalid index referenced");
    let len = i64::try_from(len).map_err(|_| invalid())?;
    let at = if index < 0 { index.checked_add(len).ok_or_else(invalid)? } else { index };
    if (0..len).contains(&at) { usize::try_from(at).map_err(|_| invalid()) } else { Err(invalid()) }
}
