//! Pods that are placed together or not at all.

use std::sync::atomic::{AtomicUsize, Ordering};

use expect_test::expect;
use orlop_core::Key;
use orlop_scheduler::{Filter, NodeView, Place, PodFacts, Profile, Verdict};
use serde_json::json;

use crate::rig::Rig;

fn rig() -> Rig {
    Rig::new(vec![Profile::default().with_gangs()])
}

fn group(rig: &mut Rig, name: &str, least: u64) {
    rig.put_object(json!({
        "apiVersion": "scheduling.k8s.io/v1alpha2",
        "kind": "PodGroup",
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")},
        "spec": {"schedulingPolicy": {"gang": {"minCount": least}}},
    }));
}

fn place(rig: &Rig, pod: &str) -> Option<Place> {
    rig.scheduler.queue().get(&Key::new("default", pod)).map(|p| p.place)
}

#[test]
fn members_wait_for_their_group_and_for_each_other() {
    let mut rig = rig();
    rig.put("node a cpu=4\npod p1 cpu=1 gang=g").run();
    assert_eq!(place(&rig, "p1"), Some(Place::Gated), "there is no group yet");
    group(&mut rig, "g", 2);
    rig.run();
    assert_eq!(place(&rig, "p1"), Some(Place::Gated), "there are too few of them yet");
    assert_eq!(rig.log(), "");
    rig.put("pod p2 cpu=1 gang=g").run();
    assert_eq!(rig.log(), "p1 -> a\np2 -> a\n");
    // The group runs: more of it are pods like any other.
    rig.put("pod p3 cpu=1 gang=g\npod p4 cpu=9 gang=g").run();
    assert!(rig.log().starts_with("p3 -> a\np4: 0/1 nodes are available: 1 Insufficient cpu."));
}

#[test]
fn all_or_nothing() {
    let mut rig = rig();
    group(&mut rig, "g", 3);
    rig.put("node a cpu=2\npod p1 cpu=1 gang=g\npod p2 cpu=1 gang=g\npod p3 cpu=1 gang=g").run();
    expect![[r#"
        p1: pod group default/g needs 3 pods to be placed together, and 2 could be; another pod of it: 0/1 nodes are available: 1 Insufficient cpu.
        p2: pod group default/g needs 3 pods to be placed together, and 2 could be; another pod of it: 0/1 nodes are available: 1 Insufficient cpu.
        p3: pod group default/g needs 3 pods to be placed together, and 2 could be; 0/1 nodes are available: 1 Insufficient cpu.
    "#]]
    .assert_eq(&rig.log());
    assert_eq!(
        rig.scheduler.snapshot().node("a").expect("it is there").requested("cpu"),
        0,
        "nothing is held"
    );
    rig.put("node b cpu=1").wait(1);
    let log = rig.log();
    let placed: Vec<&str> = log.lines().filter(|line| line.contains(" -> ")).collect();
    assert_eq!(placed.len(), 3, "{log}");
}

/// With room for one gang, two that come mixed would each get half of it, were their pods tried one by one.
#[test]
fn two_gangs_never_hold_half_each() {
    let mut rig = rig();
    group(&mut rig, "g", 2);
    group(&mut rig, "h", 2);
    rig.put("node a cpu=1\nnode b cpu=1");
    rig.put("pod g1 cpu=1 gang=g\npod h1 cpu=1 gang=h\npod g2 cpu=1 gang=g\npod h2 cpu=1 gang=h").run();
    let log = rig.log();
    let bound: Vec<&str> =
        log.lines().filter_map(|line| line.split_once(" -> ").map(|(pod, _)| pod)).collect();
    assert_eq!(bound, ["g1", "g2"], "{log}");
    assert!(matches!(place(&rig, "h1"), Some(Place::Unschedulable(_) | Place::BackingOff(_))));
    rig.remove("pod", "g1");
    rig.wait(20);
    assert!(!rig.log().contains(" -> "), "one place is not enough for the other gang");
    rig.remove("pod", "g2");
    rig.wait(20);
    let log = rig.log();
    assert!(log.contains("h1 -> ") && log.contains("h2 -> "), "{log}");
}

/// A gate on one member holds the gang back only as far as it is needed.
#[test]
fn a_gated_member_does_not_count() {
    let mut rig = rig();
    group(&mut rig, "g", 2);
    rig.put("node a\npod p1 gang=g\npod p2 gang=g gate=later").run();
    assert_eq!(rig.log(), "");
    rig.put("pod p3 gang=g").run();
    assert_eq!(rig.log(), "p1 -> a\np3 -> a\n");
    assert_eq!(place(&rig, "p2"), Some(Place::Gated));
}

#[test]
fn groups_without_a_gang_policy_and_profiles_without_gangs() {
    let mut rig = rig();
    rig.put_object(json!({
        "apiVersion": "scheduling.k8s.io/v1alpha2",
        "kind": "PodGroup",
        "metadata": {"name": "g", "namespace": "default"},
        "spec": {"schedulingPolicy": {"basic": {}}},
    }));
    rig.put("node a\npod p1 gang=g").run();
    assert_eq!(rig.log(), "p1 -> a\n");
    let mut rig = Rig::new(vec![Profile::default()]);
    rig.put("node a\npod p1 gang=g").run();
    assert_eq!(rig.log(), "p1 -> a\n");
}

/// A gang that was tried where there were no nodes was thought to wait for its group, and did so for five minutes.
#[test]
fn the_first_nodes_are_news_to_a_gang() {
    let mut rig = rig();
    group(&mut rig, "g", 2);
    rig.put("pod p1 cpu=1 gang=g\npod p2 cpu=1 gang=g").run();
    assert!(rig.log().contains("no nodes available to schedule pods"));
    rig.put("node a cpu=2").wait(1);
    assert_eq!(rig.log(), "p1 -> a\np2 -> a\n");
}

/// A plugin that panicked over a member left the gang waiting for its group, as if that had been the reason.
#[test]
fn a_plugin_that_panics_costs_a_gang_a_back_off() {
    struct Shaky(AtomicUsize);
    impl Filter for Shaky {
        fn name(&self) -> &str {
            "Shaky"
        }
        fn filter(&self, pod: &PodFacts, _: &NodeView<'_>) -> Verdict {
            let again = pod.key.name != "p2" || self.0.fetch_add(1, Ordering::Relaxed) > 2;
            assert!(again, "not in the mood");
            Verdict::Fits
        }
    }
    let mut rig = Rig::new(vec![Profile::default().filter(Shaky(AtomicUsize::new(0))).with_gangs()]);
    group(&mut rig, "g", 2);
    rig.put("node a cpu=2\npod p1 cpu=1 gang=g\npod p2 cpu=1 gang=g").run();
    let log = rig.log();
    assert!(log.contains("p2: running scheduling plugins: plugin Shaky panicked: not in the mood"), "{log}");
    assert!(matches!(place(&rig, "p2"), Some(Place::BackingOff(_))));
    for _ in 0..4 {
        rig.wait(10);
    }
    let log = rig.log();
    assert!(log.ends_with("p1 -> a\np2 -> a\n"), "{log}");
}

/// Pods of a group that is large enough without them wait for room like any other, and for the group's own pods.
#[test]
fn a_pod_of_the_group_is_news_to_the_others() {
    let mut rig = rig();
    group(&mut rig, "g", 2);
    rig.put("node a cpu=2\npod p1 cpu=1 gang=g").run();
    assert_eq!(place(&rig, "p1"), Some(Place::Gated));
    rig.put("pod p2 cpu=1 gang=g on=a").run();
    rig.wait(1);
    assert_eq!(rig.log(), "p1 -> a\n", "one that was bound by hand makes it two");
}
