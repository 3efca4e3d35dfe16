//! Who owns which fields: `metadata.managedFields`, on every write.
//!
//! Every write notes what it changed, in the name of its manager ([`update_on_write`]); server-side apply
//! ([`crate::apply`]) reads from these notes which fields it may change, and which it is to remove. A write that
//! changes nothing costs one walk over the object.

mod compare;
mod created;
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
/// sends no `managedFields` changes nothing about them; one that sends a single empty entry forgets them all, which a
/// subresource's client cannot. An object that has none, and is not new, gets none: tracking begins with creation, or
/// with the first apply.
pub fn update_on_write(
    before: Option<&Value>,
    after: &mut Value,
    by: &Writer<'_>,
    schema: &Schema,
    ty: StructId,
) {
    let sent = sent(after).filter(|_| by.subresource.is_empty());
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
    let Some(before) = before else {
        let blank = typed::blank(schema, ty);
        if !known.is_null() {
            return record(&blank, after, &known, by, schema, ty);
        }
        let entries = created::entries(At::root(schema, ty), &blank, after, by);
        if let Some(entries) = entries.and_then(|text| serde_json::from_slice(&text).ok()) {
            put(after, entries);
        }
        return;
    };
    record(before, after, &known, by, schema, ty);
}

/// Takes what the client says of managed fields.
fn sent(object: &mut Value) -> Option<Value> {
    take(object).filter(|sent| sent.as_array().is_none_or(|entries| entries.iter().all(readable)))
}

/// Whether an entry is one that a server may have written; if one is not, none count.
fn readable(entry: &Value) -> bool {
    let operation = matches!(entry["operation"].as_str(), Some("Apply" | "Update"));
    let form = matches!(entry["fieldsType"].as_str(), Some("FieldsV1"));
    // An empty entry is how clients ask to forget all.
    operation && form || entry.as_object().is_some_and(serde_json::Map::is_empty)
}

/// [`update_on_write`] for an object that is created. Answers with `managedFields` as text, if they are new; they are not
/// in `after` then.
pub(crate) fn create(after: &mut Value, by: &Writer<'_>, schema: &Schema, ty: StructId) -> Option<Vec<u8>> {
    let sent = sent(after).unwrap_or_default();
    if deeper_than(after, DEPTH_MAX) {
        return None;
    }
    let blank = typed::blank(schema, ty);
    if !sent.is_null() {
        record(&blank, after, &sent, by, schema, ty);
        return None;
    }
    created::entries(At::root(schema, ty), &blank, after, by)
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

/// The fields of metadata that nobody owns.
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

/// Takes out what nobody owns: what identifies the object and what the server writes.
pub(crate) fn strip(set: &mut FieldSet) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Objects with the fields of pods, of right and of wrong types, and with items that cannot be told apart.
    fn pods() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            Just(json!(0)),
            Just(json!(80)),
            Just(json!("")),
            Just(json!("a\"b")),
            Just(json!("TCP")),
            Just(json!(true)),
            Just(json!({})),
            Just(json!([]))
        ];
        scalar.prop_recursive(5, 60, 4, |inner| {
            const NAMES: [&str; 22] = [
                "name",
                "metadata",
                "labels",
                "uid",
                "spec",
                "containers",
                "ports",
                "containerPort",
                "protocol",
                "resources",
                "limits",
                "cpu",
                "volumes",
                "status",
                "conditions",
                "type",
                "kind",
                "nope",
                "tolerations",
                "securityContext",
                "ownerReferences",
                "finalizers",
            ];
            let name = proptest::sample::select(&NAMES[..]);
            prop_oneof![
                3 => proptest::collection::vec((name, inner.clone()), 0..5).prop_map(|pairs| {
                    Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
                }),
                1 => proptest::collection::vec(inner, 0..4).prop_map(Value::Array),
            ]
        })
    }

    /// A pod whose parts stand where they belong.
    fn whole() -> impl Strategy<Value = Value> {
        let parts = (pods(), pods(), pods(), pods());
        (proptest::collection::vec(parts, 0..3), pods(), pods()).prop_map(|(containers, metadata, status)| {
            let containers: Vec<Value> = containers
                .into_iter()
                .map(|(name, port, other, resources)| {
                    json!({"name": name, "ports": [port.clone(), {"containerPort": other, "protocol": "TCP"}, port],
                        "resources": resources, "nope": 1})
                })
                .collect();
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "status": status,
                "spec": {"containers": containers}})
        })
    }

    proptest! {
        /// What a create owns is what comparing with the blank object finds.
        #[test]
        fn one_walk_finds_what_a_comparison_finds(
            pod in prop_oneof![pods(), whole()],
            reset in prop_oneof![Just(&[][..]), Just(&["status"][..])],
        ) {
            let schema = Schema::builtin();
            let ty = schema.by_kind("", "v1", "Pod").expect("pods are built in");
            let now = Timestamp::from_secs(1);
            let by = Writer { manager: "m", api_version: "v1", subresource: "", now, reset };
            let (mut slow, mut quick) = (pod.clone(), pod);
            take(&mut slow);
            record(&typed::blank(schema, ty), &mut slow, &Value::Null, &by, schema, ty);
            update_on_write(None, &mut quick, &by, schema, ty);
            prop_assert_eq!(slow.to_string(), quick.to_string());
        }
    }
}
