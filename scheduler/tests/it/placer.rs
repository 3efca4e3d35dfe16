//! A placer that keeps what it found decides as one that starts from nothing, whatever has happened meanwhile.

use std::collections::BTreeMap;

use orlop_core::kinds::{Namespace, PodDisruptionBudget, Service};
use orlop_core::{Key, Name};
use orlop_scheduler::{Change, Decision, NodeFacts, Placer, PodFacts, Profile, Snapshot, place, schedule};
use proptest::prelude::*;
use proptest::sample::select;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::text;

/// What happens in a cluster.
#[derive(Clone, Debug)]
enum Step {
    /// A node comes or changes.
    Node(String),
    NodeGone(usize),
    /// A pod that is bound comes or changes.
    Pod(String),
    PodGone(usize),
    /// Whether a Service selects the pods of an app.
    Service(&'static str, bool),
    /// How many pods of an app may be evicted.
    Budget(&'static str, i32),
    /// The namespace's label changes.
    Namespace(&'static str),
    /// So many pods are placed, one after the other.
    Place(String, usize),
    /// The pod that room is made for gives up.
    GiveUp,
}

const NODES: usize = 7;
const PODS: usize = 10;

fn node() -> impl Strategy<Value = Step> {
    let labels = (select(vec!["", "zone=x", "zone=y", "zone=z"]), select(vec!["", "disk=ssd", "disk=hdd"]));
    let extras = select(vec!["", "", "", "", "cordoned", "taint=a:NoSchedule", "taint=b:PreferNoSchedule"]);
    let image = select(vec!["", "", "image=web:1@300000000"]);
    (0..NODES, 1u32..6, 1u32..6, 2u32..7, labels, extras, image).prop_map(
        |(n, cpu, mem, pods, (zone, disk), extra, image)| {
            Step::Node(format!("node n{n} cpu={cpu} mem={mem}Gi pods={pods} {zone} {disk} {extra} {image}"))
        },
    )
}

/// The words of a pod but its name: what it asks of a node, and what it has to do with other pods.
fn words() -> impl Strategy<Value = (String, String)> {
    let app = select(vec!["", "app=web", "app=db"]);
    let rule = select(vec![
        "",
        "",
        "",
        "",
        "near=app:web/zone",
        "near=app:web/zone near=app:db/host",
        "apart=app:web/host",
        "apart=app:db/zone",
        "spread=zone:1",
        "spread=host:1 spread=zone:2",
        "evenly=zone:1",
        "evenly=host:1 evenly=zone:2",
        "likes=app:web/zone",
        "likes=app:db/host dislikes=app:web/zone",
        "dislikes=app:web/host",
    ]);
    let wish = select(vec!["", "", "", "select=disk:ssd", "prefer=zone:x", "tolerate=a", "port=80", "gpu=1"]);
    (1u32..15, 0u32..3, app, rule, wish, 0i32..3).prop_map(|(cpu, mem, app, rule, wish, prio)| {
        let mem = if mem == 0 { String::new() } else { format!("mem={mem}Gi") };
        (format!("cpu={}m {mem} {wish} prio={prio}", cpu * 200), format!("{app} {rule}"))
    })
}

/// The words of a few kinds of pods. Most ask the same of a node.
fn kinds() -> impl Strategy<Value = Vec<String>> {
    (words(), proptest::collection::vec((words(), 0..3), 1..5)).prop_map(|((common, _), kinds)| {
        let kind = |((own, rest), differs)| format!("{} {rest}", if differs == 0 { &own } else { &common });
        kinds.into_iter().map(kind).collect()
    })
}

/// Nodes, and what happens to them. The pods that are placed are of few kinds, so that they meet their like.
fn story() -> impl Strategy<Value = Vec<Step>> {
    kinds().prop_flat_map(|kinds| {
        let bound = (0..PODS, words(), 0..NODES + 1);
        let bound =
            bound.prop_map(|(p, (asks, rest), n)| Step::Pod(format!("pod p{p} {asks} {rest} on=n{n}")));
        let app = || select(vec!["web", "db"]);
        let step = prop_oneof![
            3 => node(),
            1 => (0..NODES).prop_map(Step::NodeGone),
            4 => bound,
            2 => (0..PODS).prop_map(Step::PodGone),
            1 => (app(), any::<bool>()).prop_map(|(app, there)| Step::Service(app, there)),
            1 => (app(), 0..3).prop_map(|(app, allowed)| Step::Budget(app, allowed)),
            1 => app().prop_map(Step::Namespace),
            8 => (select(kinds), 1usize..4).prop_map(|(words, n)| Step::Place(words, n)),
            1 => Just(Step::GiveUp),
        ];
        (proptest::collection::vec(node(), 2..6), proptest::collection::vec(step, 4..18))
            .prop_map(|(nodes, steps)| nodes.into_iter().chain(steps).collect())
    })
}

/// A line of the notation, and words of our own: what a pod would like.
fn object(line: &str) -> Value {
    let (own, rest): (Vec<&str>, Vec<&str>) = line
        .split_whitespace()
        .partition(|word| ["likes=", "dislikes=", "evenly="].iter().any(|own| word.starts_with(own)));
    let mut object = text::object(&rest.join(" ")).expect("a line");
    for word in own {
        let (what, value) = word.split_once('=').expect("WORD=VALUE");
        let (first, last) = value.split_once(['/', ':']).expect("two parts");
        if what == "evenly" {
            let key = if first == "zone" { "topology.kubernetes.io/zone" } else { "kubernetes.io/hostname" };
            let labels = object["metadata"]["labels"].clone();
            let constraint = json!({"topologyKey": key, "maxSkew": last.parse::<i32>().expect("a skew"),
                "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": labels}});
            match object["spec"]["topologySpreadConstraints"].as_array_mut() {
                Some(all) => all.push(constraint),
                None => object["spec"]["topologySpreadConstraints"] = json!([constraint]),
            }
            continue;
        }
        let (app, key) = value.split_once('/').expect("app:APP/KEY");
        let key = if key == "zone" { "topology.kubernetes.io/zone" } else { "kubernetes.io/hostname" };
        let app = app.strip_prefix("app:").expect("app:APP");
        let kind = if what == "likes" { "podAffinity" } else { "podAntiAffinity" };
        object["spec"]["affinity"][kind]["preferredDuringSchedulingIgnoredDuringExecution"] = json!([{
            "weight": 3,
            "podAffinityTerm": {
                "labelSelector": {"matchLabels": {"app": app}},
                "namespaceSelector": {"matchLabels": {"team": "web"}},
                "topologyKey": key,
            },
        }]);
    }
    object
}

fn pod(line: &str) -> PodFacts {
    PodFacts::from_json(&object(line)).expect("a pod")
}

/// A cluster that has lived, and what one like it would be made of.
#[derive(Default)]
struct World {
    lived: Snapshot,
    nodes: BTreeMap<Name, NodeFacts>,
    pods: BTreeMap<Key, PodFacts>,
    others: BTreeMap<String, Change>,
    waiting: Option<PodFacts>,
}

impl World {
    fn take(&mut self, change: Change) {
        match &change {
            Change::Node(node) => drop(self.nodes.insert(node.name.clone(), node.clone())),
            Change::NodeGone(name) => drop(self.nodes.remove(name)),
            Change::Pod(pod) => drop(self.pods.insert(pod.key.clone(), pod.clone())),
            Change::PodGone(key) => drop(self.pods.remove(key)),
            Change::Workload(facts) => drop(self.others.insert(facts.key.to_string(), change.clone())),
            Change::WorkloadGone(_, key) => drop(self.others.remove(&key.to_string())),
            Change::Budget(facts) => {
                drop(self.others.insert(format!("budget {}", facts.key), change.clone()))
            }
            Change::Namespace(name, _) => {
                drop(self.others.insert(format!("namespace {name}"), change.clone()))
            }
            _ => {}
        }
        self.lived.apply(change);
    }

    fn anew(&self) -> Snapshot {
        let mut cluster = Snapshot::new();
        self.nodes.values().rev().for_each(|node| cluster.apply(Change::Node(node.clone())));
        self.others.values().for_each(|change| cluster.apply(change.clone()));
        self.pods.values().rev().for_each(|pod| cluster.apply(Change::Pod(pod.clone())));
        if let Some(pod) = &self.waiting {
            cluster.nominate(pod, &pod.nominated);
        }
        cluster
    }

    /// Binds the pod where it was placed, or lets it wait where room can be made.
    fn carry_out(&mut self, mut pod: PodFacts, decision: Decision) {
        if let Some(node) = decision.node {
            if self.waiting.as_ref().is_some_and(|waiting| waiting.key == pod.key) {
                self.waiting = None;
            }
            pod.node = node;
            self.take(Change::Pod(pod));
        } else if let Some(found) = decision.post_filter
            && let Some(node) = found.nominated
            && self.waiting.as_ref().is_none_or(|waiting| waiting.key == pod.key)
        {
            pod.nominated = node.clone();
            self.lived.nominate(&pod, &node);
            self.waiting = Some(pod);
            // All but one go at once.
            for victim in found.victims.into_iter().skip(1) {
                self.take(Change::PodGone(victim));
            }
        }
    }
}

fn change<'a, T: Deserialize<'a>>(object: &'a Value) -> Change
where
    Change: for<'b> From<&'b T>,
{
    Change::from(&T::deserialize(object).expect("an object of its kind"))
}

fn agree(kept: &Decision, anew: &Decision) -> Result<(), TestCaseError> {
    prop_assert_eq!(&kept.node, &anew.node);
    prop_assert_eq!(kept.message(), anew.message());
    prop_assert_eq!(kept.rejected_by(), anew.rejected_by());
    prop_assert_eq!(&kept.post_filter, &anew.post_filter);
    prop_assert_eq!(&kept.fault, &anew.fault);
    Ok(())
}

fn tell(steps: &[Step], seed: u64) -> Result<(), TestCaseError> {
    let profile = || Profile::default().with_volumes();
    let mut placer = Placer::new(profile(), seed);
    let mut world = World::default();
    let mut next = 100;
    for step in steps {
        match step {
            Step::Node(line) => world.take(Change::Node(NodeFacts::from_json(&object(line)).expect("a node"))),
            Step::NodeGone(n) => world.take(Change::NodeGone(format!("n{n}").into())),
            Step::Pod(line) => world.take(Change::Pod(pod(line))),
            Step::PodGone(n) => world.take(Change::PodGone(Key::new("default", format!("p{n}")))),
            Step::Service(app, true) => world.take(change::<Service>(&json!({
                "metadata": {"name": app, "namespace": "default"}, "spec": {"selector": {"app": app}},
            }))),
            Step::Service(app, false) => {
                world.take(Change::WorkloadGone("Service".into(), Key::new("default", *app)));
            }
            Step::Budget(app, allowed) => world.take(change::<PodDisruptionBudget>(&json!({
                "metadata": {"name": app, "namespace": "default"},
                "spec": {"selector": {"matchLabels": {"app": app}}}, "status": {"disruptionsAllowed": allowed},
            }))),
            Step::Namespace(team) => world.take(change::<Namespace>(&json!({
                "metadata": {"name": "default", "labels": {"team": team}},
            }))),
            Step::GiveUp => {
                if let Some(pod) = world.waiting.take() {
                    world.lived.nominate(&pod, "");
                }
            }
            Step::Place(words, n) => {
                for _ in 0..*n {
                    next += 1;
                    let pod = pod(&format!("pod p{next} {words}"));
                    let again = world.waiting.clone();
                    for pod in again.into_iter().chain([pod]) {
                        let kept = placer.place(&pod, &world.lived);
                        agree(&kept, &place(&pod, &world.anew(), &profile(), seed))?;
                        world.carry_out(pod, kept);
                    }
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 300 } else { 10_000 }))]

    #[test]
    fn what_is_kept_changes_no_decision(steps in story(), seed: u64) {
        tell(&steps, seed)?;
    }
}

#[test]
fn a_choice_and_its_reasons_are_one() {
    let mut world = World::default();
    let lines = ["node a cpu=2 zone=x", "node b cpu=3 zone=y", "node c cpu=2 zone=y"];
    for line in lines {
        world.take(Change::Node(NodeFacts::from_json(&object(line)).expect("a node")));
    }
    let mut placer = Placer::new(Profile::default(), 3);
    for n in 0..9 {
        let pod = pod(&format!("pod p{n} cpu=700m app=web evenly=zone:1"));
        let kept = placer.place(&pod, &world.lived);
        let told = schedule(&pod, &world.lived, &Profile::default(), 3);
        assert_eq!((&kept.node, kept.message()), (&told.node, told.message()));
        world.carry_out(pod, kept);
    }
}

/// Two snapshots that were one look alike to who counts changes; a placer that took one for the other would place pods
/// on nodes that are full.
#[test]
fn one_placer_may_serve_many_snapshots() {
    let mut here = Snapshot::new();
    here.apply(Change::Node(NodeFacts::from_json(&object("node a cpu=1")).expect("a node")));
    let mut there = here.clone();
    let mut placer = Placer::new(Profile::default(), 3);
    assert!(placer.place(&pod("pod p1 cpu=1"), &here).node.is_some());
    there.apply(Change::Pod(pod("pod p2 cpu=1 on=a")));
    here.apply(Change::Pod(pod("pod p3 cpu=100m on=a")));
    here.apply(Change::PodGone(Key::new("default", "p3")));
    assert!(placer.place(&pod("pod p1 cpu=1"), &there).node.is_none());
    assert!(placer.place(&pod("pod p1 cpu=1"), &here).node.is_some());
}
