//! How the queue and bindings behave over time.

use std::sync::atomic::{AtomicUsize, Ordering};

use expect_test::{Expect, expect};
use orlop_core::{Key, Timestamp};
use orlop_scheduler::{
    Filter, NodeView, Permission, Permit, Place, PodFacts, PostBind, Profile, Reserve, Snapshot, Verdict,
};

use crate::rig::Rig;

fn rig() -> Rig {
    Rig::new(vec![Profile::default()])
}

fn check(rig: &mut Rig, expected: Expect) {
    expected.assert_eq(&rig.log());
}

fn place(rig: &Rig, pod: &str) -> Option<Place> {
    rig.scheduler.queue().get(&Key::new("default", pod)).map(|p| p.place)
}

#[test]
fn a_pod_that_fits_nowhere_is_tried_again_when_there_is_room() {
    let mut rig = rig();
    rig.put("node a cpu=1\npod p1 cpu=1 on=a\npod p2 cpu=1").run();
    check(
        &mut rig,
        expect![[r#"
        p2: 0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.
    "#]],
    );
    assert!(matches!(place(&rig, "p2"), Some(Place::Unschedulable(_))));
    rig.put("node b cpu=500m").run();
    assert!(
        matches!(place(&rig, "p2"), Some(Place::Unschedulable(_))),
        "a node that is too small is no reason"
    );
    rig.remove("pod", "p1");
    assert!(matches!(place(&rig, "p2"), Some(Place::BackingOff(_))));
    // Nothing else is to be tried, so it need not wait for the end of its back-off.
    rig.run();
    check(
        &mut rig,
        expect![[r#"
            p2 -> a
        "#]],
    );
    assert_eq!(rig.scheduler.queue().iter().count(), 0);
}

#[test]
fn backing_off_doubles_up_to_ten_seconds() {
    let waits: Vec<u64> = (0..8).map(|n| orlop_scheduler::backoff(n).as_secs()).collect();
    assert_eq!(waits, [0, 1, 2, 4, 8, 10, 10, 10]);
}

#[test]
fn whatever_happens_a_pod_is_tried_after_five_minutes() {
    let mut rig = rig();
    rig.put("node a cpu=1\npod p cpu=2").run();
    let before = rig.scheduler.stats().attempts;
    assert_eq!(rig.scheduler.next_wake(), Some(rig.now + std::time::Duration::from_secs(300)));
    rig.wait(299);
    assert_eq!(rig.scheduler.stats().attempts, before);
    rig.wait(1);
    assert_eq!(rig.scheduler.stats().attempts, before + 1);
}

#[test]
fn higher_priorities_go_first_then_who_came_first() {
    let mut rig = rig();
    rig.put("pod p1\npod p2 prio=5\npod p3\npod p4 prio=5\nnode a").run();
    check(
        &mut rig,
        expect![[r#"
        p2 -> a
        p4 -> a
        p1 -> a
        p3 -> a
    "#]],
    );
}

#[test]
fn gates_hold_pods_back() {
    let mut rig = rig();
    rig.put("node a\npod p gate=later").run();
    check(&mut rig, expect![[""]]);
    assert_eq!(place(&rig, "p"), Some(Place::Gated));
    let condition = &rig.pod("p").unwrap()["status"]["conditions"][0];
    assert_eq!(
        (condition["type"].as_str(), condition["reason"].as_str()),
        (Some("PodScheduled"), Some("SchedulingGated"))
    );
    rig.put("node b").run();
    assert_eq!(place(&rig, "p"), Some(Place::Gated));
    rig.put("pod p select=host:b").run();
    check(
        &mut rig,
        expect![[r#"
        p -> b
    "#]],
    );
}

/// Only the binding was expected of a placed pod; what else had changed before it was lost with the rest of the text.
#[test]
fn what_changes_about_a_placed_pod_is_seen_with_its_binding() {
    let mut rig = rig();
    rig.hold = true;
    rig.put("node a\npod p").run();
    let mut changed = rig.pod("p").expect("it was put").clone();
    changed["metadata"]["labels"] = serde_json::json!({"app": "other"});
    rig.put_object(changed);
    rig.release();
    let pod = rig.scheduler.snapshot().pod(&Key::new("default", "p")).expect("it is placed");
    assert_eq!((pod.node.as_str(), pod.label("app")), ("a", Some("other")));
}

#[test]
fn a_placed_pod_counts_before_its_binding_is_seen() {
    let mut rig = rig();
    rig.hold = true;
    rig.put("node a cpu=1\nnode b cpu=1\npod p1 cpu=1\npod p2 cpu=1").run().release();
    let log = rig.log();
    let mut nodes: Vec<&str> = log.lines().map(|line| line.split(" -> ").nth(1).unwrap()).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["a", "b"]);
}

#[test]
fn a_binding_that_fails_is_forgotten_and_tried_again() {
    let mut rig = rig();
    rig.bindings_fail = true;
    rig.put("node a cpu=1\npod p1 cpu=1").run();
    check(
        &mut rig,
        expect![[r#"
        p1 could not be bound
        p1: binding rejected: away
    "#]],
    );
    assert_eq!(rig.scheduler.snapshot().node("a").unwrap().requested("cpu"), 0);
    rig.bindings_fail = false;
    rig.wait(1);
    check(
        &mut rig,
        expect![[r#"
        p1 -> a
    "#]],
    );
}

/// What happened while a binding was on its way used to be looked for only in the pool of pods that wait; a pod whose
/// placement was then taken back went there with the cure already past, and waited five minutes.
#[test]
fn nothing_that_happens_under_way_is_lost() {
    struct Slow;
    impl Permit for Slow {
        fn name(&self) -> &str {
            "Slow"
        }
        fn permit(&self, _: &PodFacts, _: &str, cluster: &Snapshot, now: Timestamp) -> Permission {
            match cluster.len() {
                1 => Permission::Wait(now + std::time::Duration::from_secs(60)),
                2 => Permission::Deny(orlop_scheduler::Refusal::new(
                    orlop_scheduler::Code::Unschedulable,
                    "two",
                )),
                _ => Permission::Allow,
            }
        }
    }
    let mut rig = Rig::new(vec![Profile::default().permit(Slow)]);
    rig.put("node a\npod p").run();
    assert_eq!(place(&rig, "p"), Some(Place::UnderWay));
    rig.put("node b\n").run();
    check(
        &mut rig,
        expect![[r#"
        p: two
    "#]],
    );
    assert!(matches!(place(&rig, "p"), Some(Place::BackingOff(_))));
    rig.put("node c cpu=64").wait(1);
    check(
        &mut rig,
        expect![[r#"
        p -> c
    "#]],
    );
}

#[test]
fn permits_time_out() {
    struct Never;
    impl Permit for Never {
        fn name(&self) -> &str {
            "Never"
        }
        fn permit(&self, _: &PodFacts, _: &str, _: &Snapshot, now: Timestamp) -> Permission {
            Permission::Wait(now + std::time::Duration::from_secs(60))
        }
    }
    let mut rig = Rig::new(vec![Profile::default().permit(Never)]);
    rig.put("node a\npod p").run();
    rig.wait(59);
    check(&mut rig, expect![[""]]);
    rig.wait(1);
    check(
        &mut rig,
        expect![[r#"
        p: rejected due to timeout after waiting at plugin Never
    "#]],
    );
}

#[test]
fn pods_that_go_meanwhile_leave_no_trace() {
    let mut rig = rig();
    rig.hold = true;
    rig.put("node a cpu=1\npod p1 cpu=1").run();
    rig.remove("pod", "p1");
    assert_eq!(rig.scheduler.snapshot().node("a").unwrap().requested("cpu"), 0);
    rig.release();
    check(
        &mut rig,
        expect![[r#"
        p1 could not be bound
    "#]],
    );
    rig.put("pod p1 cpu=1").run();
    check(
        &mut rig,
        expect![[r#"
        p1 -> a
    "#]],
    );
}

#[test]
fn nodes_come_and_go_with_their_pods() {
    let mut rig = rig();
    rig.put("node a cpu=2\npod p1 cpu=2 on=a\nnode b cpu=1").remove("node", "a");
    rig.put("pod p2 cpu=1").run();
    rig.put("node a cpu=2\npod p3 cpu=1").run();
    check(
        &mut rig,
        expect![[r#"
        p2 -> b
        p3: 0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.
    "#]],
    );
}

#[test]
fn only_its_own_pods() {
    let mut rig =
        Rig::new(vec![Profile::default(), Profile::default().named("batch").without("NodeResourcesFit")]);
    rig.put("node a cpu=1\npod p1 by=someone-else\npod p2 cpu=2 by=batch\npod p3 cpu=2").run();
    check(
        &mut rig,
        expect![[r#"
        p2 -> a
        p3: 0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.
    "#]],
    );
}

#[test]
fn room_is_made_and_kept() {
    let mut rig = rig();
    rig.graceful = true;
    rig.put("node a cpu=2\npod p1 cpu=2 prio=1 on=a\npod p2 cpu=2 prio=5").run();
    check(
        &mut rig,
        expect![[r#"
            p1 evicted
            p2 nominated for a
            p2: 0/1 nodes are available: 1 Insufficient cpu.
            p1: Preempted by pod uid-p2 on node a
        "#]],
    );
    // While the victim takes its leave, nobody else is put out, and nobody less important slips in.
    rig.put("pod p3 cpu=1 prio=2\npod p2 cpu=2 prio=5 touched=yes").run();
    check(
        &mut rig,
        expect![[r#"
        p3: 0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Insufficient cpu.
        p2 nominated for a
    "#]],
    );
    rig.remove("pod", "p1").run();
    check(
        &mut rig,
        expect![[r#"
        p3: 0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.
        p2 -> a
    "#]],
    );
}

#[test]
fn a_plugin_that_panics_costs_its_pod_alone() {
    struct Shaky;
    impl Filter for Shaky {
        fn name(&self) -> &str {
            "Shaky"
        }
        fn filter(&self, pod: &PodFacts, _: &NodeView<'_>) -> Verdict {
            assert!(pod.label("bad").is_none(), "cannot cope with {}", pod.key);
            Verdict::Fits
        }
    }
    let mut rig = Rig::new(vec![Profile::default().filter(Shaky)]);
    rig.put("node a\npod p1 bad=1\npod p2").run();
    check(
        &mut rig,
        expect![[r#"
        p1: running scheduling plugins: plugin Shaky panicked: cannot cope with default/p1
        p2 -> a
    "#]],
    );
    assert!(matches!(place(&rig, "p1"), Some(Place::BackingOff(_))));
    assert_eq!(rig.pod("p1").unwrap()["status"]["conditions"][0]["reason"], "SchedulerError");
}

static CLAIMS: AtomicUsize = AtomicUsize::new(0);
static BOUND: AtomicUsize = AtomicUsize::new(0);

#[test]
fn what_is_reserved_is_given_back() {
    struct Counter;
    impl Reserve for Counter {
        fn name(&self) -> &str {
            "Counter"
        }
        fn reserve(&self, _: &PodFacts, _: &NodeView<'_>) -> Verdict {
            CLAIMS.fetch_add(1, Ordering::Relaxed);
            Verdict::Fits
        }
        fn unreserve(&self, _: &PodFacts, _: &str) {
            CLAIMS.fetch_sub(1, Ordering::Relaxed);
        }
    }
    impl PostBind for Counter {
        fn name(&self) -> &str {
            "Counter"
        }
        fn post_bind(&self, _: &PodFacts, _: &str) {
            BOUND.fetch_add(1, Ordering::Relaxed);
        }
    }
    let mut rig = Rig::new(vec![Profile::default().reserve(Counter).post_bind(Counter)]);
    rig.bindings_fail = true;
    rig.put("node a\npod p").run();
    assert_eq!((CLAIMS.load(Ordering::Relaxed), BOUND.load(Ordering::Relaxed)), (0, 0));
    rig.bindings_fail = false;
    rig.wait(1);
    assert_eq!((CLAIMS.load(Ordering::Relaxed), BOUND.load(Ordering::Relaxed)), (1, 1));
}

#[test]
fn explains_every_refusal_and_the_scores() {
    let mut rig = rig();
    rig.put(
        "
        node a cpu=1 cordoned taint=gpu:NoSchedule
        node b cpu=4
        node c cpu=8 zone=x
        pod  p1 gate=wait cpu=2 prefer=zone:x
        ",
    )
    .run();
    let decision = rig.scheduler.decision(&Key::new("default", "p1")).expect("it is pending");
    expect![[r#"
        default/p1 -> c
                                                  c         b
          ImageLocality                           0         0
          NodeAffinity                          200         0
          NodeResourcesBalancedAllocation        68        62
          NodeResourcesFit                       86        73
          TaintToleration                       300       300
          total                                 654       435
        refused:
          a  NodeUnschedulable: node(s) were unschedulable
               uncordon the node
             TaintToleration: node(s) had untolerated taint(s)
               tolerate gpu:NoSchedule, or take it off the node
             NodeResourcesFit: Insufficient cpu
               cpu: 2 asked for, the node has 1 in all
    "#]]
    .assert_eq(&decision.explain().to_string());
}

/// Its own placements were no news to the scheduler: a pod that wanted to be beside another waited five minutes.
#[test]
fn a_pod_that_waits_for_company_follows_what_is_placed() {
    let mut rig = rig();
    rig.put("node a\npod p near=app:web/host").run();
    rig.log();
    assert!(matches!(place(&rig, "p"), Some(Place::Unschedulable(_))));
    rig.put("pod w app=web").run();
    rig.wait(2);
    rig.run();
    check(
        &mut rig,
        expect![[r#"
            w -> a
            p -> a
        "#]],
    );
}
