//! Proptest strategies for lines and scenes: small, of few words. A [`Suite`](super::Suite)
//! leaves out of what it finds all lines and words that do not matter.

use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

use super::notation::{Line, Scene};

/// How large scenes are.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Most nodes; at least one there is.
    pub nodes: usize,
    /// Most pods that are on nodes.
    pub bound: usize,
    /// Most pods that are not; at least one there is.
    pub pending: usize,
    /// Whether pods use volumes.
    pub volumes: bool,
}

impl Default for Size {
    /// Up to 5 nodes, 6 pods on them, 2 to place, and volumes: enough for every rule to meet every other.
    fn default() -> Size {
        Size { nodes: 5, bound: 6, pending: 2, volumes: true }
    }
}

type Words = Vec<(String, Option<String>)>;

fn word(key: &str, value: impl ToString) -> (String, Option<String>) {
    (key.to_owned(), Some(value.to_string()))
}

/// One of these words, mostly none.
fn maybe(words: &'static [&'static str]) -> impl Strategy<Value = Words> {
    weighted(0.35, select(words)).prop_map(|word| {
        let pair = word.map(|word| match word.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (word.to_owned(), None),
        });
        pair.into_iter().collect()
    })
}

/// A node of this name.
pub fn node(name: String) -> impl Strategy<Value = Line> {
    let amounts = (1u32..6, 1u32..6, 1u32..5);
    let extras = (
        weighted(0.8, select(&["x", "y"][..])),
        maybe(&["disk=ssd", "disk=hdd"]),
        maybe(&["cordoned", "taint=a:NoSchedule", "taint=b:PreferNoSchedule", "taint=a:NoExecute"]),
        maybe(&["gpu=2", "image=web:1@90000000"]),
    );
    (amounts, extras).prop_map(move |((cpu, mem, pods), (zone, disk, keeps_off, has))| {
        let mut words = vec![word("cpu", cpu), word("mem", format!("{mem}Gi")), word("pods", pods)];
        words.extend(zone.map(|zone| word("zone", zone)));
        words.extend([disk, keeps_off, has].concat());
        Line { kind: "node", name: name.clone(), words }
    })
}

/// A pod of this name; on one of `nodes` nodes called `n0` and so on, or pending.
pub fn pod(name: String, nodes: Option<usize>, volumes: bool) -> impl Strategy<Value = Line> {
    let amounts = (weighted(0.8, 0u32..26), weighted(0.4, 0u32..3), 0i32..3);
    let rules = (
        maybe(&["app=web", "app=db"]),
        maybe(&[
            "near=app:web/zone",
            "near=app:db/host",
            "apart=app:web/host",
            "apart=app:db/zone",
            "spread=zone:1",
            "spread=host:1",
        ]),
        maybe(&["select=disk:ssd", "prefer=zone:x", "select=zone:y"]),
        maybe(&["tolerate=a", "port=80", "gpu=1"]),
    );
    let claim =
        if volumes { maybe(&["claim=c0", "claim=c1", "claim=c2"]).boxed() } else { Just(Vec::new()).boxed() };
    let on = match nodes {
        // Now and then on a node that is not there.
        Some(n) => (0..n + 1).prop_map(|n| vec![word("on", format!("n{n}"))]).boxed(),
        None => Just(Vec::new()).boxed(),
    };
    (amounts, rules, claim, on).prop_map(move |((cpu, mem, prio), (app, rule, wish, need), claim, on)| {
        let mut words = Words::new();
        words.extend(cpu.map(|cpu| word("cpu", format!("{}m", cpu * 100))));
        words.extend(mem.filter(|mem| *mem > 0).map(|mem| word("mem", format!("{mem}Gi"))));
        words.extend((prio > 0).then(|| word("prio", prio)));
        words.extend([app, rule, wish, need, claim, on].concat());
        Line { kind: "pod", name: name.clone(), words }
    })
}

/// Classes, claims and volumes for claims `c0` to `c2`.
fn storage() -> impl Strategy<Value = Vec<Line>> {
    let claim = |number: usize| {
        let name = format!("c{number}");
        (
            select(&["s0", "s1"][..]),
            maybe(&["mode=ReadWriteOncePod"]),
            weighted(0.5, Just(format!("v{number}"))),
        )
            .prop_map(move |(class, mode, volume)| {
                let mut words = vec![word("class", class)];
                words.extend(mode);
                words.extend(volume.map(|volume| word("volume", volume)));
                Line { kind: "claim", name: name.clone(), words }
            })
    };
    let volume = |number: usize| {
        let name = format!("v{number}");
        (select(&["s0", "s1"][..]), maybe(&["zone=x", "zone=y"]), select(&["1Gi", "2Gi"][..]), any::<bool>())
            .prop_map(move |(class, zone, size, taken)| {
                let mut words = vec![word("class", class), word("size", size)];
                words.extend(zone);
                words.extend(taken.then(|| word("for", format!("c{number}"))));
                Line { kind: "volume", name: name.clone(), words }
            })
    };
    let class = |name: &'static str| {
        (maybe(&["wait"]), maybe(&["makes"])).prop_map(move |(wait, makes)| Line {
            kind: "class",
            name: name.to_owned(),
            words: [wait, makes].concat(),
        })
    };
    let claims = [0, 1, 2].map(|n| weighted(0.8, claim(n)));
    let volumes = [0, 1, 2, 3].map(|n| weighted(0.7, volume(n)));
    let classes = ["s0", "s1"].map(|name| weighted(0.9, class(name)));
    (classes, claims, volumes).prop_map(|(classes, claims, volumes)| {
        classes.into_iter().chain(claims).chain(volumes).flatten().collect()
    })
}

/// Nodes, pods on them, and pods to place.
pub fn scenes(size: Size) -> impl Strategy<Value = Scene> {
    let counts = (1..=size.nodes.max(1), 0..=size.bound, 1..=size.pending.max(1));
    counts.prop_flat_map(move |(nodes, bound, pending)| {
        let storage = if size.volumes { storage().boxed() } else { Just(Vec::new()).boxed() };
        (
            (0..nodes).map(|n| node(format!("n{n}"))).collect::<Vec<_>>(),
            (0..bound).map(|n| pod(format!("b{n}"), Some(nodes), size.volumes)).collect::<Vec<_>>(),
            (0..pending).map(|n| pod(format!("p{n}"), None, size.volumes)).collect::<Vec<_>>(),
            storage,
        )
            .prop_map(|(nodes, bound, pending, storage)| {
                let used = |name: &str, lines: &[Line]| {
                    lines
                        .iter()
                        .any(|l| l.words.iter().any(|(k, v)| k == "claim" && v.as_deref() == Some(name)))
                };
                let pods: Vec<Line> = bound.into_iter().chain(pending).collect();
                let any_claim = ["c0", "c1", "c2"].iter().any(|claim| used(claim, &pods));
                let storage = storage.into_iter().filter(|_| any_claim);
                Scene { lines: nodes.into_iter().chain(storage).chain(pods).collect() }
            })
    })
}
