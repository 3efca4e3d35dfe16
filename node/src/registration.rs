//! The node's own objects: the Node and its lease.

use std::time::Duration;

use ipnet::IpNet;
use orlop_core::body::Stored;
use orlop_core::kinds::{Lease, Node};
use orlop_core::plan::{Failure, FailureReason, Reference};
use orlop_core::runtime::{ImageInfo, RuntimeInfo};
use orlop_core::{Item, Key, Name, Note, Object, Revision, Timestamp, Write};
use serde_json::{Map, Value, json};

use crate::config::NodeConfig;

/// The namespace of node leases.
pub(crate) const LEASE_NAMESPACE: &str = "kube-node-lease";
/// The most images that a Node's status names.
const IMAGES_MAX: usize = 50;
const RETRY: Duration = Duration::from_secs(1);

/// What a write is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeWrite {
    Create,
    Status,
    CreateLease,
    RenewLease,
}

/// What the agent does for its Node.
pub(crate) struct Registration {
    node: Option<Item<Node>>,
    created: bool,
    writing: bool,
    next_write: Timestamp,
    seen_from: Revision,
    last_heartbeat: Option<Timestamp>,
    lease: LeaseState,
    next_lease: Timestamp,
    started: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaseState {
    Unknown,
    There,
    UnderWay,
}

impl Registration {
    pub(crate) fn new() -> Registration {
        Registration {
            node: None,
            created: false,
            writing: false,
            next_write: Timestamp::EPOCH,
            seen_from: Revision(0),
            last_heartbeat: None,
            lease: LeaseState::Unknown,
            next_lease: Timestamp::EPOCH,
            started: false,
        }
    }

    /// The Node object has changed.
    pub(crate) fn on_node(&mut self, stored: Option<&Stored>) {
        self.node = stored.and_then(|stored| Item::decode(stored).ok());
    }

    pub(crate) fn uid(&self) -> Option<Name> {
        self.node.as_ref().map(|node| node.metadata.uid.clone())
    }

    /// The ranges that the node's pods have their addresses from; empty: not given yet.
    pub(crate) fn pod_cidrs(&self, config: &NodeConfig) -> Vec<IpNet> {
        let Some(node) = &self.node else { return config.pod_cidrs.clone() };
        let spec = &node.spec;
        let one = Some(&spec.pod_cidr).filter(|cidr| !cidr.is_empty());
        let all: Vec<&Name> = if spec.pod_cid_rs.is_empty() {
            one.into_iter().collect()
        } else {
            spec.pod_cid_rs.iter().collect()
        };
        let parsed: Vec<IpNet> = all.into_iter().filter_map(|cidr| cidr.parse().ok()).collect();
        if parsed.is_empty() { config.pod_cidrs.clone() } else { parsed }
    }

    /// What is to be written now, and when next. `asked`: the runtime has been asked, and has answered or failed.
    #[expect(clippy::too_many_arguments, reason = "one call, by name")]
    pub(crate) fn step(
        &mut self,
        now: Timestamp,
        config: &NodeConfig,
        runtime: Option<&RuntimeInfo>,
        asked: bool,
        images: &[ImageInfo],
        out: &mut Vec<(NodeWrite, Write)>,
        notes: &mut Vec<Note>,
    ) -> Option<Timestamp> {
        if !config.register {
            return None;
        }
        let mut wake = Timestamp::MAX;
        if !self.writing && now >= self.next_write {
            let seen = self.node.as_ref().filter(|node| node.revision() >= self.seen_from);
            // A new agent does not report a runtime as down before it has asked.
            if let Some(node) = seen.filter(|_| asked) {
                self.created = true;
                let due = self.last_heartbeat.is_none_or(|at| now.since(at) >= config.status_period);
                let status =
                    status(now, config, runtime, images, node, !self.pod_cidrs(config).is_empty(), due);
                if let Some(status) = status {
                    self.writing = true;
                    self.last_heartbeat = Some(now);
                    let patch = json!({ "status": status });
                    out.push((NodeWrite::Status, Write::merge(Node::KIND, node.key(), patch).on("status")));
                    if !std::mem::replace(&mut self.started, true) {
                        notes.push(Note {
                            about: Reference::to(node),
                            warning: false,
                            reason: Name::new_static("Starting"),
                            message: "Starting kubelet.".to_owned(),
                        });
                    }
                }
                wake = wake.min(self.last_heartbeat.unwrap_or(now) + config.status_period);
            } else if !self.created && self.node.is_none() {
                self.writing = true;
                out.push((NodeWrite::Create, Write::create(Node::KIND, object(config))));
            }
        } else if !self.writing {
            wake = wake.min(self.next_write);
        }
        // A lease without an owner would outlive its node.
        if self.lease != LeaseState::UnderWay && now >= self.next_lease && self.node.is_some() {
            let there = self.lease == LeaseState::There;
            self.lease = LeaseState::UnderWay;
            self.next_lease = now + config.lease_period;
            out.push(match there {
                true => (NodeWrite::RenewLease, self.renewal(now, config)),
                false => (NodeWrite::CreateLease, self.new_lease(now, config)),
            });
        }
        let wake = wake.min(self.next_lease);
        // What waits for an answer or for the Node itself is woken by that.
        Some(wake).filter(|at| *at > now)
    }

    fn lease_spec(&self, now: Timestamp, config: &NodeConfig) -> Value {
        json!({
            "holderIdentity": config.name.as_str(),
            "leaseDurationSeconds": config.lease_duration.as_secs(),
            "renewTime": now.to_micro_string(),
        })
    }

    fn renewal(&self, now: Timestamp, config: &NodeConfig) -> Write {
        let key = Key::new(LEASE_NAMESPACE, config.name.clone());
        Write::merge(Lease::KIND, key, json!({ "spec": self.lease_spec(now, config) }))
    }

    fn new_lease(&self, now: Timestamp, config: &NodeConfig) -> Write {
        let mut metadata = json!({"name": config.name.as_str(), "namespace": LEASE_NAMESPACE});
        if let Some(uid) = self.uid() {
            metadata["ownerReferences"] = json!([{
                "apiVersion": "v1", "kind": "Node", "name": config.name.as_str(), "uid": uid.as_str(),
            }]);
        }
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": self.lease_spec(now, config),
        });
        Write::create(Lease::KIND, lease)
    }

    /// How a write went.
    pub(crate) fn on_written(&mut self, now: Timestamp, what: NodeWrite, result: Result<Revision, Failure>) {
        match (what, result) {
            (NodeWrite::Create, result) => {
                self.writing = false;
                match result {
                    // The object is on its way to us.
                    Ok(_) | Err(Failure { reason: FailureReason::AlreadyExists, .. }) => self.created = true,
                    Err(_) => self.next_write = now + RETRY,
                }
            }
            (NodeWrite::Status, result) => {
                self.writing = false;
                match result {
                    Ok(revision) => self.seen_from = self.seen_from.max(revision),
                    Err(_) => {
                        self.last_heartbeat = None;
                        self.next_write = now + RETRY;
                    }
                }
            }
            (NodeWrite::CreateLease, result) => match result {
                Ok(_) => self.lease = LeaseState::There,
                Err(Failure { reason: FailureReason::AlreadyExists, .. }) => {
                    self.lease = LeaseState::There;
                    self.next_lease = now;
                }
                Err(_) => {
                    self.lease = LeaseState::Unknown;
                    self.next_lease = now + RETRY;
                }
            },
            (NodeWrite::RenewLease, result) => match result {
                Ok(_) => self.lease = LeaseState::There,
                Err(failure) => {
                    let gone = failure.reason == FailureReason::NotFound;
                    self.lease = if gone { LeaseState::Unknown } else { LeaseState::There };
                    self.next_lease = now + RETRY;
                }
            },
        }
    }
}

/// The Node as it registers.
pub(crate) fn object(config: &NodeConfig) -> Value {
    let mut labels = Map::new();
    for (name, value) in [
        ("beta.kubernetes.io/arch", config.info.architecture.as_str()),
        ("beta.kubernetes.io/os", config.info.operating_system.as_str()),
        ("kubernetes.io/arch", config.info.architecture.as_str()),
        ("kubernetes.io/hostname", config.name.as_str()),
        ("kubernetes.io/os", config.info.operating_system.as_str()),
    ] {
        labels.insert(name.to_owned(), value.into());
    }
    labels.extend(config.labels.iter().map(|(name, value)| (name.to_string(), value.as_str().into())));
    let mut metadata = json!({"name": config.name.as_str(), "labels": labels});
    if !config.annotations.is_empty() {
        metadata["annotations"] = json!(config.annotations);
    }
    let mut spec = json!({});
    if let Some(first) = config.pod_cidrs.first() {
        let all: Vec<String> = config.pod_cidrs.iter().map(ToString::to_string).collect();
        spec["podCIDR"] = first.to_string().into();
        spec["podCIDRs"] = json!(all);
    }
    if !config.taints.is_empty() {
        spec["taints"] = json!(config.taints);
    }
    json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec})
}

/// The Node's status, if it has to be told: something is another than the API has, or a heartbeat is due.
fn status(
    now: Timestamp,
    config: &NodeConfig,
    runtime: Option<&RuntimeInfo>,
    images: &[ImageInfo],
    node: &Item<Node>,
    networked: bool,
    due: bool,
) -> Option<Value> {
    let current = &node.status;
    let ready = runtime.is_some() && networked;
    let conditions = [
        ("MemoryPressure", false, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        match (ready, runtime.is_some()) {
            (true, _) => ("Ready", true, "KubeletReady", "kubelet is posting ready status"),
            (_, false) => ("Ready", false, "KubeletNotReady", "container runtime is down"),
            (_, true) => (
                "Ready",
                false,
                "KubeletNotReady",
                "container runtime network not ready: the node has no pod range yet",
            ),
        },
    ];
    let mut changed = due;
    let mut told = Vec::new();
    for (r#type, status, reason, message) in conditions {
        let status = if status { "True" } else { "False" };
        let before = current.conditions.iter().find(|c| c.r#type == r#type);
        changed |= before.is_none_or(|before| before.status != status || before.reason != reason);
        let since = before.filter(|b| b.status == status).and_then(|b| b.last_transition_time);
        told.push(json!({
            "type": r#type,
            "status": status,
            "lastHeartbeatTime": now.to_string(),
            "lastTransitionTime": since.unwrap_or(now).to_string(),
            "reason": reason,
            "message": message,
        }));
    }
    let others = current.conditions.iter().filter(|c| conditions.iter().all(|own| own.0 != c.r#type));
    told.extend(others.filter_map(|c| serde_json::to_value(c).ok()));

    let mut info = config.info.clone();
    if let Some(runtime) = runtime.filter(|_| info.container_runtime_version.is_empty()) {
        info.container_runtime_version = smol_str::format_smolstr!("{}://{}", runtime.name, runtime.version);
    }
    let mut addresses: Vec<Value> =
        config.addresses.iter().map(|ip| json!({"type": "InternalIP", "address": ip.to_string()})).collect();
    addresses.push(json!({"type": "Hostname", "address": config.name.as_str()}));
    changed |= info != current.node_info
        || *config.allocatable() != current.allocatable
        || config.capacity != current.capacity
        || current.addresses.len() != addresses.len();
    if !changed {
        return None;
    }
    let images: Vec<Value> = images
        .iter()
        .take(IMAGES_MAX)
        .map(|image| json!({"names": image.names, "sizeBytes": image.size_bytes}))
        .collect();
    let mut status = json!({
        "addresses": addresses,
        "allocatable": config.allocatable(),
        "capacity": config.capacity,
        "conditions": told,
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": info_value(&info),
    });
    if !images.is_empty() {
        status["images"] = images.into();
    }
    Some(status)
}

/// All fields, also empty ones: the API requires them.
fn info_value(info: &orlop_core::kinds::NodeSystemInfo) -> Value {
    json!({
        "architecture": info.architecture.as_str(),
        "bootID": info.boot_id.as_str(),
        "containerRuntimeVersion": info.container_runtime_version.as_str(),
        "kernelVersion": info.kernel_version.as_str(),
        "kubeProxyVersion": info.kube_proxy_version.as_str(),
        "kubeletVersion": info.kubelet_version.as_str(),
        "machineID": info.machine_id.as_str(),
        "operatingSystem": info.operating_system.as_str(),
        "osImage": info.os_image.as_str(),
        "systemUUID": info.system_uuid.as_str(),
    })
}
