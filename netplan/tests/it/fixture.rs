//! A world in a few lines of text.

use std::sync::Arc;

use bytes::Bytes;
use orlop_core::kinds::{EndpointSlice, Ingress, IngressClass, Pod, Service};
use orlop_core::{Body, Change, Cut, Key, Kind, Object, Revision, Stored};
use orlop_netplan::{NetPlan, NetPlanner};
use serde_json::{Value, json};

/// A planner, and the revision that it has reached.
pub(crate) struct Cluster {
    pub(crate) planner: NetPlanner,
    pub(crate) revision: u64,
}

impl Cluster {
    pub(crate) fn new() -> Cluster {
        Cluster { planner: NetPlanner::new("cluster.local"), revision: 0 }
    }

    /// Writes objects, in one cut.
    pub(crate) fn put(&mut self, objects: impl IntoIterator<Item = Value>) -> Arc<NetPlan> {
        self.revision += 1;
        let revision = Revision(self.revision);
        let changes = objects.into_iter().map(|object| change(object, revision)).collect();
        self.planner.apply(Cut { revision, reset: Vec::new(), changes })
    }

    pub(crate) fn delete(&mut self, kind: &str, namespace: &str, name: &str) -> Arc<NetPlan> {
        self.revision += 1;
        let key = Key::new(namespace, name);
        let changes = vec![Change { kind: kind_of(kind), key, object: None }];
        self.planner.apply(Cut { revision: Revision(self.revision), reset: Vec::new(), changes })
    }
}

fn kind_of(kind: &str) -> Kind {
    match kind {
        "Service" => Service::KIND,
        "EndpointSlice" => EndpointSlice::KIND,
        "Pod" => Pod::KIND,
        "Node" => orlop_core::kinds::Node::KIND,
        "Ingress" => Ingress::KIND,
        "IngressClass" => IngressClass::KIND,
        other => panic!("{other} is not read by the planner"),
    }
}

pub(crate) fn change(object: Value, revision: Revision) -> Change {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let key = Key::new(text("namespace"), text("name"));
    let kind = kind_of(object["kind"].as_str().unwrap());
    let body = Arc::new(Body::parse(Bytes::from(object.to_string())).unwrap());
    Change { kind, key, object: Some(Stored { body, revision }) }
}

/// A Service with one port `http` 80.
pub(crate) fn service(name: &str, ip: &str) -> Value {
    json!({"kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}})
}

/// A running pod.
pub(crate) fn pod(name: &str, ip: &str, node: &str) -> Value {
    json!({"kind": "Pod", "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")},
        "spec": {"nodeName": node}, "status": {"phase": "Running", "podIPs": [{"ip": ip}]}})
}

/// A slice of ready pods that serve `http` at 8080.
pub(crate) fn slice(service: &str, pods: &[(&str, &str, &str)]) -> Value {
    let endpoints: Vec<Value> = pods
        .iter()
        .map(|(name, ip, node)| {
            json!({"addresses": [ip], "nodeName": node, "conditions": {"ready": true, "serving": true, "terminating": false},
                "targetRef": {"kind": "Pod", "namespace": "default", "name": name, "uid": format!("uid-{name}")}})
        })
        .collect();
    json!({"kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{service}-x"), "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
        "endpoints": endpoints, "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]})
}

pub(crate) fn node(name: &str, ip: &str, cidr: &str) -> Value {
    json!({"kind": "Node", "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": "zone-a"}},
        "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
        "status": {"addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}]}})
}
