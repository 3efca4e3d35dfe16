//! The whole algorithm, top to bottom: [`schedule`].

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use orlop_core::Name;
use smallvec::SmallVec;

use crate::bitset::NodeSet;
use crate::decision::{Decision, Fault, Narrowed, PostFilterResult, Rejection};
use crate::explain::objections;
use crate::facts::PodFacts;
use crate::framework::{Code, Predicate, Prepared, Refusal, Verdict};
use crate::preempt::{Kept, PostFilterContext};
use crate::profile::Profile;
use crate::ring::{point_of, start_of};
use crate::snapshot::{Delta, NodeId, Snapshot};

/// Decides on which node `pod` should run.
///
/// Every predicate prepares itself, then takes out the nodes that it refuses; every priority scores those that are
/// left; the highest sum wins. Of equal nodes the one is taken that comes next on a ring: nodes stand where a hash of
/// their name puts them, and the pod starts at a hash of `seed` and its UID. If no node is left, the profile's post-filters look for a way to make room.
///
/// # Guarantees
/// The answer depends on the arguments alone, and not on the order in which nodes or pods came into the snapshot. A
/// plugin that panics ends this attempt with [`Decision::fault`] set.
pub fn schedule(pod: &PodFacts, cluster: &Snapshot, profile: &Profile, seed: u64) -> Decision {
    let mut decision =
        Decision { pod: pod.key.clone(), uid: pod.uid.clone(), nodes: cluster.len(), ..Decision::default() };
    if let Err(fault) = decide(pod, cluster, profile, seed, Detail::Full, Early::new(), &mut decision) {
        decision = Decision {
            pod: pod.key.clone(),
            uid: pod.uid.clone(),
            nodes: cluster.len(),
            fault: Some(fault),
            ..Decision::default()
        };
        return decision;
    }
    decision.every = objections(pod, cluster, profile, &decision);
    decision
}

/// Decides as [`schedule`] does, without noting why a node was preferred: scores, totals and best are left empty, and
/// so is `rejected` where a node was found.
pub fn place(pod: &PodFacts, cluster: &Snapshot, profile: &Profile, seed: u64) -> Decision {
    place_prepared(pod, cluster, profile, seed, Early::new())
}

/// What some predicates, by their position in the profile, have led to when they were prepared for the pod before.
pub(crate) type Early<'a> = SmallVec<[(usize, Prepared<'a>); 4]>;

/// Decides as [`place`] does, without preparing again what is prepared.
pub(crate) fn place_prepared<'a>(
    pod: &'a PodFacts,
    cluster: &'a Snapshot,
    profile: &'a Profile,
    seed: u64,
    early: Early<'a>,
) -> Decision {
    let mut decision =
        Decision { pod: pod.key.clone(), uid: pod.uid.clone(), nodes: cluster.len(), ..Decision::default() };
    if let Err(fault) = decide(pod, cluster, profile, seed, Detail::Choice, early, &mut decision) {
        decision.fault = Some(fault);
        decision.node = None;
    }
    decision
}

#[derive(Clone, Copy, PartialEq)]
enum Detail {
    Choice,
    Full,
}

/// A predicate that is ready, under its plugin's name.
pub(crate) struct Ready<'a> {
    pub(crate) plugin: &'a str,
    pub(crate) predicate: Box<dyn Predicate + 'a>,
}

fn decide<'a>(
    pod: &'a PodFacts,
    cluster: &'a Snapshot,
    profile: &'a Profile,
    seed: u64,
    detail: Detail,
    early: Early<'a>,
    decision: &mut Decision,
) -> Result<(), Fault> {
    if cluster.is_empty() {
        return Ok(());
    }
    let Preparation { mut ready, nodes, refused, narrowed_by } = prepare(pod, cluster, profile, early)?;
    decision.refused = refused;
    if decision.refused.is_some() {
        return post_filter(pod, cluster, profile, &mut ready, decision, None);
    }
    if !narrowed_by.is_empty() {
        decision.narrowed = Some(Narrowed { plugins: narrowed_by, nodes: names(cluster, &nodes) });
    }
    let nominated_here = cluster.node(&pod.nominated).filter(|node| nodes.contains(node.id()));
    let mut feasible = Vec::new();
    if let Some(node) = nominated_here {
        let only = NodeSet::from_iter([node.id()]);
        feasible.extend(filter(pod, cluster, &mut ready, &only)?.iter());
    }
    if feasible.is_empty() {
        let left = filter(pod, cluster, &mut ready, &nodes)?;
        feasible.extend(left.iter());
        sample(pod, cluster, profile, seed, &mut feasible);
        if detail == Detail::Full || feasible.is_empty() {
            let mut rejected = nodes.clone();
            rejected.subtract(&left);
            decision.rejected = rejections(pod, cluster, &mut ready, &rejected)?;
        }
    }
    if feasible.is_empty() {
        return post_filter(pod, cluster, profile, &mut ready, decision, None);
    }
    drop(ready);
    let totals = score(pod, cluster, profile, &feasible, detail, decision)?;
    choose(pod, cluster, seed, &feasible, &totals, detail, decision);
    Ok(())
}

/// Keeps as many nodes as the profile wants to be scored: those that come first from where the pod starts.
fn sample(pod: &PodFacts, cluster: &Snapshot, profile: &Profile, seed: u64, feasible: &mut Vec<NodeId>) {
    let wanted = profile.nodes_to_score(cluster.len());
    if feasible.len() <= wanted {
        return;
    }
    let start = start_of(seed, &pod.uid);
    feasible.sort_by_cached_key(|node| {
        let name = cluster.view(*node).name();
        (point_of(name).wrapping_sub(start), name.clone())
    });
    feasible.truncate(wanted);
}

/// What all predicates' preparing led to.
pub(crate) struct Preparation<'a> {
    pub(crate) ready: Vec<Ready<'a>>,
    pub(crate) nodes: NodeSet,
    pub(crate) refused: Option<Rejection>,
    pub(crate) narrowed_by: Vec<Name>,
}

pub(crate) fn prepare<'a>(
    pod: &'a PodFacts,
    cluster: &'a Snapshot,
    profile: &'a Profile,
    early: Early<'a>,
) -> Result<Preparation<'a>, Fault> {
    let mut early = early.into_iter().peekable();
    let mut p = Preparation {
        ready: Vec::with_capacity(profile.filters.len()),
        nodes: cluster.node_set().clone(),
        refused: None,
        narrowed_by: Vec::new(),
    };
    for (at, plugin) in profile.filters.iter().enumerate() {
        let name = plugin.name();
        let prepared = match early.next_if(|(of, _)| *of == at) {
            Some((_, prepared)) => prepared,
            None => guarded(name, || plugin.pre_filter(pod, cluster))?,
        };
        match prepared {
            Prepared::Skip => {}
            Prepared::Refuse(refusal) => {
                p.refused = Some(Rejection { plugin: Name::from(name), refusal });
                return Ok(p);
            }
            Prepared::Ready(predicate) => p.ready.push(Ready { plugin: name, predicate }),
            Prepared::Only(nodes, predicate) => {
                p.ready.push(Ready { plugin: name, predicate });
                p.narrowed_by.push(Name::from(name));
                p.nodes.intersect(&nodes);
                if p.nodes.is_empty() {
                    p.narrowed_by.sort_unstable();
                    let names: Vec<&str> = p.narrowed_by.iter().map(Name::as_str).collect();
                    let reason = match names[..] {
                        [one] => format!("node(s) didn't satisfy plugin {one}"),
                        _ => format!("node(s) didn't satisfy plugin(s) [{}] simultaneously", names.join(" ")),
                    };
                    let refusal = Refusal::new(Code::UnschedulableAndUnresolvable, reason);
                    p.refused = Some(Rejection { plugin: Name::from(name), refusal });
                    return Ok(p);
                }
            }
        }
    }
    p.narrowed_by.sort_unstable();
    Ok(p)
}

/// Whether one node takes a pod; `None` where a predicate refuses others while preparing.
pub(crate) fn fits_on(
    pod: &PodFacts,
    cluster: &Snapshot,
    profile: &Profile,
    node: NodeId,
) -> Result<Option<bool>, Fault> {
    let mut prepared = prepare(pod, cluster, profile, Early::new())?;
    if prepared.refused.is_some() || !prepared.narrowed_by.is_empty() {
        return Ok(None);
    }
    let only = NodeSet::from_iter([node]);
    Ok(Some(!filter(pod, cluster, &mut prepared.ready, &only)?.is_empty()))
}

/// The nodes of `among` that no predicate refuses.
fn filter(
    pod: &PodFacts,
    cluster: &Snapshot,
    ready: &mut [Ready<'_>],
    among: &NodeSet,
) -> Result<NodeSet, Fault> {
    let mut left = among.clone();
    for Ready { plugin, predicate } in ready.iter() {
        guarded(plugin, || predicate.filter_all(cluster, &mut left))?;
        if left.is_empty() {
            return Ok(left);
        }
    }
    // Where room is being made for pods that go first, this pod must fit beside them as well as without them.
    for node in cluster.awaited_among(&left) {
        let with = waiting_on(pod, cluster, node);
        let waiting = Delta { without: Vec::new(), with };
        if !waiting.with.is_empty() && first_refusal(cluster, ready, node, &waiting)?.is_some() {
            left.remove(node);
        }
    }
    Ok(left)
}

/// The first predicate that refuses `node` as it would be after `delta`. Leaves no trace.
pub(crate) fn first_refusal(
    cluster: &Snapshot,
    ready: &mut [Ready<'_>],
    node: NodeId,
    delta: &Delta<'_>,
) -> Result<Option<Rejection>, Fault> {
    let view = cluster.view_with(node, delta);
    for Ready { plugin, predicate } in ready.iter_mut() {
        guarded(plugin, || {
            delta.without.iter().for_each(|pod| predicate.remove_pod(pod, &view));
            delta.with.iter().for_each(|pod| predicate.add_pod(pod, &view));
        })?;
    }
    let mut found = None;
    for Ready { plugin, predicate } in ready.iter() {
        if let Verdict::Refuses(refusal) = guarded(plugin, || predicate.filter(&view))? {
            found = Some(Rejection { plugin: Name::from(*plugin), refusal });
            break;
        }
    }
    for Ready { plugin, predicate } in ready.iter_mut() {
        guarded(plugin, || {
            delta.with.iter().for_each(|pod| predicate.remove_pod(pod, &view));
            delta.without.iter().for_each(|pod| predicate.add_pod(pod, &view));
        })?;
    }
    Ok(found)
}

/// The first refusal of each node, given the pods that wait there.
pub(crate) fn refusal_of<'d>(
    pod: &PodFacts,
    cluster: &'d Snapshot,
    ready: &mut [Ready<'_>],
    node: NodeId,
    mut delta: Delta<'d>,
) -> Result<Option<Rejection>, Fault> {
    let waiting = waiting_on(pod, cluster, node);
    if !waiting.is_empty() {
        let bare = delta.without.clone();
        delta.with.extend(waiting);
        if let Some(rejection) = first_refusal(cluster, ready, node, &delta)? {
            return Ok(Some(rejection));
        }
        delta = Delta { without: bare, with: Vec::new() };
    }
    first_refusal(cluster, ready, node, &delta)
}

/// Pods of no lower priority than `pod` that wait for room on a node.
pub(crate) fn waiting_on<'a>(pod: &PodFacts, cluster: &'a Snapshot, node: NodeId) -> Vec<&'a PodFacts> {
    let all = cluster.awaited_on(cluster.view(node).name()).iter();
    all.filter(|other| other.key != pod.key && other.priority >= pod.priority).map(|other| &**other).collect()
}

fn rejections(
    pod: &PodFacts,
    cluster: &Snapshot,
    ready: &mut [Ready<'_>],
    nodes: &NodeSet,
) -> Result<BTreeMap<Name, Rejection>, Fault> {
    let mut all = BTreeMap::new();
    for node in nodes.iter() {
        if let Some(rejection) = refusal_of(pod, cluster, ready, node, Delta::default())? {
            all.insert(cluster.view(node).name().clone(), rejection);
        }
    }
    Ok(all)
}

fn names(cluster: &Snapshot, nodes: &NodeSet) -> Vec<Name> {
    let mut names: Vec<Name> = nodes.iter().map(|node| cluster.view(node).name().clone()).collect();
    names.sort_unstable();
    names
}

/// The weighted sum of all priorities for each of `nodes`.
fn score(
    pod: &PodFacts,
    cluster: &Snapshot,
    profile: &Profile,
    nodes: &[NodeId],
    detail: Detail,
    decision: &mut Decision,
) -> Result<Vec<i64>, Fault> {
    let mut totals = vec![0i64; nodes.len()];
    if detail == Detail::Choice && nodes.len() == 1 {
        return Ok(totals);
    }
    let mut scores = vec![0i64; nodes.len()];
    for weighted in &profile.scores {
        let plugin = weighted.plugin.name();
        let said = guarded(plugin, || {
            let Some(priority) = weighted.plugin.pre_score(pod, cluster, nodes) else { return false };
            priority.score_all(cluster, nodes, &mut scores);
            priority.normalize(cluster, nodes, &mut scores);
            true
        })?;
        if !said {
            continue;
        }
        for (total, score) in totals.iter_mut().zip(&scores) {
            *total = total.saturating_add(score.saturating_mul(weighted.weight));
        }
        if detail == Detail::Full {
            for (node, score) in nodes.iter().zip(&scores) {
                let node = decision.scores.entry(cluster.view(*node).name().clone()).or_default();
                node.insert(Name::from(plugin), score.saturating_mul(weighted.weight));
            }
        }
    }
    Ok(totals)
}

fn choose(
    pod: &PodFacts,
    cluster: &Snapshot,
    seed: u64,
    nodes: &[NodeId],
    totals: &[i64],
    detail: Detail,
    decision: &mut Decision,
) {
    let Some(highest) = totals.iter().max() else { return };
    let best = nodes.iter().zip(totals).filter(|(_, total)| *total == highest);
    let best = best.map(|(node, _)| cluster.view(*node).name());
    let start = start_of(seed, &pod.uid);
    decision.node = best.clone().min_by_key(|name| (point_of(name).wrapping_sub(start), *name)).cloned();
    if detail == Detail::Full {
        decision.best = best.cloned().collect();
        decision.best.sort_unstable();
        let named = nodes.iter().map(|node| cluster.view(*node).name().clone());
        decision.totals = named.zip(totals.iter().copied()).collect();
    }
}

/// Looks for a way to make room, with the help of what is kept of earlier attempts.
pub(crate) fn post_filter(
    pod: &PodFacts,
    cluster: &Snapshot,
    profile: &Profile,
    ready: &mut [Ready<'_>],
    decision: &mut Decision,
    mut kept: Option<Kept<'_>>,
) -> Result<(), Fault> {
    if profile.post_filters.is_empty() {
        return Ok(());
    }
    let mut result = PostFilterResult::default();
    let mut messages = Vec::new();
    for plugin in &profile.post_filters {
        let lent = kept.as_mut().map(Kept::lend);
        let mut context = PostFilterContext::new(pod, cluster, &mut *ready, &*decision, lent);
        let found = guarded(plugin.name(), || plugin.post_filter(pod, &mut context))?;
        if let Some(fault) = context.fault() {
            return Err(fault);
        }
        if found.nominated.is_some() {
            result.nominated = found.nominated;
            result.victims = found.victims;
            result.give_up_nomination = false;
            messages = vec![found.message];
            break;
        }
        result.give_up_nomination |= found.give_up_nomination;
        messages.push(found.message);
    }
    messages.retain(|m| !m.is_empty());
    result.message = messages.join(", ");
    decision.post_filter = Some(result);
    Ok(())
}

/// Calls a plugin; its panic becomes a [`Fault`].
pub(crate) fn guarded<T>(plugin: &str, call: impl FnOnce() -> T) -> Result<T, Fault> {
    // What a plugin may have left half done is its own prepared state, which is dropped with the attempt.
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let message = panic
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "without a message".to_owned());
        Fault { plugin: Name::from(plugin), message }
    })
}
