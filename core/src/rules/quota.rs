//! What objects count for in a ResourceQuota, and which quotas they fall under (Kubernetes' documentation, "Resource
//! Quotas").

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::pod_resources::{self, Counting, Resources, add, qos_class};
use super::{Format, Quantity};
use crate::kinds::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use crate::object::{Kind, Name};
use crate::time::Timestamp;

/// An object as quotas see it.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "made, counted and dropped: never kept in numbers")]
pub enum Counted<'a> {
    /// Pods count with what they take, as long as they may take it.
    Pod(Cow<'a, Pod>),
    /// Services count with what they take of the outside.
    Service(Cow<'a, Service>),
    /// Claims count with the storage that they ask for, in all and by class.
    Claim(Cow<'a, PersistentVolumeClaim>),
    /// Claims of devices count with the devices of each class.
    Devices(Cow<'a, Value>),
    /// All else only counts as such; the resource is `deployments.apps`.
    Other(Cow<'a, str>),
}

/// How many devices a request for all of them is taken for.
const ALL_DEVICES: i64 = 32;
const BY_CLASS: &str = ".storageclass.storage.k8s.io/";
const BY_DEVICE_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
/// Of these, every container must say what it takes where a quota limits them.
const STATED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
/// Kinds that may also be counted under their mere name.
const NAMED: [&str; 4] = ["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];

/// The resource by which objects of a kind are counted, less its `count/`: `pods`, `deployments.apps`.
pub fn counted_as(kind: &Kind) -> String {
    match kind.group.as_str() {
        "" => kind.plural.to_string(),
        group => format!("{}.{group}", kind.plural),
    }
}

impl<'a> Counted<'a> {
    /// Reads an object of `kind`. One that cannot be read counts as such alone.
    pub fn read(kind: &Kind, object: &'a Value) -> Counted<'a> {
        let read = match (kind.group.as_str(), kind.plural.as_str()) {
            ("", "pods") => Pod::deserialize(object).ok().map(|pod| Counted::Pod(Cow::Owned(pod))),
            ("", "services") => Service::deserialize(object).ok().map(|s| Counted::Service(Cow::Owned(s))),
            ("", "persistentvolumeclaims") => {
                PersistentVolumeClaim::deserialize(object).ok().map(|c| Counted::Claim(Cow::Owned(c)))
            }
            ("resource.k8s.io", "resourceclaims") => Some(Counted::Devices(Cow::Borrowed(object))),
            _ => None,
        };
        read.unwrap_or_else(|| Counted::Other(counted_as(kind).into()))
    }

    fn name(&self) -> &str {
        match self {
            Counted::Pod(_) => "pods",
            Counted::Service(_) => "services",
            Counted::Claim(_) => "persistentvolumeclaims",
            Counted::Devices(_) => "resourceclaims.resource.k8s.io",
            Counted::Other(name) => name,
        }
    }

    /// Whether a quota of `resource` is about this kind of object.
    pub fn counts(&self, resource: &str) -> bool {
        if resource.strip_prefix("count/") == Some(self.name()) {
            return true;
        }
        match self {
            Counted::Pod(_) => {
                let whole = resource.strip_prefix("requests.").unwrap_or(resource);
                let limit = resource.strip_prefix("limits.");
                resource == "pods"
                    || matches!(limit.unwrap_or(whole), "cpu" | "memory" | "ephemeral-storage")
                    || whole.starts_with("hugepages-")
                    || resource.starts_with("requests.") && !is_native(resource)
            }
            Counted::Service(_) => {
                matches!(resource, "services" | "services.nodeports" | "services.loadbalancers")
            }
            Counted::Claim(_) => {
                let resource = resource.split_once(BY_CLASS).map_or(resource, |(_, resource)| resource);
                matches!(resource, "persistentvolumeclaims" | "requests.storage")
            }
            Counted::Devices(_) => resource.ends_with(BY_DEVICE_CLASS),
            Counted::Other(name) => NAMED.contains(&name.as_ref()) && resource == name.as_ref(),
        }
    }

    /// What the object takes of each resource.
    pub fn usage(&self, now: Timestamp) -> Resources {
        let one = || Quantity::new(1);
        let mut usage = Resources::new();
        usage.insert(format!("count/{}", self.name()).into(), one());
        match self {
            Counted::Pod(pod) => {
                if takes_resources(pod, now) {
                    let counting = Counting { use_status: true, ..Counting::default() };
                    let requests = pod_resources::requests(pod, counting);
                    usage.extend(compute(&requests, &pod_resources::limits(pod, counting)));
                }
            }
            Counted::Service(service) => {
                let spec = &service.spec;
                let ports = |all: bool| {
                    let held = spec.ports.iter().filter(|p| all || p.node_port.is_some_and(|n| n != 0));
                    i64::try_from(held.count()).unwrap_or(i64::MAX)
                };
                let (node_ports, balancers) = match spec.r#type.as_str() {
                    "NodePort" => (ports(true), 0),
                    "LoadBalancer" => (ports(spec.allocate_load_balancer_node_ports != Some(false)), 1),
                    _ => (0, 0),
                };
                usage.insert("services".into(), one());
                usage.insert("services.nodeports".into(), Quantity::new(node_ports));
                usage.insert("services.loadbalancers".into(), Quantity::new(balancers));
            }
            Counted::Claim(claim) => {
                let class = storage_class(claim);
                usage.insert("persistentvolumeclaims".into(), one());
                let storage = [&claim.spec.resources.requests, &claim.status.allocated_resources]
                    .into_iter()
                    .filter_map(|resources| resources.get("storage"))
                    .max();
                if let Some(storage) = storage {
                    usage.insert("requests.storage".into(), storage.clone());
                }
                if !class.is_empty() {
                    usage.insert(format!("{class}{BY_CLASS}persistentvolumeclaims").into(), one());
                    if let Some(storage) = storage {
                        usage.insert(format!("{class}{BY_CLASS}requests.storage").into(), storage.clone());
                    }
                }
            }
            Counted::Devices(claim) => add(&mut usage, &devices(claim)),
            Counted::Other(name) => {
                if NAMED.contains(&name.as_ref()) {
                    usage.insert(name.as_ref().into(), one());
                }
            }
        }
        usage
    }

    /// Whether the object is in a scope of a quota.
    pub fn is_in(&self, scope: &str, operator: &str, values: &[Name]) -> bool {
        match self {
            Counted::Pod(pod) => {
                let deadline = pod.spec.active_deadline_seconds.is_some_and(|s| s >= 0);
                match scope {
                    "Terminating" => deadline,
                    "NotTerminating" => !deadline,
                    "BestEffort" => qos_class(pod) == "BestEffort",
                    "NotBestEffort" => qos_class(pod) != "BestEffort",
                    "PriorityClass" => {
                        let class = &pod.spec.priority_class_name;
                        selected(operator, values, &[class.as_str()])
                    }
                    "CrossNamespacePodAffinity" => reaches_out(pod),
                    _ => false,
                }
            }
            Counted::Claim(claim) if scope == "VolumeAttributesClass" => {
                let target = claim.status.modify_volume_status["targetVolumeAttributesClassName"].as_str();
                let classes = [
                    claim.spec.volume_attributes_class_name.as_str(),
                    claim.status.current_volume_attributes_class_name.as_str(),
                    target.unwrap_or_default(),
                ];
                selected(operator, values, &classes)
            }
            _ => false,
        }
    }

    /// Whether a quota holds for the object: it limits something that the object is counted by, and all its scopes
    /// hold. Goes by the limits in the quota's status, which are those that are in force.
    pub fn falls_under(&self, quota: &ResourceQuota) -> bool {
        quota.status.hard.keys().any(|resource| self.counts(resource)) && self.in_scopes_of(quota)
    }

    /// Whether all scopes of a quota hold.
    pub fn in_scopes_of(&self, quota: &ResourceQuota) -> bool {
        let selector = quota.spec.scope_selector.iter().flat_map(|s| &s.match_expressions);
        quota.spec.scopes.iter().all(|scope| self.is_in(scope, "Exists", &[]))
            && selector.into_iter().all(|r| self.is_in(&r.scope_name, &r.operator, &r.values))
    }

    /// Where a quota limits `resources`: what the object must say, and does not.
    ///
    /// # Errors
    /// The resources, each with the containers that say nothing of it.
    pub fn check_stated<'r>(&self, resources: impl Iterator<Item = &'r str>) -> Result<(), String> {
        let Counted::Pod(pod) = self else { return Ok(()) };
        let whole = compute(&pod.spec.resources.requests, &pod.spec.resources.limits);
        let required: BTreeSet<&str> =
            resources.filter(|r| STATED.contains(r) && !whole.contains_key(*r)).collect();
        let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for container in pod.spec.containers.iter().chain(&pod.spec.init_containers) {
            let stated = compute(&container.resources.requests, &container.resources.limits);
            for resource in required.iter().filter(|r| !stated.contains_key(**r)) {
                missing.entry(resource).or_default().insert(&container.name);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let each = missing.into_iter().map(|(resource, containers)| {
            format!("{resource} for: {}", containers.into_iter().collect::<Vec<_>>().join(","))
        });
        Err(format!("must specify {}", each.collect::<Vec<_>>().join("; ")))
    }
}

/// Whether a resource is Kubernetes' own rather than an extended one.
fn is_native(resource: &str) -> bool {
    !resource.contains('/') || resource.contains("kubernetes.io/")
}

/// Requests and limits under the names that quotas have for them.
fn compute(requests: &Resources, limits: &Resources) -> Resources {
    let mut usage = Resources::new();
    usage.insert("pods".into(), Quantity::new(1));
    for (name, amount) in requests {
        let known = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
        if known || name.starts_with("hugepages-") {
            usage.insert(name.clone(), amount.clone());
        }
        if known || name.starts_with("hugepages-") || !is_native(name) && !name.starts_with("requests.") {
            usage.insert(format!("requests.{name}").into(), amount.clone());
        }
    }
    for (name, amount) in limits {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            usage.insert(format!("limits.{name}").into(), amount.clone());
        }
    }
    usage
}

/// Whether a pod still counts with what it takes: not once it has ended, nor once its time to end is over.
fn takes_resources(pod: &Pod, now: Timestamp) -> bool {
    if matches!(pod.status.phase.as_str(), "Failed" | "Succeeded") {
        return false;
    }
    match (pod.metadata.deletion_timestamp, pod.metadata.deletion_grace_period_seconds) {
        (Some(deleted), Some(grace)) => {
            now <= deleted + Duration::from_secs(u64::try_from(grace).unwrap_or_default())
        }
        _ => true,
    }
}

/// Whether a scope selector's requirement holds for the names, of which empty ones are none.
fn selected(operator: &str, values: &[Name], names: &[&str]) -> bool {
    let mut given = names.iter().filter(|name| !name.is_empty()).peekable();
    match operator {
        "Exists" => given.peek().is_some(),
        "DoesNotExist" => given.peek().is_none(),
        "In" => given.any(|name| values.iter().any(|v| v == name)),
        "NotIn" => !given.any(|name| values.iter().any(|v| v == name)),
        _ => false,
    }
}

/// Whether a pod's affinity looks into other namespaces.
fn reaches_out(pod: &Pod) -> bool {
    let Some(affinity) = &pod.spec.affinity else { return false };
    let near = affinity.pod_affinity.iter().flat_map(|a| {
        let preferred = a.preferred_during_scheduling_ignored_during_execution.iter();
        a.required_during_scheduling_ignored_during_execution
            .iter()
            .chain(preferred.map(|p| &p.pod_affinity_term))
    });
    let far = affinity.pod_anti_affinity.iter().flat_map(|a| {
        let preferred = a.preferred_during_scheduling_ignored_during_execution.iter();
        a.required_during_scheduling_ignored_during_execution
            .iter()
            .chain(preferred.map(|p| &p.pod_affinity_term))
    });
    near.chain(far).any(|term| !term.namespaces.is_empty() || term.namespace_selector.is_some())
}

fn storage_class(claim: &PersistentVolumeClaim) -> &str {
    super::volume::class_of(&claim.metadata, &claim.spec.storage_class_name)
}

/// The devices that a claim asks for, by class. Of alternatives, the one that takes most of a class counts.
fn devices(claim: &Value) -> Resources {
    let mut usage = Resources::new();
    for request in claim["spec"]["devices"]["requests"].as_array().into_iter().flatten() {
        let count = |request: &Value| -> Option<(Name, i64)> {
            let class = request["deviceClassName"].as_str().filter(|class| !class.is_empty())?;
            let all = request["allocationMode"] == "All";
            let count = if all { ALL_DEVICES } else { request["count"].as_i64().unwrap_or(1) };
            Some((format!("{class}{BY_DEVICE_CLASS}").into(), count))
        };
        let mut most: BTreeMap<Name, i64> = BTreeMap::new();
        let alternatives = request["firstAvailable"].as_array().into_iter().flatten();
        for (class, devices) in alternatives.chain([&request["exactly"]]).filter_map(count) {
            let known = most.entry(class).or_default();
            *known = devices.max(*known);
        }
        let most =
            most.into_iter().map(|(class, n)| (class, Quantity::new(n).with_format(Format::DecimalSI)));
        add(&mut usage, &most.collect());
    }
    usage
}
