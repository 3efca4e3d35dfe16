//! Server-side apply: a client says which fields it wants, and owns them.
//!
//! `apply(live, config) -> object`: the configuration is laid over the live object; what the same manager applied last
//! time and no longer does is removed, unless others own it too; what others own and this would change is a conflict,
//! unless forced, when it changes hands.

use std::collections::BTreeMap;

use orlop_core::schema::{Schema, StructId};
use serde_json::{Value, json};

use crate::managed_fields::{
    At, FieldSet, Managers, Operation, Writer, compare, ignore, merge, path_text, promote, put, remove,
    strip, take, to_set,
};
use crate::patch::{DEPTH_MAX, deeper_than};
use crate::status::Cause;
use crate::tree::sorted;

/// Why an apply was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ApplyError {
    /// Others own fields that this would change: 409, `Conflict`; one cause for each field.
    #[error("{message}")]
    Conflict {
        /// The sentence for people.
        message: String,
        /// The fields, with their managers.
        causes: Vec<Cause>,
    },
    /// It is no configuration: 400, `BadRequest`.
    #[error("{0}")]
    BadRequest(String),
    /// It does not fit the schema; Kubernetes answers 500 with this text.
    #[error("{0}")]
    Schema(String),
}

/// The manager of what was there before the first apply, where nobody had been noted.
const BEFORE: &str = "before-first-apply";

/// The manager that applied on the client's side before it did on the server's.
const KUBECTL: &str = "kubectl";
/// Where it kept what it had applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The most that annotations may hold, in bytes.
const ANNOTATIONS_MAX: usize = 256 * 1024;

/// The fields that kubectl applied on the client's side and that still are as it left them: over these it has no
/// conflict when it goes over to applying on the server's.
fn last_applied(at: At<'_>, live: &Value) -> Option<FieldSet> {
    let text = live["metadata"]["annotations"][LAST_APPLIED].as_str()?;
    let applied: Value = serde_json::from_str(text).ok()?;
    let mut set = to_set(at, &applied, true).ok()?;
    let found = compare(at, &applied, live);
    for other in [&found.modified, &found.added, &found.removed] {
        set.subtract(other);
    }
    Some(set)
}

/// Brings the annotation of an object that was once applied on the client's side up to date, for clients that still do.
fn note_applied(object: &mut Value, config: &Value) {
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(LAST_APPLIED);
    }
    let mut text = sorted(&config).to_string();
    text.push('\n');
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        if text.len() + LAST_APPLIED.len() > ANNOTATIONS_MAX {
            annotations.shift_remove(LAST_APPLIED);
        } else {
            annotations.insert(LAST_APPLIED.into(), text.into());
        }
    }
}

/// Applies the configuration in the manager's name; answers the whole object with its `managedFields`. An answer equal
/// to `live` means that nothing changes, and nothing is to be written.
///
/// # Errors
/// [`ApplyError::Conflict`] unless `force`; the others where the configuration is at fault.
pub fn apply(
    live: Option<&Value>,
    config: &Value,
    by: &Writer<'_>,
    force: bool,
    schema: &Schema,
    ty: StructId,
) -> Result<Value, ApplyError> {
    apply_over(&json!({}), live, config, by, force, schema, ty)
}

/// [`apply`], where everything that `blank` has belongs to nobody: what a type always writes, however empty.
pub(crate) fn apply_over(
    blank: &Value,
    live: Option<&Value>,
    config: &Value,
    by: &Writer<'_>,
    force: bool,
    schema: &Schema,
    ty: StructId,
) -> Result<Value, ApplyError> {
    let at = At::root(schema, ty);
    let mut config = config.clone();
    if take(&mut config).is_some_and(|sent| sent.as_array().is_none_or(|entries| !entries.is_empty())) {
        return Err(ApplyError::BadRequest("metadata.managedFields must be nil".into()));
    }
    if deeper_than(&config, DEPTH_MAX) || live.is_some_and(|live| deeper_than(live, DEPTH_MAX)) {
        return Err(ApplyError::BadRequest(format!("exceeded max depth of {DEPTH_MAX}")));
    }
    let set = to_set(at, &config, false).map_err(|error| {
        ApplyError::Schema(format!("failed to create typed patch object ({}): {error}", described(&config)))
    })?;
    if let Some(config) = config.as_object_mut() {
        for field in by.reset {
            config.shift_remove(*field);
        }
    }
    let unchanged = live;
    let mut live = live.cloned().unwrap_or_else(|| json!({}));
    let noted = take(&mut live).unwrap_or_default();
    let mut managers = Managers::read(&noted);
    if managers.entries.is_empty() && unchanged.is_some_and(|live| !live["metadata"].is_null()) {
        let mut set = compare(at, blank, &live).changed();
        strip(&mut set);
        let before = Writer { manager: BEFORE, subresource: "", ..*by };
        managers.own(&before, Operation::Update, set);
    }
    let last = managers.find(by, Operation::Apply).cloned();
    let others: Vec<bool> = {
        let own = last.as_ref();
        managers.entries.iter().map(|entry| Some(entry) != own).collect()
    };
    let mut owned = set.clone();
    ignore(&mut owned, by.reset);
    let merged = merge(at, &live, &config);
    let mut managed = owned.clone();
    for (entry, _) in managers.entries.iter().zip(&others).filter(|(_, other)| **other) {
        managed.extend(&entry.set);
    }
    let result = match &last {
        Some(last) if !last.set.is_empty() => {
            without_nulls(prune(at, &merged, &last.set, managed)).unwrap_or_else(|| json!({}))
        }
        _ => merged,
    };

    // A null that pruning has swept away was none of anybody's fields: whoever owns it still does.
    let pruned = last.as_ref().is_some_and(|last| !last.set.is_empty());
    let bare = if pruned { without_nulls(live.clone()) } else { None };
    let found = compare(at, bare.as_ref().unwrap_or(&live), &result);
    let changed = found.changed();
    let mut conflicts = Vec::new();
    for (entry, _) in managers.entries.iter().zip(&others).filter(|(_, other)| **other) {
        let set = entry.set.intersection(&changed);
        if !set.is_empty() {
            conflicts.push((entry.name(), set));
        }
    }
    if !force && !conflicts.is_empty() {
        if let Some(own) = unchanged.filter(|_| by.manager == KUBECTL).and_then(|live| last_applied(at, live))
        {
            for (_, set) in &mut conflicts {
                set.subtract(&own);
            }
            conflicts.retain(|(_, set)| !set.is_empty());
        }
        if !conflicts.is_empty() {
            return Err(conflict(&conflicts));
        }
    }
    for (entry, _) in managers.entries.iter_mut().zip(&others).filter(|(_, other)| **other) {
        entry.set.subtract(&changed);
        entry.set.subtract(&found.removed);
    }
    strip(&mut owned);
    let same = result == live
        && last.as_ref().is_some_and(|last| last.set == owned && last.api_version == by.api_version);
    if !same {
        if let Some(last) = &last {
            managers.entries.retain(|entry| entry != last);
        }
        managers.own(by, Operation::Apply, owned);
    }
    let mut result = result;
    if by.manager == KUBECTL
        && unchanged.is_some_and(|live| live["metadata"]["annotations"][LAST_APPLIED].is_string())
    {
        note_applied(&mut result, &config);
    }
    put(&mut result, managers.to_value());
    Ok(match unchanged {
        Some(live) if *live == result => live.clone(),
        _ => result,
    })
}

/// Takes out what the manager applied last time, then puts back what it still applies or others own, and what it never
/// owned.
fn prune(at: At<'_>, merged: &Value, last: &FieldSet, mut managed: FieldSet) -> Value {
    let promoted = |mut set: FieldSet| {
        promote(&mut set, at);
        set
    };
    let fields = |object: &Value| promoted(to_set(at, object, true).unwrap_or_default());
    let without = |set: &FieldSet| remove(at, merged, set).unwrap_or_else(|| json!({}));

    let last = promoted(last.clone());
    let all = fields(merged);
    let pruned = without(&last);

    promote(&mut managed, at);
    let mut gone = all.clone();
    gone.subtract(&fields(&pruned));
    gone.subtract(&managed);
    let pruned = without(&gone);

    let mut gone = all;
    gone.subtract(&fields(&pruned));
    without(&gone.intersection(&last))
}

/// Drops nulls, and what held nothing else.
fn without_nulls(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(map) if !map.is_empty() => {
            let kept: serde_json::Map<_, _> =
                map.into_iter().filter_map(|(k, v)| without_nulls(v).map(|v| (k, v))).collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Value::Array(items) => Some(items.into_iter().filter_map(without_nulls).collect()),
        other => Some(other),
    }
}

fn conflict(conflicts: &[(String, FieldSet)]) -> ApplyError {
    let mut causes = Vec::new();
    let mut by_manager: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (manager, set) in conflicts {
        set.for_each(&mut |path| {
            let field = path_text(path);
            by_manager.entry(manager).or_default().push(field.clone());
            causes.push(Cause {
                reason: "FieldManagerConflict".into(),
                message: format!("conflict with {manager}"),
                field,
            });
        });
    }
    let message = match causes.as_slice() {
        [cause] => format!("Apply failed with 1 conflict: {}: {}", cause.message, cause.field),
        _ => {
            let mut lines = Vec::new();
            for (manager, fields) in &by_manager {
                lines.push(format!("conflicts with {manager}:"));
                lines.extend(fields.iter().map(|field| format!("- {field}")));
            }
            format!("Apply failed with {} conflicts: {}", causes.len(), lines.join("\n"))
        }
    };
    ApplyError::Conflict { message, causes }
}

/// The object as messages name it: `default/web; apps/v1, Kind=Deployment`.
fn described(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let version = text(&object["apiVersion"]);
    let version = if version.contains('/') { version } else { format!("/{version}") };
    format!(
        "{}/{}; {version}, Kind={}",
        text(&object["metadata"]["namespace"]),
        text(&object["metadata"]["name"]),
        text(&object["kind"])
    )
}
