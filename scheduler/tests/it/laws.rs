//! The laws of `testkit` hold for every built-in plugin, and find what breaks them.

use expect_test::{Expect, expect};
use orlop_scheduler::testkit::{self, AsFilter, AsScore, Law, Line, Scene, Size, Suite, strategies};
use orlop_scheduler::{
    Depends, Event, Filter, Hint, NodeView, PodFacts, Profile, QueueingHint, Reserve, Score, Verdict,
};
use proptest::prelude::*;
use std::sync::Mutex;

/// How many clusters: without optimisation fewer, so that a crate's tests take seconds.
const CASES: u32 = if cfg!(debug_assertions) { 100 } else { 10_000 };

#[test]
fn every_built_in_plugin_keeps_them() {
    let suite = Suite::of(Profile::default().with_volumes()).cases(CASES);
    if let Err(failure) = suite.run() {
        panic!("{failure}");
    }
}

#[test]
fn packing_and_ratios_keep_them_too() {
    use orlop_scheduler::plugins::{Fit, Strategy};
    for strategy in
        [Strategy::MostAllocated, Strategy::RequestedToCapacityRatio(vec![(0, 0), (30, 10), (100, 3)])]
    {
        let fit = Fit { strategy, ..Fit::default() };
        let profile = Profile::empty("ratios").pre_filter(fit.clone()).pre_score(fit, 1);
        let suite = Suite::of(profile).cases(CASES / 10);
        suite.run().unwrap_or_else(|failure| panic!("{failure}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn scenes_are_read_as_they_are_printed(scene in strategies::scenes(Size::default())) {
        let printed = scene.to_string();
        let read: Scene = printed.parse().expect("what is printed can be read");
        prop_assert_eq!(&read, &scene);
        prop_assert_eq!(read.to_string(), printed);
    }
}

#[test]
fn the_notation_names_what_is_wrong() {
    for (line, said) in [
        ("nod a", "begins with none of"),
        ("node", "has no name"),
        ("node a taint=x", "taint=x: is to be KEY:EFFECT"),
        ("pod p prio=high", "prio=high: is to be a number"),
        ("pod p near=app:web", "is to be LABEL:VALUE/TOPOLOGY"),
        ("pod p cpu=lots", "quantit"),
    ] {
        let error = line.parse::<Line>().expect_err(line);
        assert!(error.to_string().contains(said), "{error}");
    }
}

/// Runs the laws on a wrong plugin and shows what is said of it.
fn found(suite: &Suite, law: Law, expected: Expect) {
    let failure = suite.run().expect_err("the plugin is wrong");
    assert_eq!(failure.broken.law, law, "{failure}");
    assert!(failure.scene.to_string().parse::<Scene>().is_ok());
    expected.assert_eq(&failure.to_string());
}

/// Prefers nodes by how many pods they have more than the first: which depends on which is first.
struct MoreThanFirst;

impl orlop_scheduler::PreScore for MoreThanFirst {
    fn name(&self) -> &str {
        "MoreThanFirst"
    }
    fn pre_score<'a>(
        &'a self,
        _: &'a PodFacts,
        cluster: &'a orlop_scheduler::Snapshot,
        nodes: &'a [orlop_scheduler::NodeId],
    ) -> Option<Box<dyn orlop_scheduler::Priority + 'a>> {
        struct From(i64);
        impl orlop_scheduler::Priority for From {
            fn score(&self, node: &NodeView<'_>) -> i64 {
                (node.pod_count() - self.0).clamp(0, 100)
            }
        }
        Some(Box::new(From(cluster.view(nodes[0]).pod_count())))
    }
}

#[test]
fn an_answer_that_depends_on_the_order_is_found() {
    found(
        &Suite::of(MoreThanFirst),
        Law::OrderIsIrrelevant,
        expect![[r#"
        MoreThanFirst breaks the law: the order of nodes and pods is irrelevant
          default/p0: in the opposite order: scores were Some([("n0", 0), ("n3", 1)]), then Some([("n0", 0), ("n3", 0)])
        in this cluster:
          node n0
          node n3
          pod b0 on=n3
          pod p0
    "#]],
    );
}

struct Loud;

impl Score for Loud {
    fn name(&self) -> &str {
        "Loud"
    }
    fn score(&self, _: &PodFacts, node: &NodeView<'_>) -> i64 {
        node.free("cpu")
    }
}

#[test]
fn scores_out_of_bounds_are_found() {
    found(
        &Suite::of(Loud),
        Law::ScoresInBounds,
        expect![[r#"
        Loud breaks the law: scores are within 0 and 100 after normalisation
          default/p0: node n0 scores 4000 among 1 nodes
        in this cluster:
          node n0
          pod p0
    "#]],
    );
}

/// Divides by what may be nothing.
struct Ratio;

impl Filter for Ratio {
    fn name(&self) -> &str {
        "Ratio"
    }
    fn filter(&self, pod: &PodFacts, node: &NodeView<'_>) -> Verdict {
        let share = node.allocatable("cpu") / pod.requests.cpu_milli;
        Verdict::fits_or(share > 0, || Verdict::refuse("node(s) were too small"))
    }
}

#[test]
fn panics_are_found() {
    found(
        &Suite::of(Ratio),
        Law::Answers,
        expect![[r#"
        Ratio breaks the law: it answers without panicking
          default/p0: plugin Ratio panicked: attempt to divide by zero
        in this cluster:
          node n0
          pod p0
    "#]],
    );
}

/// Keeps small pods off large nodes, and says that more capacity never hurts.
struct NoWaste;

impl Filter for NoWaste {
    fn name(&self) -> &str {
        "NoWaste"
    }
    fn filter(&self, pod: &PodFacts, node: &NodeView<'_>) -> Verdict {
        let wasted = node.allocatable("cpu") - pod.requests.cpu_milli;
        Verdict::fits_or(wasted < 8_000, || Verdict::refuse("node(s) were too good"))
    }
    fn is_monotone(&self) -> bool {
        true
    }
}

#[test]
fn what_claims_monotony_wrongly_is_found() {
    found(
        &Suite::of(NoWaste),
        Law::Monotone,
        expect![[r#"
        NoWaste breaks the law: adding capacity never makes a feasible pod infeasible
          default/p0: node n1 took it and refuses it with twice the capacity: "node(s) were too good"
        in this cluster:
          node n1
          pod p0
    "#]],
    );
}

/// Wants a label of every node, and its hint forgets that nodes change.
struct Tiered;

impl Filter for Tiered {
    fn name(&self) -> &str {
        "Tiered"
    }
    fn filter(&self, _: &PodFacts, node: &NodeView<'_>) -> Verdict {
        Verdict::fits_or(node.label("disk").is_some(), || Verdict::refuse_firmly("node(s) had no disk"))
    }
    fn depends_on(&self) -> Depends {
        Depends::NODE_LABELS
    }
}

struct OnlyNewNodes;

impl QueueingHint for OnlyNewNodes {
    fn name(&self) -> &str {
        "Tiered"
    }
    fn hint(&self, _: &PodFacts, event: &Event<'_>) -> Hint {
        match event {
            Event::Node { old: None, .. } => Hint::Queue,
            _ => Hint::Skip,
        }
    }
}

#[test]
fn pods_that_would_be_forgotten_are_found() {
    let suite = Suite::of(Tiered).exempt(|_, node| !node.labels.contains_key("disk")).hint(OnlyNewNodes);
    let failure = suite.run().expect_err("the hint is wrong");
    assert_eq!(failure.broken.law, Law::RetriedWhenCured, "{failure}");
    assert!(failure.scene.lines.len() <= 2, "{failure}");
    // With no hint, every event is one.
    Suite::of(Tiered)
        .exempt(|_, node| !node.labels.contains_key("disk"))
        .run()
        .unwrap_or_else(|failure| panic!("{failure}"));
    // Without the exemption, the kit asks what the plugin asks of a node.
    let failure = Suite::of(Tiered).run().expect_err("a node made for the pod lacks the label");
    assert_eq!(failure.broken.law, Law::FitsEmptyCluster);
}

/// Counts claims, and forgets to give them back.
#[derive(Default)]
struct Licences(Mutex<i64>);

impl Reserve for Licences {
    fn name(&self) -> &str {
        "Licences"
    }
    fn reserve(&self, _: &PodFacts, _: &NodeView<'_>) -> Verdict {
        let mut used = self.0.lock().expect("nobody panics");
        *used += 1;
        Verdict::fits_or(*used <= 3, || Verdict::refuse("node(s) had no licence left"))
    }
    fn unreserve(&self, _: &PodFacts, _: &str) {}
}

#[test]
fn claims_that_leave_a_trace_are_found() {
    let failure = Suite::of(Licences::default()).run().expect_err("it gives nothing back");
    assert_eq!(failure.broken.law, Law::LeavesNoTrace, "{failure}");
}

/// A plugin of two traits says which is meant.
struct Both;

impl Filter for Both {
    fn name(&self) -> &str {
        "Both"
    }
    fn filter(&self, _: &PodFacts, _: &NodeView<'_>) -> Verdict {
        Verdict::Fits
    }
    fn depends_on(&self) -> Depends {
        Depends::NOTHING
    }
}

impl Score for Both {
    fn name(&self) -> &str {
        "Both"
    }
    fn score(&self, _: &PodFacts, _: &NodeView<'_>) -> i64 {
        50
    }
}

#[test]
fn right_plugins_pass() {
    testkit::check::<AsFilter>(Both);
    testkit::check::<AsScore>(Both);
}
