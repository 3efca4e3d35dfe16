//! Every predicate that keeps a pod off each node, where a decision stops at the first.

use std::collections::BTreeMap;

use orlop_core::Name;

use super::Objection;
use crate::bitset::NodeSet;
use crate::decision::Decision;
use crate::facts::PodFacts;
use crate::framework::{Code, Predicate, Prepared, Refusal, Verdict};
use crate::profile::Profile;
use crate::schedule::guarded;
use crate::snapshot::{NodeId, NodeView, Snapshot};

/// What one plugin led to when it prepared for the pod.
enum Stand<'a> {
    /// No node will do, unless something changes.
    Against(Refusal, Option<String>),
    /// These nodes only, if some are named, and what the predicate says of each.
    Asked(Option<NodeSet>, Box<dyn Predicate + 'a>),
}

/// All objections to the nodes that do not take the pod, given the decision for it.
pub(crate) fn objections(
    pod: &PodFacts,
    cluster: &Snapshot,
    profile: &Profile,
    decision: &Decision,
) -> BTreeMap<Name, Vec<Objection>> {
    let mut stands: Vec<(&str, Stand<'_>)> = Vec::new();
    for plugin in &profile.filters {
        let stand = match guarded(plugin.name(), || plugin.pre_filter(pod, cluster)) {
            Ok(Prepared::Skip) => continue,
            Ok(Prepared::Refuse(refusal)) => {
                let remedy = guarded(plugin.name(), || plugin.remedy(pod, cluster));
                Stand::Against(refusal, remedy.ok().flatten())
            }
            Ok(Prepared::Ready(predicate)) => Stand::Asked(None, predicate),
            Ok(Prepared::Only(nodes, predicate)) => Stand::Asked(Some(nodes), predicate),
            Err(fault) => {
                Stand::Against(Refusal::new(Code::UnschedulableAndUnresolvable, fault.to_string()), None)
            }
        };
        stands.push((plugin.name(), stand));
    }
    let mut all = BTreeMap::new();
    for view in cluster.nodes().filter(|view| !takes(decision, view)) {
        let mut of_node: Vec<Objection> =
            stands.iter().filter_map(|(plugin, stand)| objection(plugin, stand, &view)).collect();
        if of_node.is_empty() {
            // Alone it would fit; it does not beside the pods for which room is being made there.
            let Some(first) = decision.rejected.get(view.name()) else { continue };
            of_node.push(Objection {
                plugin: first.plugin.clone(),
                refusal: first.refusal.clone(),
                remedy: room_is_kept(cluster, pod, view.name()),
            });
        }
        all.insert(view.name().clone(), of_node);
    }
    all
}

fn takes(decision: &Decision, view: &NodeView<'_>) -> bool {
    decision.totals.contains_key(view.name()) || decision.node.as_ref() == Some(view.name())
}

fn objection(plugin: &str, stand: &Stand<'_>, view: &NodeView<'_>) -> Option<Objection> {
    let left_out = |nodes: &NodeSet, id: NodeId| !nodes.contains(id);
    let (refusal, said) = match stand {
        Stand::Against(refusal, remedy) => (refusal.clone(), remedy.clone()),
        Stand::Asked(only, predicate) => match guarded(plugin, || predicate.filter(view)) {
            Ok(Verdict::Refuses(refusal)) => {
                (refusal, guarded(plugin, || predicate.remedy(view)).ok().flatten())
            }
            Ok(Verdict::Fits) if only.as_ref().is_some_and(|nodes| left_out(nodes, view.id())) => {
                let reason = format!("node(s) didn't satisfy plugin(s) [{plugin}]");
                (Refusal::new(Code::UnschedulableAndUnresolvable, reason), None)
            }
            Ok(Verdict::Fits) => return None,
            Err(fault) => (Refusal::new(Code::UnschedulableAndUnresolvable, fault.to_string()), None),
        },
    };
    Some(Objection { plugin: Name::from(plugin), refusal, remedy: said.unwrap_or_default() })
}

fn room_is_kept(cluster: &Snapshot, pod: &PodFacts, node: &str) -> String {
    let waiting = cluster.nominated().filter(|other| other.nominated == node && other.key != pod.key);
    let names: Vec<String> = waiting.map(|other| other.key.to_string()).collect();
    format!("room is being kept for {}", names.join(", "))
}
