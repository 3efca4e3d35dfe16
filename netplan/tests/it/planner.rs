//! From objects to a plan.

use expect_test::{Expect, expect};
use orlop_core::{Cache, Cut, Revision};
use orlop_netplan::{NetPlan, NetPlanner, Protocol};
use proptest::prelude::*;
use serde_json::json;

use crate::fixture::{Cluster, change, node, pod, service, slice};

fn describe(plan: &NetPlan) -> String {
    let mut text = String::new();
    for service in plan.services.values() {
        text += &format!("{} {:?} {:?}\n", service.key, service.kind, service.cluster_ips);
        for port in &service.ports {
            text += &format!("  {} {}/{} node {:?}\n", port.name, port.port, port.protocol, port.node_port);
            for e in port.endpoints.iter() {
                let state = match (e.ready, e.serving, e.terminating) {
                    (true, _, false) => "ready",
                    (true, _, true) => "ready although terminating",
                    (false, true, true) => "terminating",
                    (false, _, _) => "out",
                };
                text += &format!("    {} {} on {:?}\n", e.socket(), state, e.node);
            }
        }
    }
    text
}

fn check(plan: &NetPlan, expected: Expect) {
    expected.assert_eq(&describe(plan));
}

#[test]
fn joins_services_slices_and_pods() {
    let mut cluster = Cluster::new();
    let plan = cluster.put([
        service("web", "10.96.0.20"),
        pod("a", "10.244.1.2", "n1"),
        pod("b", "10.244.2.2", "n2"),
        slice("web", &[("a", "10.244.1.2", "n1"), ("b", "10.244.2.2", "n2"), ("ghost", "10.244.2.9", "n2")]),
        node("n1", "172.18.0.2", "10.244.1.0/24"),
    ]);
    check(
        &plan,
        expect![[r#"
        default/web ClusterIp [10.96.0.20]
          http 80/TCP node None
            10.244.1.2:8080 ready on "n1"
            10.244.2.2:8080 ready on "n2"
    "#]],
    );
    assert_eq!(plan.revision, Revision(1));
    assert_eq!(plan.pods.get(&"10.244.1.2".parse().unwrap()).unwrap().key.name, "a");
    assert!(plan.frontend("10.96.0.20".parse().unwrap(), Protocol::Tcp, 80).is_some());
    assert!(plan.frontend("10.96.0.20".parse().unwrap(), Protocol::Udp, 80).is_none());
    assert_eq!(plan.nodes["n1"].addresses.len(), 1);
}

#[test]
fn a_pod_is_unrouted_by_the_commit_that_deletes_it() {
    // A node agent waits for the plan of exactly this revision before it stops containers; were the endpoint only
    // taken out when its slice follows, connections would go to a pod that is told to stop.
    let mut cluster = Cluster::new();
    let before = cluster.put([
        service("web", "10.96.0.20"),
        pod("a", "10.244.1.2", "n1"),
        pod("b", "10.244.2.2", "n2"),
        slice("web", &[("a", "10.244.1.2", "n1"), ("b", "10.244.2.2", "n2")]),
    ]);
    let mut deleted = pod("a", "10.244.1.2", "n1");
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:30Z".into();
    let plan = cluster.put([deleted]);
    assert_eq!(plan.diff(&before).changed.len(), 1);
    check(
        &plan,
        expect![[r#"
        default/web ClusterIp [10.96.0.20]
          http 80/TCP node None
            10.244.1.2:8080 terminating on "n1"
            10.244.2.2:8080 ready on "n2"
    "#]],
    );
    let plan = cluster.delete("Pod", "default", "a");
    check(
        &plan,
        expect![[r#"
        default/web ClusterIp [10.96.0.20]
          http 80/TCP node None
            10.244.2.2:8080 ready on "n2"
    "#]],
    );
    assert!(plan.pods.get(&"10.244.1.2".parse().unwrap()).is_none());
}

#[test]
fn not_ready_addresses_stay_published_to_their_end() {
    let mut cluster = Cluster::new();
    let mut peers = service("peers", "None");
    peers["spec"]["publishNotReadyAddresses"] = true.into();
    let mut a = pod("a", "10.244.1.2", "n1");
    a["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:30Z".into();
    let plan = cluster.put([peers, a, slice("peers", &[("a", "10.244.1.2", "n1")])]);
    check(
        &plan,
        expect![[r#"
        default/peers Headless []
          http 80/TCP node None
            10.244.1.2:8080 ready although terminating on "n1"
    "#]],
    );
}

#[test]
fn a_pod_made_anew_under_the_same_name_is_another_one() {
    let mut cluster = Cluster::new();
    cluster.put([
        service("db", "10.96.0.30"),
        pod("db-0", "10.244.1.2", "n1"),
        slice("db", &[("db-0", "10.244.1.2", "n1")]),
    ]);
    let mut anew = pod("db-0", "10.244.1.3", "n1");
    anew["metadata"]["uid"] = "another".into();
    let plan = cluster.put([anew]);
    check(
        &plan,
        expect![[r#"
        default/db ClusterIp [10.96.0.30]
          http 80/TCP node None
    "#]],
    );
}

#[test]
fn named_ports_external_ways_and_affinity() {
    let mut cluster = Cluster::new();
    let plan = cluster.put([
        json!({"kind": "Service", "metadata": {"name": "lb", "namespace": "default"},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.40", "externalIPs": ["203.0.113.9"],
                "externalTrafficPolicy": "Local", "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 7}},
                "healthCheckNodePort": 31000,
                "loadBalancerSourceRanges": ["10.0.0.0/8"],
                "ports": [{"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053},
                    {"name": "http", "port": 80, "nodePort": 30080}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.10"}, {"ip": "203.0.113.11", "ipMode": "Proxy"}, {"hostname": "x"}]}}}),
        // Pods may give one port name different numbers: then there are two slices.
        slice("lb", &[]),
    ]);
    let lb = plan.services.values().next().unwrap();
    assert!(lb.policy.external_local && !lb.policy.internal_local);
    assert_eq!(format!("{:?} {:?}", lb.external_ips, lb.load_balancer_ips), "[203.0.113.9] [203.0.113.10]");
    assert_eq!(format!("{:?}", lb.affinity), "ClientIp(7s)");
    assert_eq!(lb.health_check_node_port, Some(31_000));
    check(
        &plan,
        expect![[r#"
        default/lb ClusterIp [10.96.0.40]
          dns 53/UDP node Some(30053)
          http 80/TCP node Some(30080)
    "#]],
    );
    assert_eq!(plan.addresses.len(), 3);
    assert!(cluster.delete("Service", "default", "lb").addresses.is_empty());
}

#[test]
fn duplicates_between_slices_and_foreign_entries() {
    let mut cluster = Cluster::new();
    let mut old = slice("web", &[]);
    old["metadata"]["name"] = "old".into();
    old["endpoints"] = json!([
        {"addresses": ["192.168.1.5"], "conditions": {"ready": false}},
        {"addresses": ["not an address"]},
        {"addresses": []},
        {"addresses": ["192.168.1.6"]},
    ]);
    let mut new = slice("web", &[]);
    new["endpoints"] = json!([{"addresses": ["192.168.1.5"]}]);
    let plan = cluster.put([service("web", "10.96.0.20"), old, new]);
    check(
        &plan,
        expect![[r#"
        default/web ClusterIp [10.96.0.20]
          http 80/TCP node None
            192.168.1.5:8080 ready on ""
            192.168.1.6:8080 ready on ""
    "#]],
    );
}

#[test]
fn what_is_offered_depends_on_where_one_is() {
    let mut cluster = Cluster::new();
    let mut web = service("web", "10.96.0.20");
    web["spec"]["type"] = "NodePort".into();
    web["spec"]["externalIPs"] = json!(["203.0.113.9"]);
    web["spec"]["ports"][0]["nodePort"] = 30_080.into();
    web["spec"]["externalTrafficPolicy"] = "Local".into();
    web["spec"]["internalTrafficPolicy"] = "Local".into();
    let plan = cluster.put([
        web,
        pod("a", "10.244.1.2", "n1"),
        pod("b", "10.244.2.2", "n2"),
        slice("web", &[("a", "10.244.1.2", "n1"), ("b", "10.244.2.2", "n2")]),
        node("n1", "172.18.0.2", "10.244.1.0/24"),
        node("n2", "172.18.0.3", "10.244.2.0/24"),
    ]);
    let offered = |to: &str, from: &str| {
        let from = (!from.is_empty()).then(|| from.into());
        let found = plan.offered(to.parse().unwrap(), Protocol::Tcp, from.as_ref())?;
        Some(found.iter().map(|e| e.pod.as_ref().unwrap().name.as_str()).collect::<Vec<_>>().join(" "))
    };
    let text = |to, from| offered(to, from).unwrap_or_else(|| "nothing".to_owned());
    assert_eq!(text("10.96.0.20:80", "n1"), "a");
    assert_eq!(text("10.96.0.20:80", ""), "a b");
    assert_eq!(text("203.0.113.9:80", "n1"), "a b");
    assert_eq!(text("172.18.0.3:30080", "n1"), "b");
    assert_eq!(text("172.18.0.3:30081", "n1"), "nothing");
    assert_eq!(text("10.96.0.20:81", "n1"), "nothing");
    assert_eq!(text("8.8.8.8:80", "n1"), "nothing");
}

/// One random change of a small world.
fn step() -> impl Strategy<Value = serde_json::Value> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    (0..6u8, name, any::<bool>(), any::<bool>()).prop_map(|(what, name, flag, gone)| {
        let ip = format!("10.244.1.{}", name.as_bytes()[0]);
        let mut object = match what {
            0 => service(name, if flag { "None" } else { "10.96.0.7" }),
            1 | 2 => {
                let mut object = pod(name, &ip, "n1");
                if flag {
                    object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:30Z".into();
                }
                object
            }
            3 | 4 => {
                let all =
                    [("a", "10.244.1.97", "n1"), ("b", "10.244.1.98", "n1"), ("c", "10.244.1.99", "n1")];
                slice(name, if flag { &all } else { &all[..1] })
            }
            _ => node(name, "172.18.0.3", "10.244.0.0/24"),
        };
        object["gone"] = gone.into();
        object
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Step by step or at once: the same plan.
    #[test]
    fn incremental_equals_from_scratch(steps in proptest::collection::vec(proptest::collection::vec(step(), 1..4), 1..12)) {
        let mut planner = NetPlanner::new("cluster.local");
        let mut cache = Cache::new();
        orlop_netplan::register(&mut cache);
        for (i, objects) in steps.into_iter().enumerate() {
            let revision = Revision(i as u64 + 1);
            let changes: Vec<_> = objects
                .into_iter()
                .enumerate()
                .map(|(j, object)| {
                    let gone = object["gone"] == true;
                    // Revisions of objects differ, or the cache takes a change for a repetition.
                    let mut change = change(object, Revision(revision.0 * 100 + j as u64));
                    if gone {
                        change.object = None;
                    }
                    change
                })
                .collect();
            let cut = Cut { revision, reset: Vec::new(), changes };
            cache.apply(cut.clone(), |_, _, _| {});
            let stepwise = planner.apply(cut);
            let at_once = orlop_netplan::plan(cache.world(), "cluster.local");
            prop_assert_eq!(&stepwise.services, &at_once.services);
            prop_assert_eq!(&stepwise.nodes, &at_once.nodes);
            prop_assert!(at_once.diff(&stepwise).is_empty());
            prop_assert_eq!(
                stepwise.pods.iter().collect::<Vec<_>>(),
                at_once.pods.iter().collect::<Vec<_>>()
            );
            prop_assert_eq!(
                stepwise.addresses.keys().collect::<Vec<_>>(),
                at_once.addresses.keys().collect::<Vec<_>>()
            );
        }
    }
}
