//! Laws of decisions as a whole.

use std::sync::Arc;

use super::{Broken, Law, Trial, difference, verdicts};
use crate::facts::PodFacts;
use crate::framework::Prepared;
use crate::schedule::{guarded, schedule};

pub(super) fn answers(trial: &Trial<'_>) -> Result<(), Broken> {
    let cluster = &trial.cluster;
    let nodes: Vec<_> = cluster.nodes().map(|n| n.id()).collect();
    for pod in &trial.pods {
        for plugin in trial.filters() {
            let asked = guarded(plugin.name(), || match plugin.pre_filter(pod, cluster) {
                Prepared::Ready(predicate) | Prepared::Only(_, predicate) => {
                    cluster.nodes().for_each(|node| drop(predicate.filter(&node)));
                }
                Prepared::Skip | Prepared::Refuse(_) => {}
            });
            asked.map_err(|fault| trial.broken(Law::Answers, plugin.name(), pod, fault.to_string()))?;
        }
        for score in trial.scores() {
            let plugin = &score.plugin;
            let asked = guarded(plugin.name(), || {
                let Some(priority) = plugin.pre_score(pod, cluster, &nodes) else { return };
                let mut scores = vec![0; nodes.len()];
                priority.score_all(cluster, &nodes, &mut scores);
                priority.normalize(cluster, &nodes, &mut scores);
            });
            asked.map_err(|fault| trial.broken(Law::Answers, plugin.name(), pod, fault.to_string()))?;
        }
        if trial.only.is_none()
            && let Some(fault) = schedule(pod, cluster, trial.profile, trial.seed).fault
        {
            return Err(trial.broken(Law::Answers, &fault.plugin, pod, fault.to_string()));
        }
    }
    Ok(())
}

pub(super) fn deterministic(trial: &Trial<'_>) -> Result<(), Broken> {
    compare(trial, &trial.cluster, Law::Deterministic, "asked again")
}

pub(super) fn order_is_irrelevant(trial: &Trial<'_>) -> Result<(), Broken> {
    compare(trial, &trial.backwards, Law::OrderIsIrrelevant, "in the opposite order")
}

/// Asks every question of the scene's cluster and of another that must be the same.
fn compare(trial: &Trial<'_>, other: &crate::Snapshot, law: Law, how: &str) -> Result<(), Broken> {
    let cluster = &trial.cluster;
    for pod in &trial.pods {
        for plugin in trial.filters() {
            let (a, b) = (verdicts(plugin, pod, cluster), verdicts(plugin, pod, other));
            if let Some(what) = difference(&a, &b) {
                return Err(trial.broken(law, plugin.name(), pod, format!("{how}: {what}")));
            }
        }
        for score in trial.scores() {
            let by_name = |cluster: &crate::Snapshot, backwards: bool| {
                let mut nodes: Vec<_> = cluster.nodes().map(|n| n.id()).collect();
                if backwards {
                    nodes.reverse();
                }
                let mut scores = vec![0; nodes.len()];
                let said = guarded(score.plugin.name(), || {
                    let priority = score.plugin.pre_score(pod, cluster, &nodes)?;
                    priority.score_all(cluster, &nodes, &mut scores);
                    priority.normalize(cluster, &nodes, &mut scores);
                    Some(())
                });
                let mut all: Vec<_> =
                    nodes.iter().zip(&scores).map(|(id, s)| (cluster.view(*id).name().clone(), *s)).collect();
                all.sort();
                said.ok().flatten().map(|()| all)
            };
            let (a, b) = (by_name(cluster, false), by_name(other, law == Law::OrderIsIrrelevant));
            if a != b {
                let what = format!("{how}: scores were {a:?}, then {b:?}");
                return Err(trial.broken(law, score.plugin.name(), pod, what));
            }
        }
        if trial.only.is_none() {
            let decide = |cluster| schedule(pod, cluster, trial.profile, trial.seed);
            let (a, b) = (decide(cluster), decide(other));
            if a != b {
                return Err(trial.broken(law, &trial.profile.name, pod, format!("{how}: {a}, then {b}")));
            }
        }
    }
    Ok(())
}

pub(super) fn never_over_commits(trial: &Trial<'_>) -> Result<(), Broken> {
    let mut cluster = trial.cluster.clone();
    for pod in &trial.pods {
        let Some(node) = crate::place(pod, &cluster, trial.profile, trial.seed).node else { continue };
        cluster.put_pod(Arc::new(PodFacts { node: node.clone(), ..pod.clone() }));
        let Some(view) = cluster.node(&node) else {
            let what = format!("placed on {node}, which is not there");
            return Err(trial.broken(Law::NeverOverCommits, &trial.profile.name, pod, what));
        };
        let asked = ["cpu", "memory", "ephemeral-storage"].into_iter();
        let over = asked
            .chain(pod.requests.others.iter().map(|(name, _)| name.as_str()))
            .find(|resource| pod.requests.get(resource) > 0 && view.free(resource) < 0);
        let over = over
            .map(str::to_owned)
            .or_else(|| (view.pod_count() > view.facts().pods).then(|| "number of pods".to_owned()));
        if let Some(over) = over {
            let what = format!("placed on {node}, which has not enough {over}");
            let culprit = trial.only.unwrap_or(&trial.profile.name);
            return Err(trial.broken(Law::NeverOverCommits, culprit, pod, what));
        }
    }
    Ok(())
}
