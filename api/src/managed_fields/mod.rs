//! Who owns which fields: `metadata.managedFields`, on every write.
//!
//! Every write notes what it changed, in the name of its manager ([`update_on_write`]); server-side apply
//! ([`crate::apply`]) reads from these notes which fields it may change, and which it is to remove. A write that
//! changes nothing costs one walk over the object.

mod compare;
mod entries;
mod merge;
mod set;
mod typed;

use orlop_core::Timestamp;
use orlop_core::schema::{Schema, StructId};
use serde_json::{Value, json};

pub use set::{FieldSet, path_text};

pub(crate) use compare::compare;
pub(crate) use entries::{Managers, Operation};
pub(crate) use merge::{merge, remove};
pub(crate) use typed::{At, blank, promote, to_set};

use crate::patch::{DEPTH_MAX, deeper_than};

/// Who writes, how and when.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The field manager's name, `kubectl-edit`.
    pub manager: &'a str,
    /// The version in which the object is written, `apps/v1`.
    pub api_version: &'a str,
    /// `status`, `scale`, …; empty for the object itself.
    pub subresource: &'a str,
    /// The time of the write.
    pub now: Timestamp,
    /// Top-level fields that this write does not change, whatever it says: `status` for a write of the object itself,
    /// `spec` for one of its status.
    pub reset: &'a [&'a str],
}

/// Brings `managedFields` of `after` up to date with an ordinary write: a create (`before` is `None`), an update, or a
/// patch other than an apply.
///
/// What the write has changed belongs to its manager and to nobody else; what it has removed, to nobody. A client that
/// sends no `managedFields` changes nothing about them; one that sends a single empty entry forgets them all. An
/// object that has none, and is not new, gets none: tracking begins with creation, or with the first apply.
pub fn update_on_write(
    before: Option<&Value>,
    after: &mut Value,
    by: &Writer<'_>,
    schema: &Schema,
    ty: StructId,
) {
    let sent = take(after).filter(|sent| sent.as_array().is_none_or(|entries| entries.iter().all(readable)));
    let (known, tracked) = match before {
        None => (sent.unwrap_or_default(), true),
        Some(before) => {
            let live = before["metadata"]["managedFields"].clone();
            match sent {
                Some(sent) if is_reset(&sent) => (Value::Null, false),
                Some(sent) if sent.as_array().is_some_and(|entries| !entries.is_empty()) => (sent, true),
                _ => {
                    let tracked = live.as_array().is_some_and(|entries| !entries.is_empty());
                    (live, tracked)
                }
            }
        }
    };
    if !tracked || deeper_than(after, DEPTH_MAX) || before.is_some_and(|v| deeper_than(v, DEPTH_MAX)) {
        return;
    }
    let blank;
    let before = match before {
        Some(before) => before,
        None => {
            blank = typed::blank(schema, ty);
            &blank
        }
    };
    record(before, after, &known, by, schema, ty);
}

/// Whether an entry is one that a server may have written; if one is not, none count.
fn readable(entry: &Value) -> bool {
    let operation = matches!(entry["operation"].as_str(), Some("Apply" | "Update"));
    let form = matches!(entry["fieldsType"].as_str(), Some("FieldsV1"));
    // An empty entry is how clients ask to forget all.
    operation && form || entry.as_object().is_some_and(serde_json::Map::is_empty)
}

/// Writes into `after` who owns what, `known` being who did before.
pub(crate) fn record(
    before: &Value,
    after: &mut Value,
    known: &Value,
    by: &Writer<'_>,
    schema: &Schema,
    ty: StructId,
) {
    let mut found = compare(At::root(schema, ty), before, after);
    for set in [&mut found.added, &mut found.modified, &mut found.removed] {
        strip(set);
        ignore(set, by.reset);
    }
    if found.is_same() {
        return put(after, known.clone());
    }
    let mut managers = Managers::read(known);
    let changed = found.changed();
    for entry in &mut managers.entries {
        entry.set.subtract(&changed);
        entry.set.subtract(&found.removed);
    }
    if !changed.is_empty() {
        managers.own(by, Operation::Update, changed);
    }
    managers.cap_updaters();
    put(after, managers.to_value());
}

/// Whether the object can be told apart into fields.
///
/// # Errors
/// A sentence, where the schema does not know a field or a list's item has no key.
pub fn check(object: &Value, schema: &Schema, ty: StructId) -> Result<(), String> {
    if deeper_than(object, DEPTH_MAX) {
        return Err(format!("exceeded max depth of {DEPTH_MAX}"));
    }
    to_set(At::root(schema, ty), object, true).map(drop)
}

/// Takes the field out of the object.
pub(crate) fn take(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.shift_remove("managedFields")
}

/// Puts the field into the object; nothing, where there is nothing to say.
pub(crate) fn put(object: &mut Value, managed: Value) {
    if managed.as_array().is_none_or(Vec::is_empty) {
        return;
    }
    if let Some(object) = object.as_object_mut()
        && let Some(meta) = object.entry("metadata").or_insert_with(|| json!({})).as_object_mut()
    {
        meta.insert("managedFields".into(), managed);
    }
}

fn is_reset(managed: &Value) -> bool {
    managed.as_array().is_some_and(|entries| {
        entries.len() == 1 && entries[0].as_object().is_some_and(serde_json::Map::is_empty)
    })
}

/// Takes out what nobody owns: what identifies the object and what the server writes.
pub(crate) fn strip(set: &mut FieldSet) {
    const META: [&str; 9] = [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ];
    let mut stripped = FieldSet::default();
    for name in ["apiVersion", "kind", "metadata"] {
        stripped.insert([set::field(name)]);
    }
    for name in META {
        stripped.insert([set::field("metadata"), set::field(name)]);
    }
    set.subtract(&stripped);
}

/// Takes out all below these top-level fields.
pub(crate) fn ignore(set: &mut FieldSet, fields: &[&str]) {
    for name in fields {
        set.prune(&set::field(name));
    }
}
