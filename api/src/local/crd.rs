//! Definitions of custom kinds: their names are accepted, they are served, and at the end their objects go with them.

use orlop_core::store::{Compare, Entry, Op, Txn, View};
use orlop_core::{Kind, Name, Timestamp};
use serde_json::{Value, json};

use super::convert;
use super::delete::CLEANUP;
use super::served::{DEFINITIONS, Served};
use crate::crd::approval::{self, Approval};
use crate::tree::{at, items, metadata, object, text};

const DEFINITION: Kind =
    Kind::cluster("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions");

/// Says of a definition in one of Kubernetes' own groups whether it was approved.
const CONFORMANT: &str = "KubernetesAPIApprovalPolicyConformant";
/// As many objects go in one transaction.
const BATCH: usize = 500;

/// The next step that a definition needs; `None`: it is as it should be, or waits for others.
pub(super) fn settle(name: &Name, view: &dyn View, served: &Served, now: Timestamp) -> Option<Txn> {
    let key = format!("{DEFINITIONS}{name}");
    let entry = view.get(&key)?;
    let mut tree = entry.object.to_value();
    if entry.object.body.header().deleted.is_some() {
        return end(&entry, &mut tree, view, served, now);
    }
    accept(&entry, &mut tree, view, served, now)
}

fn write(entry: &Entry, tree: &Value, served: &Served) -> Option<Op> {
    let resource = served.scheme.storage(&DEFINITION)?;
    let body = convert::encode(served, resource, tree).ok()?;
    (body.bytes() != entry.object.body.bytes()).then(|| Op::Put(entry.key.clone(), body))
}

fn unchanged(entry: &Entry) -> Compare {
    Compare { key: entry.key.clone(), revision: entry.object.revision }
}

/// Sets conditions, accepted names and stored versions.
fn accept(entry: &Entry, tree: &mut Value, view: &dyn View, served: &Served, now: Timestamp) -> Option<Txn> {
    let (names, clash) = accepted(entry, tree, view);
    let status = object(tree, "status");
    let mut conditions = status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let established = conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True");
    let mut set = |ty: &str, ok: bool, reason: &str, message: &str| {
        let status = if ok { "True" } else { "False" };
        let condition = json!({"type": ty, "status": status, "lastTransitionTime": now.to_string(),
            "reason": reason, "message": message});
        match conditions.iter_mut().find(|c| c["type"] == ty) {
            Some(known) if known["status"] == status => {}
            Some(known) => *known = condition,
            None => conditions.push(condition),
        }
    };
    match &clash {
        None => {
            set("NamesAccepted", true, "NoConflicts", "no conflicts found");
            set("Established", true, "InitialNamesAccepted", "the initial names have been accepted");
        }
        Some((reason, message)) => {
            set("NamesAccepted", false, reason, message);
            if !established {
                set("Established", false, "NotAccepted", "not all names are accepted");
            }
        }
    }
    let approval = match approval::of(tree) {
        Approval::NotNeeded => None,
        Approval::Missing => Some((
            "False",
            "MissingAnnotation",
            "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111".to_owned(),
        )),
        Approval::Approved(url) => Some(("True", "ApprovedAnnotation", format!("approved in {url}"))),
        Approval::Bypassed(note) => Some(("False", "UnapprovedAnnotation", format!("not approved: {note:?}"))),
        Approval::Unclear(_) => Some((
            "False",
            "InvalidAnnotation",
            "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111".to_owned(),
        )),
    };
    if let Some((status, reason, message)) = approval {
        let condition = json!({"type": CONFORMANT, "status": status, "lastTransitionTime": now.to_string(),
            "reason": reason, "message": message});
        match conditions.iter_mut().find(|c| c["type"] == CONFORMANT) {
            Some(known)
                if known["status"] == status && known["reason"] == reason && known["message"] == message => {}
            Some(known) => *known = condition,
            None => conditions.push(condition),
        }
    }
    let status = object(tree, "status");
    status.insert("conditions".into(), conditions.into());
    status.insert("acceptedNames".into(), names);
    own(tree, now);
    let op = write(entry, tree, served)?;
    Some(Txn { compares: vec![unchanged(entry)], ops: vec![op] })
}

/// What is accepted of a definition's names, given those of the group's other definitions; and, where something is
/// not, the last reason.
fn accepted(entry: &Entry, tree: &Value, view: &dyn View) -> (Value, Option<(&'static str, String)>) {
    let group = text(tree, &["spec", "group"]);
    let wanted = &tree["spec"]["names"];
    let mut accepted = tree["status"]["acceptedNames"].clone();
    let others: Vec<Value> = view
        .range(DEFINITIONS, "", usize::MAX)
        .into_iter()
        .filter(|other| other.key != entry.key)
        .map(|other| other.object.to_value())
        .filter(|other| text(other, &["spec", "group"]) == group)
        .map(|other| other["status"]["acceptedNames"].clone())
        .collect();
    let mut clash = None;
    for (field, reason) in [
        ("plural", "PluralConflict"),
        ("singular", "SingularConflict"),
        ("kind", "KindConflict"),
        ("listKind", "ListKindConflict"),
    ] {
        let name = text(wanted, &[field]);
        // Resources and kinds are names of their own sort.
        let same_sort: &[&str] = if matches!(field, "kind" | "listKind") {
            &["kind", "listKind"]
        } else {
            &["plural", "singular"]
        };
        let taken =
            others.iter().any(|o| same_sort.iter().any(|f| !name.is_empty() && text(o, &[f]) == name));
        if taken {
            clash = Some((reason, format!("\"{name}\" is already in use")));
        } else if !name.is_empty() {
            accepted[field] = name.into();
        }
    }
    for field in ["shortNames", "categories"] {
        match wanted.get(field) {
            Some(names) => accepted[field] = names.clone(),
            None => {
                crate::tree::remove(&mut accepted, field);
            }
        }
    }
    (accepted, clash)
}

/// Notes that the server has written the status.
fn own(tree: &mut Value, now: Timestamp) {
    let condition = || json!({".": {}, "f:lastTransitionTime": {}, "f:message": {}, "f:reason": {}, "f:status": {}, "f:type": {}});
    let mut names = serde_json::Map::new();
    if let Some(accepted) = at(tree, &["status", "acceptedNames"]).and_then(Value::as_object) {
        let said = accepted.iter().filter(|(_, name)| **name != "");
        names.extend(said.map(|(field, _)| (format!("f:{field}"), json!({}))));
    }
    let mut types: Vec<&str> =
        items(tree, &["status", "conditions"]).iter().map(|c| text(c, &["type"])).collect();
    types.retain(|ty| matches!(*ty, "Established" | "NamesAccepted" | CONFORMANT));
    types.sort_unstable();
    let conditions: serde_json::Map<String, Value> =
        types.iter().map(|ty| (format!("k:{{\"type\":{ty:?}}}"), condition())).collect();
    let fields = json!({"f:status": {"f:acceptedNames": names, "f:conditions": conditions}});
    let entry = json!({"manager": "kube-apiserver", "operation": "Update", "apiVersion": "apiextensions.k8s.io/v1",
        "time": now.to_string(), "fieldsType": "FieldsV1", "fieldsV1": fields, "subresource": "status"});
    let meta = metadata(tree);
    let mut managed = meta.get("managedFields").and_then(Value::as_array).cloned().unwrap_or_default();
    let own = |e: &Value| e["manager"] == "kube-apiserver" && e["subresource"] == "status";
    match managed.iter_mut().find(|e| own(e)) {
        Some(known) if known["fieldsV1"] == entry["fieldsV1"] => return,
        Some(known) => *known = entry,
        None => managed.push(entry),
    }
    meta.insert("managedFields".into(), managed.into());
}

/// Says that the definition's objects are about to go.
pub(super) fn mark_ending(tree: &mut Value, now: Timestamp) {
    let status = object(tree, "status");
    let mut conditions = status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    if conditions.iter().any(|c| c["type"] == "Terminating") {
        return;
    }
    conditions.push(json!({"type": "Terminating", "status": "True", "lastTransitionTime": now.to_string(),
        "reason": "InstanceDeletionPending",
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"}));
    status.insert("conditions".into(), conditions.into());
}

/// Deletes the objects of a definition that goes; then lets it go, too.
fn end(entry: &Entry, tree: &mut Value, view: &dyn View, served: &Served, now: Timestamp) -> Option<Txn> {
    let mut finalizers = items(tree, &["metadata", "finalizers"]).to_vec();
    if finalizers.iter().any(|f| f == CLEANUP) {
        let group = text(tree, &["spec", "group"]);
        let plural = text(tree, &["spec", "names", "plural"]);
        let prefix = format!("{}{group}/{plural}/", orlop_core::scheme::REGISTRY);
        let mut txn = Txn::default();
        let left = view.range(&prefix, "", BATCH);
        for object in &left {
            let header = object.object.body.header();
            if header.finalizers.is_empty() {
                txn.compares.push(unchanged(object));
                txn.ops.push(Op::Delete(object.key.clone()));
            } else if header.deleted.is_none() {
                let mut marked = object.object.to_value();
                super::meta::mark_deleted(&mut marked, now, Some(0), true);
                let (resource, _) = served.scheme.by_storage_key(&object.key)?;
                let body = convert::encode(served, resource, &marked).ok()?;
                txn.compares.push(unchanged(object));
                txn.ops.push(Op::Put(object.key.clone(), body));
            }
        }
        if !txn.ops.is_empty() {
            return Some(txn);
        }
        if !left.is_empty() {
            // Others still hold them.
            return None;
        }
        finalizers.retain(|f| f != CLEANUP);
    }
    let mut txn = Txn { compares: vec![unchanged(entry)], ops: Vec::new() };
    if finalizers.is_empty() {
        txn.ops.push(Op::Delete(entry.key.clone()));
        return Some(txn);
    }
    metadata(tree).insert("finalizers".into(), finalizers.into());
    txn.ops.push(write(entry, tree, served)?);
    Some(txn)
}
