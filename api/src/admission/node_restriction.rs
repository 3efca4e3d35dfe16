//! Node agents write only what is theirs (Kubernetes' documentation, "NodeRestriction").

use orlop_core::kinds::Pod;
use orlop_core::{Key, Name, Object};
use serde_json::Value;

use super::{Operation, Review};
use crate::auth::node_of;
use crate::status::Status;
use crate::tree::{at, items, text};

const MIRROR: &str = "kubernetes.io/config.mirror";
const NODE_LEASES: &str = "kube-node-lease";

pub(super) fn admit(review: &mut Review<'_>) -> Result<(), Status> {
    let Some(node) = node_of(review.user) else { return Ok(()) };
    let node = node.as_str();
    let refuse = |why: String| Err(review.forbidden(&why));
    match (review.kind.group.as_str(), review.kind.plural.as_str(), review.subresource) {
        ("", "pods", "") => pod(review, node),
        ("", "pods", "status") => pod_status(review, node),
        ("", "pods", "eviction") => {
            let there = review.get(&Pod::KIND, &review.key);
            match there {
                Some(pod) if text(&pod.to_value(), &["spec", "nodeName"]) != node => {
                    refuse(format!("node {node} can only evict pods with spec.nodeName set to itself"))
                }
                _ => Ok(()),
            }
        }
        ("", "nodes", "" | "status") => own_node(review, node),
        ("", "serviceaccounts", "token") => token(review, node),
        ("coordination.k8s.io", "leases", _) => {
            if review.key.namespace != NODE_LEASES {
                return refuse(format!("can only access leases in the \"{NODE_LEASES}\" system namespace"));
            }
            if review.key.name != node {
                return refuse("can only access node lease with the same name as the requesting node".into());
            }
            Ok(())
        }
        ("storage.k8s.io", "csinodes", _) if review.key.name != node => {
            refuse("can only access CSINode with the same name as the requesting node".into())
        }
        ("resource.k8s.io", "resourceslices", "") => {
            let slice = review.old.unwrap_or(&*review.object);
            match text(slice, &["spec", "nodeName"]) == node {
                true => Ok(()),
                false => refuse(
                    "can only create ResourceSlice with the same NodeName as the requesting node".into(),
                ),
            }
        }
        _ => Ok(()),
    }
}

fn pod(review: &Review<'_>, node: &str) -> Result<(), Status> {
    let refuse = |why: String| Err(review.forbidden(&why));
    match review.operation {
        Operation::Create => {}
        Operation::Delete => {
            let own = review.old.is_some_and(|pod| text(pod, &["spec", "nodeName"]) == node);
            return match own {
                true => Ok(()),
                false => {
                    refuse(format!("node \"{node}\" can only delete pods with spec.nodeName set to itself"))
                }
            };
        }
        Operation::Update => {
            return refuse(format!(
                "unexpected operation \"UPDATE\", node \"{node}\" can only create and delete mirror pods"
            ));
        }
        Operation::Connect => return Ok(()),
    }
    let pod = &*review.object;
    if at(pod, &["metadata", "annotations", MIRROR]).is_none() {
        return refuse(format!(
            "pod does not have \"{MIRROR}\" annotation, node \"{node}\" can only create mirror pods"
        ));
    }
    if text(pod, &["spec", "nodeName"]) != node {
        return refuse(format!("node \"{node}\" can only create pods with spec.nodeName set to itself"));
    }
    let owners = items(pod, &["metadata", "ownerReferences"]);
    if owners.len() > 1 {
        return refuse(format!(
            "node \"{node}\" can only create pods with a single owner reference set to itself"
        ));
    }
    if let [owner] = owners
        && (owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node)
    {
        return refuse(format!("node \"{node}\" can only create pods with an owner reference set to itself"));
    }
    if !text(pod, &["spec", "serviceAccountName"]).is_empty() {
        return refuse(format!("node \"{node}\" can not create pods that reference a service account"));
    }
    for (field, what) in [
        ("secret", "secrets"),
        ("configMap", "configmaps"),
        ("persistentVolumeClaim", "persistentvolumeclaims"),
        ("projected", "projected volumes"),
    ] {
        if items(pod, &["spec", "volumes"]).iter().any(|v| v.get(field).is_some_and(|s| !s.is_null())) {
            return refuse(format!("node \"{node}\" can not create pods that reference {what}"));
        }
    }
    if !items(pod, &["spec", "resourceClaims"]).is_empty() {
        return refuse(format!("node \"{node}\" can not create pods that reference resource claims"));
    }
    Ok(())
}

fn pod_status(review: &Review<'_>, node: &str) -> Result<(), Status> {
    let Some(old) = review.old else { return Ok(()) };
    if text(old, &["spec", "nodeName"]) != node {
        return Err(review.forbidden(&format!(
            "node \"{node}\" can only update pod status for pods with spec.nodeName set to itself"
        )));
    }
    if at(old, &["metadata", "labels"]) != at(review.object, &["metadata", "labels"]) {
        let why = format!("node \"{node}\" cannot update labels through pod status");
        return Err(review.forbidden(&why));
    }
    Ok(())
}

/// Labels that say what a node is trusted with; not for itself to decide.
fn is_restricted(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    domain == "node-restriction.kubernetes.io" || domain.ends_with(".node-restriction.kubernetes.io")
}

fn own_node(review: &Review<'_>, node: &str) -> Result<(), Status> {
    let refuse = |why: String| Err(review.forbidden(&why));
    if review.key.name != node {
        return refuse(format!("node \"{node}\" is not allowed to modify node \"{}\"", review.key.name));
    }
    let empty = serde_json::Map::new();
    let labels = |object: &Value| -> Vec<(String, Value)> {
        let all = at(object, &["metadata", "labels"]).and_then(Value::as_object).unwrap_or(&empty);
        all.iter().filter(|(key, _)| is_restricted(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names.join(", ")
    };
    let now = labels(review.object);
    match (review.operation, review.old) {
        (Operation::Create, _) if !now.is_empty() => {
            let names = sorted(now.into_iter().map(|(name, _)| name).collect());
            refuse(format!("node \"{node}\" is not allowed to set the following labels: {names}"))
        }
        (Operation::Update, Some(old)) => {
            if at(old, &["spec", "taints"]) != at(review.object, &["spec", "taints"]) {
                return refuse(format!("node \"{node}\" is not allowed to modify taints"));
            }
            let before = labels(old);
            let mut changed: Vec<String> = now
                .iter()
                .filter(|label| !before.contains(label))
                .chain(before.iter().filter(|label| !now.contains(label)))
                .map(|(name, _)| name.clone())
                .collect();
            changed.dedup();
            if changed.is_empty() {
                return Ok(());
            }
            refuse(format!("node \"{node}\" is not allowed to modify labels: {}", sorted(changed)))
        }
        (Operation::Delete, _) => Ok(()),
        _ => Ok(()),
    }
}

/// Tokens are for pods that the node runs.
fn token(review: &Review<'_>, node: &str) -> Result<(), Status> {
    let refuse = |why: String| Err(review.forbidden(&why));
    let reference = &review.object["spec"]["boundObjectRef"];
    if reference["kind"] != "Pod" || text(reference, &["name"]).is_empty() {
        return refuse("node requested token not bound to a pod".into());
    }
    let uid = text(reference, &["uid"]);
    if uid.is_empty() {
        return refuse("node requested token with a pod binding without a uid".into());
    }
    let key = Key { namespace: review.key.namespace.clone(), name: Name::from(text(reference, &["name"])) };
    let Some(pod) = review.get(&Pod::KIND, &key) else {
        return Err(Status::not_found("", "pods", &key.name));
    };
    let found = &pod.body.header().uid;
    if *found != uid {
        return refuse(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        ));
    }
    if text(&pod.to_value(), &["spec", "nodeName"]) != node {
        return refuse("node requested token bound to a pod scheduled on a different node".into());
    }
    Ok(())
}
