//! What a pod takes of a node, and its quality of service.

use std::collections::BTreeMap;

use crate::kinds::{Container, ContainerStatus, Pod, ResourceRequirements};
use crate::object::Name;

use super::Quantity;

/// Amounts by resource name.
pub type Resources = BTreeMap<Name, Quantity>;

/// What is counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counting<'a> {
    /// Leaves the pod's overhead out.
    pub exclude_overhead: bool,
    /// Ignores `spec.resources`.
    pub skip_pod_level: bool,
    /// Also looks at what the containers' statuses report, as a resize in place requires.
    pub use_status: bool,
    /// What a container requests of a resource for which it says nothing.
    pub missing: Option<&'a Resources>,
}

pub(crate) fn add(total: &mut Resources, more: &Resources) {
    for (name, amount) in more {
        match total.get_mut(name) {
            Some(sum) => *sum += amount,
            None => {
                total.insert(name.clone(), amount.clone());
            }
        }
    }
}

fn raise(total: &mut Resources, to: &Resources) {
    for (name, amount) in to {
        if total.get(name).is_none_or(|present| amount > present) {
            total.insert(name.clone(), amount.clone());
        }
    }
}

/// Whether the kind of resource can be given for a pod as a whole.
fn at_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy == "Always"
}

/// Containers run together; init containers run one after another before them, but sidecars among these keep running.
fn aggregate(pod: &Pod, of: impl Fn(&Container) -> Resources) -> Resources {
    let mut total = Resources::new();
    for container in &pod.spec.containers {
        add(&mut total, &of(container));
    }
    let mut sidecars = Resources::new();
    let mut peak = Resources::new();
    for container in &pod.spec.init_containers {
        let own = of(container);
        if is_sidecar(container) {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            raise(&mut peak, &sidecars);
        } else {
            let mut during = own;
            add(&mut during, &sidecars);
            raise(&mut peak, &during);
        }
    }
    raise(&mut total, &peak);
    total
}

fn status<'a>(pod: &'a Pod, container: &Container) -> Option<&'a ContainerStatus> {
    let init = pod.spec.init_containers.iter().any(|c| c.name == container.name);
    if init && !is_sidecar(container) {
        return None;
    }
    let mut all = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
    all.find(|status| status.name == container.name)
}

fn resize_is_infeasible(pod: &Pod) -> bool {
    super::pod::condition(pod, "PodResizePending").is_some_and(|c| c.reason == "Infeasible")
}

/// What the pod requests in all.
pub fn requests(pod: &Pod, counting: Counting<'_>) -> Resources {
    let mut total = aggregate(pod, |container| {
        let mut own = container.resources.requests.clone();
        if let Some(status) = counting.use_status.then(|| status(pod, container)).flatten() {
            if resize_is_infeasible(pod) {
                own = Resources::new();
            }
            raise(&mut own, &status.resources.requests);
            raise(&mut own, &status.allocated_resources);
        }
        for (name, amount) in counting.missing.into_iter().flatten() {
            own.entry(name.clone()).or_insert_with(|| amount.clone());
        }
        own
    });
    if !counting.skip_pod_level {
        let given = pod.spec.resources.requests.iter().filter(|(name, _)| at_pod_level(name));
        total.extend(given.map(|(name, amount)| (name.clone(), amount.clone())));
    }
    if !counting.exclude_overhead {
        add(&mut total, &pod.spec.overhead);
    }
    total
}

/// What the pod may use in all, of the resources that are limited.
pub fn limits(pod: &Pod, counting: Counting<'_>) -> Resources {
    let mut total = aggregate(pod, |container| {
        let mut own = container.resources.limits.clone();
        if let Some(status) = counting.use_status.then(|| status(pod, container)).flatten() {
            if resize_is_infeasible(pod) {
                own = Resources::new();
            }
            raise(&mut own, &status.resources.limits);
        }
        own
    });
    if !counting.skip_pod_level {
        let given = pod.spec.resources.limits.iter().filter(|(name, _)| at_pod_level(name));
        total.extend(given.map(|(name, amount)| (name.clone(), amount.clone())));
    }
    if !counting.exclude_overhead {
        for (name, amount) in &pod.spec.overhead {
            if let Some(limit) = total.get_mut(name).filter(|limit| !limit.is_zero()) {
                *limit += amount;
            }
        }
    }
    total
}

/// `Guaranteed`, `Burstable` or `BestEffort`: who is put out first when a node runs short.
pub fn qos_class(pod: &Pod) -> &'static str {
    let containers = pod.spec.containers.iter().chain(&pod.spec.init_containers);
    qos_class_of(&pod.spec.resources, containers.map(|container| &container.resources))
}

/// [`qos_class`] from what the pod as a whole asks for, and its containers and init containers.
pub fn qos_class_of<'a>(
    whole: &ResourceRequirements,
    containers: impl Iterator<Item = &'a ResourceRequirements>,
) -> &'static str {
    let mut requests = Resources::new();
    let mut limits = Resources::new();
    let mut guaranteed = true;
    let mut count = |resources: &ResourceRequirements, required: bool| {
        let counted = |resources: &Resources| -> Resources {
            let counts = |(name, amount): &(&Name, &Quantity)| {
                matches!(name.as_str(), "cpu" | "memory") && amount.signum() > 0
            };
            resources.iter().filter(counts).map(|(n, q)| (n.clone(), q.clone())).collect()
        };
        let limited = counted(&resources.limits);
        guaranteed &= limited.len() == 2 || !required;
        add(&mut requests, &counted(&resources.requests));
        add(&mut limits, &limited);
    };
    if whole.requests.is_empty() && whole.limits.is_empty() {
        containers.for_each(|resources| count(resources, true));
    } else {
        count(whole, !whole.limits.is_empty());
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if guaranteed && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}
