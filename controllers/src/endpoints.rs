//! Endpoints: the older form of [`crate::endpointslice`], one object for each Service.

use std::collections::BTreeMap;
use std::convert::Infallible;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::kinds::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};
use orlop_core::rules::pod::{is_ready, is_terminal};
use orlop_core::{Key, Labels, Name, Object, Plan, World, Write};
use serde_json::{Value, json};

use crate::endpointslice::{
    address_types, find_port, has_endpoints, hostname, is_headless, pods_of, services_of,
};

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const HEADLESS: &str = "service.kubernetes.io/headless";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// As many addresses go into one object.
const MAX_ADDRESSES: usize = 1000;

/// Keeps the Endpoints of Services that have a selector. See the module's documentation.
pub struct EndpointsController;

impl Controller for EndpointsController {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "endpoint-controller"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<Service>().each::<Endpoints>();
        watches.mapped::<Pod>(|pod, world| services_of(pod, world));
    }

    fn reconcile(&self, key: &Key, world: &World, _ctx: &mut Context<'_>) -> Plan {
        let present = world.get::<Endpoints>(key);
        let Some(service) = world.get::<Service>(key) else {
            let ours = present.filter(|endpoints| endpoints.metadata.label(MANAGED_BY) == Some(MANAGER));
            return ours.map_or_else(Plan::nothing, |endpoints| Plan::write(Write::delete_seen(endpoints)));
        };
        if !has_endpoints(service) {
            return Plan::nothing();
        }
        let (subsets, over) = subsets(service, &pods_of(service, world));
        let mut labels: Labels = service.metadata.labels.clone();
        labels.insert(Name::new_static(MANAGED_BY), Name::new_static(MANAGER));
        if is_headless(service) {
            labels.insert(Name::new_static(HEADLESS), Name::default());
        } else {
            labels.remove(HEADLESS);
        }
        let over = over.then_some("truncated");
        let Some(present) = present else {
            let mut metadata = json!({"name": key.name, "namespace": key.namespace, "labels": labels});
            if let Some(over) = over {
                metadata["annotations"] = json!({OVER_CAPACITY: over});
            }
            let object =
                json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets});
            return Plan::write(Write::create(Endpoints::KIND, object));
        };
        let same = present.subsets == subsets
            && present.metadata.labels == labels
            && present.metadata.annotation(OVER_CAPACITY) == over;
        if same {
            return Plan::nothing();
        }
        let mut changed = json!(labels);
        for gone in present.metadata.labels.keys().filter(|label| !labels.contains_key(*label)) {
            changed[gone.as_str()] = Value::Null;
        }
        let subsets = if subsets.is_empty() { Value::Null } else { json!(subsets) };
        let metadata = json!({"labels": changed, "annotations": {OVER_CAPACITY: over}});
        Plan::write(Write::merge_seen(present, json!({"metadata": metadata, "subsets": subsets})))
    }
}

type Ports = Vec<(Name, i32, Name, Name)>;

/// The addresses, grouped by the ports that they serve, and whether there were too many.
fn subsets(service: &Service, pods: &[&Pod]) -> (Vec<EndpointSubset>, bool) {
    let publish = service.spec.publish_not_ready_addresses;
    let v6 = address_types(service).first() == Some(&"IPv6");
    let mut groups: BTreeMap<Ports, EndpointSubset> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !is_terminal(pod) && (publish || !pod.metadata.is_terminating())) {
        let ips = pod.status.pod_ips.iter().map(|ip| &ip.ip).chain([&pod.status.pod_ip]);
        let Some(ip) = ips.into_iter().find(|ip| !ip.is_empty() && ip.contains(':') == v6) else { continue };
        let ports: Vec<EndpointPort> = service
            .spec
            .ports
            .iter()
            .filter_map(|port| {
                Some(EndpointPort {
                    name: port.name.clone(),
                    port: find_port(port, pod)?,
                    protocol: port.protocol.clone(),
                    app_protocol: port.app_protocol.clone(),
                })
            })
            .collect();
        // A Service with ports serves nothing from a pod that has none of them.
        if ports.is_empty() && !(service.spec.ports.is_empty() && is_headless(service)) {
            continue;
        }
        let address = EndpointAddress {
            ip: ip.clone(),
            hostname: hostname(service, pod),
            node_name: pod.spec.node_name.clone(),
            target_ref: Some(ObjectReference {
                kind: Name::new_static("Pod"),
                namespace: pod.metadata.namespace.clone(),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
                ..ObjectReference::default()
            }),
        };
        let mut key: Ports = ports
            .iter()
            .map(|p| (p.name.clone(), p.port, p.protocol.clone(), p.app_protocol.clone()))
            .collect();
        key.sort();
        let group =
            groups.entry(key).or_insert_with(|| EndpointSubset { ports, ..EndpointSubset::default() });
        if publish || is_ready(pod) {
            group.addresses.push(address);
        } else {
            group.not_ready_addresses.push(address);
        }
    }
    let mut subsets: Vec<EndpointSubset> = groups.into_values().collect();
    let mut left = MAX_ADDRESSES;
    let mut over = false;
    // Ready addresses are the last to be left out.
    for ready in [true, false] {
        for subset in &mut subsets {
            let list = if ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
            list.sort_by(|a, b| a.ip.cmp(&b.ip));
            over |= list.len() > left;
            list.truncate(left);
            left -= list.len();
        }
    }
    (subsets, over)
}
