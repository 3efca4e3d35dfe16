//! Whether an object may be stored: the rules of Kubernetes 1.36, with its fields, reasons and sentences.
//!
//! [`create`] and [`update`] answer what is wrong; nothing wrong, nothing said. Objects have been decoded and
//! defaulted before. A kind without rules of its own is asked only for valid metadata.

mod address;
mod admission_policy;
mod affinity;
mod apps;
mod batch;
mod certificates;
mod common;
mod config;
mod container;
mod csi;
mod devices;
pub(crate) mod error;
mod flow;
mod gang;
mod meta;
mod network;
pub(crate) mod path;
mod placement;
mod pod;
mod pod_update;
mod policy;
mod resources;
mod security;
mod service;
mod source;
mod status;
mod storage;
mod volume;
mod warnings;
mod webhook;

use orlop_core::Kind;
use orlop_core::rules::names::{dns_label, dns_subdomain};
use serde_json::Value;

use common::path_segment;
use error::Errors;
pub use error::{ErrorType, FieldError, summary};
use meta::Again;
pub(crate) use warnings::APP_ARMOR;
pub use warnings::warnings;
pub(crate) use webhook::client as webhook_client;

/// What is asked of a kind.
#[derive(Clone, Copy)]
struct Rules {
    /// Of its name.
    name: fn(&str) -> Vec<String>,
    /// Of the object but for its metadata, whether new or changed.
    fields: fn(&mut Errors, &Value),
    /// Of a change, besides.
    change: fn(&mut Errors, &Value, &Value),
    /// Of its metadata, on a change.
    again: Again,
}

impl Rules {
    fn again(self, again: Again) -> Rules {
        Rules { again, ..self }
    }
}

fn no_fields(_: &mut Errors, _: &Value) {}

fn no_change(_: &mut Errors, _: &Value, _: &Value) {}

/// What is wrong with a new object. Its namespace, UID and such have been filled in; Services have their addresses.
pub fn create(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    if (kind.group.as_str(), kind.kind.as_str()) == ("", "Service") {
        service::families(&mut errors, object);
        if !errors.0.is_empty() {
            return errors.0;
        }
    }
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => pod::pod(&mut errors, object),
        ("batch", "Job") => batch::job_create(&mut errors, object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            crate::crd::definition::create(&mut errors, object);
        }
        ("apps", "StatefulSet") => {
            meta::create(&mut errors, object, dns_label);
            apps::stateful_set(&mut errors, object);
            apps::stateful_set_create(&mut errors, object);
        }
        (group, kind) => {
            if let Some(rules) = rules(group, kind) {
                meta::create(&mut errors, object, rules.name);
                (rules.fields)(&mut errors, object);
                if kind == "Ingress" {
                    network::ingress_create(&mut errors, object);
                }
            }
        }
    }
    if errors.0.is_empty() {
        meta::generic(&mut errors, object);
    }
    errors.0
}

/// What is wrong with a change from `old` to `new`; both are whole objects.
pub fn update(kind: &Kind, old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    if (kind.group.as_str(), kind.kind.as_str()) == ("", "Service") {
        service::families(&mut errors, new);
        if !errors.0.is_empty() {
            return errors.0;
        }
    }
    meta::generic(&mut errors, new);
    meta::update(&mut errors, old, new);
    let rules = rules(&kind.group, &kind.kind);
    let name = rules.as_ref().map_or(path_segment as fn(&str) -> Vec<String>, |rules| rules.name);
    let again = match kind.kind.as_str() {
        "Pod" => Again::Both,
        _ => rules.as_ref().map(|rules| rules.again).unwrap_or_default(),
    };
    if matches!(again, Again::Change | Again::Both) {
        meta::update(&mut errors, old, new);
    }
    if matches!(again, Again::New | Again::Both) {
        meta::create(&mut errors, new, name);
    }
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => pod_update::pod(&mut errors, old, new),
        ("certificates.k8s.io", "CertificateSigningRequest") => {}
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            crate::crd::definition::update(&mut errors, old, new);
        }
        ("", "Service") => {
            service::change(&mut errors, old, new);
            meta::create(&mut errors, new, dns_label);
            service::service(&mut errors, new);
        }
        (_, kind) => {
            if let Some(rules) = rules {
                // What cannot change is not looked at again.
                if !["PriorityClass", "ResourceClaim", "ResourceClaimTemplate"].contains(&kind) {
                    (rules.fields)(&mut errors, new);
                }
                (rules.change)(&mut errors, old, new);
            }
        }
    }
    errors.0
}

/// What is wrong with the metadata of a new object whose name follows a rule.
pub(crate) fn new_metadata(object: &Value, name: fn(&str) -> Vec<String>) -> Vec<FieldError> {
    let mut errors = Errors::default();
    meta::create(&mut errors, object, name);
    errors.0
}

/// What is wrong with a change of metadata: what is asked of every kind, and what almost every kind asks once more.
pub(crate) fn changed_metadata(old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    meta::generic(&mut errors, new);
    for _ in 0..2 {
        meta::update(&mut errors, old, new);
    }
    errors.0
}

/// What is wrong with the metadata, at `path`, of an object within another. It needs no name.
pub(crate) fn embedded_metadata(metadata: &Value, path: &str) -> Vec<FieldError> {
    let mut metadata = metadata.clone();
    if metadata["name"] == Value::Null {
        metadata["name"] = "unnamed".into();
    }
    let mut errors = new_metadata(&serde_json::json!({"metadata": metadata}), path_segment);
    for error in &mut errors {
        error.field = format!("{path}{}", error.field.trim_start_matches("metadata"));
    }
    errors
}

/// What is wrong with a change of one subresource: a status is not asked for what concerns the rest.
pub fn update_subresource(kind: &Kind, subresource: &str, old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    meta::generic(&mut errors, new);
    meta::update(&mut errors, old, new);
    if kind.kind != "PodDisruptionBudget" {
        meta::update(&mut errors, old, new);
    }
    match subresource {
        "status" | "approval" => {
            status::change(&mut errors, &kind.group, &kind.kind, old, new);
            if subresource == "status" && kind.kind == "CertificateSigningRequest" {
                certificates::undecided(&mut errors, old, new);
            }
        }
        "finalize" => status::finalizers(&mut errors, new),
        "ephemeralcontainers" => pod_update::ephemeral_containers(&mut errors, old, new),
        "resize" => pod_update::resize(&mut errors, old, new),
        _ => {}
    }
    errors.0
}

/// What is wrong with a new event of the group `events.k8s.io`, in the form in which events are stored.
pub fn new_event(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    meta::create(&mut errors, object, dns_subdomain);
    address::new_event(&mut errors, object);
    errors.0
}

/// What is wrong with a change of an event by the group `events.k8s.io`, in the form in which events are stored.
pub fn changed_event(old: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    meta::generic(&mut errors, new);
    meta::update(&mut errors, old, new);
    address::event(&mut errors, new);
    address::event_change(&mut errors, old, new);
    errors.0
}

fn any_name(_: &str) -> Vec<String> {
    Vec::new()
}

fn rules(group: &str, kind: &str) -> Option<Rules> {
    let plain = Rules { name: dns_subdomain, fields: no_fields, change: no_change, again: Again::Change };
    let of = |fields, change| Rules { fields, change, ..plain };
    Some(match (group, kind) {
        ("", "Namespace") => Rules { name: dns_label, fields: config::namespace, change: no_change, ..plain },
        ("", "Node") => of(config::node, config::node_change).again(Again::Both),
        ("", "ConfigMap") => of(config::config_map, config::config_map_change).again(Again::Both),
        ("", "Secret") => of(config::secret, config::secret_change).again(Again::Both),
        ("", "ServiceAccount") => plain.again(Again::Both),
        ("apps", "ControllerRevision") => of(apps::revision, apps::revision_change).again(Again::Both),
        ("", "Endpoints") => of(address::endpoints, no_change).again(Again::Both),
        ("", "Event") => of(address::event, no_change).again(Again::Never),
        ("", "Service") => Rules { name: dns_label, fields: service::service, ..plain },
        ("", "ReplicationController") => of(apps::replication_controller, no_change),
        ("", "PersistentVolume") => of(storage::volume, storage::volume_change).again(Again::New),
        ("", "PersistentVolumeClaim") => of(storage::claim, storage::claim_change).again(Again::Both),
        ("", "ResourceQuota") => of(resources::quota, resources::quota_change),
        ("", "LimitRange") => of(resources::limit_range, no_change).again(Again::New),
        ("", "PodTemplate") => of(apps::pod_template, no_change),
        ("apps", "Deployment") => of(apps::deployment, apps::selector_change),
        ("apps", "ReplicaSet") => of(apps::replica_set, apps::selector_change),
        ("apps", "DaemonSet") => of(apps::daemon_set, apps::selector_change),
        ("apps", "StatefulSet") => {
            Rules { name: dns_label, fields: apps::stateful_set, change: apps::stateful_set_change, ..plain }
        }
        ("batch", "Job") => of(batch::job, batch::job_change),
        ("batch", "CronJob") => {
            Rules { name: batch::cron_job_name, fields: batch::cron_job, change: no_change, ..plain }
        }
        ("autoscaling", "HorizontalPodAutoscaler") => of(policy::autoscaler, no_change),
        ("discovery.k8s.io", "EndpointSlice") => {
            of(network::endpoint_slice, network::endpoint_slice_change).again(Again::New)
        }
        ("networking.k8s.io", "Ingress") => of(network::ingress, no_change),
        ("networking.k8s.io", "IngressClass") => of(network::ingress_class, network::ingress_class_change),
        ("networking.k8s.io", "NetworkPolicy") => of(network::network_policy, no_change),
        ("policy", "PodDisruptionBudget") => {
            Rules { name: path_segment, fields: policy::budget, change: no_change, again: Again::Never }
        }
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => {
            Rules { name: path_segment, fields: policy::role, change: no_change, again: Again::Both }
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => Rules {
            name: path_segment,
            fields: policy::binding,
            change: policy::binding_change,
            again: Again::Both,
        },
        ("scheduling.k8s.io", "Workload") => of(gang::workload, gang::workload_change),
        ("scheduling.k8s.io", "PodGroup") => of(gang::pod_group, gang::pod_group_change),
        ("scheduling.k8s.io", "PriorityClass") => of(policy::priority_class, policy::priority_class_change),
        ("storage.k8s.io", "StorageClass") => of(storage::class, storage::class_change),
        ("coordination.k8s.io", "Lease") => of(config::lease, no_change),
        ("storage.k8s.io", "CSIDriver") => of(csi::driver, csi::driver_change),
        ("storage.k8s.io", "CSINode") => of(csi::node, csi::node_change).again(Again::New),
        ("storage.k8s.io", "CSIStorageCapacity") => of(csi::capacity, csi::capacity_change),
        ("storage.k8s.io", "VolumeAttachment") => {
            of(csi::attachment, csi::attachment_change).again(Again::New)
        }
        ("storage.k8s.io", "VolumeAttributesClass") => {
            of(csi::attributes_class, csi::attributes_class_change)
        }
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            Rules { name: any_name, fields: certificates::request, change: no_change, ..plain }
        }
        (
            "admissionregistration.k8s.io",
            "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration",
        ) => of(webhook::configuration, no_change).again(Again::New),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => {
            of(admission_policy::validating_policy, no_change).again(Again::New)
        }
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => {
            of(admission_policy::mutating_policy, no_change).again(Again::New)
        }
        (
            "admissionregistration.k8s.io",
            "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding",
        ) => of(admission_policy::policy_binding, no_change).again(Again::New),
        ("networking.k8s.io", "IPAddress") => Rules {
            name: address::address_name,
            fields: address::ip_address,
            change: address::ip_address_change,
            ..plain
        },
        ("networking.k8s.io", "ServiceCIDR") => of(address::service_cidr, address::service_cidr_change),
        ("node.k8s.io", "RuntimeClass") => of(flow::runtime_class, flow::runtime_class_change),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => {
            of(flow::schema, flow::schema_change).again(Again::New)
        }
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => {
            of(flow::level, flow::level_change).again(Again::New)
        }
        ("apiregistration.k8s.io", "APIService") => {
            Rules { name: path_segment, fields: flow::api_service, change: no_change, ..plain }
        }
        ("resource.k8s.io", "ResourceClaim") => of(devices::claim, devices::fixed_spec),
        ("resource.k8s.io", "ResourceClaimTemplate") => of(devices::claim_template, devices::fixed_spec),
        ("resource.k8s.io", "ResourceSlice") => of(devices::slice, devices::slice_change),
        ("resource.k8s.io", "DeviceClass") => of(devices::class, no_change),
        _ => return None,
    })
}
