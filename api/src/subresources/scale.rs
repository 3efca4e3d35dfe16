//! How many replicas something has, in one form for every kind that has replicas.

use orlop_core::rules::LabelSelector;
use orlop_core::store::Entry;
use orlop_core::{Kind, Name, Stored};
use serde_json::{Map, Value, json};

use crate::local::{Admitted, Answer, Call, body, hooks, write};
use crate::managed_fields::{self, FieldSet, Managers, Operation, Writer};
use crate::request::{Body, PatchType};
use crate::status::{Cause, Status};
use crate::tree::{at, metadata, object, text};

const SCALE: Kind = Kind::namespaced("autoscaling", "v1", "Scale", "scales");

/// Where an object keeps its replicas.
struct Paths {
    spec: Vec<String>,
    status: Vec<String>,
    /// Of a text; empty where the selector is the object's own.
    selector: Vec<String>,
    custom: bool,
}

fn split(path: &str) -> Vec<String> {
    path.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn paths(call: &Call<'_>) -> Paths {
    match call.served.custom(call.kind()).and_then(|c| c.scale.clone()) {
        Some(scale) => Paths {
            spec: split(&scale.spec_replicas),
            status: split(&scale.status_replicas),
            selector: split(&scale.selector),
            custom: true,
        },
        None => Paths {
            spec: split("spec.replicas"),
            status: split("status.replicas"),
            selector: Vec::new(),
            custom: false,
        },
    }
}

fn find<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, field| value.get(field))
}

fn put(value: &mut Value, path: &[String], to: Value) {
    match path {
        [] => {}
        [last] => {
            if let Some(map) = value.as_object_mut() {
                map.insert(last.clone(), to);
            }
        }
        [field, rest @ ..] => {
            object(value, field);
            put(&mut value[field.as_str()], rest, to);
        }
    }
}

/// The Scale of an object. `strict`: an absent number of replicas is an error.
fn scale_of(paths: &Paths, tree: &Value, strict: bool) -> Result<Value, Status> {
    let replicas = find(tree, &paths.spec).and_then(Value::as_i64);
    if replicas.is_none() && paths.custom && strict {
        return Err(Status::internal(&format!(
            "the spec replicas field \".{}\" does not exist",
            paths.spec.join(".")
        )));
    }
    let mut spec = Map::new();
    if let Some(replicas) = replicas.filter(|n| *n != 0) {
        spec.insert("replicas".into(), replicas.into());
    }
    let mut status = Map::new();
    let current = find(tree, &paths.status).and_then(Value::as_i64).unwrap_or_default();
    status.insert("replicas".into(), current.into());
    let selector = selector(paths, tree);
    if !selector.is_empty() {
        status.insert("selector".into(), selector.into());
    }
    let mut meta = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = at(tree, &["metadata", field]) {
            meta.insert(field.into(), value.clone());
        }
    }
    Ok(
        json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec, "status": status}),
    )
}

fn selector(paths: &Paths, tree: &Value) -> String {
    if paths.custom {
        return find(tree, &paths.selector).and_then(Value::as_str).unwrap_or_default().to_owned();
    }
    let selector = &tree["spec"]["selector"];
    let structured = if tree["kind"] == "ReplicationController" {
        json!({"matchLabels": selector})
    } else {
        selector.clone()
    };
    serde_json::from_value::<LabelSelector>(structured)
        .ok()
        .and_then(|s| s.to_selector().ok())
        .map(|s| s.to_string())
        .unwrap_or_default()
}

/// Notes in `value` who owns the replicas after a Scale was written.
///
/// Owners are kept of the Scale, which is then translated: nobody is noted if nobody was before; a Scale of 0 has no
/// field, so that it takes it from all; and the writer's own entry has no time.
pub(crate) fn own(call: &Call<'_>, live: &Value, value: &mut Value, by: &Writer<'_>) {
    let paths = paths(call);
    let count = |tree: &Value| find(tree, &paths.spec).and_then(Value::as_i64).unwrap_or_default();
    let (before, after) = (count(live), count(value));
    let mut field = FieldSet::default();
    field.insert(paths.spec.iter().map(|part| Name::from(format!("f:{part}"))));
    let mut managers = Managers::read(&managed_fields::take(value).unwrap_or_default());
    let owned = managers.entries.iter().any(|entry| !entry.set.intersection(&field).is_empty());
    if owned && before != after {
        for entry in &mut managers.entries {
            entry.set.subtract(&field);
        }
        if after != 0 {
            managers.own(by, Operation::Update, field);
            managers.forget_time(by, Operation::Update);
        }
        managers.entries.retain(|entry| !entry.set.is_empty());
    }
    managed_fields::put(value, managers.to_value());
}

/// Reads a Scale.
pub(crate) fn get(call: &mut Call<'_>) -> Result<Admitted, Status> {
    let entry = call.existing()?;
    let scale = scale_of(&paths(call), &call.tree(&entry.object), true)?;
    Ok(call.answer(200, Answer::Value(SCALE, scale, false)))
}

/// Replaces a Scale.
pub(crate) fn update(call: &mut Call<'_>, given: Option<&Body>) -> Result<Admitted, Status> {
    let expect = body::Expect { kind: "Scale", group: "autoscaling", version: "v1", custom: false };
    let scale = body::object(given, expect, &call.served.scheme)?.value;
    let name = text(&scale, &["metadata", "name"]);
    if name != call.key.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.key.name
        )));
    }
    let entry = call.existing()?;
    set(call, &entry, &scale)
}

/// Changes a Scale.
pub(crate) fn patch(call: &mut Call<'_>, ty: PatchType, given: Option<&Body>) -> Result<Admitted, Status> {
    if ty == PatchType::Apply && call.resource.custom {
        return Err(Status::plain(format!(
            "failed to convert new object (/{}; autoscaling/v1, Kind=Scale) to proper version: request to convert CR to an invalid group/version: autoscaling/v1",
            call.key.name
        )));
    }
    let patch = body::decode(given, &call.served.scheme, orlop_core::codec::decode_untyped_json)
        .map_err(Status::bad_request)?
        .value;
    let entry = call.existing()?;
    let old = scale_of(&paths(call), &call.tree(&entry.object), false)?;
    let scale = match ty {
        PatchType::Strategic | PatchType::Apply => {
            hooks::patch(call.resource, PatchType::Merge, &old, patch)?
        }
        ty => hooks::patch(call.resource, ty, &old, patch)?,
    };
    set(call, &entry, &scale)
}

fn set(call: &mut Call<'_>, entry: &Entry, scale: &Value) -> Result<Admitted, Status> {
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or_default();
    // What a custom kind's object must not be, its own validation says.
    if replicas < 0 && !call.resource.custom {
        let cause = Cause::invalid("spec.replicas", &replicas.into(), "must be greater than or equal to 0");
        return Err(Status::invalid("autoscaling", "Scale", &call.key.name, vec![cause]));
    }
    let paths = paths(call);
    let old = call.tree(&entry.object);
    let mut scale = scale.clone();
    let before = scale_of(&paths, &old, false)?;
    crate::local::observe(call, crate::admission::Operation::Update, &SCALE, &mut scale, Some(&before))?;
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or_default();
    let mut new = old.clone();
    let meta = metadata(&mut new);
    for field in ["uid", "resourceVersion"] {
        crate::tree::copy(meta, at(&scale, &["metadata", field]), field);
    }
    // A Scale may always be replaced as a whole.
    if text(&scale, &["metadata", "resourceVersion"]).is_empty() {
        crate::tree::copy(meta, at(&old, &["metadata", "resourceVersion"]), "resourceVersion");
    }
    put(&mut new, &paths.spec, replicas.into());
    let mut admitted = write::replace(call, entry, &old, new)?;
    let (stored, written) = match admitted.answer {
        Answer::Written(_, body) => (Stored { body, revision: entry.object.revision }, true),
        Answer::Stored(_, stored) => (stored, false),
        other => {
            admitted.answer = other;
            return Ok(admitted);
        }
    };
    let scale = scale_of(&paths, &stored.to_value(), false)?;
    admitted.answer = Answer::Value(SCALE, scale, written);
    Ok(admitted)
}
