//! Amounts as whole numbers: [`Resources`].

use std::collections::BTreeMap;

use orlop_core::Name;
use orlop_core::kinds::{Container, Pod};
use orlop_core::rules::Quantity;
use orlop_core::rules::pod_resources::{self, Counting};
use smallvec::SmallVec;

/// What a container that does not say is taken to use when nodes are scored, in thousandths of a CPU.
const UNSAID_CPU_MILLI: i64 = 100;
/// The same for memory, in bytes.
const UNSAID_MEMORY: i64 = 200 << 20;

/// Amounts of resources: CPU in thousandths, all others in their unit, mostly bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resources {
    /// CPU, in thousandths.
    pub cpu_milli: i64,
    /// Memory, in bytes.
    pub memory: i64,
    /// Ephemeral storage, in bytes.
    pub ephemeral_storage: i64,
    /// All other resources that count: extended ones and huge pages. Sorted by name.
    pub others: SmallVec<[(Name, i64); 1]>,
}

impl Resources {
    /// The amount of a resource by Kubernetes' name: `cpu`, `memory`, `example.com/gpu`.
    pub fn get(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.cpu_milli,
            "memory" => self.memory,
            "ephemeral-storage" => self.ephemeral_storage,
            _ => self.others.iter().find(|(n, _)| n == name).map_or(0, |(_, amount)| *amount),
        }
    }

    /// Sets the amount of a resource by Kubernetes' name; does nothing for one that nodes do not account for.
    pub fn set(&mut self, name: &Name, amount: i64) {
        match name.as_str() {
            "cpu" => self.cpu_milli = amount,
            "memory" => self.memory = amount,
            "ephemeral-storage" => self.ephemeral_storage = amount,
            other if is_accounted(other) => match self.others.binary_search_by(|(n, _)| n.cmp(name)) {
                Ok(at) => self.others[at].1 = amount,
                Err(at) => self.others.insert(at, (name.clone(), amount)),
            },
            _ => {}
        }
    }

    /// From the API's form.
    pub fn of_list(list: &BTreeMap<Name, Quantity>) -> Resources {
        let mut resources = Resources::default();
        for (name, quantity) in list {
            resources.set(name, if name == "cpu" { quantity.milli_value() } else { value(quantity) });
        }
        resources
    }
}

/// A quantity in whole units.
pub(crate) fn value(quantity: &Quantity) -> i64 {
    quantity.value()
}

/// Whether nodes account for a resource besides CPU, memory and ephemeral storage: extended resources, huge pages and
/// what carries a prefix of Kubernetes' own.
fn is_accounted(name: &str) -> bool {
    if name.starts_with("hugepages-") || name.starts_with("attachable-volumes-") {
        return true;
    }
    name.contains('/') && (name.contains("kubernetes.io/") || !name.starts_with("requests."))
}

/// What a pod asks for in all; what it is taken to ask for when nodes are scored for it: containers that do not say
/// count by the defaults; and what it is taken to use of the node that it is on.
pub(crate) fn amounts(pod: &Pod) -> (Resources, Resources, (i64, i64)) {
    let requests = Resources::of_list(&counted(pod, None));
    if says_all(pod) {
        let usage = (requests.cpu_milli, requests.memory);
        return (requests.clone(), requests, usage);
    }
    (requests, Resources::of_list(&counted(pod, Some(&unsaid()))), scored_usage(pod))
}

/// Whether defaults count for nothing, as every container says what it takes, and no status says otherwise.
fn says_all(pod: &Pod) -> bool {
    let says = |container: &Container| {
        let requests = &container.resources.requests;
        requests.contains_key("cpu") && requests.contains_key("memory")
    };
    pod.status.container_statuses.is_empty()
        && pod.status.init_container_statuses.is_empty()
        && pod.spec.init_containers.iter().chain(&pod.spec.containers).all(says)
}

/// What a pod on a node is taken to use when that node is scored: thousandths of a CPU, bytes of memory. The same, but a
/// pod that asks for something as a whole counts by defaults only what neither it nor a container says.
fn scored_usage(pod: &Pod) -> (i64, i64) {
    let mut missing = unsaid();
    if pod.spec.resources.requests.keys().any(|name| matches!(name.as_str(), "cpu" | "memory")) {
        let said = counted(pod, None);
        missing.retain(|name, _| !said.contains_key(name));
    }
    let usage = Resources::of_list(&counted(pod, Some(&missing)));
    (usage.cpu_milli, usage.memory)
}

fn unsaid() -> BTreeMap<Name, Quantity> {
    BTreeMap::from([
        (Name::new_static("cpu"), Quantity::from_milli(UNSAID_CPU_MILLI)),
        (Name::new_static("memory"), Quantity::from(UNSAID_MEMORY)),
    ])
}

fn counted(pod: &Pod, missing: Option<&BTreeMap<Name, Quantity>>) -> BTreeMap<Name, Quantity> {
    pod_resources::requests(pod, Counting { use_status: true, missing, ..Counting::default() })
}
