//! Metadata: what a client may say of it, and what the server says.

use orlop_core::Scope;
use serde_json::{Map, Value};

use super::admit::Call;
use super::likeness::Drawn;
use crate::status::{Cause, Status};
use crate::strategy::Strategy;
use crate::tree::{copy, metadata, text};

/// As many letters of a generated name come from its prefix at most.
const PREFIX_MAX: usize = 58;
const SUFFIX: usize = 5;

/// Names the namespace of an object that is written, or refuses one that contradicts the path.
pub(super) fn check_namespace(call: &Call<'_>, value: &mut Value) -> Result<(), Status> {
    let given = text(value, &["metadata", "namespace"]).to_owned();
    let meta = metadata(value);
    match call.kind().scope {
        Scope::Cluster => {
            meta.shift_remove("namespace");
        }
        Scope::Namespaced if given.is_empty() => {
            meta.insert("namespace".into(), call.key.namespace.as_str().into());
        }
        Scope::Namespaced if given == call.key.namespace => {}
        Scope::Namespaced => {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    }
    Ok(())
}

/// The name in the body must be the one in the path.
pub(super) fn check_name(call: &Call<'_>, value: &Value) -> Result<(), Status> {
    let (given, path) = (text(value, &["metadata", "name"]), call.key.name.as_str());
    if given.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({path} based on URL) was undeterminable: name must be provided"
        )));
    }
    if given != path {
        return Err(Status::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({path})"
        )));
    }
    Ok(())
}

/// Prepares the metadata of a new object: its name, identity, time of creation.
pub(super) fn prepare_new(call: &mut Call<'_>, value: &mut Value, strategy: Strategy) -> Result<(), Status> {
    check_namespace(call, value)?;
    let version = text(value, &["metadata", "resourceVersion"]);
    if !matches!(version, "" | "0") {
        return Err(Status::plain("resourceVersion should not be set on objects to be created"));
    }
    let (given, prefix) = (
        text(value, &["metadata", "name"]).to_owned(),
        text(value, &["metadata", "generateName"]).to_owned(),
    );
    let name = match (given.as_str(), prefix.as_str()) {
        // A LimitRange needs none of its own.
        ("", "") if call.kind().plural == "limitranges" && call.kind().group.is_empty() => {
            call.entropy.uuid().to_string()
        }
        ("", "") => {
            let cause = Cause::required("metadata.name", "name or generateName is required");
            return Err(call.invalid(vec![cause]));
        }
        ("", prefix) => {
            let mut end = prefix.len().min(PREFIX_MAX);
            while !prefix.is_char_boundary(end) {
                end -= 1;
            }
            let mut name = format!("{}{}", &prefix[..end], call.entropy.suffix(SUFFIX));
            call.drawn.push(Drawn::Suffix(SUFFIX));
            // A name that is taken is not worth an error yet.
            for _ in 0..8 {
                call.key.name = name.as_str().into();
                if call.current()?.is_none() {
                    break;
                }
                name = format!("{}{}", &prefix[..end], call.entropy.suffix(SUFFIX));
            }
            name
        }
        (given, _) => given.to_owned(),
    };
    call.key.name = name.as_str().into();
    let uid = call.entropy.uuid();
    call.drawn.push(Drawn::Uid);
    let now = call.now.to_string();
    let meta = metadata(value);
    for field in ["resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        meta.shift_remove(field);
    }
    meta.insert("name".into(), name.into());
    meta.insert("uid".into(), uid.as_str().into());
    meta.insert("creationTimestamp".into(), now.into());
    if strategy.generation {
        meta.insert("generation".into(), 1.into());
    }
    Ok(())
}

/// Keeps what an update may not change: identity, times, generation.
pub(super) fn keep(old: &Value, value: &mut Value) {
    let old = old.get("metadata").and_then(Value::as_object);
    let meta = metadata(value);
    for field in ["uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        copy(meta, old.and_then(|o| o.get(field)), field);
    }
    meta.shift_remove("selfLink");
}

/// What is applied or patched onto an object may not say that it is another.
pub(super) fn check_uid(call: &Call<'_>, uid: &str, old: Option<&Value>) -> Result<(), Status> {
    if old.is_none_or(|old| uid.is_empty() || uid == text(old, &["metadata", "uid"])) {
        return Ok(());
    }
    let cause = Cause::invalid("metadata.uid", &uid.into(), "field is immutable");
    // It contradicts both the object's metadata and what an update may change.
    Err(call.invalid(vec![cause.clone(), cause]))
}

/// The preconditions in the body of an update: UID and `resourceVersion`. Answers with the latter, where given.
pub(super) fn check_preconditions(
    call: &Call<'_>,
    value: &Value,
    old: &Map<String, Value>,
    strategy: Strategy,
) -> Result<(), Status> {
    let uid = text(value, &["metadata", "uid"]);
    let current = old.get("uid").and_then(Value::as_str).unwrap_or_default();
    if !uid.is_empty() && uid != current {
        return Err(call.conflict(&precondition(call, "UID", uid, current)?));
    }
    let version = text(value, &["metadata", "resourceVersion"]);
    let Some(asked) = revision(version)? else {
        if strategy.unconditional_update {
            return Ok(());
        }
        let kind = call.kind();
        let cause = Cause::invalid("metadata.resourceVersion", &0.into(), "must be specified for an update");
        return Err(Status::invalid(&kind.group, &kind.plural, &call.key.name, vec![cause]));
    };
    if old.get("resourceVersion").and_then(Value::as_str) != Some(asked.to_string().as_str()) {
        return Err(call.stale());
    }
    Ok(())
}

/// A `resourceVersion` of a body; `None` where it asks for nothing.
pub(super) fn revision(text: &str) -> Result<Option<u64>, Status> {
    match text {
        "" | "0" => Ok(None),
        text => match text.parse() {
            Ok(n) => Ok(Some(n)),
            Err(_) => Err(Status::plain(format!("strconv.ParseUint: parsing \"{text}\": invalid syntax"))),
        },
    }
}

/// How Kubernetes' storage says that a precondition does not hold.
pub(super) fn precondition(call: &Call<'_>, what: &str, asked: &str, found: &str) -> Result<String, Status> {
    Ok(format!(
        "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: {what} in precondition: {asked}, {what} in object meta: {found}",
        call.storage_key()?
    ))
}

/// Marks an object as being deleted. Answers whether it was not before.
pub(super) fn mark_deleted(
    value: &mut Value,
    at: orlop_core::Timestamp,
    grace_seconds: Option<i64>,
    bump: bool,
) -> bool {
    let meta = metadata(value);
    let fresh = meta.get("deletionTimestamp").is_none_or(Value::is_null);
    if fresh && bump {
        let generation = meta.get("generation").and_then(Value::as_i64).unwrap_or_default();
        if generation > 0 {
            meta.insert("generation".into(), (generation + 1).into());
        }
    }
    meta.insert("deletionTimestamp".into(), at.to_string().into());
    if let Some(grace) = grace_seconds {
        meta.insert("deletionGracePeriodSeconds".into(), grace.into());
    }
    fresh
}

/// An owner counts once, however often it is named.
pub(super) fn name_owners_once(value: &mut Value) {
    let Some(Value::Array(owners)) = metadata(value).get_mut("ownerReferences") else { return };
    let mut seen: Vec<String> = Vec::new();
    owners.retain(|owner| {
        let uid = text(owner, &["uid"]).to_owned();
        let new = !seen.contains(&uid);
        seen.push(uid);
        new
    });
}
