//! Why no node takes pods that ask the same, node by node, and on which of them room could be made: [`Failing`].

use crate::decision::{Decision, Fault, Rejection};
use crate::facts::PodFacts;
use crate::plugins::default_preemption::Candidates;
use crate::preempt::Kept;
use crate::profile::Profile;
use crate::schedule::{post_filter, refusal_of};
use crate::snapshot::{Delta, NodeId, Snapshot};

use super::ground::Ground;
use super::local::Local;

const NONE: u32 = u32::MAX;

/// First refusals, each kind once.
#[derive(Default)]
pub(crate) struct Refusals {
    kinds: Vec<(Rejection, usize)>,
    /// By slot: which kind.
    by_node: Vec<u32>,
}

impl Refusals {
    /// Why a node is refused.
    pub(crate) fn of(&self, node: NodeId) -> Option<&Rejection> {
        let kind = *self.by_node.get(node.index())?;
        Some(&self.kinds.get(kind as usize)?.0)
    }

    fn put(&mut self, node: NodeId, rejection: Option<Rejection>) {
        if node.index() >= self.by_node.len() {
            self.by_node.resize(node.index() + 1, NONE);
        }
        let before = self.by_node[node.index()];
        if let Some((_, n)) = self.kinds.get_mut(before as usize) {
            *n -= 1;
        }
        self.by_node[node.index()] = rejection.map_or(NONE, |rejection| {
            let known = self.kinds.iter().position(|(kind, _)| *kind == rejection);
            let kind = known.unwrap_or_else(|| {
                self.kinds.push((rejection, 0));
                self.kinds.len() - 1
            });
            self.kinds[kind].1 += 1;
            kind as u32
        });
    }

    fn tally(&self) -> Vec<(Rejection, usize)> {
        self.kinds.iter().filter(|(_, n)| *n > 0).cloned().collect()
    }
}

/// What is kept of pods that no node takes.
#[derive(Default)]
pub(super) struct Failing {
    refusals: Refusals,
    candidates: Candidates,
}

impl Ground {
    /// Says why no node takes a pod of such a class, and how room could be made. Answers `false` where what is kept does not
    /// tell.
    pub(super) fn fail(
        &mut self,
        pod: &PodFacts,
        cluster: &Snapshot,
        profile: &Profile,
        decision: &mut Decision,
    ) -> Result<bool, Fault> {
        let sample = self.sample.clone();
        let Some(mut local) = Local::prepare(&sample, cluster, profile)? else { return Ok(false) };
        let stale = match &self.failing {
            Some(_) => std::mem::take(&mut self.stale),
            None => cluster.node_set().clone(),
        };
        // Not kept if a plugin panics meanwhile.
        let mut failing = self.failing.take().unwrap_or_default();
        for node in stale.iter() {
            let rejection = refusal_of(&sample, cluster, &mut local.ready, node, Delta::default())?;
            failing.refusals.put(node, rejection);
        }
        // Where room is made for the pod itself, it does not stand in its own way.
        let own = cluster.nomination(&pod.key).and_then(|name| cluster.node(name)).map(|node| node.id());
        let own = match own {
            Some(node) => {
                let rejection = refusal_of(pod, cluster, &mut local.ready, node, Delta::default())?;
                let Some(rejection) = rejection else { return Ok(false) };
                Some((node, rejection))
            }
            None => None,
        };
        decision.tally = match &own {
            Some((node, rejection)) => {
                let before = failing.refusals.of(*node).cloned();
                failing.refusals.put(*node, Some(rejection.clone()));
                let tally = failing.refusals.tally();
                failing.refusals.put(*node, before);
                tally
            }
            None => failing.refusals.tally(),
        };
        if decision.tally.iter().map(|(_, n)| n).sum::<usize>() != cluster.len() {
            return Ok(false);
        }
        let Failing { refusals, candidates } = &mut failing;
        candidates.mark(&stale);
        let kept = Kept { sample: &sample, refusals, candidates, own: own.as_ref() };
        post_filter(pod, cluster, profile, &mut local.ready, decision, Some(kept))?;
        self.failing = Some(failing);
        Ok(true)
    }
}
