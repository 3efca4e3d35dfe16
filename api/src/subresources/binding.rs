//! Giving a pod to a node.

use orlop_core::codec::{Change, peek};
use orlop_core::{Kind, Name};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::admission::Operation;
use crate::local::{Admitted, Answer, Call, body, observe};
use crate::request::Body;
use crate::status::Status;
use crate::tree::{at, text};

const BINDING: Kind = Kind::namespaced("", "v1", "Binding", "bindings");

/// What a binding depends on.
const FIELDS: [(&str, &str); 5] = [
    ("spec", "nodeName"),
    ("spec", "schedulingGates"),
    ("status", "conditions"),
    ("metadata", "annotations"),
    ("metadata", "labels"),
];

/// Binds a pod. Not to be undone: a pod that is bound stays where it is.
pub(crate) fn create(call: &mut Call<'_>, given: Option<&Body>) -> Result<Admitted, Status> {
    let expect = body::Expect { kind: "Binding", group: "", version: "v1", custom: false };
    let mut binding = body::object(given, expect, &call.served.scheme)?.value;
    let name = text(&binding, &["metadata", "name"]);
    if call.key.name.is_empty() {
        call.key.name = name.into();
    } else if name != call.key.name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    observe(call, Operation::Create, &BINDING, &mut binding, None)?;
    let target = &binding["target"];
    let kind = text(target, &["kind"]);
    if !matches!(kind, "" | "Node") {
        return Err(Status::plain(format!(
            "target.kind: Unsupported value: \"{kind}\": supported values: \"Node\", \"<empty>\""
        )));
    }
    let node = text(target, &["name"]);
    if node.is_empty() {
        return Err(Status::plain("target.name: Required value"));
    }
    let entry = call.existing()?;
    check_preconditions(call, &binding, &entry.object)?;
    let encoded;
    let seen = match peek(&entry.object.body, FIELDS) {
        Some(seen) => Some(seen),
        // It came into the store by another way than this API.
        None => {
            encoded = call.encode(&call.tree(&entry.object))?;
            peek(&encoded, FIELDS)
        }
    };
    let Some([bound, gates, conditions, annotations, labels]) = seen else {
        return Err(Status::internal("the pod has no form that can be read"));
    };
    let name = call.key.name.clone();
    let refuse = |why: String| Status::conflict("", "pods/binding", &name, &why);
    if entry.object.body.header().deleted.is_some() {
        return Err(refuse(format!("pod {name} is being deleted, cannot be assigned to a host")));
    }
    let bound: Name = read(bound)?;
    if !bound.is_empty() {
        return Err(refuse(format!("pod {name} is already assigned to node \"{bound}\"")));
    }
    if !read::<Vec<Value>>(gates)?.is_empty() {
        return Err(refuse(format!("pod {name} has non-empty .spec.schedulingGates")));
    }
    let mut changes = vec![Change { part: "spec", field: "nodeName", value: node.into() }];
    let given = |field: &str| at(&binding, &["metadata", field]).and_then(Value::as_object);
    if let Some(more) = given("annotations") {
        changes.push(Change {
            part: "metadata",
            field: "annotations",
            value: with(annotations, more.clone())?,
        });
    }
    let more: Map<String, Value> = given("labels")
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone()))
        .chain(topology(call, node))
        .collect();
    if !more.is_empty() {
        changes.push(Change { part: "metadata", field: "labels", value: with(labels, more)? });
    }
    let condition = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": call.now.to_string()});
    let mut conditions: Vec<Value> = read(conditions)?;
    match conditions.iter_mut().find(|c| c["type"] == "PodScheduled") {
        Some(known) if known["status"] == "True" => {}
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
    changes.push(Change { part: "status", field: "conditions", value: conditions.into() });
    let body = call.changed(&entry, changes)?;
    let txn = call.put(body, Some(&entry))?;
    Ok(Admitted { txn, ..call.answer(201, Answer::Status(Status::success(201, None))) })
}

/// A field's value as it is stored; the type's default where it is absent or null.
fn read<T: DeserializeOwned + Default>(field: Option<&[u8]>) -> Result<T, Status> {
    let Some(text) = field else { return Ok(T::default()) };
    let value: Option<T> = serde_json::from_slice(text).map_err(|e| Status::internal(&e.to_string()))?;
    Ok(value.unwrap_or_default())
}

/// A field that is a map, with more in it.
fn with(field: Option<&[u8]>, more: Map<String, Value>) -> Result<Value, Status> {
    let mut map: Map<String, Value> = read(field)?;
    map.extend(more);
    Ok(map.into())
}

/// Pods carry where their node stands, so that what runs in them can know (KEP-4742).
fn topology(call: &Call<'_>, node: &str) -> impl Iterator<Item = (String, Value)> {
    let node = call.view.get(&format!("/registry/minions/{node}"));
    ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"].into_iter().filter_map(move |label| {
        let value = node.as_ref()?.object.body.label(label)?;
        Some((label.to_owned(), value.into()))
    })
}

fn check_preconditions(call: &Call<'_>, binding: &Value, pod: &orlop_core::Stored) -> Result<(), Status> {
    let uid = text(binding, &["metadata", "uid"]);
    let current = pod.body.header().uid.as_str();
    if !uid.is_empty() && uid != current {
        return Err(call.precondition("UID", uid, current));
    }
    let version = text(binding, &["metadata", "resourceVersion"]);
    let current = pod.revision.to_string();
    if !version.is_empty() && version != current {
        return Err(call.precondition("ResourceVersion", version, &current));
    }
    Ok(())
}
