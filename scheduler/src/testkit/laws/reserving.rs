//! The law of claims: reserving and taking it back leaves no trace.

use std::sync::Arc;

use super::{Broken, Law, Trial, difference, filters, verdicts};
use crate::change::Change;
use crate::facts::PodFacts;
use crate::schedule::guarded;

pub(super) fn leaves_no_trace(trial: &Trial<'_>) -> Result<(), Broken> {
    let mut cluster = trial.cluster.clone();
    for pod in &trial.pods {
        filters::undone(trial, pod, &cluster)?;
        let before: Vec<_> = trial.filters().map(|p| verdicts(p, pod, &cluster)).collect();
        let nodes: Vec<_> = cluster.nodes().map(|n| n.name().clone()).collect();
        for plugin in trial.profile.reserve.iter().filter(|p| trial.meant(p.name())) {
            for node in &nodes {
                let Some(view) = cluster.node(node) else { continue };
                let twice = guarded(plugin.name(), || {
                    // Taking back what was never claimed must be borne.
                    plugin.unreserve(pod, node);
                    let first = plugin.reserve(pod, &view);
                    plugin.unreserve(pod, node);
                    let second = plugin.reserve(pod, &view);
                    plugin.unreserve(pod, node);
                    (first, second)
                });
                let what = match twice {
                    Ok((first, second)) if first == second => continue,
                    Ok((first, second)) => format!("node {node}: first {first:?}, then {second:?}"),
                    Err(fault) => fault.to_string(),
                };
                return Err(trial.broken(Law::LeavesNoTrace, plugin.name(), pod, what));
            }
        }
        // A placement that came to nothing.
        for node in &nodes {
            cluster.put_pod(Arc::new(PodFacts { node: node.clone(), ..pod.clone() }));
            cluster.apply(Change::PodGone(pod.key.clone()));
        }
        for (plugin, before) in trial.filters().zip(&before) {
            if let Some(what) = difference(before, &verdicts(plugin, pod, &cluster)) {
                return Err(trial.broken(Law::LeavesNoTrace, plugin.name(), pod, what));
            }
        }
    }
    Ok(())
}
