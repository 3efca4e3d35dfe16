//! The controllers that keep a cluster in order, in a model world.

use std::time::Duration;

use expect_test::expect;
use orlop_controllers::{Config, add_all};
use orlop_core::kinds::{
    ClusterRole, ConfigMap, Deployment, EndpointSlice, Endpoints, Lease, Namespace, Node, Pod, ReplicaSet,
    ResourceQuota, Service, ServiceAccount,
};
use orlop_core::{Kind, Object};
use serde_json::{Value, json};

use crate::model::Model;

const KINDS: [Kind; 13] = [
    ClusterRole::KIND,
    ConfigMap::KIND,
    Deployment::KIND,
    EndpointSlice::KIND,
    Endpoints::KIND,
    Lease::KIND,
    Namespace::KIND,
    Node::KIND,
    Pod::KIND,
    ReplicaSet::KIND,
    ResourceQuota::KIND,
    Service::KIND,
    ServiceAccount::KIND,
];

fn cluster() -> Model {
    let mut model = Model::new(|runner| {
        add_all(runner, Config { ca_bundle: "PEM".to_owned(), ..Config::default() });
        KINDS.into_iter().for_each(|kind| runner.follow(kind));
    });
    model.put(
        &Namespace::KIND,
        json!({"metadata": {"name": "shop"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}),
    );
    let labels = json!({"topology.kubernetes.io/zone": "z1"});
    let ready = json!({"type": "Ready", "status": "True", "lastHeartbeatTime": model.now});
    model.put(
        &Node::KIND,
        json!({"metadata": {"name": "n", "labels": labels}, "spec": {}, "status": {"conditions": [ready]}}),
    );
    model
}

fn web(model: &mut Model) {
    let template = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {
            "containers": [{"name": "main", "ports": [{"name": "http", "containerPort": 8080}]}],
            "tolerations": [{
                "key": "node.kubernetes.io/unreachable",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": 300,
            }],
        },
    });
    model.put(
        &Deployment::KIND,
        json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "web"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "template": template,
            },
        }),
    );
    model.put(
        &Service::KIND,
        json!({
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {
                "clusterIP": "10.96.0.10",
                "selector": {"app": "web"},
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": "http"}],
            },
        }),
    );
}

/// Names of all objects of a namespace, without what is random in them.
fn names(model: &Model) -> String {
    let mut names = Vec::new();
    for kind in KINDS {
        for object in model.all(&kind).iter().filter(|object| object["metadata"]["namespace"] == "shop") {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            names.push(format!("{} {}", kind.kind, name.split('-').next().unwrap_or_default()));
        }
    }
    names.join("\n")
}

#[test]
fn a_namespace_gets_what_it_needs() {
    let mut model = cluster();
    model.settle(&mut |_| {});
    expect![[r#"
        ConfigMap kube
        ServiceAccount default"#]]
    .assert_eq(&names(&model));
}

#[test]
fn a_service_shows_its_pods() {
    let mut model = cluster();
    web(&mut model);
    model.settle(&mut |_| {});
    // The model's kubelet gives no addresses.
    for (i, pod) in model.all(&Pod::KIND).into_iter().cloned().enumerate().collect::<Vec<_>>() {
        let ip = format!("10.244.0.{}", i + 2);
        let patch = json!({"status": {"podIP": ip, "podIPs": [{"ip": ip}]}});
        model.edit(&Pod::KIND, "shop", pod["metadata"]["name"].as_str().unwrap_or_default(), patch);
    }
    model.settle(&mut |_| {});
    let slices = model.all(&EndpointSlice::KIND);
    assert_eq!(slices.len(), 1);
    let shown: Vec<String> = slices[0]["endpoints"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|e| format!("{} {} {} {}", e["addresses"], e["zone"], e["nodeName"], e["conditions"]))
        .collect();
    let subsets = &model.all(&Endpoints::KIND)[0]["subsets"];
    let addresses: Vec<&Value> =
        subsets[0]["addresses"].as_array().into_iter().flatten().map(|a| &a["ip"]).collect();
    expect![[r#"
        [{"name":"","port":8080,"protocol":"TCP"}]
        {"app":"web","endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io","kubernetes.io/service-name":"web"}
        ["10.244.0.2"] "z1" "n" {"ready":true,"serving":true,"terminating":false}
        ["10.244.0.3"] "z1" "n" {"ready":true,"serving":true,"terminating":false}
        [String("10.244.0.2"), String("10.244.0.3")] [{"port":8080,"protocol":"TCP"}]"#]].assert_eq(&format!(
        "{}\n{}\n{}\n{:?} {}",
        slices[0]["ports"],
        slices[0]["metadata"]["labels"],
        shown.join("\n"),
        addresses,
        subsets[0]["ports"]
    ));
}

#[test]
fn a_namespace_goes_pods_first() {
    let mut model = cluster();
    web(&mut model);
    model.settle(&mut |_| {});
    model.edit(
        &Namespace::KIND,
        "",
        "shop",
        json!({"metadata": {"deletionTimestamp": model.now, "finalizers": null}}),
    );
    model.settle(&mut |model| {
        let going = model
            .get(&Namespace::KIND, "", "shop")
            .is_some_and(|n| !n["metadata"]["deletionTimestamp"].is_null());
        let pods = model.all(&Pod::KIND).len();
        if going && model.all(&Service::KIND).is_empty() {
            assert_eq!(pods, 0, "pods go before all else");
        }
    });
    assert_eq!(names(&model), "");
    assert!(model.get(&Namespace::KIND, "", "shop").is_none_or(|n| n["spec"]["finalizers"] == json!([])));
}

#[test]
fn what_holds_a_namespace_is_named() {
    let mut model = cluster();
    model.settle(&mut |_| {});
    model.put(
        &ConfigMap::KIND,
        json!({"metadata": {"name": "held", "namespace": "shop", "finalizers": ["example.test/hold"]}}),
    );
    model.edit(&Namespace::KIND, "", "shop", json!({"metadata": {"deletionTimestamp": model.now}}));
    model.settle(&mut |_| {});
    let conditions: Vec<String> = model.get(&Namespace::KIND, "", "shop").map_or_else(Vec::new, |n| {
        let conditions = n["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions
            .iter()
            .map(|c| {
                format!("{}={} {}: {}", c["type"], c["status"], c["reason"], c["message"]).replace('"', "")
            })
            .collect()
    });
    expect![[r#"
        NamespaceDeletionDiscoveryFailure=False ResourcesDiscovered: All resources successfully discovered
        NamespaceDeletionGroupVersionParsingFailure=False ParsedGroupVersions: All legacy kube types successfully parsed
        NamespaceDeletionContentFailure=False ContentDeleted: All content successfully deleted, may be waiting on finalization
        NamespaceContentRemaining=True SomeResourcesRemain: Some resources are remaining: configmaps. has 1 resource instances
        NamespaceFinalizersRemaining=True SomeFinalizersRemain: Some content in the namespace has finalizers remaining: example.test/hold in 1 resource instances"#]].assert_eq(&conditions.join("\n"));
}

#[test]
fn a_silent_node_loses_its_pods() {
    let mut model = cluster();
    web(&mut model);
    model.settle(&mut |_| {});
    let mut story = vec![taints(&model)];
    model.now = model.now + Duration::from_secs(61);
    model.act(&mut |_| {});
    model.act(&mut |_| {});
    story.push(format!("after 61 s: {}", taints(&model)));
    let ready: Vec<Value> =
        model.all(&Pod::KIND).iter().map(|pod| pod["status"]["conditions"][0]["status"].clone()).collect();
    story.push(format!("pods ready: {ready:?}"));
    model.now = model.now + Duration::from_secs(301);
    model.act(&mut |_| {});
    model.act(&mut |_| {});
    let going =
        model.all(&Pod::KIND).iter().filter(|pod| !pod["metadata"]["deletionTimestamp"].is_null()).count();
    story.push(format!("after 362 s: {going} pods are going"));
    let beat = json!({"type": "Ready", "status": "True", "lastHeartbeatTime": model.now});
    model.edit(&Node::KIND, "", "n", json!({"status": {"conditions": [beat]}}));
    model.act(&mut |_| {});
    story.push(format!("back: {}", taints(&model)));
    expect![[r#"
        Ready=True []
        after 61 s: Ready=Unknown [node.kubernetes.io/unreachable:NoSchedule, node.kubernetes.io/unreachable:NoExecute]
        pods ready: [String("False"), String("False")]
        after 362 s: 2 pods are going
        back: Ready=True []"#]].assert_eq(&story.join("\n"));
}

fn taints(model: &Model) -> String {
    let node = model.get(&Node::KIND, "", "n").cloned().unwrap_or_default();
    let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let taints: Vec<String> =
        taints.iter().map(|t| format!("{}:{}", t["key"], t["effect"]).replace('"', "")).collect();
    let ready = node["status"]["conditions"][0]["status"].as_str().unwrap_or_default().to_owned();
    format!("Ready={ready} [{}]", taints.join(", "))
}

#[test]
fn pods_of_a_lost_node_end() {
    let mut model = cluster();
    web(&mut model);
    model.settle(&mut |_| {});
    let before: Vec<String> =
        model.all(&Pod::KIND).iter().map(|pod| pod["metadata"]["name"].to_string()).collect();
    let names = |model: &Model| -> Vec<String> {
        model.all(&Pod::KIND).iter().map(|pod| pod["metadata"]["name"].to_string()).collect()
    };
    let node = model.get(&Node::KIND, "", "n").cloned().expect("a node");
    model.delete(&Node::KIND, "", "n", None);
    model.act(&mut |_| {});
    model.now = model.now + Duration::from_secs(39);
    model.act(&mut |_| {});
    assert_eq!(names(&model), before, "it may come back");
    model.put(&Node::KIND, node);
    model.now = model.now + Duration::from_secs(2);
    model.act(&mut |_| {});
    assert_eq!(names(&model), before, "it came back");
    model.delete(&Node::KIND, "", "n", None);
    model.act(&mut |_| {});
    model.now = model.now + Duration::from_secs(40);
    model.act(&mut |_| {});
    model.act(&mut |_| {});
    let after: Vec<String> =
        model.all(&Pod::KIND).iter().map(|pod| pod["metadata"]["name"].to_string()).collect();
    assert!(after.iter().all(|name| !before.contains(name)), "the pods were replaced");
    assert_eq!(after.len(), 2);
}

#[test]
fn quotas_are_counted_anew_when_something_ends() {
    let mut model = cluster();
    model.put(
        &ResourceQuota::KIND,
        json!({
            "metadata": {"name": "q", "namespace": "shop"},
            "spec": {"hard": {"pods": "3", "requests.cpu": "2", "count/configmaps": "9", "count/widgets.x": "1"}},
        }),
    );
    for name in ["a", "b"] {
        model.put(
            &Pod::KIND,
            json!({
                "metadata": {"name": name, "namespace": "shop"},
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "500m"}}}]},
                "status": {"phase": "Pending"},
            }),
        );
    }
    model.settle(&mut |_| {});
    let status = |model: &Model| {
        let quota = model.get(&ResourceQuota::KIND, "shop", "q").expect("it is there");
        quota["status"].to_string()
    };
    expect![[r#"{"hard":{"count/configmaps":"9","count/widgets.x":"1","pods":"3","requests.cpu":"2"},"used":{"count/configmaps":"1","pods":"2","requests.cpu":"1"}}"#]]
        .assert_eq(&status(&model));
    model.delete(&Pod::KIND, "shop", "a", None);
    model.edit(&ResourceQuota::KIND, "shop", "q", json!({"spec": {"hard": {"count/configmaps": null}}}));
    model.settle(&mut |_| {});
    expect![[r#"{"hard":{"count/widgets.x":"1","pods":"3","requests.cpu":"2"},"used":{"pods":"1","requests.cpu":"500m"}}"#]]
        .assert_eq(&status(&model));
}

#[test]
fn roles_collect_the_rules_of_others() {
    let mut model = cluster();
    let role = |name: &str, labels: Value, rest: Value| {
        let mut role = rest;
        role["metadata"] = json!({"name": name, "labels": labels});
        role
    };
    let rule = |resource: &str| json!({"verbs": ["get"], "apiGroups": [""], "resources": [resource]});
    let selector = json!({"clusterRoleSelectors": [{"matchLabels": {"to": "all"}}]});
    model.put(&ClusterRole::KIND, role("all", json!({}), json!({"aggregationRule": selector})));
    model.put(&ClusterRole::KIND, role("b", json!({"to": "all"}), json!({"rules": [rule("pods")]})));
    model.put(
        &ClusterRole::KIND,
        role("a", json!({"to": "all"}), json!({"rules": [rule("nodes"), rule("pods")]})),
    );
    model.put(&ClusterRole::KIND, role("c", json!({}), json!({"rules": [rule("secrets")]})));
    model.settle(&mut |_| {});
    let rules = |model: &Model| {
        let role = model.get(&ClusterRole::KIND, "", "all").expect("it is there");
        let rules = role["rules"].as_array().cloned().unwrap_or_default();
        rules.iter().map(|r| r["resources"][0].to_string()).collect::<Vec<_>>().join(" ")
    };
    expect![[r#""nodes" "pods""#]].assert_eq(&rules(&model));
    model.edit(&ClusterRole::KIND, "", "c", json!({"metadata": {"labels": {"to": "all"}}}));
    model.settle(&mut |_| {});
    expect![[r#""nodes" "pods" "secrets""#]].assert_eq(&rules(&model));
}
