//! Metadata, the same for all kinds.

use orlop_core::rules::names;
use serde_json::Value;

use super::common::{immutable, labels, path_segment};
use super::error::Errors;
use super::path::{Path, Read};

const META: Path<'static> = Path::root("metadata");
const ANNOTATIONS_MAX: usize = 256 * 1024;

/// The rules of a new object's metadata; `name` says what its name must be like.
pub(super) fn create(e: &mut Errors, object: &Value, name: fn(&str) -> Vec<String>) {
    let meta = &object["metadata"];
    let prefix = meta.text("generateName");
    if !prefix.is_empty() {
        // The prefix may end where a name may not: more follows.
        let masked = match prefix.strip_suffix('-') {
            Some(start) => format!("{start}a"),
            None => prefix.to_owned(),
        };
        e.rule(META.field("generateName"), prefix, name(&masked));
    }
    match meta.text("name") {
        "" if prefix.is_empty() => {
            e.required(META.field("name"), "name or generateName is required");
        }
        "" => {}
        text => e.rule(META.field("name"), text, name(text)),
    }
    common(e, meta);
}

/// What is asked of every kind's metadata, whatever else its own rules ask.
pub(super) fn generic(e: &mut Errors, object: &Value) {
    create(e, object, path_segment);
}

fn common(e: &mut Errors, meta: &Value) {
    if meta.int("generation") < 0 {
        e.invalid(META.field("generation"), &meta["generation"], super::common::NOT_NEGATIVE);
    }
    labels(e, META.field("labels"), &meta["labels"]);
    annotations(e, META.field("annotations"), &meta["annotations"]);
    owners(e, meta);
    let at = META.field("finalizers");
    let finalizers = meta.list("finalizers");
    for name in finalizers.iter().filter_map(Value::as_str) {
        finalizer(e, at, name);
    }
    if finalizers.iter().any(|f| f == "orphan") && finalizers.iter().any(|f| f == "foregroundDeletion") {
        e.invalid(at, &meta["finalizers"], "finalizer foregroundDeletion and orphan cannot be both set");
    }
}

/// Who must agree before an object goes.
pub(super) fn finalizer(e: &mut Errors, at: Path<'_>, name: &str) {
    e.rule(at, name, names::label_key(name));
    let known = ["kubernetes", "orphan", "foregroundDeletion"].contains(&name);
    if !name.contains('/') && !known {
        e.invalid_text(at, name, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

pub(super) fn annotations(e: &mut Errors, at: Path<'_>, annotations: &Value) {
    let Some(annotations) = annotations.as_object() else { return };
    let mut size = 0;
    for (key, value) in annotations {
        e.rule(at, key, names::label_key(&key.to_lowercase()));
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_MAX {
        e.too_long(at, ANNOTATIONS_MAX);
    }
}

fn owners(e: &mut Errors, meta: &Value) {
    let list = META.field("ownerReferences");
    let mut controller: Option<&Value> = None;
    for owner in meta.list("ownerReferences") {
        let version = owner.text("apiVersion");
        let parts: Vec<&str> = version.split('/').collect();
        if version.is_empty() || parts.len() > 2 || parts.last() == Some(&"") {
            e.invalid_text(list.field("apiVersion"), version, "version must not be empty");
        }
        for field in ["kind", "name", "uid"] {
            if owner.text(field).is_empty() {
                e.invalid_text(list.field(field), "", "must not be empty");
            }
        }
        if (version, owner.text("kind")) == ("v1", "Event") {
            e.invalid(list, owner, "/v1, Kind=Event is disallowed from being an owner");
        }
        if owner.is_true("controller") {
            if let Some(other) = controller {
                let text = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {}/{} and {}/{}",
                    other.text("kind"),
                    other.text("name"),
                    owner.text("kind"),
                    owner.text("name")
                );
                e.invalid(list, &meta["ownerReferences"], &text);
            }
            controller = Some(owner);
        }
    }
}

/// Which rules of metadata a kind's own validation of a change repeats, beside those that are asked of every kind. Who
/// reads the causes sees each complaint as often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Again {
    /// Those of a change.
    #[default]
    Change,
    /// Those of a new object.
    New,
    /// Both.
    Both,
    /// None.
    Never,
}

/// The rules of a change of metadata.
pub(super) fn update(e: &mut Errors, old: &Value, new: &Value) {
    let (old, new) = (&old["metadata"], &new["metadata"]);
    if old.has("deletionTimestamp") {
        let mut added: Vec<&str> = new
            .list("finalizers")
            .iter()
            .filter(|f| !old.list("finalizers").contains(f))
            .filter_map(Value::as_str)
            .collect();
        added.sort_unstable();
        added.dedup();
        if !added.is_empty() {
            let added: Vec<String> = added.into_iter().map(orlop_core::rules::quote::go_quoted).collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            );
            e.forbidden(META.field("finalizers"), &why);
        }
    }
    if new.int("generation") < old.int("generation") {
        e.invalid(META.field("generation"), &new["generation"], "must not be decremented");
    }
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        immutable(e, META.field(field), &old[field], &new[field]);
    }
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        if old.has(field) || new.has(field) {
            immutable(e, META.field(field), &old[field], &new[field]);
        }
    }
    labels(e, META.field("labels"), &new["labels"]);
    annotations(e, META.field("annotations"), &new["annotations"]);
    owners(e, new);
}
