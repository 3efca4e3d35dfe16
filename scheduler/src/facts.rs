//! What decisions need of pods and nodes: [`PodFacts`], [`NodeFacts`], compact projections of the API objects.

use orlop_core::kinds;
use orlop_core::rules::pod::condition;
use orlop_core::rules::{LabelSelector, Selector};
use orlop_core::{Key, Labels, Name, OwnerReference, Timestamp};
use serde::Deserialize;
use smallvec::SmallVec;

use crate::resources::{Resources, amounts};
use crate::volumes::{Attachable, Disk};

/// What decisions need of a pod.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PodFacts {
    /// Namespace and name.
    pub key: Key,
    /// The UID.
    pub uid: Name,
    /// The labels.
    pub labels: Labels,
    /// Who controls it.
    pub owner: Option<OwnerReference>,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Since when it runs.
    pub started: Option<Timestamp>,
    /// Set while it is being deleted.
    pub deleted: Option<Timestamp>,
    /// Whether it has run to its end.
    pub finished: bool,
    /// Higher goes first.
    pub priority: i32,
    /// Whether it may evict others.
    pub may_preempt: bool,
    /// The profile that it asks for.
    pub scheduler: Name,
    /// The node that it is bound to; empty while it is not.
    pub node: Name,
    /// The node on which room is being made for it; mostly empty.
    pub nominated: Name,
    /// What holds it back.
    pub gates: Vec<Name>,
    /// What it asks for.
    pub requests: Resources,
    /// What it is taken to ask for when nodes are scored: containers that do not say count 100m CPU, 200Mi memory.
    pub scored_requests: Resources,
    /// What it is taken to use when the node that it is on is scored: thousandths of a CPU, bytes of memory.
    pub scored_usage: (i64, i64),
    /// Whether no container requests or limits anything.
    pub best_effort: bool,
    /// Taints that it bears.
    pub tolerations: Vec<kinds::Toleration>,
    /// Labels that the node must have.
    pub node_selector: Labels,
    /// Which nodes it must and would like to have.
    pub node_affinity: Option<Box<kinds::NodeAffinity>>,
    /// Pods that it must have near.
    pub affinity: Vec<AffinityTerm>,
    /// Pods that it must not have near.
    pub anti_affinity: Vec<AffinityTerm>,
    /// Pods that it would like to have near; a negative weight: would rather not.
    pub preferred_affinity: Vec<(i64, AffinityTerm)>,
    /// How it is spread.
    pub spread: Vec<SpreadConstraint>,
    /// Ports that it needs of the node itself.
    pub host_ports: SmallVec<[HostPort; 1]>,
    /// The images of its containers, init containers included; one entry for each.
    pub images: SmallVec<[Name; 1]>,
    /// The claims that its volumes use.
    pub claims: Vec<ClaimRef>,
    /// Disks that its volumes name themselves and that not everybody can have at once.
    pub disks: Vec<Disk>,
    /// Volumes that it names itself and that a driver attaches to its node.
    pub attached: Vec<Attachable>,
    /// How many claims of devices it has.
    pub device_claims: usize,
    /// Whether it is being deleted to make room for another.
    pub preempted: bool,
    /// The group that it belongs to, in its namespace; mostly empty.
    pub group: Name,
}

/// A claim that one of a pod's volumes uses.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimRef {
    /// The claim's name, in the pod's namespace.
    pub name: Name,
    /// Whether it is made for this pod alone and goes with it.
    pub ephemeral: bool,
}

/// A port of the node itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The node's address; `0.0.0.0` means all of them.
    pub ip: Name,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Name,
    /// The port.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be had at once.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        const ANY: &str = "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip == ANY || other.ip == ANY)
    }
}

impl PodFacts {
    /// From an object of the API.
    ///
    /// # Errors
    /// When it is not of a Pod's form.
    pub fn from_json(pod: &serde_json::Value) -> Result<PodFacts, serde_json::Error> {
        kinds::Pod::deserialize(pod).map(|pod| PodFacts::from(&pod))
    }

    /// One label's text.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(Name::as_str)
    }

    /// The key of the group that it belongs to.
    pub(crate) fn group_key(&self) -> Option<Key> {
        let in_some = !self.group.is_empty();
        in_some.then(|| Key { namespace: self.key.namespace.clone(), name: self.group.clone() })
    }

    /// Whether deletion was asked for.
    pub fn is_terminating(&self) -> bool {
        self.deleted.is_some()
    }

    /// Whether it holds a place on a node.
    pub fn is_assigned(&self) -> bool {
        !self.node.is_empty() && !self.finished
    }
}

impl From<&kinds::Pod> for PodFacts {
    fn from(pod: &kinds::Pod) -> PodFacts {
        let spec = &pod.spec;
        let affinity = spec.affinity.clone().unwrap_or_default();
        let near = affinity.pod_affinity.unwrap_or_default();
        let apart = affinity.pod_anti_affinity.unwrap_or_default();
        let (namespace, labels) = (&pod.metadata.namespace, &pod.metadata.labels);
        let term = |term: &kinds::PodAffinityTerm| AffinityTerm::new(term, namespace, labels);
        let weighted = |terms: &[kinds::WeightedPodAffinityTerm], sign: i64| -> Vec<(i64, AffinityTerm)> {
            terms.iter().map(|t| (sign * i64::from(t.weight), term(&t.pod_affinity_term))).collect()
        };
        let mut preferred = weighted(&near.preferred_during_scheduling_ignored_during_execution, 1);
        preferred.extend(weighted(&apart.preferred_during_scheduling_ignored_during_execution, -1));
        let (requests, scored_requests, scored_usage) = amounts(pod);
        PodFacts {
            key: pod.metadata.key(),
            uid: pod.metadata.uid.clone(),
            labels: pod.metadata.labels.clone(),
            owner: pod.metadata.controller().cloned(),
            created: pod.metadata.creation_timestamp,
            started: pod.status.start_time,
            deleted: pod.metadata.deletion_timestamp,
            finished: matches!(pod.status.phase.as_str(), "Succeeded" | "Failed"),
            priority: spec.priority.unwrap_or(0),
            may_preempt: spec.preemption_policy != "Never",
            scheduler: spec.scheduler_name.clone(),
            node: spec.node_name.clone(),
            nominated: pod.status.nominated_node_name.clone(),
            gates: spec.scheduling_gates.iter().map(|g| g.name.clone()).collect(),
            requests,
            scored_requests,
            scored_usage,
            best_effort: spec
                .init_containers
                .iter()
                .chain(&spec.containers)
                .all(|c| c.resources.requests.is_empty() && c.resources.limits.is_empty()),
            tolerations: spec.tolerations.clone(),
            node_selector: spec.node_selector.clone(),
            node_affinity: affinity.node_affinity.map(Box::new),
            affinity: near.required_during_scheduling_ignored_during_execution.iter().map(term).collect(),
            anti_affinity: apart
                .required_during_scheduling_ignored_during_execution
                .iter()
                .map(term)
                .collect(),
            preferred_affinity: preferred,
            spread: spec
                .topology_spread_constraints
                .iter()
                .map(|constraint| SpreadConstraint::new(constraint, labels))
                .collect(),
            host_ports: host_ports(spec),
            images: spec.init_containers.iter().chain(&spec.containers).map(|c| c.image.clone()).collect(),
            claims: claims(pod),
            disks: spec.volumes.iter().filter_map(Disk::of).collect(),
            attached: spec.volumes.iter().filter_map(Attachable::of_pod).collect(),
            device_claims: spec.resource_claims.len(),
            group: Name::from(spec.scheduling_group["podGroupName"].as_str().unwrap_or_default()),
            preempted: pod.metadata.is_terminating()
                && condition(pod, "DisruptionTarget")
                    .is_some_and(|c| c.status == "True" && c.reason == "PreemptionByScheduler"),
        }
    }
}

/// A term of pod affinity or anti-affinity, ready to match.
#[derive(Clone, Debug, PartialEq)]
pub struct AffinityTerm {
    /// The label that makes nodes near each other.
    pub topology_key: Name,
    /// The pods that are meant; those in `namespaces` and in the namespaces that `namespace_selector` selects.
    pub selector: Selector,
    /// Namespaces by name.
    pub namespaces: Vec<Name>,
    /// Namespaces by label.
    pub namespace_selector: Selector,
}

impl AffinityTerm {
    /// The term of a pod in `namespace` with `labels`.
    ///
    /// `matchLabelKeys` and `mismatchLabelKeys` narrow the selector by the pod's own labels (KEP-3633). The API server
    /// does so when a pod is created; here it is done for pods that came another way.
    fn new(term: &kinds::PodAffinityTerm, namespace: &Name, labels: &Labels) -> AffinityTerm {
        let mut selector = term.label_selector.clone();
        for (keys, operator) in [(&term.match_label_keys, "In"), (&term.mismatch_label_keys, "NotIn")] {
            for key in keys {
                if let (Some(value), Some(selector)) = (labels.get(key), &mut selector) {
                    narrow(selector, key, operator, value);
                }
            }
        }
        let mut namespaces = term.namespaces.clone();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(namespace.clone());
        }
        AffinityTerm {
            topology_key: term.topology_key.clone(),
            selector: selector_of(selector.as_ref()),
            namespaces,
            namespace_selector: selector_of(term.namespace_selector.as_ref()),
        }
    }

    /// Whether a pod is meant, given the labels of its namespace.
    pub fn matches(&self, pod: &PodFacts, namespace: Option<&Labels>) -> bool {
        self.selector.matches(&pod.labels)
            && (self.namespaces.contains(&pod.key.namespace)
                || match namespace {
                    Some(labels) => self.namespace_selector.matches(labels),
                    None => self.namespace_selector.matches(&Labels::new()),
                })
    }
}

/// The selector of an optional field: absent or not valid, it selects nothing.
pub(crate) fn selector_of(selector: Option<&LabelSelector>) -> Selector {
    selector.and_then(|s| s.to_selector().ok()).unwrap_or_else(Selector::nothing)
}

/// Adds a requirement, unless it is there.
pub(crate) fn narrow(selector: &mut LabelSelector, key: &Name, operator: &'static str, value: &Name) {
    let requirement = orlop_core::rules::LabelSelectorRequirement {
        key: key.clone(),
        operator: Name::new_static(operator),
        values: vec![value.clone()],
    };
    if !selector.match_expressions.contains(&requirement) {
        selector.match_expressions.push(requirement);
    }
}

/// How a pod is spread over the values of a label, ready to count.
#[derive(Clone, Debug, PartialEq)]
pub struct SpreadConstraint {
    /// The label whose values are the domains.
    pub topology_key: Name,
    /// The pods that are counted, in the pod's namespace.
    pub selector: Selector,
    /// By how many more a domain may have than the one with the fewest.
    pub max_skew: i64,
    /// With fewer domains than this, the fewest counts as none.
    pub min_domains: usize,
    /// Whether a node that would break the rule is refused, or only less liked.
    pub required: bool,
    /// Whether only nodes that the pod's node affinity allows are counted.
    pub honor_affinity: bool,
    /// Whether only nodes whose taints the pod tolerates are counted.
    pub honor_taints: bool,
}

impl SpreadConstraint {
    pub(crate) fn new(constraint: &kinds::TopologySpreadConstraint, labels: &Labels) -> SpreadConstraint {
        let mut selector = constraint.label_selector.clone();
        for key in &constraint.match_label_keys {
            if let (Some(value), Some(selector)) = (labels.get(key), &mut selector) {
                narrow(selector, key, "In", value);
            }
        }
        SpreadConstraint {
            topology_key: constraint.topology_key.clone(),
            selector: selector_of(selector.as_ref()),
            max_skew: constraint.max_skew.into(),
            min_domains: constraint.min_domains.and_then(|n| usize::try_from(n).ok()).unwrap_or(1),
            required: constraint.when_unsatisfiable != "ScheduleAnyway",
            honor_affinity: constraint.node_affinity_policy != "Ignore",
            honor_taints: constraint.node_taints_policy == "Honor",
        }
    }
}

fn claims(pod: &kinds::Pod) -> Vec<ClaimRef> {
    let volumes = pod.spec.volumes.iter();
    volumes
        .filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(claim), _) => Some(ClaimRef { name: claim.claim_name.clone(), ephemeral: false }),
            (None, Some(_)) => {
                let name = smol_str::format_smolstr!("{}-{}", pod.metadata.name, volume.name);
                Some(ClaimRef { name, ephemeral: true })
            }
            _ => None,
        })
        .collect()
}

fn host_ports(spec: &kinds::PodSpec) -> SmallVec<[HostPort; 1]> {
    let sidecars = spec.init_containers.iter().filter(|c| c.restart_policy == "Always");
    spec.containers
        .iter()
        .chain(sidecars)
        .flat_map(|c| &c.ports)
        .filter_map(|p| {
            let port = p.host_port.filter(|port| *port > 0)?;
            let or =
                |text: &Name, default| if text.is_empty() { Name::new_static(default) } else { text.clone() };
            Some(HostPort { ip: or(&p.host_ip, "0.0.0.0"), protocol: or(&p.protocol, "TCP"), port })
        })
        .collect()
}

/// What decisions need of a node.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct NodeFacts {
    /// The name.
    pub name: Name,
    /// The UID.
    pub uid: Name,
    /// The labels.
    pub labels: Labels,
    /// Pods must bear these.
    pub taints: Vec<kinds::Taint>,
    /// Whether new pods are kept off.
    pub unschedulable: bool,
    /// What pods may have of it.
    pub allocatable: Resources,
    /// How many pods it may have.
    pub pods: i64,
    /// The images that it has, by every name, with their size in bytes.
    pub images: Vec<(Vec<Name>, i64)>,
}

impl NodeFacts {
    /// From an object of the API.
    ///
    /// # Errors
    /// When it is not of a Node's form.
    pub fn from_json(node: &serde_json::Value) -> Result<NodeFacts, serde_json::Error> {
        kinds::Node::deserialize(node).map(|node| NodeFacts::from(&node))
    }
}

impl From<&kinds::Node> for NodeFacts {
    fn from(node: &kinds::Node) -> NodeFacts {
        let taints = node.spec.taints.iter().map(|t| kinds::Taint { time_added: None, ..t.clone() });
        NodeFacts {
            name: node.metadata.name.clone(),
            uid: node.metadata.uid.clone(),
            labels: node.metadata.labels.clone(),
            taints: taints.collect(),
            unschedulable: node.spec.unschedulable,
            allocatable: Resources::of_list(&node.status.allocatable),
            pods: node.status.allocatable.get("pods").map_or(0, crate::resources::value),
            images: node.status.images.iter().map(|i| (i.names.clone(), i.size_bytes.unwrap_or(0))).collect(),
        }
    }
}
