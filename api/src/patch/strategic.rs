//! Strategic merge patches.

use orlop_core::schema::{Schema, StructId};
use serde_json::Value;

use super::list::{
    DELETE_FROM, PATCH, RETAIN_KEYS, SET_ORDER, as_object, bad_type, dedup_scalars, holds_objects, is_delete,
    merge_key, no_merge_key, position, same_type,
};
use super::lookup::{At, Rule};
use super::order::{By, agrees_with_order, arrange};
use super::{Object, PatchError, check_depth, into_object, spelt};

/// Merges the patch into the target, whose type is `ty`: objects field by field, lists as the schema says, with the
/// directives `$patch`, `$retainKeys`, `$setElementOrder/FIELD` and `$deleteFromPrimitiveList/FIELD`.
///
/// # Errors
/// As Kubernetes: `BadRequest` for malformed directives, `Internal` where the patch does not fit the schema.
pub fn strategic(target: Value, patch: Value, schema: &Schema, ty: StructId) -> Result<Value, PatchError> {
    check_depth(&[&target, &patch])?;
    let (target, patch) = (into_object(target)?, into_object(patch)?);
    merge_map(target, patch, At::root(schema, ty), Mode::Apply).map(Value::Object)
}

/// What is merged into what.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// A patch into an object: directives are obeyed, nulls remove.
    Apply,
    /// A patch into a patch: directives and nulls are kept.
    Combine,
}

pub(super) fn merge_map(
    mut target: Object,
    mut patch: Object,
    at: At<'_>,
    mode: Mode,
) -> Result<Object, PatchError> {
    if let Some(directive) = patch.get(PATCH) {
        return match directive.as_str() {
            Some("replace") => {
                patch.shift_remove(PATCH);
                Ok(patch)
            }
            Some("delete") => Ok(Object::new()),
            _ => {
                let directive = spelt(directive);
                let patch = spelt(&Value::Object(patch));
                Err(PatchError::Internal(format!("unknown patch type: {directive} in map: {patch}")))
            }
        };
    }
    retain_keys(&mut target, &mut patch, mode)?;
    merge_ordered(&mut target, &mut patch, at, mode)?;
    for (key, mut value) in patch {
        let (mut key, mut deletes) = (key, false);
        if key.starts_with(DELETE_FROM) {
            if mode == Mode::Combine {
                target.insert(key, value);
                continue;
            }
            key = field_of(&key, DELETE_FROM, "primitive list")?.to_owned();
            deletes = true;
        }
        if value.is_null() {
            target.shift_remove(&key);
            if mode == Mode::Apply {
                continue;
            }
        }
        let Some(old) = target.get_mut(&key) else {
            if !deletes {
                if mode == Mode::Apply {
                    discard_nulls(&mut value);
                    match without_directives(value) {
                        Some(value) => target.insert(key, value),
                        None => continue,
                    };
                } else {
                    target.insert(key, value);
                }
            }
            continue;
        };
        if !same_type(old, &value) {
            if !deletes {
                if mode == Mode::Apply {
                    discard_nulls(&mut value);
                }
                *old = value;
            }
            continue;
        }
        *old = match (old.take(), value) {
            (Value::Object(old), Value::Object(value)) => {
                let rule = at.object(&key)?;
                Value::Object(if rule.replace { value } else { merge_map(old, value, rule.below, mode)? })
            }
            (Value::Array(old), Value::Array(value)) => {
                let rule = at.list(&key)?;
                Value::Array(merge_field(old, value, rule, deletes, mode)?)
            }
            (_, value) => value,
        };
    }
    Ok(target)
}

fn merge_field(
    old: Vec<Value>,
    patch: Vec<Value>,
    rule: Rule<'_>,
    deletes: bool,
    mode: Mode,
) -> Result<Vec<Value>, PatchError> {
    match rule.merge || deletes {
        true => merge_list(old, patch, rule, deletes, mode),
        false => Ok(patch),
    }
}

fn merge_list(
    mut old: Vec<Value>,
    mut patch: Vec<Value>,
    rule: Rule<'_>,
    deletes: bool,
    mode: Mode,
) -> Result<Vec<Value>, PatchError> {
    if old.is_empty() && patch.is_empty() {
        return Ok(old);
    }
    let by = By { key: rule.key, objects: holds_objects(&[&old, &patch])? };
    let merged = if by.objects {
        if rule.key.is_empty() {
            let name = rule.below.name();
            return Err(PatchError::Internal(format!("cannot merge lists without merge key for {name}")));
        }
        (old, patch) = obey(old, patch, rule.key)?;
        let mut merged = old.clone();
        for item in &patch {
            let key = merge_key(item, rule.key)?;
            match position(&merged, rule.key, key)? {
                Some(place) => {
                    let (Value::Object(a), Value::Object(b)) = (merged[place].take(), item.clone()) else {
                        return Err(bad_type("map[string]interface {}", item));
                    };
                    merged[place] = Value::Object(merge_map(a, b, rule.below, mode)?);
                }
                None => merged.push(item.clone()),
            }
        }
        merged
    } else {
        if mode == Mode::Apply && deletes {
            old.retain(|item| !patch.contains(item));
            return Ok(old);
        }
        let mut both: Vec<_> = old.iter().chain(&patch).cloned().collect();
        dedup_scalars(&mut both);
        both
    };
    arrange(merged, &patch, &old, by)
}

/// Carries out the `$patch` directives of a list: what is left of the old list, and of the patch.
fn obey(mut old: Vec<Value>, patch: Vec<Value>, key: &str) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut replace = false;
    for item in patch {
        let map = as_object(&item)?;
        match map.get(PATCH).map(|directive| directive.as_str()) {
            None => plain.push(item),
            Some(Some("delete")) => {
                let value = map.get(key).ok_or_else(|| no_merge_key(map, key))?;
                while let Some(place) = position(&old, key, value)? {
                    old.remove(place);
                }
            }
            Some(Some("replace")) => replace = true,
            Some(Some("merge")) => {
                let text = "merging lists cannot yet be specified in the patch";
                return Err(PatchError::Internal(text.into()));
            }
            Some(_) => {
                let directive = map.get(PATCH).map(spelt).unwrap_or_default();
                let text = format!("unknown patch type: {directive} in map: {}", spelt(&item));
                return Err(PatchError::Internal(text));
            }
        }
    }
    Ok(if replace { (plain, Vec::new()) } else { (old, plain) })
}

fn retain_keys(target: &mut Object, patch: &mut Object, mode: Mode) -> Result<(), PatchError> {
    let Some(keys) = patch.shift_remove(RETAIN_KEYS) else { return Ok(()) };
    if mode == Mode::Combine {
        return match target.get(RETAIN_KEYS) {
            Some(other) if *other != keys => Err(PatchError::Internal(format!(
                "{} and {} are not deep equal: this may happen when calculating the 3-way diff patch",
                spelt(other),
                spelt(&keys)
            ))),
            Some(_) => Ok(()),
            None => {
                target.insert(RETAIN_KEYS.into(), keys);
                Ok(())
            }
        };
    }
    let bad = || PatchError::BadRequest("invalid patch format of retainKeys".into());
    let keys = keys.as_array().ok_or_else(bad)?;
    let kept = |key: &str| keys.iter().any(|k| k == key);
    let directive = |key: &str| key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER);
    if patch.iter().any(|(key, value)| !value.is_null() && !directive(key) && !kept(key)) {
        return Err(bad());
    }
    target.retain(|key, _| kept(key));
    Ok(())
}

/// Merges the lists for which the patch gives an order, and takes them out of the patch.
fn merge_ordered(target: &mut Object, patch: &mut Object, at: At<'_>, mode: Mode) -> Result<(), PatchError> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let order = patch.shift_remove(&directive).unwrap_or_default();
        if mode == Mode::Combine {
            match target.get(&directive) {
                Some(other) if *other != order => {
                    let text = "invalid patch format of setElementOrder list";
                    return Err(PatchError::BadRequest(text.into()));
                }
                Some(_) => {}
                None => {
                    target.insert(directive.clone(), order.clone());
                }
            }
        }
        let Value::Array(order) = order else { return Err(bad_type("[]interface {}", &order)) };
        let field = field_of(&directive, SET_ORDER, "setElementOrder list")?;
        let list = |map: &Object| match map.get(field) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items.clone())),
            Some(other) => Err(bad_type("[]interface {}", other)),
        };
        let (old, new) = (list(target)?, list(patch)?);
        let rule = at.list(field)?;
        if !agrees_with_order(new.as_deref().unwrap_or_default(), &order, rule.key)? {
            return Err(PatchError::Internal(format!(
                "The order in patch list:\n{}\n doesn't match {SET_ORDER} list:\n{}\n",
                spelt(&Value::Array(new.unwrap_or_default())),
                spelt(&Value::Array(order))
            )));
        }
        let merged = match (&old, &new) {
            (None, None) => continue,
            (Some(old), None) => old.clone(),
            (None, Some(new)) => match without_directives(Value::Array(new.clone())) {
                Some(Value::Array(items)) => items,
                _ => continue,
            },
            (Some(old), Some(new)) => merge_field(old.clone(), new.clone(), rule, false, mode)?,
        };
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        let by = By { key: rule.key, objects: holds_objects(&[&old, &new])? };
        let server = if by.objects { left_behind(&old, &new, by.key) } else { old };
        target.insert(field.to_owned(), Value::Array(arrange(merged, &order, &server, by)?));
        patch.shift_remove(field);
    }
    Ok(())
}

/// What a merge in place leaves of the old list, by which the order of the result is then decided.
///
/// The original deletes by moving items down and appends into the space that this frees, while the old list is still
/// being looked at through its old length; lists grow by doubling, and one that must grow moves elsewhere. This shows
/// in the recorded results: an item that is new may take the place of one that the same patch deletes.
fn left_behind(old: &[Value], patch: &[Value], key: &str) -> Vec<Value> {
    let (mut items, mut used) = (old.to_vec(), old.len());
    let of = |item: &Value| item.get(key).cloned();
    let place = |items: &[Value], key| items.iter().position(|item| of(item) == key);
    for item in patch.iter().filter(|item| is_delete(item)) {
        while let Some(at) = place(&items[..used], of(item)) {
            for i in at + 1..used {
                items[i - 1] = items[i].clone();
            }
            used -= 1;
        }
    }
    let replaced = patch.iter().any(|item| item.get(PATCH).is_some_and(|d| d == "replace"));
    if used < old.len() && !replaced {
        for item in patch.iter().filter(|item| item.get(PATCH).is_none()) {
            if place(&items[..used], of(item)).is_none() {
                if used == old.len().next_power_of_two() {
                    break;
                }
                items.truncate(used.max(old.len()));
                match items.get_mut(used) {
                    Some(place) => *place = item.clone(),
                    None => items.push(item.clone()),
                }
                used += 1;
            }
        }
    }
    items.truncate(old.len());
    items
}

/// The field that a parallel list such as `$setElementOrder/containers` speaks of.
fn field_of<'k>(key: &'k str, prefix: &str, what: &str) -> Result<&'k str, PatchError> {
    match key.split_once('/') {
        Some((before, field)) if before == prefix => Ok(field),
        _ => Err(PatchError::BadRequest(format!("invalid patch format of {what}"))),
    }
}

fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(discard_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}

/// The value without whatever below it has a `$patch` directive; `None` where that is the value itself.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(PATCH) => None,
        Value::Object(map) => Some(Value::Object(
            map.into_iter().filter_map(|(k, v)| without_directives(v).map(|v| (k, v))).collect(),
        )),
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(without_directives).collect())),
        other => Some(other),
    }
}
