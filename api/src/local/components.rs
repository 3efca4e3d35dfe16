//! `componentstatuses`: whether the parts of the control plane are well. Nothing of it is stored; deprecated since 1.19.

use std::sync::Arc;

use orlop_core::Stored;
use orlop_core::codec;
use orlop_core::scheme::Resource;
use orlop_core::store::Revision;
use serde_json::json;

use crate::status::Status;

/// The parts, by name. All of them are in one process: what answers is well.
const ALL: [&str; 3] = ["controller-manager", "etcd-0", "scheduler"];

pub(super) fn is_one(resource: &Resource) -> bool {
    resource.kind.group.is_empty() && resource.kind.plural == "componentstatuses"
}

fn status(resource: &Resource, name: &str) -> Result<Stored, Status> {
    let value = json!({
        "metadata": {"name": name, "creationTimestamp": null},
        "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}],
    });
    let body =
        codec::encode(&resource.schema, resource.ty, &value).map_err(|e| Status::internal(&e.to_string()))?;
    Ok(Stored { body: Arc::new(body), revision: Revision(0) })
}

/// All parts.
pub(super) fn list(resource: &Resource) -> Result<Vec<Stored>, Status> {
    ALL.iter().map(|name| status(resource, name)).collect()
}

/// One part.
pub(super) fn get(resource: &Resource, name: &str) -> Result<Stored, Status> {
    match ALL.contains(&name) {
        true => status(resource, name),
        false => Err(Status::plain(format!("Component not found: {name}"))),
    }
}
