//! APIServices of what this server serves itself: one for each version of a group, those of definitions among them, as
//! the aggregation layer registers them.

use std::sync::Arc;

use orlop_core::scheme::Scheme;
use orlop_core::store::{Compare, Op, Revision, Txn, View};
use orlop_core::{Entropy, Key, Kind, Timestamp};
use serde_json::{Value, json};

use super::served::Served;
use crate::managed_fields::{self, Writer};
use crate::status::Status;
use crate::tree::{metadata, text};

const API_SERVICE: Kind = Kind::cluster("apiregistration.k8s.io", "v1", "APIService", "apiservices");

const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// How groups and versions rank in discovery: of the greater group priority first, within a group of the greater
/// version priority. Unless said otherwise, `v1` has 15.
const PRIORITIES: [(&str, u32); 20] = [
    ("", 18000),
    ("apps", 17800),
    ("events.k8s.io", 17750),
    ("authentication.k8s.io", 17700),
    ("authorization.k8s.io", 17600),
    ("autoscaling", 17500),
    ("batch", 17400),
    ("certificates.k8s.io", 17300),
    ("networking.k8s.io", 17200),
    ("policy", 17100),
    ("rbac.authorization.k8s.io", 17000),
    ("storage.k8s.io", 16800),
    ("admissionregistration.k8s.io", 16700),
    ("apiextensions.k8s.io", 16700),
    ("scheduling.k8s.io", 16600),
    ("coordination.k8s.io", 16500),
    ("node.k8s.io", 16300),
    ("discovery.k8s.io", 16200),
    ("resource.k8s.io", 16200),
    ("flowcontrol.apiserver.k8s.io", 16100),
];

fn service(group: &str, version: &str, ranks: (u32, u32), managed: &str) -> Value {
    let name = format!("{version}.{group}");
    let mut spec = json!({"version": version, "groupPriorityMinimum": ranks.0, "versionPriority": ranks.1});
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    json!({
        "kind": "APIService",
        "apiVersion": "apiregistration.k8s.io/v1",
        "metadata": {"name": name, "labels": {AUTOMANAGED: managed}},
        "spec": spec,
    })
}

/// What is to be registered: the built-in groups but for that of registrations itself, and those of definitions.
fn wanted(scheme: &Scheme) -> Vec<Value> {
    let mut versions: Vec<(bool, &str, &str)> =
        scheme.resources().map(|r| (r.custom, r.kind.group.as_str(), r.kind.version.as_str())).collect();
    versions.sort_unstable();
    versions.dedup();
    let builtin = |group: &str, version: &str| {
        let (_, rank) = PRIORITIES.iter().find(|(known, _)| *known == group)?;
        let version_rank = match (group, version) {
            ("", _) => 1,
            ("autoscaling", "v2") => 30,
            ("flowcontrol.apiserver.k8s.io", "v1") => 21,
            _ => 15,
        };
        Some(service(group, version, (*rank, version_rank), "onstart"))
    };
    versions
        .into_iter()
        .filter_map(|(custom, group, version)| match custom {
            true => Some(service(group, version, (1000, 100), "true")),
            false => builtin(group, version),
        })
        .collect()
}

/// What brings the registrations up to date with what is served; `None` where they are.
pub(super) fn settle(
    served: &Served,
    view: &dyn View,
    now: Timestamp,
    entropy: &mut Entropy,
) -> Result<Option<Txn>, Status> {
    let scheme = &served.scheme;
    let resource = scheme.storage(&API_SERVICE).ok_or_else(Status::no_resource)?;
    let mut txn = Txn::default();
    let mut names = Vec::new();
    for mut object in wanted(scheme) {
        let name = text(&object, &["metadata", "name"]).to_owned();
        let key: Arc<str> = scheme
            .storage_key(&API_SERVICE, &Key::cluster(name.as_str()))
            .ok_or_else(Status::no_resource)?
            .into();
        names.push(name);
        if view.get(&key).is_some() {
            continue;
        }
        let meta = metadata(&mut object);
        meta.insert("uid".into(), entropy.uuid().to_string().into());
        meta.insert("creationTimestamp".into(), now.to_string().into());
        let by = Writer {
            manager: "kube-apiserver",
            api_version: "apiregistration.k8s.io/v1",
            subresource: "",
            now,
            reset: &[],
        };
        let managed = managed_fields::create(&mut object, &by, &resource.schema, resource.ty);
        object["status"] = json!({"conditions": [{
            "type": "Available", "status": "True", "lastTransitionTime": now.to_string(), "reason": "Local",
            "message": "Local APIServices are always available",
        }]});
        let body = super::convert::encode_with(served, resource, &object, managed.as_deref())?;
        txn.compares.push(Compare { key: key.clone(), revision: Revision(0) });
        txn.ops.push(Op::Put(key, body));
    }
    // Those of definitions go with the last version that serves them.
    let prefix = scheme.storage_range(&API_SERVICE, "").ok_or_else(Status::no_resource)?;
    for entry in view.range(&prefix, "", usize::MAX) {
        if entry.object.body.label(AUTOMANAGED) != Some("true") {
            continue;
        }
        let object = entry.object.to_value();
        if object["spec"]["service"].is_null()
            && !names.iter().any(|name| name == text(&object, &["metadata", "name"]))
        {
            txn.compares.push(Compare { key: entry.key.clone(), revision: entry.object.revision });
            txn.ops.push(Op::Delete(entry.key.clone()));
        }
    }
    Ok((!txn.ops.is_empty()).then_some(txn))
}
