//! What holds for every cluster.

use orlop_core::{Key, Name};
use orlop_scheduler::{Change, NodeFacts, NodeSet, PodFacts, Prepared, Profile, Snapshot, plugins, schedule};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use crate::text;

/// A line of the notation for a node.
fn node_line(name: usize) -> impl Strategy<Value = String> {
    let labels = (select(vec!["", "zone=x", "zone=y", "zone=z"]), select(vec!["", "disk=ssd", "disk=hdd"]));
    let extras = select(vec!["", "", "", "cordoned", "taint=a:NoSchedule", "taint=b:PreferNoSchedule"]);
    (1u32..6, 1u32..6, 1u32..5, labels, extras, select(vec!["", "gpu=2"])).prop_map(
        move |(cpu, mem, pods, (zone, disk), extra, gpu)| {
            format!("node n{name} cpu={cpu} mem={mem}Gi pods={pods} {zone} {disk} {extra} {gpu}")
        },
    )
}

/// A line of the notation for a pod; `nodes` is how many there may be to run on.
fn pod_line(name: usize, nodes: Option<usize>) -> impl Strategy<Value = String> {
    let on = match nodes {
        Some(n) => (0..n).prop_map(|n| format!("on=n{n}")).boxed(),
        None => Just(String::new()).boxed(),
    };
    let app = select(vec!["", "app=web", "app=db"]);
    let rule = select(vec![
        "",
        "",
        "",
        "near=app:web/zone",
        "apart=app:web/host",
        "apart=app:db/zone",
        "spread=zone:1",
        "spread=host:1",
    ]);
    let wish = select(vec!["", "", "select=disk:ssd", "prefer=zone:x", "tolerate=a", "port=80", "gpu=1"]);
    (0u32..2500, 0u32..3, app, rule, wish, 0i32..3, on).prop_map(
        move |(cpu, mem, app, rule, wish, prio, on)| {
            let mem = if mem == 0 { String::new() } else { format!("mem={mem}Gi") };
            format!("pod p{name} cpu={cpu}m {mem} {app} {rule} {wish} prio={prio} {on}")
        },
    )
}

/// Nodes, pods on them, and pods to place.
fn cluster() -> impl Strategy<Value = (Vec<String>, Vec<String>, Vec<String>)> {
    (1usize..9, 0usize..12, 1usize..4).prop_flat_map(|(nodes, bound, pending)| {
        (
            (0..nodes).map(node_line).collect::<Vec<_>>(),
            (0..bound).map(|n| pod_line(n, Some(nodes + 1))).collect::<Vec<_>>(),
            (0..pending).map(|n| pod_line(100 + n, None)).collect::<Vec<_>>(),
        )
    })
}

fn change(object: &Value) -> Change {
    if object["kind"] == "Node" {
        Change::Node(NodeFacts::from_json(object).expect("a node"))
    } else {
        Change::Pod(PodFacts::from_json(object).expect("a pod"))
    }
}

fn snapshot<'a>(lines: impl IntoIterator<Item = &'a String>) -> Snapshot {
    let mut snapshot = Snapshot::new();
    lines
        .into_iter()
        .filter_map(|line| text::object(line))
        .for_each(|object| snapshot.apply(change(&object)));
    snapshot
}

fn pod(line: &str) -> PodFacts {
    PodFacts::from_json(&text::object(line).expect("a line")).expect("a pod")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 128 } else { 10_000 }))]

    #[test]
    fn the_order_of_nodes_and_pods_is_irrelevant((nodes, bound, pending) in cluster(), seed: u64) {
        let there = snapshot(nodes.iter().chain(&bound));
        let back = snapshot(bound.iter().rev().chain(nodes.iter().rev()));
        let profile = Profile::default();
        for line in &pending {
            let pod = pod(line);
            prop_assert_eq!(schedule(&pod, &there, &profile, seed), schedule(&pod, &back, &profile, seed));
        }
    }

    #[test]
    fn columns_equal_the_node_by_node_answer((nodes, bound, pending) in cluster()) {
        let cluster = snapshot(nodes.iter().chain(&bound));
        let ids: Vec<_> = cluster.nodes().map(|n| n.id()).collect();
        let profile = Profile::default();
        for line in &pending {
            let pod = pod(line);
            for plugin in profile.filter_plugins() {
                let predicate = match plugin.pre_filter(&pod, &cluster) {
                    Prepared::Ready(predicate) | Prepared::Only(_, predicate) => predicate,
                    _ => continue,
                };
                let mut left = cluster.node_set().clone();
                predicate.filter_all(&cluster, &mut left);
                let one_by_one: NodeSet =
                    ids.iter().copied().filter(|id| predicate.filter(&cluster.view(*id)).fits()).collect();
                prop_assert_eq!(left, one_by_one, "{}", plugin.name());
            }
            for (plugin, _) in profile.score_plugins() {
                let Some(priority) = plugin.pre_score(&pod, &cluster, &ids) else { continue };
                let mut scores = vec![0; ids.len()];
                priority.score_all(&cluster, &ids, &mut scores);
                let one_by_one: Vec<i64> = ids.iter().map(|id| priority.score(&cluster.view(*id))).collect();
                prop_assert_eq!(&scores, &one_by_one, "{}", plugin.name());
                priority.normalize(&cluster, &ids, &mut scores);
                prop_assert!(scores.iter().all(|s| (0..=100).contains(s)), "{} {:?}", plugin.name(), scores);
            }
        }
    }

    #[test]
    fn never_over_commits((nodes, bound, pending) in cluster(), seed: u64) {
        let mut cluster = snapshot(nodes.iter().chain(&bound));
        let profile = Profile::default();
        for line in &pending {
            let mut pod = pod(line);
            if let Some(node) = schedule(&pod, &cluster, &profile, seed).node {
                pod.node = node.clone();
                cluster.apply(Change::Pod(pod.clone()));
                let view = cluster.node(&node).expect("the chosen node is there");
                prop_assert!(view.pod_count() <= view.facts().pods);
                for resource in ["cpu", "memory", "example.com/gpu"] {
                    if pod.requests.get(resource) > 0 {
                        prop_assert!(view.free(resource) >= 0, "{} {}", node, resource);
                    }
                }
            }
        }
    }

    #[test]
    fn a_changed_snapshot_equals_one_built_anew(
        (nodes, bound, pending) in cluster(),
        detours in proptest::collection::vec((0usize..9, 0usize..12, any::<bool>()), 0..12),
        seed: u64,
    ) {
        let mut changed = snapshot(nodes.iter().chain(&bound));
        for (node, pod, gone) in detours {
            if gone {
                changed.apply(Change::NodeGone(Name::from(format!("n{node}"))));
                changed.apply(Change::PodGone(Key::new("default", format!("p{pod}"))));
            } else {
                let line = format!("node n{node} cpu=1 zone=q taint=q:NoExecute image=web:1@90000000");
                changed.apply(change(&text::object(&line).expect("a node")));
                let line = format!("pod p{pod} cpu=3 port=80 apart=app:web/zone on=n{node}");
                changed.apply(change(&text::object(&line).expect("a pod")));
            }
        }
        for name in (0..12).map(|n| format!("n{n}")) {
            changed.apply(Change::NodeGone(Name::from(name)));
        }
        for name in (0..12).map(|n| format!("p{n}")) {
            changed.apply(Change::PodGone(Key::new("default", name)));
        }
        for object in nodes.iter().chain(&bound).filter_map(|line| text::object(line)) {
            changed.apply(change(&object));
        }
        let anew = snapshot(nodes.iter().chain(&bound));
        let profile = Profile::default();
        for line in &pending {
            let pod = pod(line);
            prop_assert_eq!(schedule(&pod, &changed, &profile, seed), schedule(&pod, &anew, &profile, seed));
        }
    }

    #[test]
    fn victims_make_room((nodes, bound, pending) in cluster(), seed: u64) {
        let cluster = snapshot(nodes.iter().chain(&bound));
        let profile = Profile::default();
        for line in &pending {
            let pod = pod(line);
            let decision = schedule(&pod, &cluster, &profile, seed);
            let Some(found) = decision.post_filter.filter(|f| f.nominated.is_some()) else { continue };
            let mut after = cluster.clone();
            for victim in &found.victims {
                prop_assert!(cluster.pod(victim).expect("a victim is there").priority < pod.priority);
                after.apply(Change::PodGone(victim.clone()));
            }
            let decision = schedule(&pod, &after, &profile, seed);
            prop_assert!(decision.totals.contains_key(found.nominated.as_ref().unwrap()), "{}", decision);
        }
    }
}

#[test]
fn plugins_have_kubernetes_names_and_weights() {
    let profile = Profile::default();
    let scores: Vec<_> = profile.scores().collect();
    assert_eq!(
        scores,
        [
            ("TaintToleration", 3),
            ("NodeAffinity", 2),
            ("NodeResourcesFit", 1),
            ("PodTopologySpread", 2),
            ("InterPodAffinity", 2),
            ("NodeResourcesBalancedAllocation", 1),
            ("ImageLocality", 1),
        ]
    );
}

#[test]
fn other_ideas_of_a_good_node() {
    use plugins::{Fit, Strategy};
    let cluster = snapshot(&["node a cpu=10".to_owned(), "node b cpu=2".to_owned()]);
    let pod = pod("pod p cpu=1");
    let choose = |strategy| {
        let fit = Fit { strategy, ..Fit::default() };
        let profile = Profile::empty("test").pre_filter(Fit::default()).pre_score(fit, 1);
        schedule(&pod, &cluster, &profile, 1).node.expect("both fit")
    };
    assert_eq!(choose(Strategy::LeastAllocated), "a");
    assert_eq!(choose(Strategy::MostAllocated), "b");
    assert_eq!(choose(Strategy::RequestedToCapacityRatio(vec![(0, 10), (100, 0)])), "a");
    assert_eq!(choose(Strategy::RequestedToCapacityRatio(vec![(0, 0), (100, 10)])), "b");
}
