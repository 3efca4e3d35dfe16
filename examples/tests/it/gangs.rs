//! Gangs through a whole cluster: groups of pods of which so many run together or none does.

use std::time::Duration;

use orlop::api::Link;
use orlop::base::kinds::{Pod, ServiceAccount};
use orlop::base::{Key, Kind, Object, Write};
use orlop::{Cluster, NodeSpec};
use serde_json::{Value, json};

const POD_GROUP: Kind = Kind::namespaced("scheduling.k8s.io", "v1alpha2", "PodGroup", "podgroups");
const WORKLOAD: Kind = Kind::namespaced("scheduling.k8s.io", "v1alpha2", "Workload", "workloads");

/// Two workers with 4 CPUs each.
async fn cluster(seed: u64) -> Cluster {
    let nodes = ["a", "b"].map(NodeSpec::worker).to_vec();
    let cluster = Cluster::builder().seed(seed).nodes(nodes).gangs().start().await;
    let cluster = cluster.expect("a cluster that starts");
    let account = Key::new("default", "default");
    let there = cluster.wait_for(&ServiceAccount::KIND, &account, Duration::from_secs(10), |_| true).await;
    there.expect("what a namespace has");
    cluster
}

fn group(name: &str, policy: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"schedulingPolicy": policy}})
}

fn member(gang: &str, number: usize) -> Value {
    json!({
        "metadata": {"name": format!("{gang}-{number}"), "namespace": "default", "labels": {"gang": gang}},
        "spec": {
            "schedulingGroup": {"podGroupName": gang},
            "containers": [{"name": "c", "image": "worker:1", "resources": {"requests": {"cpu": "1"}}}],
        },
    })
}

async fn create(link: &Link, kind: &Kind, object: Value) {
    link.perform(Write::create(kind.clone(), object)).await.expect("the API takes it");
}

/// How many pods of a gang are on nodes.
async fn placed(cluster: &Cluster, gang: &str) -> usize {
    let pods = cluster.list::<Pod>("default").await.expect("pods");
    let here = |pod: &&_| {
        let pod: &Pod = pod;
        pod.metadata.label("gang") == Some(gang) && !pod.spec.node_name.is_empty()
    };
    pods.iter().map(|pod| &**pod).filter(here).count()
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: not within ten seconds");
}

/// Each gang needs five of eight CPUs. Their pods come mixed, and tried one by one each gang would hold half of what the
/// other needs, for ever.
#[tokio::test(flavor = "multi_thread")]
async fn two_gangs_that_each_need_more_than_half_never_deadlock() {
    for seed in 1..=4 {
        let cluster = cluster(seed).await;
        let link = cluster.link("test");
        let mut names = ["red", "blue"];
        if seed % 2 == 0 {
            names.reverse();
        }
        for name in names {
            create(&link, &POD_GROUP, group(name, json!({"gang": {"minCount": 5}}))).await;
        }
        for number in 0..5 {
            for name in names {
                create(&link, &Pod::KIND, member(name, number)).await;
            }
        }
        until("one gang runs", async || placed(&cluster, "red").await + placed(&cluster, "blue").await == 5)
            .await;
        let (red, blue) = (placed(&cluster, "red").await, placed(&cluster, "blue").await);
        assert_eq!(red.max(blue), 5, "all five are of one gang: red {red}, blue {blue}");
        let (first, second) = if red == 5 { ("red", "blue") } else { ("blue", "red") };
        for number in 0..5 {
            let key = Key::new("default", format!("{first}-{number}"));
            link.perform(Write::delete(Pod::KIND, key)).await.expect("a pod is deleted");
        }
        until("the other gang follows", async || placed(&cluster, second).await == 5).await;
        cluster.shutdown().await;
    }
}

/// The two kinds are kinds of the API: checked, defaulted, fixed once they are there, and served only where asked for.
#[tokio::test(flavor = "multi_thread")]
async fn the_kinds_of_gangs_are_kinds_of_the_api() {
    let cluster = cluster(1).await;
    let link = cluster.link("test");
    let refused = async |kind: &Kind, object: Value| {
        link.perform(Write::create(kind.clone(), object)).await.expect_err("it is refused").message
    };
    let both = json!({"basic": {}, "gang": {"minCount": 2}});
    for (policy, complaint) in [
        (json!({}), "spec.schedulingPolicy: Invalid value: \"\": must specify one of: `basic`, `gang`"),
        (both, "must specify exactly one of: `basic`, `gang`"),
        (json!({"gang": {"minCount": 0}}), "spec.schedulingPolicy.gang.minCount: Required value"),
        (json!({"gang": {"minCount": -1}}), "must be greater than or equal to 1"),
    ] {
        let message = refused(&POD_GROUP, group("g", policy)).await;
        assert!(message.contains(complaint), "{message}");
    }
    let template = |name: &str| json!({"name": name, "schedulingPolicy": {"gang": {"minCount": 2}}});
    let workload = |templates: Value| json!({"metadata": {"name": "w", "namespace": "default"}, "spec": {"podGroupTemplates": templates}});
    let message = refused(&WORKLOAD, workload(json!([template("a"), template("a")]))).await;
    assert!(message.contains("Duplicate value"), "{message}");
    create(&link, &WORKLOAD, workload(json!([template("a")]))).await;

    let mut good = group("g", json!({"gang": {"minCount": 2}}));
    good["spec"]["podGroupTemplateRef"] =
        json!({"workload": {"workloadName": "w", "podGroupTemplateName": "a"}});
    // What belongs to features that are not there is dropped.
    good["spec"]["disruptionMode"] = "PodGroup".into();
    create(&link, &POD_GROUP, good).await;
    let key = Key::new("default", "g");
    let stored = cluster
        .wait_for(&POD_GROUP, &key, Duration::from_secs(5), |_| true)
        .await
        .expect("the group is there")
        .to_value();
    assert_eq!(stored["spec"]["schedulingPolicy"]["gang"]["minCount"], 2);
    assert!(stored["spec"]["disruptionMode"].is_null() && stored["metadata"]["uid"].is_string());
    let change = json!({"spec": {"schedulingPolicy": {"gang": {"minCount": 3}}}});
    let fixed = link.perform(Write::merge(POD_GROUP, key, change)).await.expect_err("it is fixed");
    assert!(fixed.message.contains("field is immutable"), "{}", fixed.message);
    cluster.shutdown().await;

    let plain = Cluster::builder().no_nodes().start().await.expect("a cluster that starts");
    assert!(plain.scheme().storage(&POD_GROUP).is_none());
    plain.shutdown().await;
}
