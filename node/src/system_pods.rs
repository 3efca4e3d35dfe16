//! What really runs on a node besides pods, shown as pods in kube-system.

use std::time::Duration;

use orlop_core::kinds::Pod;
use orlop_core::plan::{Failure, FailureReason};
use orlop_core::{Action, Item, Key, Name, Object, Revision, Timestamp, Write};
use serde_json::{Value, json};

use crate::config::NodeConfig;

/// Marks a pod that stands for something that the node runs by itself.
pub const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
/// Where such a pod comes from.
const SOURCE_ANNOTATION: &str = "kubernetes.io/config.source";
/// The mirror's hash of what it stands for.
const HASH_ANNOTATION: &str = "kubernetes.io/config.hash";

const RETRY: Duration = Duration::from_secs(1);

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Holds the management components.
    ControlPlane,
    /// Takes pods.
    Worker,
}

/// The system pods of a node: on the control plane the API server, the controller manager, the scheduler and the
/// store; on a worker the node agent, the service proxy and the DNS. `version` becomes the tag of their images.
pub fn system_pods(role: Role, node: &str, version: &str) -> Vec<Value> {
    let components: &[(&str, &str, Option<u16>)] = match role {
        Role::ControlPlane => &[
            ("kube-apiserver", "apiserver", Some(6443)),
            ("kube-controller-manager", "controller-manager", None),
            ("kube-scheduler", "scheduler", None),
            ("store", "store", None),
        ],
        Role::Worker => &[
            ("node-agent", "node-agent", None),
            ("kube-proxy", "service-proxy", None),
            ("dns", "dns", Some(53)),
        ],
    };
    components
        .iter()
        .map(|(name, image, port)| {
            let mut container = json!({
                "name": name,
                "image": format!("orlop/{image}:{version}"),
                "imagePullPolicy": "Never",
            });
            if let Some(port) = port {
                let protocol = if *port == 53 { "UDP" } else { "TCP" };
                container["ports"] = json!([{"containerPort": port, "hostPort": port, "protocol": protocol}]);
            }
            json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": format!("{name}-{node}"),
                    "namespace": "kube-system",
                    "labels": {
                        "component": name,
                        "tier": if role == Role::ControlPlane { "control-plane" } else { "node" },
                    },
                    "annotations": {
                        HASH_ANNOTATION: format!("{name}-{version}"),
                        MIRROR_ANNOTATION: format!("{name}-{version}"),
                        SOURCE_ANNOTATION: "orlop",
                    },
                },
                "spec": {
                    "nodeName": node,
                    "hostNetwork": true,
                    "priorityClassName": "system-node-critical",
                    "containers": [container],
                    "tolerations": [{"operator": "Exists"}],
                    "automountServiceAccountToken": false,
                },
            })
        })
        .collect()
}

/// Keeps one mirror pod.
pub(crate) struct Mirrored {
    wanted: Value,
    pub(crate) key: Key,
    seen: Option<Item<Pod>>,
    writing: bool,
    next: Timestamp,
    seen_from: Revision,
}

/// What a write is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MirrorWrite {
    Create,
    Status,
    Delete,
}

impl Mirrored {
    pub(crate) fn new(wanted: Value) -> Mirrored {
        let text = |field: &str| Name::from(wanted["metadata"][field].as_str().unwrap_or_default());
        let key = Key { namespace: text("namespace"), name: text("name") };
        Mirrored { wanted, key, seen: None, writing: false, next: Timestamp::EPOCH, seen_from: Revision(0) }
    }

    pub(crate) fn on_pod(&mut self, item: Option<Item<Pod>>) {
        if item.is_some() {
            self.next = Timestamp::EPOCH;
        }
        self.seen = item;
    }

    /// What is to be written now; the time is when to look again.
    pub(crate) fn step(
        &mut self,
        now: Timestamp,
        config: &NodeConfig,
        node_uid: Option<&Name>,
        runtime: &str,
    ) -> (Option<(MirrorWrite, Write)>, Option<Timestamp>) {
        if self.writing {
            return (None, None);
        }
        if now < self.next {
            return (None, Some(self.next));
        }
        let write = match &self.seen {
            None => {
                // A mirror without an owner would outlive its node.
                let Some(uid) = node_uid else { return (None, None) };
                let mut pod = self.wanted.clone();
                pod["metadata"]["ownerReferences"] = json!([{
                    "apiVersion": "v1",
                    "kind": "Node",
                    "name": config.name.as_str(),
                    "uid": uid.as_str(),
                    "controller": true,
                }]);
                (MirrorWrite::Create, Write::create(Pod::KIND, pod))
            }
            Some(pod) if pod.revision() < self.seen_from => return (None, None),
            // What it stands for goes on: it is made anew.
            Some(pod) if pod.metadata.is_terminating() => {
                let mut write = Write::delete_seen(pod);
                write.action = Action::Delete { grace: Some(0), propagation: None };
                (MirrorWrite::Delete, write)
            }
            Some(pod) => match running(now, config, pod, runtime) {
                Some(patch) => (MirrorWrite::Status, Write::merge_seen(pod, patch).on("status")),
                None => return (None, None),
            },
        };
        self.writing = true;
        (Some(write), None)
    }

    pub(crate) fn on_written(
        &mut self,
        now: Timestamp,
        what: MirrorWrite,
        result: Result<Revision, Failure>,
    ) {
        self.writing = false;
        match (what, result) {
            (MirrorWrite::Delete, Ok(_)) => {}
            (_, Ok(revision)) => {
                self.seen_from = self.seen_from.max(revision);
                if what == MirrorWrite::Create {
                    // It is there; what comes of it will be seen.
                    self.next = now + RETRY;
                }
            }
            (_, Err(failure)) => {
                let soon = failure.reason == FailureReason::Conflict;
                self.next = now + if soon { Duration::from_millis(20) } else { RETRY };
            }
        }
    }
}

/// The patch by which a pod is shown as running, if it is not yet.
fn running(now: Timestamp, config: &NodeConfig, pod: &Pod, runtime: &str) -> Option<Value> {
    if pod.status.phase == "Running" && orlop_core::rules::pod::is_ready(pod) {
        return None;
    }
    let stamp = now.to_string();
    let types = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    let conditions: Vec<Value> = types
        .iter()
        .map(|r#type| json!({"type": r#type, "status": "True", "lastProbeTime": null, "lastTransitionTime": stamp}))
        .collect();
    let containers: Vec<Value> = pod
        .spec
        .containers
        .iter()
        .map(|c| {
            json!({
                "name": c.name.as_str(),
                "state": {"running": {"startedAt": stamp}},
                "lastState": {},
                "ready": true,
                "restartCount": 0,
                "image": c.image.as_str(),
                "imageID": c.image.as_str(),
                "containerID": format!("{runtime}://{}", pod.metadata.name),
                "started": true,
            })
        })
        .collect();
    let ips: Vec<Value> = config.addresses.iter().map(|ip| json!({"ip": ip.to_string()})).collect();
    let first = config.addresses.first().map(ToString::to_string).unwrap_or_default();
    Some(json!({"status": {
        "phase": "Running",
        "conditions": conditions,
        "containerStatuses": containers,
        "hostIP": first,
        "hostIPs": ips,
        "podIP": first,
        "podIPs": ips,
        "startTime": stamp,
        "qosClass": orlop_core::rules::pod_resources::qos_class(pod),
        "observedGeneration": pod.metadata.generation,
    }}))
}
