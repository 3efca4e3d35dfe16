//! Laying a configuration over an object, and taking fields out of one.

use orlop_core::Name;
use orlop_core::schema::ListType;
use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::{Map, Value};

use super::set::{FieldSet, field};
use super::typed::{At, Shape};

/// The live object with the configuration over it.
pub(crate) fn merge(at: At<'_>, live: &Value, config: &Value) -> Value {
    both(at, Some(live), Some(config)).unwrap_or_default()
}

fn both(at: At<'_>, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    let over = || config.or(live).cloned();
    let count = |v: Option<&Value>| match v {
        Some(Value::Object(map)) => map.len(),
        Some(Value::Array(items)) => items.len(),
        _ => 0,
    };
    if count(live) == 0 && count(config) == 0 {
        return over();
    }
    let plain = |v: Option<&Value>| v.is_some_and(|v| !v.is_object() && !v.is_array() && !v.is_null());
    match at.shape(live, config) {
        Shape::Leaf => over(),
        _ if plain(live) || plain(config) => over(),
        Shape::List(list) => {
            let items = |v: Option<&Value>| v.and_then(Value::as_array).cloned().unwrap_or_default();
            Some(Value::Array(lists(at, list, &items(live), &items(config))))
        }
        Shape::Object => {
            let (live, config) = (live.and_then(Value::as_object), config.and_then(Value::as_object));
            let mut merged = Map::new();
            for (name, value) in live.into_iter().flatten() {
                let over = config.and_then(|map| map.get(name));
                let value = match at.child(name) {
                    Some((_, below)) => both(below, Some(value), over),
                    None => over.or(Some(value)).cloned(),
                };
                merged.extend(value.map(|value| (name.clone(), value)));
            }
            for (name, value) in config.into_iter().flatten() {
                if live.is_none_or(|map| !map.contains_key(name)) {
                    let value = match at.child(name) {
                        Some((_, below)) => both(below, None, Some(value)),
                        None => Some(value.clone()),
                    };
                    merged.extend(value.map(|value| (name.clone(), value)));
                }
            }
            Some(Value::Object(merged))
        }
    }
}

/// Both lists in one: shared items in the configuration's order, others near where they were.
fn lists(at: At<'_>, list: &ListType, live: &[Value], config: &[Value]) -> Vec<Value> {
    let indexed = |items: &[Value]| -> Vec<(Name, Value)> {
        items.iter().filter_map(|item| Some((at.element(list, item).ok()?.into(), item.clone()))).collect()
    };
    let (left, right) = (indexed(live), indexed(config));
    // Items that occur more than once have nothing to merge with.
    let mut of_left: FxHashMap<&Name, Option<&Value>> = FxHashMap::default();
    for (part, value) in &left {
        of_left.entry(part).and_modify(|v| *v = None).or_insert(Some(value));
    }
    let of_right: FxHashMap<&Name, &Value> = right.iter().map(|(part, value)| (part, value)).collect();
    let mut shared = right.iter().map(|(part, _)| part).filter(|part| of_left.contains_key(*part));
    let mut next = shared.next();
    let mut done: FxHashSet<&Name> = FxHashSet::default();
    let mut out = Vec::with_capacity(left.len().max(right.len()));
    let mut take = |part: &Name, left: Option<&Value>, right: Option<&Value>| {
        let _ = part;
        out.extend(both(at.items(list), left, right));
    };
    let (mut i, mut j) = (0, 0);
    while i < left.len() || j < right.len() {
        if i < left.len() && j < right.len() {
            let part = &left[i].0;
            if *part == right[j].0 {
                done.insert(part);
                take(part, of_left[part], of_right.get(part).copied());
                i += 1;
                j += 1;
                next = shared.next();
                continue;
            }
            if of_right.contains_key(part) && next.is_some_and(|next| next != part) {
                i += 1;
                continue;
            }
        }
        if i < left.len() {
            let part = &left[i].0;
            if !of_right.contains_key(part) {
                take(part, Some(&left[i].1), None);
                i += 1;
                continue;
            }
            if done.contains(part) {
                i += 1;
            }
        }
        if j < right.len() {
            let part = &right[j].0;
            done.insert(part);
            take(part, of_left.get(part).copied().flatten(), of_right.get(part).copied());
            j += 1;
            if next == Some(part) {
                next = shared.next();
            }
        }
    }
    out
}

/// The object without these fields; `None` where nothing is left of it. An object of which nothing is left stays as an
/// empty one, a list as null.
pub(crate) fn remove(at: At<'_>, value: &Value, fields: &FieldSet) -> Option<Value> {
    match (at.shape(Some(value), None), value) {
        (Shape::Object, Value::Object(map)) => {
            let mut kept = Map::new();
            for (name, value) in map {
                let part = field(name);
                if fields.has(&part) {
                    continue;
                }
                let value = match (fields.below(&part), at.child(name)) {
                    (Some(below), Some((_, ty))) => remove(ty, value, below),
                    _ => Some(value.clone()),
                };
                kept.extend(value.map(|value| (name.clone(), value)));
            }
            Some(Value::Object(kept))
        }
        (Shape::List(list), Value::Array(items)) => {
            let mut kept = Vec::new();
            for item in items {
                let Ok(part) = at.element(list, item) else {
                    kept.push(item.clone());
                    continue;
                };
                if fields.has(&part) {
                    continue;
                }
                match fields.below(&part) {
                    Some(below) => kept.extend(remove(at.items(list), item, below)),
                    None => kept.push(item.clone()),
                }
            }
            Some(if kept.is_empty() { Value::Null } else { Value::Array(kept) })
        }
        (Shape::Leaf, Value::Object(_) | Value::Array(_)) => None,
        (_, other) => Some(other.clone()),
    }
}
