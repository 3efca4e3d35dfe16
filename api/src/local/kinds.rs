//! What single kinds need done as they are created or changed, besides what all do.

use orlop_core::Timestamp;
use orlop_core::kinds::ResourceRequirements;
use orlop_core::rules::pod_resources::qos_class_of;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::admit::Call;
use super::app_armor;
use crate::strategy::Strategy;
use crate::tree::{at, copy, items, metadata, object, remove, text};

/// Prepares a new object: what only the server may say, the server says.
pub(super) fn prepare_new(call: &mut Call<'_>, value: &mut Value, strategy: Strategy) {
    if strategy.resets_status {
        remove(value, "status");
    }
    let kind = call.kind();
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "pods") => {
            call.warnings.extend(app_armor::settle(value));
            pod(value, call.now);
        }
        ("", "namespaces") => {
            object(value, "status").insert("phase".into(), "Active".into());
            let spec = object(value, "spec");
            let mut finalizers =
                spec.get("finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
            if !finalizers.iter().any(|f| f == "kubernetes") {
                finalizers.push("kubernetes".into());
            }
            spec.insert("finalizers".into(), finalizers.into());
            let name = text(value, &["metadata", "name"]).to_owned();
            let labels = metadata(value).entry("labels".to_owned()).or_insert(Value::Null);
            if !labels.is_object() {
                *labels = json!({});
            }
            labels["kubernetes.io/metadata.name"] = name.into();
        }
        ("", "persistentvolumes") => {
            let status = object(value, "status");
            status.insert("phase".into(), "Pending".into());
            status.insert("lastPhaseTransitionTime".into(), call.now.to_string().into());
        }
        ("", "persistentvolumeclaims") => {
            object(value, "status").insert("phase".into(), "Pending".into());
            data_sources(object(value, "spec"));
        }
        ("discovery.k8s.io", "endpointslices") => {
            // Topology has fields of its own by now.
            for endpoint in value.get_mut("endpoints").and_then(Value::as_array_mut).into_iter().flatten() {
                remove(endpoint, "deprecatedTopology");
            }
        }
        ("coordination.k8s.io", "leases") => {
            // Coordinated leader election is not switched on.
            if let Some(spec) = value.get_mut("spec") {
                remove(spec, "strategy");
                remove(spec, "preferredHolder");
            }
        }
        ("apps", "statefulsets") => no_max_unavailable(value),
        ("batch", "jobs") => job(value),
        ("apiextensions.k8s.io", "customresourcedefinitions") => definition(value),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            let user = call.user;
            let spec = object(value, "spec");
            spec.insert("username".into(), user.name.as_str().into());
            spec.insert("uid".into(), user.uid.as_str().into());
            let groups: Vec<&str> = user.groups.iter().map(|g| g.as_str()).collect();
            spec.insert("groups".into(), groups.into());
            spec.shift_remove("extra");
            if !user.extra.is_empty() {
                let extra: Map<String, Value> = user
                    .extra
                    .iter()
                    .map(|(k, v)| (k.to_string(), v.iter().map(|v| v.as_str()).collect::<Vec<_>>().into()))
                    .collect();
                spec.insert("extra".into(), extra.into());
            }
        }
        _ => {}
    }
}

/// How often a DaemonSet's template has changed, in an annotation that older clients read.
pub(crate) const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn template_generation(value: &mut Value, generation: i64) {
    let meta = metadata(value);
    let annotations = meta.entry("annotations".to_owned()).or_insert(Value::Null);
    if !annotations.is_object() {
        *annotations = json!({});
    }
    annotations[TEMPLATE_GENERATION] = generation.to_string().into();
}

/// Where the specs of pods are in objects of a kind.
fn pod_spec_path(group: &str, plural: &str) -> Option<&'static str> {
    Some(match (group, plural) {
        ("", "pods") => "/spec",
        ("", "podtemplates") => "/template/spec",
        ("", "replicationcontrollers")
        | ("apps", "deployments" | "replicasets" | "daemonsets" | "statefulsets") => "/spec/template/spec",
        ("batch", "jobs") => "/spec/template/spec",
        ("batch", "cronjobs") => "/spec/jobTemplate/spec/template/spec",
        _ => return None,
    })
}

/// An amount that a container is told of is divided by something, if only by nothing in particular.
fn divisors(spec: &mut Value) {
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for variable in containers
            .into_iter()
            .flatten()
            .filter_map(|c| c.get_mut("env").and_then(Value::as_array_mut))
            .flatten()
        {
            let reference =
                variable.pointer_mut("/valueFrom/resourceFieldRef").and_then(Value::as_object_mut);
            if let Some(reference) = reference {
                reference.entry("divisor".to_owned()).or_insert_with(|| "0".into());
            }
        }
    }
}

/// Fields that say the same in two places, and what older clients read.
pub(super) fn complete(call: &Call<'_>, value: &mut Value) {
    let kind = call.kind();
    if let Some(spec) = pod_spec_path(&kind.group, &kind.plural).and_then(|path| value.pointer_mut(path)) {
        divisors(spec);
    }
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "pods") => {
            if let Some(Value::Object(status)) = value.get_mut("status") {
                sync_addresses(status);
            }
            // Two spellings of one field; the newer one counts.
            let (newer, older) =
                (text(value, &["spec", "serviceAccountName"]), text(value, &["spec", "serviceAccount"]));
            let name = if newer.is_empty() { older } else { newer }.to_owned();
            if !name.is_empty() {
                let spec = object(value, "spec");
                spec.insert("serviceAccountName".into(), name.as_str().into());
                spec.insert("serviceAccount".into(), name.into());
            }
        }
        ("apps", "statefulsets") => {
            let claims = value.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut);
            for claim in claims.into_iter().flatten().filter_map(Value::as_object_mut) {
                claim.insert("kind".into(), "PersistentVolumeClaim".into());
                claim.insert("apiVersion".into(), "v1".into());
            }
        }
        ("apps", "daemonsets")
            if text(value, &["metadata", "annotations", TEMPLATE_GENERATION]).is_empty() =>
        {
            template_generation(value, 1);
        }
        _ => {}
    }
}

/// Conditions of a signing request say when they were last written, and when they last changed.
fn certificate_conditions(value: &mut Value, old: &Value, now: Timestamp) {
    let Some(Value::Array(conditions)) = object(value, "status").get_mut("conditions") else { return };
    for condition in conditions {
        let known = items(old, &["status", "conditions"]).iter().find(|c| c["type"] == condition["type"]);
        let Some(condition) = condition.as_object_mut() else { continue };
        let absent = |condition: &Map<String, Value>, field| condition.get(field).is_none_or(Value::is_null);
        if absent(condition, "lastUpdateTime") {
            condition.insert("lastUpdateTime".into(), now.to_string().into());
        }
        if absent(condition, "lastTransitionTime") {
            let same = known.filter(|known| Some(&known["status"]) == condition.get("status"));
            let since = same.and_then(|known| known["lastTransitionTime"].as_str().map(str::to_owned));
            condition.insert("lastTransitionTime".into(), since.unwrap_or_else(|| now.to_string()).into());
        }
    }
}

/// A pod's first address stands in two fields; the older one wins.
fn sync_addresses(status: &mut Map<String, Value>) {
    for (one, all) in [("podIP", "podIPs"), ("hostIP", "hostIPs")] {
        let ip = status.get(one).and_then(Value::as_str).unwrap_or_default().to_owned();
        let first = status
            .get(all)
            .and_then(|all| all.get(0))
            .map(|first| text(first, &["ip"]).to_owned())
            .unwrap_or_default();
        if ip.is_empty() && !first.is_empty() {
            status.insert(one.into(), first.into());
        } else if one == "podIP" && !ip.is_empty() && ip != first {
            status.insert(all.into(), json!([{"ip": ip}]));
        }
    }
}

/// A claim says in two fields what it is filled with; the older one knows claims and snapshots only.
fn data_sources(spec: &mut Map<String, Value>) {
    let known = |source: &Value| {
        let (group, kind) = (text(source, &["apiGroup"]), text(source, &["kind"]));
        matches!((group, kind), ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot"))
    };
    if spec.get("dataSource").is_some_and(|source| !known(source)) {
        spec.shift_remove("dataSource");
    }
    match (spec.get("dataSource").cloned(), spec.get("dataSourceRef").cloned()) {
        (Some(source), None) => drop(spec.insert("dataSourceRef".into(), source)),
        (None, Some(mut source)) if text(&source, &["namespace"]).is_empty() && known(&source) => {
            remove(&mut source, "namespace");
            spec.insert("dataSource".into(), source);
        }
        _ => {}
    }
}

/// How many replicas may be away at once cannot be chosen yet.
fn no_max_unavailable(value: &mut Value) {
    let rolling = value.pointer_mut("/spec/updateStrategy/rollingUpdate");
    if let Some(rolling) = rolling {
        remove(rolling, "maxUnavailable");
    }
}

/// Keys of labels that a pod's own values are taken from become requirements of selectors.
fn take_over_labels(value: &mut Value) {
    let labels = at(value, &["metadata", "labels"]).cloned().unwrap_or_default();
    let extend = |term: &mut Value| {
        if !term.get("labelSelector").is_some_and(Value::is_object) {
            return;
        }
        for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
            let keys: Vec<String> =
                items(term, &[field]).iter().filter_map(|k| k.as_str().map(str::to_owned)).collect();
            for key in keys {
                let Some(label) = labels.get(&key).cloned() else { continue };
                let requirement = json!({"key": key, "operator": operator, "values": [label]});
                let selector = object(term, "labelSelector");
                let list = selector.entry("matchExpressions".to_owned()).or_insert_with(|| json!([]));
                if let Value::Array(list) = list {
                    list.push(requirement);
                }
            }
        }
    };
    for kind in ["podAffinity", "podAntiAffinity"] {
        let required = value
            .pointer_mut(&format!("/spec/affinity/{kind}/requiredDuringSchedulingIgnoredDuringExecution"));
        required.and_then(Value::as_array_mut).into_iter().flatten().for_each(extend);
        let preferred = value
            .pointer_mut(&format!("/spec/affinity/{kind}/preferredDuringSchedulingIgnoredDuringExecution"));
        for term in preferred.and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(term) = term.get_mut("podAffinityTerm") {
                extend(term);
            }
        }
    }
    let spread = value.pointer_mut("/spec/topologySpreadConstraints");
    spread.and_then(Value::as_array_mut).into_iter().flatten().for_each(extend);
}

/// What a pod asks for.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Asks {
    resources: ResourceRequirements,
    containers: Vec<ContainerAsks>,
    init_containers: Vec<ContainerAsks>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ContainerAsks {
    resources: ResourceRequirements,
}

fn qos(spec: &Value) -> &'static str {
    let Ok(asks) = Asks::deserialize(spec) else { return "BestEffort" };
    let containers = asks.containers.iter().chain(&asks.init_containers);
    qos_class_of(&asks.resources, containers.map(|container| &container.resources))
}

fn pod(value: &mut Value, now: Timestamp) {
    take_over_labels(value);
    if at(value, &["spec", "terminationGracePeriodSeconds"]).and_then(Value::as_i64).is_some_and(|s| s < 0) {
        object(value, "spec").insert("terminationGracePeriodSeconds".into(), 1.into());
    }
    let class = value.get("spec").map_or("BestEffort", qos);
    let gated = !items(value, &["spec", "schedulingGates"]).is_empty();
    remove(value, "status");
    let status = object(value, "status");
    status.insert("phase".into(), "Pending".into());
    if gated {
        let condition = json!({"type": "PodScheduled", "status": "False", "lastProbeTime": null,
            "lastTransitionTime": now.to_string(), "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates"});
        status.insert("conditions".into(), vec![condition].into());
    }
    status.insert("qosClass".into(), class.into());
}

/// What a new object has only after it was found to be valid.
pub(super) fn settle_new(call: &Call<'_>, value: &mut Value) {
    let kind = call.kind();
    if (kind.group.as_str(), kind.plural.as_str()) != ("batch", "jobs") {
        return;
    }
    let labels = at(value, &["spec", "template", "metadata", "labels"]).cloned();
    let meta = metadata(value);
    if meta.get("labels").is_none_or(Value::is_null) {
        copy(meta, labels.as_ref(), "labels");
    }
}

/// A Job selects its pods by its UID, unless its author selects them.
pub(crate) fn job(value: &mut Value) {
    if at(value, &["spec", "manualSelector"]) == Some(&Value::Bool(true)) {
        return;
    }
    let (name, uid) =
        (text(value, &["metadata", "name"]).to_owned(), text(value, &["metadata", "uid"]).to_owned());
    let template_labels = at(value, &["spec", "template", "metadata", "labels"]).cloned().unwrap_or_default();
    let own_labels = at(value, &["metadata", "labels"]).cloned().unwrap_or_default();
    // A Job without labels of its own shares its template's, those that follow included; where there are none yet, it
    // gets them only later (`settle_new`).
    let shared = !template_labels.is_null() && (own_labels.is_null() || own_labels == template_labels);
    let mut labels = template_labels.as_object().cloned().unwrap_or_default();
    for (label, text) in [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ] {
        labels.insert(label.into(), text.as_str().into());
    }
    if shared {
        metadata(value).insert("labels".into(), labels.clone().into());
    }
    let spec = object(value, "spec");
    let selector = spec.entry("selector".to_owned()).or_insert(Value::Null);
    object(selector, "matchLabels").insert("batch.kubernetes.io/controller-uid".into(), uid.into());
    let template = spec.entry("template".to_owned()).or_insert(Value::Null);
    metadata(template).insert("labels".into(), labels.into());
}

/// The version that is stored from now on is among those that were ever stored.
fn stored_versions(value: &mut Value) {
    let storage = items(value, &["spec", "versions"]).iter().find(|v| v["storage"] == true);
    let Some(storage) = storage.map(|v| v["name"].clone()) else { return };
    let mut stored = items(value, &["status", "storedVersions"]).to_vec();
    if !stored.contains(&storage) {
        stored.push(storage);
    }
    object(value, "status").insert("storedVersions".into(), stored.into());
}

fn definition(value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        let status = json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}});
        map.insert("status".into(), status);
    }
    stored_versions(value);
}

/// Takes from `value` what a write to this subresource may change, and everything else from `old`.
pub(super) fn merge(call: &Call<'_>, old: &Value, value: &mut Value, strategy: Strategy) {
    let kind = call.kind();
    match call.subresource.as_str() {
        "" => {
            if call.resource.subresource("status").is_some() {
                take_over(value, old, "status");
            }
            if kind.plural == "customresourcedefinitions" {
                stored_versions(value);
            }
            if kind.plural == "namespaces" && kind.group.is_empty() {
                let finalizers = at(old, &["spec", "finalizers"]);
                copy(object(value, "spec"), finalizers, "finalizers");
                let labels = metadata(value).entry("labels".to_owned()).or_insert(Value::Null);
                if !labels.is_object() {
                    *labels = json!({});
                }
                labels["kubernetes.io/metadata.name"] = call.key.name.as_str().into();
            }
            if kind.plural == "daemonsets" && kind.group == "apps" {
                let path = &["metadata", "annotations", TEMPLATE_GENERATION][..];
                let known: i64 = text(old, path).parse().unwrap_or(1);
                let changed = at(old, &["spec", "template"]) != at(value, &["spec", "template"]);
                template_generation(value, known + i64::from(changed));
            }
            if kind.plural == "certificatesigningrequests" {
                take_over(value, old, "spec");
            }
            if kind.plural == "statefulsets"
                && at(old, &["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"]).is_none()
            {
                no_max_unavailable(value);
            }
        }
        "status" if call.resource.custom => {
            let managed = at(value, &["metadata", "managedFields"]).cloned();
            let status = remove(value, "status");
            *value = old.clone();
            copy(metadata(value), managed.as_ref(), "managedFields");
            set(value, "status", status);
        }
        "status" => {
            let fields: Vec<String> = fields_of(old, value);
            for field in
                fields.iter().filter(|f| !matches!(f.as_str(), "kind" | "apiVersion" | "metadata" | "status"))
            {
                take_over(value, old, field);
            }
            if strategy.status_keeps_labels {
                copy(metadata(value), at(old, &["metadata", "labels"]), "labels");
            }
            if kind.plural == "daemonsets" && kind.group == "apps" {
                let known = text(old, &["metadata", "annotations", TEMPLATE_GENERATION]).parse().unwrap_or(1);
                template_generation(value, known);
            }
            if kind.plural == "certificatesigningrequests" {
                certificate_conditions(value, old, call.now);
            }
            if kind.plural == "pods" && kind.group.is_empty() {
                // The class follows from the spec, which a status cannot change.
                let class = at(old, &["status", "qosClass"]).cloned();
                let status = object(value, "status");
                if status.get("qosClass").is_none() {
                    copy(status, class.as_ref(), "qosClass");
                }
                if status.get("observedGeneration").is_none_or(|n| *n == 0) {
                    copy(status, at(old, &["status", "observedGeneration"]), "observedGeneration");
                }
            }
        }
        "finalize" => keep_all_but(value, old, &["spec", "finalizers"]),
        "approval" => {
            keep_all_but(value, old, &["status", "conditions"]);
            certificate_conditions(value, old, call.now);
        }
        "ephemeralcontainers" => {
            keep_all_but(value, old, &["spec", "ephemeralContainers"]);
            keep_metadata(value, old);
        }
        "resize" => {
            resize(value, old);
            keep_metadata(value, old);
        }
        _ => {}
    }
}

fn fields_of(old: &Value, new: &Value) -> Vec<String> {
    let keys =
        |value: &Value| value.as_object().map(|m| m.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let mut all = keys(old);
    all.extend(keys(new));
    all.sort_unstable();
    all.dedup();
    all
}

fn set(value: &mut Value, field: &str, to: Option<Value>) {
    if let Some(map) = value.as_object_mut() {
        copy(map, to.as_ref(), field);
    }
}

fn take_over(value: &mut Value, old: &Value, field: &str) {
    if let Some(map) = value.as_object_mut() {
        copy(map, old.get(field), field);
    }
}

/// Metadata stays as it is, but for who owns what.
fn keep_metadata(value: &mut Value, old: &Value) {
    let managed = at(value, &["metadata", "managedFields"]).cloned();
    set(value, "metadata", old.get("metadata").cloned());
    copy(metadata(value), managed.as_ref(), "managedFields");
}

/// Metadata and one field are the client's; the rest stays.
fn keep_all_but(value: &mut Value, old: &Value, path: &[&str; 2]) {
    let field = at(value, path).cloned();
    let meta = value.get("metadata").cloned();
    *value = old.clone();
    set(value, "metadata", meta);
    copy(object(value, path[0]), field.as_ref(), path[1]);
}

/// Only the resources of containers, and how they may change.
fn resize(value: &mut Value, old: &Value) {
    let wanted = value.clone();
    let meta = value.get("metadata").cloned();
    *value = old.clone();
    set(value, "metadata", meta);
    for list in ["containers", "initContainers"] {
        let Some(Value::Array(containers)) = object(value, "spec").get_mut(list) else { continue };
        for container in containers {
            let name = text(container, &["name"]).to_owned();
            let new = items(&wanted, &["spec", list]).iter().find(|c| text(c, &["name"]) == name);
            let (Some(new), Some(map)) = (new, container.as_object_mut()) else { continue };
            for field in ["resources", "resizePolicy"] {
                copy(map, new.get(field), field);
            }
        }
    }
}
