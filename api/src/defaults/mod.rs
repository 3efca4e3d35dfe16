//! What an object says where its author said nothing.
//!
//! [`apply`] runs on every write, after decoding and before admission, so that what is stored is complete. The rules
//! are those of Kubernetes 1.36: a field that is a pointer there is filled where it is absent, any other where it is
//! absent or zero.

mod apps;
mod batch;
mod config;
mod image;
mod network;
mod pod;
mod resources;
mod storage;
mod tree;

use orlop_core::Kind;
use serde_json::Value;

use tree::Object;

/// Fills in the defaults of a built-in kind; leaves objects of other kinds as they are.
///
/// Idempotent, and never panics: what has not the shape that its schema asks for is left alone.
pub fn apply(kind: &Kind, object: &mut Value) {
    let Some(object) = object.as_object_mut() else { return };
    if let Some(rule) = rule(&kind.group, &kind.kind) {
        rule(object);
    }
}

/// Makes an object say the same in all the ways in which its kind can say it: a Secret's `stringData` becomes `data`,
/// a Node's `podCIDR` the first of its `podCIDRs`.
///
/// Runs on every write, after [`apply`] and before validation.
pub fn settle(kind: &Kind, object: &mut Value) {
    let Some(object) = object.as_object_mut() else { return };
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Secret") => config::encode_texts(object),
        ("", "Node") => config::agree_on_cidrs(object),
        _ => {}
    }
}

fn rule(group: &str, kind: &str) -> Option<fn(&mut Object)> {
    Some(match (group, kind) {
        ("", "Pod") => pod::pod,
        ("", "PodTemplate") => pod::pod_template,
        ("", "ReplicationController") => apps::replication_controller,
        ("", "Service") => network::service,
        ("", "Endpoints") => network::endpoints,
        ("", "Namespace") => config::namespace,
        ("", "Node") => config::node,
        ("", "Secret") => config::secret,
        ("", "LimitRange") => resources::limit_range,
        ("", "ResourceQuota") => resources::resource_quota,
        ("", "PersistentVolume") => storage::persistent_volume,
        ("", "PersistentVolumeClaim") => storage::persistent_volume_claim,
        ("apps", "Deployment") => apps::deployment,
        ("apps", "ReplicaSet") => apps::replica_set,
        ("apps", "StatefulSet") => apps::stateful_set,
        ("apps", "DaemonSet") => apps::daemon_set,
        ("batch", "Job") => batch::job,
        ("batch", "CronJob") => batch::cron_job,
        ("autoscaling", "HorizontalPodAutoscaler") => batch::horizontal_pod_autoscaler,
        ("discovery.k8s.io", "EndpointSlice") => network::endpoint_slice,
        ("networking.k8s.io", "NetworkPolicy") => network::network_policy,
        ("networking.k8s.io", "IngressClass") => network::ingress_class,
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => config::role_binding,
        ("scheduling.k8s.io", "PodGroup") => config::pod_group,
        ("scheduling.k8s.io", "Workload") => config::workload,
        ("scheduling.k8s.io", "PriorityClass") => config::priority_class,
        ("storage.k8s.io", "StorageClass") => storage::storage_class,
        ("storage.k8s.io", "CSIDriver") => storage::csi_driver,
        ("resource.k8s.io", "ResourceClaim") => resources::resource_claim,
        ("resource.k8s.io", "ResourceClaimTemplate") => resources::resource_claim_template,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => config::custom_resource_definition,
        ("apiregistration.k8s.io", "APIService") => config::api_service,
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => config::validating_webhooks,
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => config::mutating_webhooks,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy") => {
            config::admission_policy
        }
        (
            "admissionregistration.k8s.io",
            "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding",
        ) => config::admission_policy_binding,
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => config::flow_schema,
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => config::priority_level,
        _ => return None,
    })
}
