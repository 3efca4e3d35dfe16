//! The order of merged lists: as the patch says, with what only the server knows in between, near its old neighbours.

use serde_json::Value;

use super::PatchError;
use super::list::{as_object, is_delete, merge_key, position};

/// How to tell items: by their merge key, or, for scalars, by value.
#[derive(Clone, Copy)]
pub(super) struct By<'a> {
    pub(super) key: &'a str,
    pub(super) objects: bool,
}

impl By<'_> {
    fn tag<'v>(&self, item: &'v Value) -> &'v Value {
        if self.objects { item.get(self.key).unwrap_or(&Value::Null) } else { item }
    }

    fn index(&self, list: &[Value], item: &Value) -> Option<usize> {
        list.iter().position(|other| self.tag(other) == self.tag(item))
    }
}

/// `merged` in order: `wanted` orders the items that it names, `server` those that it doesn't.
pub(super) fn arrange(
    merged: Vec<Value>,
    wanted: &[Value],
    server: &[Value],
    by: By<'_>,
) -> Result<Vec<Value>, PatchError> {
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for item in merged {
        let found = match by.key.is_empty() {
            true => wanted.contains(&item),
            false => position(wanted, by.key, merge_key(&item, by.key)?)?.is_some(),
        };
        if found { named.push(item) } else { others.push(item) }
    }
    let named = sorted_by(named, wanted, by)?;
    let others = sorted_by(others, server, by)?;
    Ok(interleave(others, named, server, by))
}

/// `items` in the order that they have in `order`; deletions go last.
pub(super) fn sorted_by(
    mut items: Vec<Value>,
    order: &[Value],
    by: By<'_>,
) -> Result<Vec<Value>, PatchError> {
    let mut deletions = Vec::new();
    if by.objects {
        for item in items.iter().chain(order) {
            merge_key(item, by.key)?;
        }
        (deletions, items) = items.into_iter().partition(is_delete);
    }
    let places: Vec<_> = items.iter().map(|item| by.index(order, item)).collect();
    if places.iter().all(Option::is_some) {
        let mut indexed: Vec<_> = places.into_iter().zip(items).collect();
        indexed.sort_by_key(|(place, _)| *place);
        items = indexed.into_iter().map(|(_, item)| item).collect();
    } else {
        // An item without a place goes before all that precede it, as in the original's insertion sort.
        let mut sorted: Vec<(Option<usize>, Value)> = Vec::with_capacity(items.len());
        for (place, item) in places.into_iter().zip(items) {
            let before = |other: Option<usize>| match (place, other) {
                (Some(a), Some(b)) => a < b,
                _ => true,
            };
            let mut at = sorted.len();
            while at > 0 && before(sorted[at - 1].0) {
                at -= 1;
            }
            sorted.insert(at, (place, item));
        }
        items = sorted.into_iter().map(|(_, item)| item).collect();
    }
    items.extend(deletions);
    Ok(items)
}

/// Puts each of `left` before the first of `right` that follows it in `server`; both keep their own order.
fn interleave(left: Vec<Value>, right: Vec<Value>, server: &[Value], by: By<'_>) -> Vec<Value> {
    let mut all = Vec::with_capacity(left.len() + right.len());
    let mut left = left.into_iter().peekable();
    for item in right {
        let limit = by.index(server, &item);
        while let Some(other) = left.peek() {
            match (by.index(server, other), limit) {
                (Some(place), Some(limit)) if place < limit => all.extend(left.next()),
                _ => break,
            }
        }
        all.push(item);
    }
    all.extend(left);
    all
}

/// Whether `$setElementOrder` names the items of the patch in their order.
pub(super) fn agrees_with_order(patch: &[Value], order: &[Value], key: &str) -> Result<bool, PatchError> {
    if order.is_empty() || patch.is_empty() {
        return Ok(true);
    }
    let mut order = order.iter();
    for item in patch {
        if !key.is_empty() && as_object(item).map(|_| is_delete(item))? {
            continue;
        }
        loop {
            match order.next() {
                None => return Ok(false),
                Some(other) if super::list::same_item(item, other, key)? => break,
                Some(_) => {}
            }
        }
    }
    Ok(true)
}
