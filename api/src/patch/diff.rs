//! Computing strategic merge patches, as `kubectl apply` and `kubectl edit` do.

use std::cmp::Ordering;

use orlop_core::schema::{Schema, StructId};
use serde_json::Value;

use super::conflict::{maps_conflict, yaml};
use super::list::{
    DELETE_FROM, PATCH, RETAIN_KEYS, SET_ORDER, bad_type, dedup_scalars, holds_objects, merge_key, same_item,
    same_type, sort_scalars,
};
use super::lookup::At;
use super::order::{By, sorted_by};
use super::strategic::{Mode, merge_map};
use super::{Object, PatchError, check_depth, into_object, spelt};

/// Which differences a patch shall carry.
#[derive(Clone, Copy, Default)]
struct Carry {
    changes: bool,
    deletions: bool,
    order: bool,
    retain_keys: bool,
}

/// The patch that turns `original` into `modified`, objects of type `ty`.
///
/// # Errors
/// Where one of them is no object, or a list's item lacks its merge key.
pub fn two_way(
    original: &Value,
    modified: &Value,
    schema: &Schema,
    ty: StructId,
) -> Result<Value, PatchError> {
    let [original, modified] = objects([original, modified])?;
    let all = Carry { changes: true, deletions: true, order: true, ..Carry::default() };
    diff_maps(&original, &modified, At::root(schema, ty), all).map(Value::Object)
}

/// The patch by which `kubectl apply` brings the live object `current` to the manifest `modified`: what the manifest
/// says otherwise, and the removal of what only the manifest applied last (`original`) said.
///
/// # Errors
/// As [`two_way`]; and `Conflict` unless `overwrite`, where others have changed since `original` what this patch
/// changes too.
pub fn three_way(
    original: &Value,
    modified: &Value,
    current: &Value,
    overwrite: bool,
    schema: &Schema,
    ty: StructId,
) -> Result<Value, PatchError> {
    let [original, modified, current] = objects([original, modified, current])?;
    let at = At::root(schema, ty);
    let changes = Carry { changes: true, order: true, ..Carry::default() };
    let changes = diff_maps(&current, &modified, at, changes)?;
    let deletions = Carry { deletions: true, order: true, ..Carry::default() };
    let deletions = diff_maps(&original, &modified, at, deletions)?;
    let patch = merge_map(deletions, changes, at, Mode::Combine)?;
    if !overwrite {
        let all = Carry { changes: true, deletions: true, ..Carry::default() };
        let others = diff_maps(&original, &current, at, all)?;
        if maps_conflict(&patch, &others, at)? {
            return Err(PatchError::Conflict(format!(
                "patch:\n{}\nconflicts with changes made from original to current:\n{}\n",
                yaml(&Value::Object(patch)),
                yaml(&Value::Object(others))
            )));
        }
    }
    Ok(Value::Object(patch))
}

fn objects<const N: usize>(values: [&Value; N]) -> Result<[Object; N], PatchError> {
    check_depth(&values)?;
    let mut objects: [Object; N] = std::array::from_fn(|_| Object::new());
    for (object, value) in objects.iter_mut().zip(values) {
        *object = into_object(value.clone())?;
    }
    Ok(objects)
}

fn diff_maps(original: &Object, modified: &Object, at: At<'_>, carry: Carry) -> Result<Object, PatchError> {
    let mut patch = Object::new();
    let mut retained = Vec::new();
    for (key, new) in modified {
        if carry.retain_keys && !new.is_null() {
            retained.push(Value::String(key.clone()));
        }
        let Some(old) = original.get(key) else {
            if carry.changes {
                patch.insert(key.clone(), new.clone());
            }
            continue;
        };
        if key == PATCH {
            if !old.is_string() || !new.is_string() {
                return Err(PatchError::Internal(format!("invalid value for special key: {PATCH}")));
            }
            if old != new {
                patch.insert(key.clone(), new.clone());
            }
            continue;
        }
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => diff_object(key, old, new, &mut patch, at, carry)?,
            (Value::Array(old), Value::Array(new)) => diff_list(key, old, new, &mut patch, at, carry)?,
            _ => {
                if carry.changes && (old != new || !same_type(old, new)) {
                    patch.insert(key.clone(), new.clone());
                }
            }
        }
    }
    if carry.deletions {
        for key in original.keys().filter(|key| !modified.contains_key(*key)) {
            patch.insert(key.clone(), Value::Null);
        }
    }
    let cleared = || original.iter().any(|(key, old)| !old.is_null() && !modified.contains_key(key));
    if !retained.is_empty() && (!patch.is_empty() || cleared()) {
        sort_scalars(&mut retained);
        patch.insert(RETAIN_KEYS.into(), Value::Array(retained));
    }
    Ok(patch)
}

fn diff_object(
    key: &str,
    old: &Object,
    new: &Object,
    patch: &mut Object,
    at: At<'_>,
    carry: Carry,
) -> Result<(), PatchError> {
    let rule = match at.object(key) {
        Ok(rule) => rule,
        Err(_) if old == new => return Ok(()),
        Err(error) => return Err(error),
    };
    if rule.replace {
        if carry.changes {
            patch.insert(key.to_owned(), Value::Object(new.clone()));
        }
        return Ok(());
    }
    let carry = Carry { retain_keys: rule.retain_keys, ..carry };
    let below = diff_maps(old, new, rule.below, carry)?;
    if !below.is_empty() {
        patch.insert(key.to_owned(), Value::Object(below));
    }
    Ok(())
}

fn diff_list(
    key: &str,
    old: &[Value],
    new: &[Value],
    patch: &mut Object,
    at: At<'_>,
    carry: Carry,
) -> Result<(), PatchError> {
    let rule = match at.list(key) {
        Ok(rule) => rule,
        Err(_) if old == new => return Ok(()),
        Err(error) => return Err(error),
    };
    if !rule.merge {
        if carry.changes && old != new {
            patch.insert(key.to_owned(), Value::Array(new.to_vec()));
        }
        return Ok(());
    }
    if old.is_empty() {
        if !new.is_empty() && carry.changes {
            patch.insert(key.to_owned(), Value::Array(new.to_vec()));
        }
        return Ok(());
    }
    let by = By { key: rule.key, objects: holds_objects(&[old, new])? };
    let carry = Carry { retain_keys: rule.retain_keys, ..carry };
    let (items, deletions, order) = if by.objects {
        let (items, deletions) = diff_items(old, new, rule.key, rule.below, carry)?;
        let mut items = sorted_by(items, new, by)?;
        let mut same_order = old.len() == new.len();
        if same_order {
            for (a, b) in old.iter().zip(new) {
                same_order &= same_item(a, b, rule.key)?;
                if !same_order {
                    break;
                }
            }
        }
        items.extend(deletions);
        let wanted = carry.order && (!items.is_empty() || carry.changes && !same_order);
        let order = if wanted { keys_of(new, rule.key)? } else { Vec::new() };
        (items, Vec::new(), order)
    } else {
        let (items, deletions, sorted) = diff_scalars(old, new, carry);
        let items = sorted_by(items, new, by)?;
        let wanted = carry.order && (!deletions.is_empty() || carry.changes && sorted != new);
        (items, deletions, if wanted { new.to_vec() } else { Vec::new() })
    };
    let mut put = |key: String, list: Vec<Value>| {
        if !list.is_empty() {
            patch.insert(key, Value::Array(list));
        }
    };
    put(key.to_owned(), items);
    put(format!("{DELETE_FROM}/{key}"), deletions);
    put(format!("{SET_ORDER}/{key}"), order);
    Ok(())
}

fn keys_of(items: &[Value], key: &str) -> Result<Vec<Value>, PatchError> {
    let only = |item| {
        let mut map = Object::new();
        map.insert(key.to_owned(), merge_key(item, key)?.clone());
        Ok(Value::Object(map))
    };
    items.iter().map(only).collect()
}

/// Changed and new items, and directives for the deleted ones.
fn diff_items(
    old: &[Value],
    new: &[Value],
    key: &str,
    at: At<'_>,
    carry: Carry,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    // Items of one key go in reverse, as the original's comparison has it.
    let keyed = |items: &[Value]| {
        let tag = |item: &Value| spelt(item.get(key).unwrap_or(&Value::Null));
        let mut items: Vec<_> = items.iter().rev().map(|item| (tag(item), item.clone())).collect();
        items.sort_by(|a, b| a.0.cmp(&b.0));
        items
    };
    let (old, new) = (keyed(old), keyed(new));
    let (mut patch, mut deletions) = (Vec::new(), Vec::new());
    let (mut i, mut j) = (0, 0);
    loop {
        for (_, item) in old.get(i).into_iter().chain(new.get(j)) {
            merge_key(item, key)?;
        }
        let order = match (old.get(i), new.get(j)) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.0.cmp(&b.0),
        };
        match order {
            Ordering::Equal => {
                let (Value::Object(a), Value::Object(b)) = (&old[i].1, &new[j].1) else {
                    return Err(bad_type("map[string]interface {}", &old[i].1));
                };
                let mut below = diff_maps(a, b, at, carry)?;
                if !below.is_empty() {
                    below.insert(key.to_owned(), merge_key(&new[j].1, key)?.clone());
                    patch.push(Value::Object(below));
                }
                i += 1;
                j += 1;
            }
            Ordering::Greater => {
                if carry.changes {
                    patch.push(new[j].1.clone());
                }
                j += 1;
            }
            Ordering::Less => {
                if carry.deletions {
                    let mut directive = Object::new();
                    directive.insert(PATCH.into(), "delete".into());
                    directive.insert(key.to_owned(), merge_key(&old[i].1, key)?.clone());
                    deletions.push(Value::Object(directive));
                }
                i += 1;
            }
        }
    }
    Ok((patch, deletions))
}

/// New scalars, deleted ones, and the old ones sorted: the original sorts them in place before it asks whether the
/// order has changed, and so do we.
fn diff_scalars(old: &[Value], new: &[Value], carry: Carry) -> (Vec<Value>, Vec<Value>, Vec<Value>) {
    let (mut old, mut new) = (old.to_vec(), new.to_vec());
    sort_scalars(&mut old);
    sort_scalars(&mut new);
    let (mut items, mut deletions) = (Vec::new(), Vec::new());
    let (mut i, mut j) = (0, 0);
    loop {
        let order = match (old.get(i), new.get(j)) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => spelt(a).cmp(&spelt(b)),
        };
        if order == Ordering::Less && carry.deletions {
            deletions.push(old[i].clone());
        }
        if order == Ordering::Greater && carry.changes {
            items.push(new[j].clone());
        }
        i += usize::from(order != Ordering::Greater);
        j += usize::from(order != Ordering::Less);
    }
    dedup_scalars(&mut deletions);
    (items, deletions, old)
}
