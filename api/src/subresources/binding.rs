//! Giving a pod to a node.

use serde_json::{Value, json};

use crate::local::{Admitted, Answer, Call, body};
use crate::request::Body;
use crate::status::Status;
use crate::tree::{at, items, metadata, object, text};

/// Binds a pod. Not to be undone: a pod that is bound stays where it is.
pub(crate) fn create(call: &mut Call<'_>, given: Option<&Body>) -> Result<Admitted, Status> {
    let expect = body::Expect { kind: "Binding", group: "", version: "v1", custom: false };
    let binding = body::object(given, expect, &call.served.scheme)?.value;
    let name = text(&binding, &["metadata", "name"]);
    if call.key.name.is_empty() {
        call.key.name = name.into();
    } else if name != call.key.name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
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
    let mut pod = call.tree(&entry.object);
    let name = call.key.name.clone();
    let refuse = |why: String| Status::conflict("", "pods/binding", &name, &why);
    if entry.object.body.header().deleted.is_some() {
        return Err(refuse(format!("pod {name} is being deleted, cannot be assigned to a host")));
    }
    let bound = text(&pod, &["spec", "nodeName"]);
    if !bound.is_empty() {
        return Err(refuse(format!("pod {name} is already assigned to node \"{bound}\"")));
    }
    if !items(&pod, &["spec", "schedulingGates"]).is_empty() {
        return Err(refuse(format!("pod {name} has non-empty .spec.schedulingGates")));
    }
    object(&mut pod, "spec").insert("nodeName".into(), node.into());
    for field in ["annotations", "labels"] {
        let Some(Value::Object(more)) = at(&binding, &["metadata", field]) else { continue };
        let meta = metadata(&mut pod);
        let place = meta.entry(field.to_owned()).or_insert(Value::Null);
        if !place.is_object() {
            *place = json!({});
        }
        for (key, value) in more {
            place[key.as_str()] = value.clone();
        }
    }
    copy_topology(call, node, &mut pod);
    let condition = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": call.now.to_string()});
    let mut conditions = items(&pod, &["status", "conditions"]).to_vec();
    match conditions.iter_mut().find(|c| c["type"] == "PodScheduled") {
        Some(known) if known["status"] == "True" => {}
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
    object(&mut pod, "status").insert("conditions".into(), conditions.into());
    let body = call.encode(&pod)?;
    let txn = call.put(body, Some(&entry))?;
    Ok(Admitted { txn, ..call.answer(201, Answer::Status(Status::success(201, None))) })
}

/// Pods carry where their node stands, so that what runs in them can know (KEP-4742).
fn copy_topology(call: &Call<'_>, node: &str, pod: &mut Value) {
    let Some(node) = call.view.get(&format!("/registry/minions/{node}")) else { return };
    for label in ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"] {
        let Some(value) = node.object.body.label(label) else { continue };
        let labels = metadata(pod).entry("labels").or_insert(Value::Null);
        if !labels.is_object() {
            *labels = json!({});
        }
        labels[label] = value.into();
    }
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
