//! What happens to a write on its way in.

use std::sync::Arc;

use expect_test::{Expect, expect};
use orlop_api::admission::{Admission, Operation, Review};
use orlop_api::{Api, Config, LocalApi, Status};
use orlop_core::Entropy;
use orlop_core::store::Store;
use serde_json::{Value, json};

use crate::world::{World, now, request, world, world_with};

const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SERVICES: &str = "/api/v1/namespaces/default/services";

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}})
}

fn refusals(world: &World, lines: &[(&str, Value)], expected: Expect) {
    let all: Vec<String> = lines.iter().map(|(line, body)| world.refused(line, body.clone())).collect();
    expected.assert_eq(&(all.join("\n") + "\n"));
}

#[test]
fn refusals_have_kubernetes_words() {
    let world = world();
    world.ok(&format!("create {MAPS}"), json!({"metadata": {"name": "a"}}));
    let stale = json!({"metadata": {"name": "a", "resourceVersion": "1"}});
    refusals(
        &world,
        &[
            (&format!("create {MAPS}"), json!({"metadata": {"name": "a"}})),
            (&format!("get {MAPS}/b"), Value::Null),
            (&format!("update {MAPS}/a"), stale),
            (&format!("update {MAPS}/a"), json!({"metadata": {"name": "b"}})),
            ("create /api/v1/namespaces/absent/configmaps", json!({"metadata": {"name": "a"}})),
            ("delete /api/v1/namespaces/kube-system", Value::Null),
            ("get /api/v1/namespaces/default/nothings/a", Value::Null),
            ("create /api/v1/configmaps", json!({"metadata": {"name": "a"}})),
            (&format!("create {PODS}"), {
                let mut pod = pod("p");
                pod["spec"]["serviceAccountName"] = "nobody".into();
                pod
            }),
            (&format!("list {MAPS}?fields=data.x=1"), Value::Null),
        ],
        expect![[r#"
            409 configmaps "a" already exists
            404 configmaps "b" not found
            409 Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again
            400 the name of the object (b) does not match the name on the URL (a)
            404 namespaces "absent" not found
            403 namespaces "kube-system" is forbidden: this namespace may not be deleted
            404 the server could not find the requested resource
            405 the server does not allow this method on the requested resource
            403 pods "p" is forbidden: error looking up service account default/nobody: serviceaccount "nobody" not found
            400 "data.x" is not a known field selector: only "metadata.name", "metadata.namespace"
        "#]],
    );
}

#[test]
fn a_pod_goes_in_steps() {
    let world = world();
    let stored = world.ok(&format!("create {PODS}"), pod("web"));
    assert_eq!(stored["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    assert_eq!(stored["spec"]["tolerations"].as_array().map(Vec::len), Some(2));
    assert_eq!(stored["spec"]["priority"], 0);
    assert_eq!(stored["metadata"]["generation"], 1);
    let mount = &stored["spec"]["containers"][0]["volumeMounts"][0];
    assert_eq!(mount["name"], stored["spec"]["volumes"][0]["name"]);

    let binding = json!({"metadata": {"name": "web"}, "target": {"kind": "Node", "name": "n1"}});
    world.ok(&format!("create {PODS}/web/binding"), binding.clone());
    assert_eq!(world.get(&format!("{PODS}/web"))["spec"]["nodeName"], "n1");
    assert!(
        world.refused(&format!("create {PODS}/web/binding"), binding).contains("already assigned to node")
    );

    let going = world.ok(&format!("delete {PODS}/web"), Value::Null);
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 30);
    // A later deletion may shorten the grace, not lengthen it.
    let same = world.ok(&format!("delete {PODS}/web?grace=100"), Value::Null);
    assert_eq!(same["metadata"]["resourceVersion"], going["metadata"]["resourceVersion"]);
    let mut watch = world.watch(&format!("watch {PODS}"));
    world.ok(&format!("delete {PODS}/web?grace=0"), Value::Null);
    assert_eq!(crate::world::seen(&mut watch), "+web ~web -web");
}

#[test]
fn finalizers_hold_an_object() {
    let world = world();
    let held = json!({"metadata": {"name": "a", "finalizers": ["example.com/x"]}});
    world.ok(&format!("create {MAPS}"), held);
    let going = world.ok(&format!("delete {MAPS}/a?propagation=Foreground"), Value::Null);
    assert_eq!(going["metadata"]["finalizers"], json!(["example.com/x", "foregroundDeletion"]));
    world.ok(&format!("merge {MAPS}/a"), json!({"metadata": {"finalizers": ["foregroundDeletion"]}}));
    world.ok(&format!("merge {MAPS}/a"), json!({"metadata": {"finalizers": null}}));
    assert!(world.refused(&format!("get {MAPS}/a"), Value::Null).starts_with("404"));
}

#[test]
fn a_dry_run_leaves_nothing_behind() {
    let world = world();
    let before = world.api.store().view().revision();
    let service = json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let shown = world.ok(&format!("create {SERVICES}?dryRun"), service);
    assert!(shown["spec"]["ports"][0]["nodePort"].is_number());
    world.ok("delete /api/v1/namespaces/kube-node-lease?dryRun", Value::Null);
    assert_eq!(world.api.store().view().revision(), before);
}

#[test]
fn what_a_service_holds_comes_and_goes_with_it() {
    let world = world();
    let service = |ip: &str, port: u16| {
        json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "clusterIP": ip,
            "ports": [{"port": 80, "nodePort": port}]}})
    };
    let held = |world: &World| {
        let view = world.api.store().view();
        let count = |prefix: &str| view.count(prefix, "");
        (count("/registry/ipaddresses/"), count("/registry/ranges/servicenodeports/"))
    };
    let before = held(&world);
    world.ok(&format!("create {SERVICES}"), service("10.96.0.50", 30_080));
    assert_eq!(held(&world), (before.0 + 1, before.1 + 1));
    let mut other = service("10.96.0.50", 30_081);
    other["metadata"]["name"] = "t".into();
    assert!(
        world
            .refused(&format!("create {SERVICES}"), other.clone())
            .contains("provided IP is already allocated")
    );
    // Another node port is taken as the old one is given back.
    let ports = json!({"spec": {"ports": [{"port": 80, "nodePort": 30_082}]}});
    world.ok(&format!("merge {SERVICES}/s"), ports);
    assert_eq!(held(&world), (before.0 + 1, before.1 + 1));
    world.ok(&format!("merge {SERVICES}/s"), json!({"spec": {"type": "ClusterIP"}}));
    assert_eq!(held(&world), (before.0 + 1, before.1));
    world.ok(&format!("delete {SERVICES}/s"), Value::Null);
    assert_eq!(held(&world), before);
    world.ok(&format!("create {SERVICES}"), other);
}

#[test]
fn a_definition_serves_its_kind_at_once_and_takes_its_objects_along() {
    let world = world();
    let version = json!({"name": "v1", "served": true, "storage": true,
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"n": {"type": "integer"}}},
            "status": {"type": "object", "properties": {"n": {"type": "integer"}}}}}}});
    let definition = json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com",
        "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"}, "versions": [version]}});
    world.ok("create /apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition);
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"},
        "spec": {"n": 2, "unknown": 1}, "status": {"n": 9}});
    let stored = world.ok(&format!("create {widgets}"), widget);
    assert_eq!((&stored["spec"], stored.get("status")), (&json!({"n": 2}), None));
    world.ok(&format!("merge {widgets}/w/scale"), json!({"spec": {"replicas": 5}}));
    let grown = world.get(&format!("{widgets}/w"));
    assert_eq!((&grown["spec"]["n"], &grown["metadata"]["generation"]), (&json!(5), &json!(2)));
    // A restart serves it, too.
    let again = LocalApi::new(
        world.api.store().clone(),
        Arc::new(world.clock.clone()),
        Entropy::seeded(1),
        Config::default(),
    );
    assert!(now(again.call(request(&format!("get {widgets}/w"), Value::Null))).is_ok());

    world.ok(
        "delete /apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com",
        Value::Null,
    );
    assert!(world.refused(&format!("get {widgets}/w"), Value::Null).starts_with("404"));
    let view = world.api.store().view();
    assert_eq!(view.count("/registry/example.com/", ""), 0);
    assert_eq!(view.count("/registry/apiextensions.k8s.io/", ""), 0);
}

#[test]
fn events_are_one_thing_in_two_groups() {
    let world = world();
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "message": "hello", "reason": "Greeted", "type": "Normal"});
    world.ok("create /api/v1/namespaces/default/events", event);
    let other = world.get("/apis/events.k8s.io/v1/namespaces/default/events/e");
    assert_eq!((&other["note"], &other["regarding"]["name"]), (&json!("hello"), &json!("p")));
    assert_eq!(other["apiVersion"], "events.k8s.io/v1");
    let list = world
        .ok("list /apis/events.k8s.io/v1/namespaces/default/events?fields=regarding.name=p", Value::Null);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_cluster_that_starts_again_changes_nothing() {
    let world = world();
    let before = world.api.store().view().revision();
    now(world.api.bootstrap()).unwrap();
    let again = LocalApi::new(
        world.api.store().clone(),
        Arc::new(world.clock.clone()),
        Entropy::seeded(99),
        Config::default(),
    );
    now(again.bootstrap()).unwrap();
    assert_eq!(world.api.store().view().revision(), before);
}

#[test]
fn an_eviction_asks_the_budget() {
    let world = world();
    let mut running = pod("web");
    running["metadata"]["labels"] = json!({"app": "web"});
    running["spec"]["nodeName"] = "n1".into();
    world.ok(&format!("create {PODS}"), running);
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    world.ok(&format!("merge {PODS}/web/status"), ready);
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    world.ok(&format!("create {budgets}"), budget);
    let status = |allowed: i64| {
        json!({"status": {"observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": 1,
            "desiredHealthy": 1, "expectedPods": 1}})
    };
    world.ok(&format!("merge {budgets}/b/status"), status(0));
    let eviction = json!({"metadata": {"name": "web"}});
    let refused = world.refused(&format!("create {PODS}/web/eviction"), eviction.clone());
    assert_eq!(refused, "429 Cannot evict pod as it would violate the pod's disruption budget.");
    world.ok(&format!("merge {budgets}/b/status"), status(1));
    world.ok(&format!("create {PODS}/web/eviction"), eviction);
    let going = world.get(&format!("{PODS}/web"));
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    let charged = world.get(&format!("{budgets}/b"));
    assert_eq!(charged["status"]["disruptionsAllowed"], 0);
    assert!(charged["status"]["disruptedPods"]["web"].is_string());
}

struct Labeller;

impl Admission for Labeller {
    fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if review.operation == Operation::Create && review.kind.plural == "configmaps" {
            review.object["metadata"]["labels"]["seen"] = "yes".into();
        }
        Ok(())
    }

    fn validate(&self, review: &Review<'_>) -> Result<(), Status> {
        match review.object["data"]["forbidden"].is_null() {
            true => Ok(()),
            false => Err(review.forbidden("this is not to be said")),
        }
    }
}

#[test]
fn embedders_admit_after_the_built_in() {
    let world = world_with(Config { admission: vec![Arc::new(Labeller)], ..Config::default() });
    let stored = world.ok(&format!("create {MAPS}"), json!({"metadata": {"name": "a", "labels": {}}}));
    assert_eq!(stored["metadata"]["labels"]["seen"], "yes");
    let said = json!({"data": {"forbidden": "word"}});
    assert_eq!(
        world.refused(&format!("merge {MAPS}/a"), said),
        "403 configmaps \"a\" is forbidden: this is not to be said"
    );
}

/// Events once stayed for ever: a simulated day under constant load ended with 80,000 of them.
#[test]
fn events_end_an_hour_after_they_were_last_written() {
    const EVENTS: &str = "/api/v1/namespaces/default/events";
    let world = world();
    let event = |name: &str| {
        json!({
            "metadata": {"name": name}, "reason": "Pulled", "type": "Normal", "count": 1,
            "involvedObject": {"kind": "Pod", "namespace": "default", "name": "web"},
        })
    };
    let names = || -> Vec<String> {
        let list = world.ok(&format!("list {EVENTS}"), Value::Null);
        list["items"].as_array().unwrap().iter().map(|e| e["metadata"]["name"].to_string()).collect()
    };
    for name in ["once", "again"] {
        world.ok(&format!("create {EVENTS}"), event(name));
    }
    world.advance(5 * 60);
    assert_eq!(names(), ["\"again\"", "\"once\""]);
    world.advance(30 * 60);
    world.ok(&format!("merge {EVENTS}/again"), json!({"count": 2}));
    world.advance(31 * 60);
    assert_eq!(names(), ["\"again\""]);
    // The time is noted every few minutes, here when somebody asks.
    world.advance(61 * 60);
    names();
    assert_eq!(names().len(), 0);
    assert!(!world.ok("list /api/v1/namespaces", Value::Null)["items"].as_array().unwrap().is_empty());
}
