//! NodePorts: keeps a pod that needs ports of the node itself off nodes where others have them.

use crate::bitset::NodeSet;
use crate::facts::{HostPort, PodFacts};
use crate::framework::{Depends, PreFilter, Predicate, Prepared, Reach, Verdict};
use crate::snapshot::{NodeView, Snapshot};

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct NodePorts;

impl PreFilter for NodePorts {
    fn name(&self) -> &str {
        "NodePorts"
    }

    fn reach(&self) -> Reach<'_> {
        Reach::Wants
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodFacts, _: &'a Snapshot) -> Prepared<'a> {
        if pod.host_ports.is_empty() { Prepared::Skip } else { Prepared::ready(Wanted(&pod.host_ports)) }
    }

    fn depends_on(&self) -> Depends {
        Depends::PODS_THERE
    }

    fn is_monotone(&self) -> bool {
        true
    }
}

struct Wanted<'a>(&'a [HostPort]);

impl Predicate for Wanted<'_> {
    fn filter(&self, node: &NodeView<'_>) -> Verdict {
        let taken =
            node.pods().flat_map(|pod| &pod.host_ports).any(|had| self.0.iter().any(|p| p.conflicts(had)));
        Verdict::fits_or(!taken, || {
            Verdict::refuse("node(s) didn't have free ports for the requested pod ports")
        })
    }

    fn remedy(&self, node: &NodeView<'_>) -> Option<String> {
        let mut taken = Vec::new();
        for port in self.0 {
            let holds = |other: &&PodFacts| other.host_ports.iter().any(|p| p.conflicts(port));
            let said = |other: &PodFacts| format!("port {}/{} is {}'s", port.port, port.protocol, other.key);
            taken.extend(node.pods().filter(holds).map(said));
        }
        taken.sort_unstable();
        Some(taken.join(", "))
    }

    fn filter_all(&self, cluster: &Snapshot, nodes: &mut NodeSet) {
        let some = cluster.columns().with_host_ports();
        nodes.retain(|node| !some.contains(node) || self.filter(&cluster.view(node)).fits());
    }
}
