//! What the default profile decides, cluster by cluster.

use expect_test::{Expect, expect};
use orlop_scheduler::{Change, NodeFacts, Placer, PodFacts, Profile, Snapshot, schedule};

use crate::rig::Rig;
use crate::text;

fn check(cluster: &str, expected: Expect) {
    let mut rig = Rig::new(vec![Profile::default()]);
    expected.assert_eq(&rig.put(cluster).run().log());
}

#[test]
fn spreads_before_packing() {
    check(
        "
        node a  cpu=4  zone=x
        node b  cpu=4  zone=y
        pod  p1 cpu=1  app=web on=a
        pod  p2 cpu=1  app=web
        ",
        expect![[r#"
            p2 -> b
        "#]],
    );
}

#[test]
fn says_why_not_in_kubernetes_words() {
    check(
        "
        node a  cpu=1
        node b  cpu=4 taint=gpu:NoSchedule
        node c  cpu=4 cordoned
        node d  cpu=2 disk=hdd
        pod  p1 cpu=1 on=d
        pod  p2 cpu=2
        ",
        expect![[r#"
            p2: 0/4 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 2 Insufficient cpu. no new claims to deallocate, preemption: 0/4 nodes are available: 1 No preemption victims found for incoming pod, 3 Preemption is not helpful for scheduling.
        "#]],
    );
}

#[test]
fn no_nodes() {
    check(
        "pod p",
        expect![[r#"
        p: no nodes available to schedule pods
    "#]],
    );
}

#[test]
fn node_selectors_and_wishes() {
    check(
        "
        node a  disk=hdd
        node b  disk=ssd
        node c  disk=ssd zone=z
        pod  p1 select=disk:hdd
        pod  p2 select=disk:ssd prefer=zone:z
        pod  p3 select=disk:tape
        ",
        expect![[r#"
            p1 -> a
            p2 -> c
            p3: 0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.
        "#]],
    );
}

#[test]
fn taints_and_tolerations() {
    check(
        "
        node a  taint=gpu:NoSchedule
        node b  taint=slow:PreferNoSchedule cpu=64
        node c  cpu=2
        pod  p1 cpu=1
        pod  p2 cpu=2 tolerate=gpu
        ",
        expect![[r#"
            p1 -> c
            p2 -> a
        "#]],
    );
}

#[test]
fn ports_of_the_node() {
    check(
        "
        node a
        node b
        pod  p1 port=80 on=a
        pod  p2 port=80
        pod  p3 port=80
        pod  p4 port=81 select=host:a
        ",
        expect![[r#"
            p2 -> b
            p3: 0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports. no new claims to deallocate, preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.
            p4 -> a
        "#]],
    );
}

#[test]
fn apart_and_near() {
    check(
        "
        node a  zone=x
        node b  zone=y
        pod  p1 app=db apart=app:db/zone
        pod  p2 app=db apart=app:db/zone
        pod  p3 app=db
        pod  p4 near=app:cache/zone app=cache select=host:a
        pod  p5 near=app:cache/zone select=zone:x
        pod  p6 near=app:cache/zone select=zone:y
        ",
        expect![[r#"
            p1 -> a
            p2 -> b
            p3: 0/2 nodes are available: 2 node(s) didn't satisfy existing pods anti-affinity rules. no new claims to deallocate, preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.
            p4 -> a
            p5 -> a
            p6: 0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) didn't match pod affinity rules. no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.
        "#]],
    );
}

#[test]
fn even_zones_before_free_nodes() {
    check(
        "
        node a  zone=x cpu=64
        node b  zone=y cpu=4
        pod  p1 app=web cpu=1 spread=zone:1
        pod  p2 app=web cpu=1 spread=zone:1
        pod  p3 app=web cpu=1 spread=zone:1
        pod  p4 app=web cpu=1 spread=zone:1
        ",
        expect![[r#"
            p1 -> a
            p2 -> b
            p3 -> a
            p4 -> b
        "#]],
    );
}

#[test]
fn the_node_with_the_image() {
    check(
        "
        node a
        node b  image=ml:2@3000000000
        pod  p1 image=ml:2
        ",
        expect![[r#"
            p1 -> b
        "#]],
    );
}

#[test]
fn important_pods_put_others_out() {
    check(
        "
        node a  cpu=2
        node b  cpu=2
        pod  p1 cpu=1 prio=1 on=a
        pod  p2 cpu=1 prio=2 on=a
        pod  p3 cpu=2 prio=3 on=b
        pod  p4 cpu=1 prio=9
        pod  p5 cpu=2 prio=0
        ",
        expect![[r#"
            p1 evicted
            p4 nominated for a
            p4: 0/2 nodes are available: 2 Insufficient cpu.
            p1: Preempted by pod uid-p4 on node a
            p5: 0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.
            p4 -> a
        "#]],
    );
}

#[test]
fn as_many_nodes_are_scored_as_the_profile_wants() {
    let mut cluster = Snapshot::new();
    for n in 0..300 {
        let node = text::object(&format!("node n{n} cpu=4")).expect("a node");
        cluster.apply(Change::Node(NodeFacts::from_json(&node).expect("a node")));
    }
    let pod = PodFacts::from_json(&text::object("pod p cpu=1").expect("a pod")).expect("a pod");
    let scored = |percent| {
        let profile = Profile::default().score_percent(percent);
        let decision = schedule(&pod, &cluster, &profile, 1);
        assert_eq!(Placer::new(profile, 1).place(&pod, &cluster).node, decision.node);
        decision.totals.len()
    };
    // Never fewer than 100; 0 leaves it to the size of the cluster.
    assert_eq!([100, 50, 10, 0].map(scored), [300, 150, 100, 144]);
}
