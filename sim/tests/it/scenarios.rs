//! Small stories, each with its end.

use std::time::Duration;

use orlop_core::kinds::{Deployment, Pod};
use orlop_core::store::Store;
use orlop_core::{Key, Object, Write};
use orlop_sim::{Component, Options, Simulation};
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);

fn web(replicas: u32) -> serde_json::Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web:v1"}]},
            },
        },
    })
}

fn perform(sim: &mut Simulation, write: Write) {
    let link = sim.link();
    let done = sim.block_on(async move { link.perform(write).await }, SECOND);
    done.expect("the API answers at once").expect("the write is accepted");
}

fn pods(sim: &Simulation) -> Vec<Pod> {
    let view = sim.control().store().view();
    let pods = view.range("/registry/pods/default/", "", usize::MAX);
    pods.iter().map(|entry| entry.object.decode().expect("a pod")).collect()
}

fn ready(pod: &Pod) -> bool {
    pod.status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True")
}

#[test]
fn a_deployment_becomes_ready() {
    let mut sim = Simulation::new(1, Options::nodes(3)).expect("the cluster starts");
    perform(&mut sim, Write::create(Deployment::KIND, web(3)));
    sim.run_for(5 * SECOND).expect("nothing is violated");
    let pods = pods(&sim);
    assert_eq!(pods.iter().filter(|pod| ready(pod)).count(), 3);
    let mut nodes: Vec<_> = pods.iter().map(|pod| pod.spec.node_name.clone()).collect();
    nodes.sort();
    nodes.dedup();
    assert_eq!(nodes.len(), 3, "three pods are spread over three nodes");
}

#[test]
fn pods_of_a_lost_node_are_replaced_and_end_when_it_returns() {
    let mut sim = Simulation::new(2, Options::nodes(2)).expect("the cluster starts");
    perform(&mut sim, Write::create(Deployment::KIND, web(4)));
    sim.run_for(10 * SECOND).expect("nothing is violated");
    sim.control().crash_node(0);
    // 50 s until the node counts as silent, 300 s of toleration.
    sim.run_for(400 * SECOND).expect("nothing is violated");
    let lost = sim.control().node_name(0);
    assert_eq!(pods(&sim).iter().filter(|pod| ready(pod) && pod.spec.node_name != lost).count(), 4);
    assert!(pods(&sim).iter().any(|pod| pod.spec.node_name == lost), "nobody saw the old pods end");
    sim.control().start(Component::Node(0));
    sim.run_for(120 * SECOND).expect("nothing is violated");
    assert_eq!(pods(&sim).len(), 4);
}

#[test]
fn deleting_a_deployment_leaves_nothing() {
    let mut sim = Simulation::new(3, Options::nodes(1)).expect("the cluster starts");
    perform(&mut sim, Write::create(Deployment::KIND, web(2)));
    sim.run_for(10 * SECOND).expect("nothing is violated");
    perform(&mut sim, Write::delete(Deployment::KIND, Key::new("default", "web")));
    sim.run_for(60 * SECOND).expect("nothing is violated");
    let view = sim.control().store().view();
    for prefix in ["/registry/pods/default/", "/registry/replicasets/", "/registry/deployments/"] {
        assert_eq!(view.count(prefix, ""), 0, "{prefix}");
    }
}
