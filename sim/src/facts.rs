//! What invariants need to know of objects, and nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use orlop_core::kinds::{Deployment, Node, Pod, ReplicaSet, Service};
use orlop_core::rules::Quantity;
use orlop_core::rules::pod::is_terminal;
use orlop_core::rules::pod_resources::{Counting, requests};
use orlop_core::{Name, Timestamp};

/// The label of a pod template by which the workload says that its pods can become ready.
pub const HEALTHY: &str = "sim.orlop.dev/healthy";

/// Amounts of resources: CPU in thousandths, all else in units.
pub(crate) type Amounts = BTreeMap<Name, i64>;

fn amounts<'a>(resources: impl IntoIterator<Item = (&'a Name, &'a Quantity)>) -> Amounts {
    resources
        .into_iter()
        .map(|(name, amount)| {
            let amount = if name == "cpu" { amount.milli_value() } else { amount.value() };
            (name.clone(), amount)
        })
        .collect()
}

pub(crate) struct PodFacts {
    pub(crate) uid: Name,
    pub(crate) node: Name,
    /// Its own addresses, while it lives.
    pub(crate) addresses: Vec<Name>,
    /// What it takes from its node, itself included; nothing once it has ended.
    pub(crate) takes: Amounts,
    pub(crate) ended: bool,
    pub(crate) deleted: Option<Timestamp>,
    pub(crate) restarts: i64,
    pub(crate) controller: Name,
}

impl PodFacts {
    pub(crate) fn of(pod: &Pod) -> PodFacts {
        let ended = is_terminal(pod);
        let mut takes = Amounts::new();
        if !ended && !pod.spec.node_name.is_empty() {
            takes = amounts(&requests(pod, Counting::default()));
            takes.insert(Name::new_static("pods"), 1);
        }
        let own = !ended && !pod.spec.host_network;
        PodFacts {
            uid: pod.metadata.uid.clone(),
            node: pod.spec.node_name.clone(),
            addresses: pod.status.pod_ips.iter().filter(|_| own).map(|ip| ip.ip.clone()).collect(),
            takes,
            ended,
            deleted: pod.metadata.deletion_timestamp,
            restarts: pod.status.container_statuses.iter().map(|c| i64::from(c.restart_count)).sum(),
            controller: pod.metadata.controller().map(|owner| owner.uid.clone()).unwrap_or_default(),
        }
    }
}

pub(crate) struct NodeFacts {
    pub(crate) allocatable: Amounts,
    pub(crate) ready: bool,
    pub(crate) schedulable: bool,
}

impl NodeFacts {
    pub(crate) fn of(node: &Node) -> NodeFacts {
        NodeFacts {
            allocatable: amounts(&node.status.allocatable),
            ready: node.status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True"),
            schedulable: !node.spec.unschedulable && node.spec.taints.is_empty(),
        }
    }
}

pub(crate) struct ServiceFacts {
    pub(crate) addresses: Vec<Name>,
    pub(crate) node_ports: Vec<i32>,
}

impl ServiceFacts {
    pub(crate) fn of(service: &Service) -> ServiceFacts {
        let spec = &service.spec;
        let given = |ip: &&Name| !ip.is_empty() && *ip != "None";
        ServiceFacts {
            addresses: spec.cluster_ips.iter().filter(given).cloned().collect(),
            node_ports: spec
                .ports
                .iter()
                .filter_map(|port| port.node_port)
                .filter(|port| *port > 0)
                .collect(),
        }
    }
}

pub(crate) struct ReplicaSetFacts {
    pub(crate) uid: Name,
    pub(crate) deployment: Name,
    pub(crate) replicas: i32,
    /// For how many replicas of the Deployment the size was chosen.
    pub(crate) desired: Name,
    pub(crate) available: Recent,
    pub(crate) deleted: bool,
}

impl ReplicaSetFacts {
    pub(crate) fn of(set: &ReplicaSet, now: Timestamp, before: Option<ReplicaSetFacts>) -> ReplicaSetFacts {
        let mut available = before.map(|before| before.available).unwrap_or_default();
        available.push(now, set.status.available_replicas);
        ReplicaSetFacts {
            uid: set.metadata.uid.clone(),
            deployment: set.metadata.controller().map(|owner| owner.uid.clone()).unwrap_or_default(),
            replicas: set.spec.replicas.unwrap_or(1),
            desired: set
                .metadata
                .annotation("deployment.kubernetes.io/desired-replicas")
                .unwrap_or_default()
                .into(),
            available,
            deleted: set.metadata.is_terminating(),
        }
    }
}

pub(crate) struct DeploymentFacts {
    pub(crate) name: String,
    /// How many pods must stay available during an update; none where all may go.
    pub(crate) required: Recent,
    pub(crate) healthy: bool,
    /// Why it is not where it should be.
    pub(crate) unfinished: Option<String>,
    pub(crate) deleted: bool,
}

impl DeploymentFacts {
    pub(crate) fn of(it: &Deployment, now: Timestamp, before: Option<DeploymentFacts>) -> DeploymentFacts {
        let mut required = before.map(|before| before.required).unwrap_or_default();
        required.push(now, required_available(it));
        let wanted = it.spec.replicas.unwrap_or(1);
        let status = &it.status;
        let unfinished = if status.observed_generation < it.metadata.generation {
            Some(format!("generation {} is not observed", it.metadata.generation))
        } else {
            let counts = [status.replicas, status.updated_replicas, status.available_replicas];
            (counts != [wanted; 3]).then(|| {
                format!(
                    "{wanted} replicas wanted, {} there, {} updated, {} available",
                    counts[0], counts[1], counts[2]
                )
            })
        };
        DeploymentFacts {
            name: it.metadata.key().to_string(),
            required,
            healthy: it.spec.template.metadata.label(HEALTHY) == Some("true"),
            unfinished,
            deleted: it.metadata.is_terminating(),
        }
    }
}

/// How many pods a Deployment must keep available while it is updated.
fn required_available(it: &Deployment) -> i32 {
    let wanted = it.spec.replicas.unwrap_or(1);
    if it.spec.strategy.r#type == "Recreate" {
        return 0;
    }
    let rolling = it.spec.strategy.rolling_update.clone().unwrap_or_default();
    let scaled = |amount: &Option<orlop_core::rules::IntOrString>, up| {
        amount.as_ref().and_then(|amount| amount.scaled(wanted, up).ok()).unwrap_or(0)
    };
    let (surge, unavailable) = (scaled(&rolling.max_surge, true), scaled(&rolling.max_unavailable, false));
    let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
    (wanted - unavailable).max(0)
}

/// A number, and what it was a short while ago: who acted on what was true a moment before is not to blame.
#[derive(Default)]
pub(crate) struct Recent(VecDeque<(Timestamp, i32)>);

impl Recent {
    pub(crate) fn push(&mut self, now: Timestamp, value: i32) {
        if self.0.back().is_none_or(|(_, last)| *last != value) {
            self.0.push_back((now, value));
        }
    }

    /// What it has been since `since`.
    pub(crate) fn since(&mut self, since: Timestamp) -> impl Iterator<Item = i32> {
        while self.0.get(1).is_some_and(|(from, _)| *from <= since) {
            self.0.pop_front();
        }
        self.0.iter().map(|(_, value)| *value)
    }
}

/// How long ago is a moment ago: requests are under way, and watches late, no longer than this.
pub(crate) fn moment(faults: bool) -> Duration {
    Duration::from_secs(if faults { 30 } else { 1 })
}
