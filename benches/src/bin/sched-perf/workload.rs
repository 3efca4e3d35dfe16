//! The workloads by name: those of Kubernetes' scheduler_perf, and a few of our own.

use orlop_core::kinds::{Namespace, Node, PriorityClass, ReplicaSet, Service};
use orlop_core::{Kind, Object};
use serde_json::{Value, json};

const ZONE: &str = "topology.kubernetes.io/zone";

/// One row of the table: how many of what.
#[derive(Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) nodes: usize,
    /// Pods that are bound before the clock starts.
    pub(crate) init: usize,
    /// Pods that are placed while it runs.
    pub(crate) pods: usize,
    pub(crate) shape: Shape,
}

/// What nodes and pods look like.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    Basic,
    AntiAffinity,
    Affinity,
    Spreading,
    PreferredSpreading,
    ReplicaSets,
    PreemptionAsync,
    Preemption,
    Unschedulable,
    /// SwarmKit's own bench: tasks that ask for nothing.
    Bare,
}

/// How many pods each ReplicaSet has.
const REPLICAS: usize = 20;

/// All rows. `Scale` and `Swarm` have several.
pub(crate) fn all() -> Vec<Workload> {
    let row = |name, shape, init, pods| Workload { name, nodes: 5_000, init, pods, shape };
    let sized = |name, shape, nodes, pods| Workload { name, nodes, init: 0, pods, shape };
    let mut rows = vec![
        row("SchedulingBasic", Shape::Basic, 1_000, 10_000),
        row("SchedulingBasic", Shape::Basic, 5_000, 50_000),
        row("SchedulingPodAntiAffinity", Shape::AntiAffinity, 1_000, 2_000),
        row("SchedulingPodAffinity", Shape::Affinity, 5_000, 5_000),
        row("TopologySpreading", Shape::Spreading, 5_000, 5_000),
        row("PreferredTopologySpreading", Shape::PreferredSpreading, 5_000, 5_000),
        row("ReplicaSetSpreading", Shape::ReplicaSets, 0, 10_000),
        row("PreemptionAsync", Shape::PreemptionAsync, 20_000, 5_000),
        row("Preemption", Shape::Preemption, 20_000, 5_000),
        row("Unschedulable", Shape::Unschedulable, 100, 10_000),
        sized("Swarm", Shape::Bare, 1_000, 10_000),
        sized("Swarm", Shape::Bare, 1_000, 100_000),
    ];
    for nodes in [1_000, 5_000, 20_000, 100_000] {
        rows.push(sized("Scale", Shape::Basic, nodes, 10_000));
    }
    for nodes in [1_000, 5_000, 20_000, 100_000] {
        rows.push(sized("Scale", Shape::Basic, nodes, 10 * nodes));
    }
    rows
}

impl Workload {
    /// Whether it is run where none is named, and by the paths through the API.
    pub(crate) fn is_of_the_table(&self) -> bool {
        !matches!(self.name, "Scale" | "Swarm")
    }

    /// The objects that are there before any pod: namespaces, nodes, what selects pods.
    pub(crate) fn surroundings(&self) -> Vec<(Kind, Value)> {
        let mut objects = Vec::new();
        for name in ["sched-0", "sched-1"] {
            objects.push((Namespace::KIND, json!({"metadata": {"name": name}})));
        }
        objects.push((PriorityClass::KIND, json!({"metadata": {"name": CLASS}, "value": PRIORITY})));
        objects.extend((0..self.nodes).map(|n| (Node::KIND, self.node(n))));
        if self.shape == Shape::ReplicaSets {
            for n in 0..self.pods.div_ceil(REPLICAS) {
                objects.push((Service::KIND, service(n)));
                objects.push((ReplicaSet::KIND, replica_set(n)));
            }
        }
        objects
    }

    fn node(&self, n: usize) -> Value {
        let mut labels = json!({"kubernetes.io/hostname": format!("node-{n}")});
        match self.shape {
            Shape::Affinity => labels[ZONE] = "zone1".into(),
            Shape::Spreading | Shape::PreferredSpreading | Shape::ReplicaSets => {
                labels[ZONE] = format!("moon-{}", n % 3 + 1).into();
            }
            _ => {}
        }
        let amounts = json!({"cpu": "4", "memory": "32Gi", "pods": "110"});
        json!({
            "metadata": {"name": format!("node-{n}"), "labels": labels},
            "status": {
                "capacity": amounts,
                "allocatable": amounts,
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            },
        })
    }

    /// A pod that is bound before the clock starts.
    pub(crate) fn there(&self, n: usize) -> Value {
        match self.shape {
            Shape::AntiAffinity | Shape::Affinity => self.social(&format!("there-{n}"), "sched-0"),
            Shape::Preemption | Shape::PreemptionAsync => {
                let mut pod = pod(&format!("there-{n}"), "sched-0", "900m");
                pod["spec"]["terminationGracePeriodSeconds"] = 0.into();
                pod
            }
            _ => pod(&format!("there-{n}"), "sched-0", "100m"),
        }
    }

    /// The node of the pod `n` that is bound before the clock starts.
    pub(crate) fn place(&self, n: usize) -> String {
        format!("node-{}", n % self.nodes)
    }

    /// A pod that is to be placed.
    pub(crate) fn pod(&self, n: usize) -> Value {
        let name = format!("pod-{n}");
        let mut pod = match self.shape {
            Shape::AntiAffinity | Shape::Affinity => self.social(&name, "sched-1"),
            Shape::Preemption => prioritised(pod(&name, "sched-1", "3")),
            Shape::Bare => {
                let mut pod = pod(&name, "sched-1", "100m");
                pod["spec"]["containers"][0]["resources"] = json!({});
                pod
            }
            _ => pod(&name, "sched-1", "100m"),
        };
        match self.shape {
            Shape::Spreading | Shape::PreferredSpreading => {
                let hard = self.shape == Shape::Spreading;
                pod["metadata"]["labels"] = json!({"color": "blue"});
                pod["spec"]["topologySpreadConstraints"] = json!([{
                    "maxSkew": 5,
                    "topologyKey": ZONE,
                    "whenUnsatisfiable": if hard { "DoNotSchedule" } else { "ScheduleAnyway" },
                    "labelSelector": {"matchLabels": {"color": "blue"}},
                }]);
            }
            Shape::ReplicaSets => {
                let set = n / REPLICAS;
                pod["metadata"]["labels"] = json!({"app": format!("app-{set}")});
                pod["metadata"]["ownerReferences"] = json!([{
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": format!("app-{set}"),
                    "uid": format!("uid-app-{set}"),
                    "controller": true,
                }]);
            }
            _ => {}
        }
        pod
    }

    /// The pod that is created every 200 ms beside the others.
    pub(crate) fn meanwhile(&self, n: usize) -> Option<Value> {
        let name = format!("meanwhile-{n}");
        match self.shape {
            Shape::PreemptionAsync => Some(prioritised(pod(&name, "sched-1", "3"))),
            Shape::Unschedulable => Some(prioritised(pod(&name, "sched-1", "9"))),
            _ => None,
        }
    }

    /// A pod that keeps away from its like, or seeks them.
    fn social(&self, name: &str, namespace: &str) -> Value {
        let apart = self.shape == Shape::AntiAffinity;
        let color = if apart { "green" } else { "blue" };
        let key = if apart { "kubernetes.io/hostname" } else { ZONE };
        let terms = json!({"requiredDuringSchedulingIgnoredDuringExecution": [{
            "labelSelector": {"matchLabels": {"color": color}},
            "topologyKey": key,
            "namespaces": ["sched-0", "sched-1"],
        }]});
        let mut pod = pod(name, namespace, "100m");
        pod["metadata"]["labels"] = json!({"color": color});
        pod["spec"]["affinity"] = json!({if apart { "podAntiAffinity" } else { "podAffinity" }: terms});
        pod
    }
}

fn pod(name: &str, namespace: &str, cpu: &str) -> Value {
    let amounts = json!({"cpu": cpu, "memory": "500Mi"});
    json!({
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "containers": [{
                "name": "pause",
                "image": "registry.k8s.io/pause:3.10.1",
                "ports": [{"containerPort": 80}],
                "resources": {"requests": amounts, "limits": amounts},
            }],
        },
    })
}

/// The class of pods that may put others out; its value is not for a pod to choose.
const CLASS: &str = "first";
const PRIORITY: i32 = 10;

fn prioritised(mut pod: Value) -> Value {
    pod["spec"]["priorityClassName"] = CLASS.into();
    pod["spec"]["priority"] = PRIORITY.into();
    pod
}

fn service(n: usize) -> Value {
    json!({
        "metadata": {"name": format!("app-{n}"), "namespace": "sched-1"},
        "spec": {"selector": {"app": format!("app-{n}")}, "ports": [{"port": 80}]},
    })
}

/// Without replicas of its own: its pods are created as all others are, so that creating them is not measured by the
/// speed of a controller.
fn replica_set(n: usize) -> Value {
    let labels = json!({"app": format!("app-{n}")});
    json!({
        "metadata": {"name": format!("app-{n}"), "namespace": "sched-1"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "pause", "image": "registry.k8s.io/pause:3.10.1"}]},
            },
        },
    })
}
