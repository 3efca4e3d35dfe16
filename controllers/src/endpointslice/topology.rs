//! Hints by zone, where a Service asks for them: each zone gets endpoints in proportion to its CPUs, those in it first
//! (KEP-2433).

use std::collections::BTreeMap;

use orlop_core::Name;
use orlop_core::kinds::{Endpoint, EndpointHints, ForZone, Node, Service};

use super::place::{Slice, ZONE};

/// The annotation that asks, and its former name.
const MODE: [&str; 2] = ["service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints"];
/// By how much a zone may be busier than the others.
const OVERLOAD: f64 = 0.2;
/// Nodes with these labels take no ordinary pods.
const EXCLUDED: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

/// Whether a Service asks for hints by zone.
pub(super) fn asked(service: &Service) -> bool {
    let mode = MODE.into_iter().find_map(|name| service.metadata.annotation(name));
    matches!(mode, Some("Auto" | "auto"))
}

/// Each zone's part of all CPUs; `None` where a node's are not known.
pub fn shares<'a>(nodes: impl Iterator<Item = &'a Node>) -> Option<BTreeMap<Name, f64>> {
    let mut cpus: BTreeMap<Name, i64> = BTreeMap::new();
    let is_ready = |node: &&Node| {
        node.status
            .conditions
            .iter()
            .any(|condition| condition.r#type == "Ready" && condition.status == "True")
    };
    let counts = |node: &&Node| EXCLUDED.iter().all(|label| node.metadata.label(label).is_none());
    for node in nodes.filter(is_ready).filter(counts) {
        let zone = node.metadata.label(ZONE).filter(|zone| !zone.is_empty())?;
        let cpu = node.status.allocatable.get("cpu").map_or(0, |cpu| cpu.milli_value());
        if cpu == 0 {
            return None;
        }
        *cpus.entry(zone.into()).or_default() += cpu;
    }
    let all: i64 = cpus.values().sum();
    Some(cpus.into_iter().map(|(zone, cpu)| (zone, cpu as f64 / all as f64)).collect())
}

/// How many endpoints a zone is to get.
struct Allocation {
    desired: f64,
    maximum: i64,
}

/// What each zone is to get of so many endpoints; `None`: there are too few to share them out evenly enough.
fn allocate(shares: &BTreeMap<Name, f64>, endpoints: usize) -> Option<BTreeMap<&Name, Allocation>> {
    if shares.len() < 2 || shares.len() > endpoints {
        return None;
    }
    let count = i64::try_from(endpoints).ok()?;
    let least = |share: f64| (share * endpoints as f64 * (1.0 / (1.0 + OVERLOAD))).ceil() as i64;
    let spare = count - shares.values().map(|share| least(*share)).sum::<i64>();
    if spare < 0 {
        return None;
    }
    let allocation = |share: f64| Allocation {
        desired: (share * endpoints as f64).max(least(share) as f64),
        maximum: least(share) + spare,
    };
    Some(shares.iter().map(|(zone, share)| (zone, allocation(*share))).collect())
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}

fn ready(slice: &Slice) -> impl Iterator<Item = &Endpoint> {
    slice.endpoints.iter().filter(|endpoint| is_ready(endpoint))
}

fn for_zone(zone: &Name) -> Option<EndpointHints> {
    Some(EndpointHints { for_zones: vec![ForZone { name: zone.clone() }], for_nodes: Vec::new() })
}

/// Gives the endpoints of one family their hints, or takes them all away. Slices that change for it are moved from
/// `unchanged` to `update`.
pub(super) fn give_hints(
    shares: Option<&BTreeMap<Name, f64>>,
    create: &mut [Slice],
    update: &mut Vec<Slice>,
    unchanged: Vec<Slice>,
) {
    let total = create.iter().chain(update.iter()).chain(&unchanged).flat_map(ready).count();
    let Some(allocations) = shares.and_then(|shares| allocate(shares, total)) else {
        return take_away(create, update, unchanged);
    };
    // What does not change keeps its hints, as long as these are not too many for a zone.
    let mut given: BTreeMap<Name, i64> = BTreeMap::new();
    for slice in unchanged {
        match present(&slice, &given, &allocations) {
            Some(hints) => {
                hints.into_iter().for_each(|(zone, count)| *given.entry(zone).or_default() += count)
            }
            None => update.push(slice),
        }
    }
    // Of an endpoint without a zone nobody can tell for whom it is.
    if create.iter().chain(update.iter()).flat_map(ready).any(|endpoint| endpoint.zone.is_empty()) {
        return take_away(create, update, Vec::new());
    }
    for endpoint in create.iter_mut().chain(update.iter_mut()).flat_map(|slice| &mut slice.endpoints) {
        endpoint.hints = None;
        if is_ready(endpoint) {
            endpoint.hints = for_zone(&endpoint.zone);
            *given.entry(endpoint.zone.clone()).or_default() += 1;
        }
    }
    let (mut giving, mut receiving) = exchange(&given, &allocations);
    for endpoint in create.iter_mut().chain(update.iter_mut()).flat_map(|slice| &mut slice.endpoints) {
        if !is_ready(endpoint) || !giving.contains_key(&endpoint.zone) {
            continue;
        }
        // Kubernetes takes any of those that are short.
        let Some(zone) = receiving.keys().next().cloned() else { break };
        endpoint.hints = for_zone(&zone);
        one_less(&mut giving, &endpoint.zone);
        one_less(&mut receiving, &zone);
    }
}

type Counts = BTreeMap<Name, i64>;

/// How many endpoints zones that have too many give to zones that have too few: one from the richest to the poorest as
/// long as both differ by a half from what they are to have, and one of them by a whole. Endpoints in zones without
/// nodes that count stay where they are.
fn exchange(given: &Counts, allocations: &BTreeMap<&Name, Allocation>) -> (Counts, Counts) {
    let has = |zone: &Name| given.get(zone).copied().unwrap_or(0) as f64;
    let surplus = allocations.iter().map(|(zone, allocation)| (*zone, has(zone) - allocation.desired));
    let mut surplus: BTreeMap<&Name, f64> = surplus.collect();
    let (mut giving, mut receiving) = (Counts::new(), Counts::new());
    loop {
        let by_surplus = |a: &(&&Name, &f64), b: &(&&Name, &f64)| a.1.total_cmp(b.1);
        let (Some((richest, most)), Some((poorest, least))) =
            (surplus.iter().rev().max_by(by_surplus), surplus.iter().min_by(by_surplus))
        else {
            return (giving, receiving);
        };
        let (richest, most, poorest, lack) = (*richest, *most, *poorest, -*least);
        if most < 0.5 || lack < 0.5 || (most < 1.0 && lack < 1.0) {
            return (giving, receiving);
        }
        for (zone, change, counts) in [(richest, -1.0, &mut giving), (poorest, 1.0, &mut receiving)] {
            *surplus.entry(zone).or_default() += change;
            *counts.entry(zone.clone()).or_default() += 1;
        }
    }
}

fn one_less(zones: &mut Counts, zone: &Name) {
    let Some(left) = zones.get_mut(zone) else { return };
    *left -= 1;
    if *left == 0 {
        zones.remove(zone);
    }
}

/// The hints of a slice that does not change, by zone; `None` where some are missing or too many.
fn present(
    slice: &Slice,
    given: &BTreeMap<Name, i64>,
    allocations: &BTreeMap<&Name, Allocation>,
) -> Option<BTreeMap<Name, i64>> {
    let mut zones: BTreeMap<Name, i64> = BTreeMap::new();
    for endpoint in ready(slice) {
        let hints = endpoint.hints.as_ref().filter(|hints| !hints.for_zones.is_empty())?;
        for zone in &hints.for_zones {
            *zones.entry(zone.name.clone()).or_default() += 1;
        }
    }
    let fits = zones.iter().all(|(zone, count)| {
        let had = given.get(zone).copied().unwrap_or(0);
        allocations.get(zone).is_some_and(|allocation| had + count <= allocation.maximum)
    });
    fits.then_some(zones)
}

fn take_away(create: &mut [Slice], update: &mut Vec<Slice>, unchanged: Vec<Slice>) {
    update.extend(
        unchanged.into_iter().filter(|slice| slice.endpoints.iter().any(|endpoint| endpoint.hints.is_some())),
    );
    for slice in create.iter_mut().chain(update.iter_mut()) {
        slice.endpoints.iter_mut().for_each(|endpoint| endpoint.hints = None);
    }
}
