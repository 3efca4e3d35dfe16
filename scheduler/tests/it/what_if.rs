//! Why, and what if.

use expect_test::expect;
use orlop_core::Key;
use orlop_scheduler::{
    BudgetFacts, Change, Filter, NodeFacts, NodeView, PodFacts, Profile, Snapshot, Verdict, schedule, what_if,
};
use serde_json::Value;

use crate::text;

fn change(object: &Value) -> Change {
    match object["kind"].as_str() {
        Some("Node") => Change::Node(NodeFacts::from_json(object).expect("a node")),
        _ => Change::Pod(PodFacts::from_json(object).expect("a pod")),
    }
}

fn cluster(lines: &str) -> Snapshot {
    let mut cluster = Snapshot::new();
    text::objects(lines).iter().for_each(|object| cluster.apply(change(object)));
    cluster
}

fn pod(line: &str) -> PodFacts {
    PodFacts::from_json(&text::object(line).expect("a line")).expect("a pod")
}

fn why(lines: &str, line: &str) -> String {
    schedule(&pod(line), &cluster(lines), &Profile::default(), 1).explain().to_string()
}

#[test]
fn every_node_with_every_predicate_and_what_would_have_to_change() {
    expect![[r#"
        default/p -> none: 0/6 nodes are available: 1 Insufficient cpu, 1 node(s) didn't have free ports for the requested pod ports, 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) didn't satisfy existing pods anti-affinity rules, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable. no new claims to deallocate, preemption: 0/6 nodes are available: 2 No preemption victims found for incoming pod, 4 Preemption is not helpful for scheduling.
        refused:
          a  NodeUnschedulable: node(s) were unschedulable
               uncordon the node
             NodeResourcesFit: Insufficient cpu
               cpu: 2 asked for, the node has 1 in all
          b  TaintToleration: node(s) had untolerated taint(s)
               tolerate gpu:NoSchedule, or take it off the node
             NodeAffinity: node(s) didn't match Pod's node affinity/selector
               the node must have disk=ssd (it has disk=hdd)
          c  NodePorts: node(s) didn't have free ports for the requested pod ports
               port 80/TCP is default/web's
             NodeResourcesFit: Insufficient cpu
               cpu: 2 asked for, 500m of 4 free, 1500m more needed
          d  NodeResourcesFit: Insufficient cpu
               cpu: 2 asked for, the node has 1 in all
          e  NodeAffinity: node(s) didn't match Pod's node affinity/selector
               the node must have disk=ssd (it has no label disk)
          f  InterPodAffinity: node(s) didn't satisfy existing pods anti-affinity rules
               default/lone must leave kubernetes.io/hostname=f
    "#]]
    .assert_eq(&why(
        "
        node a cpu=1 cordoned disk=ssd
        node b taint=gpu:NoSchedule disk=hdd
        node c disk=ssd
        node d cpu=1 disk=ssd
        node e
        node f disk=ssd
        pod web cpu=3500m port=80 on=c
        pod lone apart=app:x/host on=f
        ",
        "pod p cpu=2 port=80 select=disk:ssd app=x",
    ));
}

#[test]
fn spread_and_affinity_say_where() {
    expect![[r#"
        default/p -> none: 0/3 nodes are available: 1 node(s) didn't match pod affinity rules, 1 node(s) didn't match pod topology spread constraints, 1 node(s) didn't match pod topology spread constraints (missing required label). no new claims to deallocate, preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling.
    "#]]
    .assert_eq(
        &why(
            "node a zone=x\nnode b zone=y\nnode c\npod q app=web on=a",
            "pod p app=web spread=zone:1 near=app:db/zone",
        )
        .lines()
        .take(1)
        .map(|line| format!("{line}\n"))
        .collect::<String>(),
    );
    expect![[r#"
        refused:
          a  PodTopologySpread: node(s) didn't match pod topology spread constraints
               topology.kubernetes.io/zone=x has 1 such pods and another topology.kubernetes.io/zone has 0; maxSkew is 1
             InterPodAffinity: node(s) didn't match pod affinity rules
               a pod that the affinity means must run in topology.kubernetes.io/zone=x
          b  InterPodAffinity: node(s) didn't match pod affinity rules
               a pod that the affinity means must run in topology.kubernetes.io/zone=y
          c  PodTopologySpread: node(s) didn't match pod topology spread constraints (missing required label)
               the node must have a label topology.kubernetes.io/zone
             InterPodAffinity: node(s) didn't match pod affinity rules
               the node must have a label topology.kubernetes.io/zone
    "#]]
    .assert_eq(
        &why(
            "node a zone=x\nnode b zone=y\nnode c\npod q app=web on=a",
            "pod p app=web spread=zone:1 near=app:db/zone",
        )
        .lines()
        .skip(1)
        .map(|line| format!("{line}\n"))
        .collect::<String>(),
    );
}

/// A plugin of one's own says what to do, and one that panics is named and spoils nothing else.
#[test]
fn plugins_of_ones_own_say_what_to_do() {
    struct Disk;
    impl Filter for Disk {
        fn name(&self) -> &str {
            "Disk"
        }
        fn filter(&self, _: &PodFacts, node: &NodeView<'_>) -> Verdict {
            assert_ne!(node.name(), "b", "what is this");
            Verdict::fits_or(node.label("disk").is_some(), || Verdict::refuse_firmly("node(s) had no disk"))
        }
        fn remedy(&self, _: &PodFacts, _: &NodeView<'_>) -> Option<String> {
            Some("label the node disk=KIND".to_owned())
        }
    }
    let profile = Profile::default().filter(Disk);
    let decision = schedule(&pod("pod p"), &cluster("node a"), &profile, 1);
    assert!(
        decision.explain().to_string().contains("    label the node disk=KIND\n"),
        "{}",
        decision.explain()
    );
    let json = serde_json::to_value(decision.explain()).expect("it is data");
    assert_eq!(json["refused"][0]["because"][0]["plugin"], "Disk");
    assert_eq!(json["refused"][0]["because"][0]["curable"], false);
    let decision = schedule(&pod("pod p"), &cluster("node a disk=ssd\nnode b"), &profile, 1);
    assert!(decision.message().contains("plugin Disk panicked"), "{decision}");
}

/// Constraints that can never hold are refused like any other, in words that say which.
#[test]
fn nonsense_is_refused_clearly() {
    let mut nonsense = pod("pod p cpu=2");
    let affinity = serde_json::json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["a"]}, {"key": "disk", "operator": "In", "values": ["b"]}]},
        {"matchExpressions": [{"key": "disk", "operator": "Resembles", "values": ["a"]}]},
        {},
    ]}});
    nonsense.node_affinity = serde_json::from_value(affinity).expect("of its form");
    nonsense.requests.cpu_milli = i64::MAX;
    let decision =
        schedule(&nonsense, &cluster("node a disk=a\nnode b disk=b cpu=64"), &Profile::default(), 1);
    expect![[r#"
        default/p -> none: 0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.
        refused:
          a  NodeAffinity: node(s) didn't match Pod's node affinity/selector
               the node must have disk=b
             NodeResourcesFit: Insufficient cpu
               cpu: 9223372036854775807m asked for, the node has 4 in all
          b  NodeAffinity: node(s) didn't match Pod's node affinity/selector
               the node must have disk=a
             NodeResourcesFit: Insufficient cpu
               cpu: 9223372036854775807m asked for, the node has 64 in all
    "#]]
    .assert_eq(&decision.explain().to_string());
}

#[test]
fn how_many_more_fit_and_what_limits_them() {
    let cluster =
        cluster("node a cpu=4\nnode b cpu=2 pods=1\nnode c cpu=8 taint=gpu:NoSchedule\npod q cpu=1 on=a");
    let room = what_if::room_for(&pod("pod p cpu=1"), &cluster, &Profile::default(), 1, 100);
    assert_eq!((room.count, room.at_least), (4, false));
    assert_eq!((room.nodes["a"], room.nodes["b"]), (3, 1));
    let limits: Vec<_> =
        room.limits.iter().map(|l| (l.plugin.as_str(), l.reason.as_str(), l.nodes, l.alone)).collect();
    assert_eq!(
        limits,
        [
            ("NodeResourcesFit", "Insufficient cpu", 1, 1),
            ("NodeResourcesFit", "Too many pods", 1, 1),
            ("TaintToleration", "node(s) had untolerated taint(s)", 1, 1),
        ]
    );
    let room = what_if::room_for(&pod("pod p cpu=1"), &cluster, &Profile::default(), 1, 2);
    assert_eq!((room.count, room.at_least, room.next), (2, true, None));
}

#[test]
fn where_these_pods_would_go() {
    let cluster = cluster("node a cpu=1\nnode b cpu=1");
    let pods = [
        pod("pod p1 cpu=1"),
        pod("pod p2 cpu=1 prio=5 select=host:b"),
        pod("pod p3 cpu=1 prio=5 select=host:a"),
    ];
    let decisions = what_if::place_all(&pods, &cluster, &Profile::default(), 3);
    let nodes: Vec<_> = decisions.iter().map(|d| (d.pod.name.as_str(), d.node.is_some())).collect();
    // The least important is tried last.
    assert_eq!(nodes, [("p2", true), ("p3", true), ("p1", false)]);
    assert_eq!(cluster.pods().count(), 0, "the snapshot is as it was");
}

#[test]
fn what_draining_a_node_would_do() {
    let mut cluster = cluster(
        "
        node a cpu=8
        node b cpu=2
        pod web-1 cpu=1 app=web on=a
        pod web-2 cpu=1 app=web on=a
        pod big cpu=4 on=a
        pod alone cpu=1 on=a
        pod agent on=a
        ",
    );
    for (name, kind) in
        [("web-1", "ReplicaSet"), ("web-2", "ReplicaSet"), ("big", "Job"), ("agent", "DaemonSet")]
    {
        let mut facts = (**cluster.pod(&Key::new("default", name)).expect("it is there")).clone();
        let owner = serde_json::json!({"apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "u", "controller": true});
        facts.owner = Some(serde_json::from_value(owner).expect("an owner"));
        cluster.apply(Change::Pod(facts));
    }
    cluster.apply(Change::Budget(BudgetFacts {
        key: Key::new("default", "web"),
        selector: Some(
            serde_json::from_value(serde_json::json!({"matchLabels": {"app": "web"}})).expect("a selector"),
        ),
        allowed: 1,
        disrupted: Vec::new(),
    }));
    let drain = what_if::drain("a", &cluster, &Profile::default(), 1).expect("there is such a node");
    let fates: Vec<String> = drain
        .pods
        .iter()
        .map(|f| format!("{} {:?} {}", f.pod.name, f.outcome, f.to.as_deref().unwrap_or(&f.because)))
        .collect();
    expect![[r#"
        agent Stays it belongs to a DaemonSet
        alone Lost no controller makes another
        big Pending 0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable. no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.
        web-1 Moves b
        web-2 Moves b"#]]
    .assert_eq(&fates.join("\n"));
    assert_eq!((drain.budgets[0].needed, drain.budgets[0].allowed), (2, 1));
    assert_eq!(what_if::drain("z", &cluster, &Profile::default(), 1), None);
    assert_eq!(cluster.node("a").expect("still there").pods().count(), 5);
}
