//! What a post-filter may look at: [`PostFilterContext`].

use orlop_core::Name;

use crate::decision::{Decision, Fault, Rejection};
use crate::facts::PodFacts;
use crate::framework::Code;
use crate::schedule::{Ready, refusal_of};
use crate::snapshot::{Delta, NodeId, Snapshot};

/// A failed attempt, and the means to try it again in thought.
pub struct PostFilterContext<'s, 'a> {
    pod: &'s PodFacts,
    cluster: &'s Snapshot,
    ready: &'s mut [Ready<'a>],
    decision: &'s Decision,
    fault: Option<Fault>,
}

impl<'s, 'a> PostFilterContext<'s, 'a> {
    pub(crate) fn new(
        pod: &'s PodFacts,
        cluster: &'s Snapshot,
        ready: &'s mut [Ready<'a>],
        decision: &'s Decision,
    ) -> PostFilterContext<'s, 'a> {
        PostFilterContext { pod, cluster, ready, decision, fault: None }
    }

    pub(crate) fn into_fault(self) -> Option<Fault> {
        self.fault
    }

    /// The cluster.
    pub fn cluster(&self) -> &'s Snapshot {
        self.cluster
    }

    /// Why a node was refused; `None` for one that was not looked at.
    pub fn rejection(&self, node: &str) -> Option<&'s Rejection> {
        self.decision.rejected.get(node).or(self.decision.refused.as_ref())
    }

    /// The nodes whose refusal evicting pods may cure, ordered by name.
    pub fn curable(&self) -> Vec<NodeId> {
        let decision = self.decision;
        let curable = |rejection: &Rejection| rejection.refusal.code == Code::Unschedulable;
        if let Some(refused) = &decision.refused {
            return if curable(refused) {
                self.cluster.nodes().map(|n| n.id()).collect()
            } else {
                Vec::new()
            };
        }
        let names = decision.rejected.iter().filter(|(_, r)| curable(r)).map(|(name, _)| name);
        names.filter_map(|name: &Name| Some(self.cluster.node(name)?.id())).collect()
    }

    /// The first predicate that would refuse `node` after `delta`; `None`: the pod would fit.
    pub fn refusal(&mut self, node: NodeId, delta: Delta<'s>) -> Option<Rejection> {
        match refusal_of(self.pod, self.cluster, self.ready, node, delta) {
            Ok(refusal) => refusal,
            Err(fault) => {
                let plugin = fault.plugin.clone();
                let refusal =
                    crate::framework::Refusal::new(Code::UnschedulableAndUnresolvable, fault.to_string());
                self.fault = Some(fault);
                Some(Rejection { plugin, refusal })
            }
        }
    }
}
