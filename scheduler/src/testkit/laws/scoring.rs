//! Laws of priorities, and of looking at all nodes at once.

use super::{Broken, Law, Trial};
use crate::bitset::NodeSet;
use crate::framework::{MAX_SCORE, Prepared};
use crate::schedule::guarded;
use crate::snapshot::NodeId;

pub(super) fn columns_agree(trial: &Trial<'_>) -> Result<(), Broken> {
    let cluster = &trial.cluster;
    let nodes: Vec<NodeId> = cluster.nodes().map(|n| n.id()).collect();
    for pod in &trial.pods {
        for plugin in trial.filters() {
            let sets = guarded(plugin.name(), || {
                let predicate = match plugin.pre_filter(pod, cluster) {
                    Prepared::Ready(predicate) | Prepared::Only(_, predicate) => predicate,
                    Prepared::Skip | Prepared::Refuse(_) => return None,
                };
                let mut at_once = cluster.node_set().clone();
                predicate.filter_all(cluster, &mut at_once);
                let fits = |id: &NodeId| predicate.filter(&cluster.view(*id)).fits();
                let one_by_one: NodeSet = nodes.iter().copied().filter(fits).collect();
                Some((at_once, one_by_one))
            });
            let Ok(Some((at_once, one_by_one))) = sets else { continue };
            if at_once != one_by_one {
                let names = |set: &NodeSet| -> Vec<String> {
                    let there = set.iter().filter(|id| nodes.contains(id));
                    let mut names: Vec<String> =
                        there.map(|id| cluster.view(id).name().to_string()).collect();
                    names.sort_unstable();
                    names
                };
                let what =
                    format!("at once it leaves {:?}, one by one {:?}", names(&at_once), names(&one_by_one));
                return Err(trial.broken(Law::ColumnsAgree, plugin.name(), pod, what));
            }
        }
        for score in trial.scores() {
            let both = guarded(score.plugin.name(), || {
                let priority = score.plugin.pre_score(pod, cluster, &nodes)?;
                let mut at_once = vec![0; nodes.len()];
                priority.score_all(cluster, &nodes, &mut at_once);
                let one_by_one: Vec<i64> =
                    nodes.iter().map(|id| priority.score(&cluster.view(*id))).collect();
                Some((at_once, one_by_one))
            });
            if let Ok(Some((at_once, one_by_one))) = both
                && at_once != one_by_one
            {
                let what = format!("at once it scores {at_once:?}, one by one {one_by_one:?}");
                return Err(trial.broken(Law::ColumnsAgree, score.plugin.name(), pod, what));
            }
        }
    }
    Ok(())
}

pub(super) fn in_bounds(trial: &Trial<'_>) -> Result<(), Broken> {
    let cluster = &trial.cluster;
    let all: Vec<NodeId> = cluster.nodes().map(|n| n.id()).collect();
    for pod in &trial.pods {
        for score in trial.scores() {
            // Every number of nodes: a single one is where divisions by what differs go wrong.
            for count in 1..=all.len() {
                let nodes = &all[..count];
                let mut scores = vec![0; count];
                let said = guarded(score.plugin.name(), || {
                    let priority = score.plugin.pre_score(pod, cluster, nodes)?;
                    priority.score_all(cluster, nodes, &mut scores);
                    priority.normalize(cluster, nodes, &mut scores);
                    Some(())
                });
                if said.ok().flatten().is_none() {
                    continue;
                }
                let out = nodes.iter().zip(&scores).find(|(_, score)| !(0..=MAX_SCORE).contains(*score));
                if let Some((node, score_there)) = out {
                    let node = cluster.view(*node).name();
                    let what = format!("node {node} scores {score_there} among {count} nodes");
                    return Err(trial.broken(Law::ScoresInBounds, score.plugin.name(), pod, what));
                }
            }
        }
    }
    Ok(())
}
