//! Small stories, each with its end.

use std::time::Duration;

use orlop_core::kinds::{ConfigMap, Deployment, Namespace, Pod};
use orlop_core::store::Store;
use orlop_core::{Key, Kind, Object, Write};
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

const WIDGET: Kind = Kind::namespaced("example.test", "v1", "Widget", "widgets");
const DEFINITION: Kind =
    Kind::cluster("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions");

/// Defines widgets, without waiting for anybody to have noticed.
fn define(sim: &mut Simulation) {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.test"},
        "spec": {
            "group": "example.test",
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    });
    perform(sim, Write::create(DEFINITION, definition));
}

/// Makes an object that another owns.
fn put(sim: &mut Simulation, kind: &Kind, namespace: &str, name: &str, owner: Option<(&Kind, &str)>) {
    let mut owners = Vec::new();
    if let Some((kind, owner)) = owner {
        let prefix = match kind.group.as_str() {
            "" => format!("/registry/{}/{namespace}/", kind.plural),
            group => format!("/registry/{group}/{}/{namespace}/", kind.plural),
        };
        let stored =
            sim.control().store().view().get(&format!("{prefix}{owner}")).expect("the owner is there");
        let uid = stored.object.body.header().uid.clone();
        owners.push(json!({"apiVersion": kind.api_version(), "kind": kind.kind, "name": owner, "uid": uid}));
    }
    let object = json!({
        "apiVersion": kind.api_version(),
        "kind": kind.kind,
        "metadata": {"name": name, "namespace": namespace, "ownerReferences": owners},
    });
    perform(sim, Write::create(kind.clone(), object));
}

/// The widgets, and the config maps but that of the authority.
fn left(sim: &Simulation) -> Vec<String> {
    let view = sim.control().store().view();
    let entries = ["/registry/example.test/widgets/", "/registry/configmaps/"]
        .map(|prefix| view.range(prefix, "", usize::MAX));
    let names = entries.iter().flatten().map(|entry| entry.key["/registry/".len()..].to_owned());
    names.filter(|name| !name.contains("kube-") && !name.contains("extension-apiserver")).collect()
}

#[test]
fn custom_objects_own_and_are_owned() {
    let mut sim = Simulation::new(4, Options::nodes(1)).expect("the cluster starts");
    // At one moment: the controllers see the kind, its object and what that owns in one cut.
    define(&mut sim);
    put(&mut sim, &ConfigMap::KIND, "default", "root", None);
    put(&mut sim, &WIDGET, "default", "w", Some((&ConfigMap::KIND, "root")));
    put(&mut sim, &ConfigMap::KIND, "default", "leaf", Some((&WIDGET, "w")));
    sim.run_for(5 * SECOND).expect("nothing is violated");
    assert_eq!(
        left(&sim),
        ["example.test/widgets/default/w", "configmaps/default/leaf", "configmaps/default/root"]
    );
    perform(&mut sim, Write::delete(ConfigMap::KIND, Key::new("default", "root")));
    sim.run_for(5 * SECOND).expect("nothing is violated");
    assert_eq!(left(&sim), [""; 0]);
}

#[test]
fn a_namespace_ends_with_its_custom_objects() {
    let mut sim = Simulation::new(5, Options::nodes(1)).expect("the cluster starts");
    let shop = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    perform(&mut sim, Write::create(Namespace::KIND, shop));
    sim.run_for(SECOND).expect("nothing is violated");
    define(&mut sim);
    put(&mut sim, &WIDGET, "shop", "w", None);
    perform(&mut sim, Write::delete(Namespace::KIND, Key::cluster("shop")));
    sim.run_for(10 * SECOND).expect("nothing is violated");
    assert_eq!(left(&sim), [""; 0]);
    assert_eq!(sim.control().store().view().count("/registry/namespaces/shop", ""), 0);
}

#[test]
fn a_definition_takes_its_objects_and_what_they_own_with_it() {
    let mut sim = Simulation::new(6, Options::nodes(1)).expect("the cluster starts");
    for _ in 0..2 {
        define(&mut sim);
        put(&mut sim, &WIDGET, "default", "w", None);
        put(&mut sim, &ConfigMap::KIND, "default", "leaf", Some((&WIDGET, "w")));
        sim.run_for(5 * SECOND).expect("nothing is violated");
        assert_eq!(left(&sim), ["example.test/widgets/default/w", "configmaps/default/leaf"]);
        perform(&mut sim, Write::delete(DEFINITION, Key::cluster("widgets.example.test")));
        sim.run_for(5 * SECOND).expect("nothing is violated");
        assert_eq!(left(&sim), [""; 0]);
        // Whoever starts now has never heard of widgets; whoever starts later has.
        sim.control().stop(Component::Controllers);
        sim.control().start(Component::Controllers);
    }
}
