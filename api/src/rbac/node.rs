//! Authorisation of node agents: [`NodeAuthorizer`] (Kubernetes' documentation, "Using Node Authorization").

use std::sync::LazyLock;

use orlop_core::store::View;
use orlop_core::{Key, Kind, Name};
use serde_json::Value;

use super::{Rule, bootstrap};
use crate::auth::{Attributes, Authorizer, Decision, Rules, Target, node_of};
use crate::request::User;
use crate::tree::{items, text};

const PODS: &str = "/registry/pods/";
const VOLUMES: &str = "/registry/persistentvolumes/";

/// Allows a node's agent what it needs: besides the rules of the role `system:node`, the secrets, ConfigMaps, claims,
/// volumes and service accounts of those pods alone that are on its node. Knows nothing of anybody else.
///
/// What a pod refers to is read once and kept with the pod.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeAuthorizer;

/// Where a pod is, and what it refers to: resource and name.
#[derive(Default)]
struct References {
    node: Name,
    to: Vec<(&'static str, Name)>,
}

impl References {
    fn of(pod: &Value) -> References {
        let mut to = Vec::new();
        let mut add = |resource, name: &str| {
            if !name.is_empty() {
                to.push((resource, Name::from(name)));
            }
        };
        let spec = &pod["spec"];
        add("serviceaccounts", text(spec, &["serviceAccountName"]));
        for secret in items(spec, &["imagePullSecrets"]) {
            add("secrets", text(secret, &["name"]));
        }
        for list in ["initContainers", "containers", "ephemeralContainers"] {
            for container in items(spec, &[list]) {
                for env in items(container, &["env"]) {
                    add("secrets", text(env, &["valueFrom", "secretKeyRef", "name"]));
                    add("configmaps", text(env, &["valueFrom", "configMapKeyRef", "name"]));
                }
                for source in items(container, &["envFrom"]) {
                    add("secrets", text(source, &["secretRef", "name"]));
                    add("configmaps", text(source, &["configMapRef", "name"]));
                }
            }
        }
        for volume in items(spec, &["volumes"]) {
            add("secrets", text(volume, &["secret", "secretName"]));
            add("configmaps", text(volume, &["configMap", "name"]));
            add("persistentvolumeclaims", text(volume, &["persistentVolumeClaim", "claimName"]));
            if volume.get("ephemeral").is_some_and(|e| !e.is_null()) {
                let claim = format!("{}-{}", text(pod, &["metadata", "name"]), text(volume, &["name"]));
                add("persistentvolumeclaims", &claim);
            }
            for source in items(volume, &["projected", "sources"]) {
                add("secrets", text(source, &["secret", "name"]));
                add("configmaps", text(source, &["configMap", "name"]));
            }
            for driver in
                ["azureFile", "cephfs", "cinder", "csi", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"]
            {
                let Some(source) = volume.get(driver) else { continue };
                add("secrets", text(source, &["secretName"]));
                add("secrets", text(source, &["secretRef", "name"]));
                add("secrets", text(source, &["nodePublishSecretRef", "name"]));
            }
        }
        for claim in items(pod, &["status", "resourceClaimStatuses"]) {
            add("resourceclaims", text(claim, &["resourceClaimName"]));
        }
        for claim in items(spec, &["resourceClaims"]) {
            add("resourceclaims", text(claim, &["resourceClaimName"]));
        }
        References { node: text(spec, &["nodeName"]).into(), to }
    }
}

impl NodeAuthorizer {
    /// Whether a pod on the node refers to the object.
    fn refers(&self, node: &str, resource: &str, key: &Key, view: &dyn View) -> bool {
        view.range(&format!("{PODS}{}/", key.namespace), "", usize::MAX).iter().any(|entry| {
            let pod = entry.object.body.kept(|| References::of(&entry.object.to_value()));
            pod.node == node && pod.to.iter().any(|(kind, name)| *kind == resource && *name == key.name)
        })
    }

    /// Whether the node may do this, as far as it is about a single object; `None`: the role decides.
    fn related(&self, node: &str, attributes: &Attributes, view: &dyn View) -> Option<Result<(), String>> {
        let Target::Resource { group, resource, subresource, key } = &attributes.target else { return None };
        let verb = attributes.verb.as_str();
        let refuse = |why: &str| Some(Err(why.to_owned()));
        let own = |what: &str| match key.name == node {
            true => Some(Ok(())),
            false => Some(Err(format!("can only access {what} with the same name as the requesting node"))),
        };
        let related = |may: bool| match may {
            true => Some(Ok(())),
            false => Some(Err(format!("no relationship found between node '{node}' and this object"))),
        };
        match (group.as_str(), resource.as_str(), subresource.as_str()) {
            ("", "secrets" | "configmaps", sub) => {
                if !matches!(verb, "get" | "list" | "watch") || !sub.is_empty() {
                    return refuse("can only read resources of this type");
                }
                if key.name.is_empty() {
                    return refuse("No Object name found");
                }
                related(self.refers(node, resource, key, view))
            }
            ("", "persistentvolumeclaims", sub) => match (verb, sub) {
                ("get", "") | ("update" | "patch", "status") => {
                    related(self.refers(node, resource, key, view))
                }
                _ => refuse("can only get individual resources of this type"),
            },
            ("resource.k8s.io", "resourceclaims", "") if verb == "get" => {
                related(self.refers(node, resource, key, view))
            }
            ("", "persistentvolumes", "") => {
                if verb != "get" {
                    return refuse("can only get individual resources of this type");
                }
                let Some(volume) = view.get(&format!("{VOLUMES}{}", key.name)) else { return related(false) };
                let volume = volume.object.to_value();
                let claim = Key::new(
                    text(&volume, &["spec", "claimRef", "namespace"]),
                    text(&volume, &["spec", "claimRef", "name"]),
                );
                related(self.refers(node, "persistentvolumeclaims", &claim, view))
            }
            ("", "serviceaccounts", "token") if verb == "create" => {
                related(self.refers(node, resource, key, view))
            }
            ("", "serviceaccounts", "") if verb == "get" => related(self.refers(node, resource, key, view)),
            ("", "serviceaccounts", _) => refuse("can only create tokens for individual service accounts"),
            ("coordination.k8s.io", "leases", "") => {
                if !matches!(verb, "get" | "create" | "update" | "patch" | "delete") {
                    return refuse("can only get, create, update, patch, or delete a node lease");
                }
                if key.namespace != "kube-node-lease" {
                    return refuse("can only access leases in the \"kube-node-lease\" system namespace");
                }
                if verb == "create" { Some(Ok(())) } else { own("node lease") }
            }
            ("storage.k8s.io", "csinodes", "") => {
                if !matches!(verb, "get" | "create" | "update" | "patch" | "delete") {
                    return refuse("can only get, create, update, patch, or delete a CSINode");
                }
                if verb == "create" { Some(Ok(())) } else { own("CSINode") }
            }
            _ => None,
        }
    }
}

/// What every node may do, whichever its pods are.
static ROLE: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    const ROLES: Kind = Kind::cluster("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles");
    let node = |(kind, object): &(Kind, Value)| {
        kind.same_resource(&ROLES) && object["metadata"]["name"] == "system:node"
    };
    let role = bootstrap().into_iter().find(node);
    role.and_then(|(_, object)| serde_json::from_value(object["rules"].clone()).ok()).unwrap_or_default()
});

impl Authorizer for NodeAuthorizer {
    fn authorize(&self, user: &User, attributes: &Attributes, view: &dyn View) -> Decision {
        let Some(node) = node_of(user) else { return Decision::default() };
        match self.related(&node, attributes, view) {
            Some(Ok(())) => Decision { allowed: true, ..Decision::default() },
            Some(Err(reason)) => Decision { reason, ..Decision::default() },
            None => {
                let allowed = ROLE.iter().any(|rule| rule.allows(attributes));
                Decision { allowed, ..Decision::default() }
            }
        }
    }

    fn rules(&self, user: &User, _namespace: &str, _view: &dyn View) -> Rules {
        match node_of(user) {
            None => Rules::default(),
            Some(_) => Rules {
                incomplete: true,
                error: "node authorizer does not support user rule resolution".to_owned(),
                ..Rules::default()
            },
        }
    }
}
