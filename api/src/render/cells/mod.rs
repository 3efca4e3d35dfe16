//! What stands in the cells of each built-in kind's table.

use orlop_core::Timestamp;
use orlop_core::rules::LabelSelector;
use serde_json::{Map, Value};

use super::age::since;
use super::columns::Printer;

mod batch;
mod cluster;
mod core;
mod network;
mod pod;
pub(super) use pod::row_conditions as pod_row_conditions;
mod policy;
mod storage;
mod workload;

/// The printer of a built-in kind, where it has one of its own.
pub(crate) fn printer(group: &str, plural: &str) -> Option<&'static Printer> {
    Some(match (group, plural) {
        ("", "pods") => &pod::POD,
        ("", "podtemplates") => &workload::POD_TEMPLATE,
        ("", "replicationcontrollers") | ("apps", "replicasets") => &workload::REPLICA_SET,
        ("apps", "deployments") => &workload::DEPLOYMENT,
        ("apps", "statefulsets") => &workload::STATEFUL_SET,
        ("apps", "daemonsets") => &workload::DAEMON_SET,
        ("apps", "controllerrevisions") => &workload::CONTROLLER_REVISION,
        ("autoscaling", "horizontalpodautoscalers") => &workload::AUTOSCALER,
        ("autoscaling", "scales") => &workload::SCALE,
        ("batch", "jobs") => &batch::JOB,
        ("batch", "cronjobs") => &batch::CRON_JOB,
        ("", "services") => &network::SERVICE,
        ("", "endpoints") => &network::ENDPOINTS,
        ("discovery.k8s.io", "endpointslices") => &network::ENDPOINT_SLICE,
        ("networking.k8s.io", "ingresses") => &network::INGRESS,
        ("networking.k8s.io", "ingressclasses") => &network::INGRESS_CLASS,
        ("networking.k8s.io", "networkpolicies") => &network::NETWORK_POLICY,
        ("networking.k8s.io", "ipaddresses") => &network::IP_ADDRESS,
        ("networking.k8s.io", "servicecidrs") => &network::SERVICE_CIDR,
        ("", "nodes") => &cluster::NODE,
        ("", "namespaces") => &cluster::NAMESPACE,
        ("", "componentstatuses") => &cluster::COMPONENT_STATUS,
        ("apiregistration.k8s.io", "apiservices") => &cluster::API_SERVICE,
        ("" | "events.k8s.io", "events") => &core::EVENT,
        ("", "configmaps") => &core::CONFIG_MAP,
        ("", "secrets") => &core::SECRET,
        ("", "serviceaccounts") => &core::SERVICE_ACCOUNT,
        ("", "resourcequotas") => &core::RESOURCE_QUOTA,
        ("coordination.k8s.io", "leases") => &cluster::LEASE,
        ("scheduling.k8s.io", "priorityclasses") => &cluster::PRIORITY_CLASS,
        ("node.k8s.io", "runtimeclasses") => &cluster::RUNTIME_CLASS,
        ("certificates.k8s.io", "certificatesigningrequests") => &cluster::SIGNING_REQUEST,
        ("", "persistentvolumes") => &storage::VOLUME,
        ("", "persistentvolumeclaims") => &storage::CLAIM,
        ("storage.k8s.io", "storageclasses") => &storage::CLASS,
        ("storage.k8s.io", "volumeattributesclasses") => &storage::ATTRIBUTES_CLASS,
        ("storage.k8s.io", "volumeattachments") => &storage::ATTACHMENT,
        ("storage.k8s.io", "csidrivers") => &storage::DRIVER,
        ("storage.k8s.io", "csinodes") => &storage::CSI_NODE,
        ("storage.k8s.io", "csistoragecapacities") => &storage::CAPACITY,
        ("resource.k8s.io", "deviceclasses") => &storage::DEVICE_CLASS,
        ("resource.k8s.io", "resourceclaims") => &storage::RESOURCE_CLAIM,
        ("resource.k8s.io", "resourceclaimtemplates") => &storage::DEVICE_CLASS,
        ("resource.k8s.io", "resourceslices") => &storage::RESOURCE_SLICE,
        ("policy", "poddisruptionbudgets") => &policy::BUDGET,
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => &policy::BINDING,
        (
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations" | "validatingwebhookconfigurations",
        ) => &policy::WEBHOOKS,
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => &policy::VALIDATING_POLICY,
        ("admissionregistration.k8s.io", "mutatingadmissionpolicies") => &policy::MUTATING_POLICY,
        (
            "admissionregistration.k8s.io",
            "validatingadmissionpolicybindings" | "mutatingadmissionpolicybindings",
        ) => &policy::POLICY_BINDING,
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => &policy::FLOW_SCHEMA,
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => &policy::PRIORITY_LEVEL,
        _ => return None,
    })
}

pub(super) fn name(object: &Value) -> Value {
    text(&object["metadata"]["name"]).into()
}

pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    since(&object["metadata"]["creationTimestamp"], now).into()
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(super) fn int(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

pub(super) fn or(text: &str, instead: &str) -> Value {
    if text.is_empty() { instead.into() } else { text.into() }
}

/// `a=b,c=d`, sorted by key; `<none>` where there is nothing.
pub(super) fn labels(value: &Value) -> String {
    let mut pairs: Vec<(&String, &Value)> = entries(value).collect();
    if pairs.is_empty() {
        return "<none>".into();
    }
    pairs.sort_by_key(|(k, _)| k.as_str());
    pairs.iter().map(|(k, v)| format!("{k}={}", text(v))).collect::<Vec<_>>().join(",")
}

/// A label selector in its text form, as people see it: `<none>` selects nothing or everything, `<error>` is invalid.
pub(super) fn selector(value: &Value) -> String {
    if value.is_null() {
        return "<none>".into();
    }
    match selector_text(value) {
        Ok(text) if text.is_empty() => "<none>".into(),
        Ok(text) => text,
        Err(()) => "<error>".into(),
    }
}

/// The canonical text of a structured label selector.
pub(super) fn selector_text(value: &Value) -> Result<String, ()> {
    let selector: LabelSelector = serde_json::from_value(value.clone()).map_err(drop)?;
    Ok(selector.to_selector().map_err(drop)?.to_string())
}

/// The first `max` items, and how many more there are.
pub(super) fn some_of(list: &[String], max: usize) -> String {
    let shown = list[..list.len().min(max)].join(",");
    if list.len() > max { format!("{shown} + {} more...", list.len() - max) } else { shown }
}

/// Names and images of the containers of a pod template.
pub(super) fn containers(template: &Value) -> [Value; 2] {
    let of = |field: &str| -> Value {
        items(&template["spec"]["containers"])
            .iter()
            .map(|c| text(&c[field]))
            .collect::<Vec<_>>()
            .join(",")
            .into()
    };
    [of("name"), of("image")]
}

/// Whether the condition of that type is `True`.
pub(super) fn condition(conditions: &Value, ty: &str) -> bool {
    items(conditions).iter().any(|c| c["type"] == ty && c["status"] == "True")
}

pub(super) fn bool_text(value: &Value) -> Value {
    match value.as_bool() {
        Some(true) => "True".into(),
        Some(false) => "False".into(),
        None => "<unset>".into(),
    }
}

/// A number or a text, as text.
pub(super) fn scalar(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
