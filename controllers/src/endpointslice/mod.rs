//! EndpointSlice: which pods stand behind a Service, in slices that stay as they are as far as possible.

mod place;
mod topology;

use std::convert::Infallible;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::kinds::{Endpoint, EndpointSlice, EndpointSlicePort, Node, Pod, Service};
use orlop_core::rules::Selector;
use orlop_core::rules::pod::condition;
use orlop_core::world::Index;
use orlop_core::{Key, Name, Object, OwnerReference, Plan, Timestamp, World, Write};
use serde_json::{Value, json};

pub use place::{Placement, Slice, place};
pub(crate) use place::{address_types, find_port, hostname, is_headless};
pub use topology::shares;

/// Who manages a slice.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Which Service a slice belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// On slices of Services that have no address.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// When what a slice shows came about, for those who measure how long it took.
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// As many endpoints go into a slice.
const MAX_ENDPOINTS: usize = 100;

/// Keeps the slices of Services that have a selector. See the module's documentation.
pub struct EndpointSliceController;

/// Pods by the node that they are bound to.
pub(crate) struct ByNode;

impl Index for ByNode {
    type Of = Pod;
    fn values(pod: &Pod, out: &mut Vec<Name>) {
        out.extend((!pod.spec.node_name.is_empty()).then(|| pod.spec.node_name.clone()));
    }
}

/// Slices by the namespace and name of their Service.
struct ByService;

impl Index for ByService {
    type Of = EndpointSlice;
    fn values(slice: &EndpointSlice, out: &mut Vec<Name>) {
        if slice.metadata.label(MANAGED_BY) == Some(MANAGER) {
            out.extend(
                slice
                    .metadata
                    .label(SERVICE_NAME)
                    .map(|service| by_service(&slice.metadata.namespace, service)),
            );
        }
    }
}

fn by_service(namespace: &str, service: &str) -> Name {
    format!("{namespace}/{service}").into()
}

/// The Services that select a pod.
pub(crate) fn services_of(pod: &Pod, world: &World) -> Vec<Key> {
    world
        .in_namespace::<Service>(&pod.metadata.namespace)
        .filter(|service| has_endpoints(service))
        .filter(|service| Selector::from_labels(&service.spec.selector).matches(&pod.metadata.labels))
        .map(|service| service.key())
        .collect()
}

/// Whether the endpoints of a Service are its pods; else they are its owner's affair.
pub(crate) fn has_endpoints(service: &Service) -> bool {
    service.spec.r#type != "ExternalName" && !service.spec.selector.is_empty()
}

/// The pods that a Service selects, in the order of their names.
pub(crate) fn pods_of<'a>(service: &'a Service, world: &'a World) -> Vec<&'a Pod> {
    let selector = Selector::from_labels(&service.spec.selector);
    world
        .in_namespace::<Pod>(&service.metadata.namespace)
        .filter(|pod| selector.matches(&pod.metadata.labels))
        .map(|pod| &**pod)
        .collect()
}

impl Controller for EndpointSliceController {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "endpoint-slice-controller"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<Service>().index::<ByNode>().index::<ByService>();
        watches.mapped::<Pod>(|pod, world| services_of(pod, world));
        watches.mapped::<EndpointSlice>(|slice, _| {
            let service = slice.metadata.label(SERVICE_NAME);
            service.map(|name| Key::new(slice.metadata.namespace.clone(), name)).into_iter().collect()
        });
        // A node that appears or changes its zone.
        watches.mapped::<Node>(|node, world| {
            world.lookup::<ByNode>(&node.metadata.name).flat_map(|pod| services_of(pod, world)).collect()
        });
    }

    fn reconcile(&self, key: &Key, world: &World, _ctx: &mut Context<'_>) -> Plan {
        let Some(service) = world.get::<Service>(key).filter(|service| has_endpoints(service)) else {
            return Plan::nothing();
        };
        let slices: Vec<_> = world
            .lookup::<ByService>(&by_service(&key.namespace, &key.name))
            .filter(|slice| !slice.metadata.is_terminating())
            .collect();
        let views: Vec<&EndpointSlice> = slices.iter().map(|slice| &***slice).collect();
        let pods = pods_of(service, world);
        let nodes = |name: &str| world.get::<Node>(&Key::cluster(name)).map(|node| &**node);
        let shares = || shares(world.all::<Node>().map(|node| &**node));
        let changes = place(service, &pods, &nodes, &shares, &views, MAX_ENDPOINTS);
        let trigger = trigger(service, &pods, &views, &changes);

        let mut plan = Plan::nothing();
        if !service.metadata.is_terminating() {
            for slice in &changes.create {
                plan = plan.and(Write::create(EndpointSlice::KIND, new_slice(service, slice, trigger)));
            }
        }
        for slice in &changes.update {
            let Some(before) = slices.iter().find(|s| s.metadata.name == slice.name) else { continue };
            plan = plan.and(Write::merge_seen(before, patch(before, slice, trigger)));
        }
        for name in &changes.delete {
            if let Some(slice) = slices.iter().find(|s| s.metadata.name == *name) {
                plan = plan.and(Write::delete_seen(slice));
            }
        }
        plan
    }
}

/// When the change came about that the writes show: the Service's creation for the first slices, else the earliest
/// readiness among the pods that are new or changed.
fn trigger(
    service: &Service,
    pods: &[&Pod],
    before: &[&EndpointSlice],
    after: &Placement,
) -> Option<Timestamp> {
    if before.is_empty() {
        return service.metadata.creation_timestamp;
    }
    let was: Vec<&Endpoint> = before.iter().flat_map(|slice| &slice.endpoints).collect();
    let is = after.create.iter().chain(&after.update).flat_map(|slice| &slice.endpoints);
    is.filter(|endpoint| !was.contains(endpoint))
        .filter_map(|endpoint| endpoint.target_ref.as_ref())
        .filter_map(|target| pods.iter().find(|pod| pod.metadata.name == target.name))
        .filter_map(|pod| condition(pod, "Ready")?.last_transition_time)
        .min()
}

fn content(slice: &Slice) -> (Value, Value) {
    let port = |port: &EndpointSlicePort| {
        let mut out = json!({"name": port.name, "port": port.port, "protocol": port.protocol});
        if !port.app_protocol.is_empty() {
            out["appProtocol"] = json!(port.app_protocol);
        }
        out
    };
    (json!(slice.endpoints), slice.ports.iter().map(port).collect())
}

fn new_slice(service: &Service, slice: &Slice, trigger: Option<Timestamp>) -> Value {
    let (endpoints, ports) = content(slice);
    let mut metadata = json!({
        "generateName": format!("{}-", service.metadata.name),
        "namespace": service.metadata.namespace,
        "labels": slice.labels,
        "ownerReferences": [OwnerReference::controller_of(&Service::KIND, &service.metadata)],
    });
    if let Some(at) = trigger {
        metadata["annotations"] = json!({TRIGGER_TIME: at});
    }
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": slice.address_type,
        "endpoints": endpoints,
        "ports": ports,
    })
}

fn patch(before: &EndpointSlice, slice: &Slice, trigger: Option<Timestamp>) -> Value {
    let (endpoints, ports) = content(slice);
    let mut labels = json!(slice.labels);
    for gone in before.metadata.labels.keys().filter(|label| !slice.labels.contains_key(*label)) {
        labels[gone.as_str()] = Value::Null;
    }
    json!({
        "metadata": {"labels": labels, "annotations": {TRIGGER_TIME: trigger}},
        "endpoints": endpoints,
        "ports": ports,
    })
}
