//! What nodes offer to pods that ask the same of them, whatever these pods have to do with others: [`Ground`].

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustc_hash::FxHasher;

use crate::bitset::NodeSet;
use crate::decision::Fault;
use crate::facts::PodFacts;
use crate::framework::Scale;
use crate::plugins::image_locality::with_tag;
use crate::profile::Profile;
use crate::ring::Ring;
use crate::schedule::{Ready, guarded};
use crate::snapshot::{NodeId, Snapshot};

use super::buckets::{Axes, Buckets};
use super::failing::Failing;
use super::lanes::Start;
use super::local::Local;
use super::totals::Scaled;

/// A node that no such pod may run on, whatever its neighbours.
pub(super) const NOWHERE: u32 = u32::MAX;

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slot {
    pub(super) bucket: u32,
    pub(super) score: i64,
}

impl Slot {
    const NOWHERE: Slot = Slot { bucket: NOWHERE, score: 0 };
}

/// What the plugins that reach no farther than a node say of each, for pods that ask the same: which nodes may be had,
/// in buckets by the labels that matter to such pods' terms and by what is normalised.
pub(super) struct Ground {
    pub(super) sample: Arc<PodFacts>,
    pub(super) starts: Vec<Start>,
    /// One for each ground that was ever built: who refers to its buckets looks whether they are still the same.
    pub(super) stamp: u64,
    /// The touches that it has taken in, and the state of all else that it depends on.
    seen: u64,
    layout: u64,
    images: u64,
    ring: Arc<Ring>,
    pub(super) scaled: Vec<Scaled>,
    slots: Vec<Slot>,
    pub(super) buckets: Buckets,
    pub(super) failing: Option<Failing>,
    /// Nodes that `failing` has not looked at again.
    pub(super) stale: NodeSet,
}

impl Ground {
    /// Asks all plugins about all nodes. `None`: answers for such pods cannot be kept.
    pub(super) fn build(
        sample: Arc<PodFacts>,
        starts: Vec<Start>,
        stamp: u64,
        (cluster, profile): (&Snapshot, &Profile),
        ring: &Arc<Ring>,
    ) -> Result<Option<Ground>, Fault> {
        let pod = sample.clone();
        let Some(mut local) = Local::prepare(&pod, cluster, profile)? else { return Ok(None) };
        let mut nodes = cluster.node_set().clone();
        for Ready { plugin, predicate } in &local.ready {
            guarded(plugin, || predicate.filter_all(cluster, &mut nodes))?;
        }
        for node in cluster.awaited_among(&nodes) {
            if !local.fits_beside(cluster, node)? {
                nodes.remove(node);
            }
        }
        let order: Vec<NodeId> = ring.nodes().iter().copied().filter(|node| nodes.contains(*node)).collect();
        let mut totals = vec![0i64; order.len()];
        let mut scores = vec![0i64; order.len()];
        let (mut scaled, mut raws) = (Vec::new(), Vec::new());
        for weighed in &local.priorities {
            guarded(weighed.name, || weighed.priority.score_all(cluster, &order, &mut scores))?;
            let weight = weighed.weight;
            match weighed.scale {
                Scale::AsIs => {
                    for (total, score) in totals.iter_mut().zip(&scores) {
                        *total = total.saturating_add(score.saturating_mul(weight));
                    }
                }
                scale => {
                    scaled.push(Scaled { weight, scale });
                    raws.push(scores.clone());
                }
            }
        }
        let journal = cluster.journal();
        let mut slots = vec![Slot::NOWHERE; cluster.columns().pod_counts().len()];
        let mut buckets = Buckets::new(ring.len());
        let mut axes = Axes::new();
        let columns: Vec<_> = starts.iter().map(|start| start.column(cluster)).collect();
        for (at, (node, score)) in order.iter().zip(&totals).enumerate() {
            axes.clear();
            axes.extend(starts.iter().zip(&columns).map(|(start, column)| start.place(*column, *node)));
            axes.extend(raws.iter().map(|raw| raw[at]));
            let bucket = buckets.of(&axes);
            buckets.insert(bucket, *score, ring.place(*node));
            slots[node.index()] = Slot { bucket, score: *score };
        }
        Ok(Some(Ground {
            images: images(&sample, cluster),
            sample,
            starts,
            stamp,
            seen: journal.next(),
            layout: journal.layout,
            ring: ring.clone(),
            scaled,
            slots,
            buckets,
            failing: None,
            stale: NodeSet::new(),
        }))
    }

    /// How many nodes it holds answers for.
    pub(super) fn size(&self) -> usize {
        self.slots.len()
    }

    /// Where a node is.
    pub(super) fn slot(&self, node: NodeId) -> Slot {
        self.slots[node.index()]
    }

    /// Takes in what has changed. Answers `false` if it must be built anew.
    pub(super) fn catch_up(&mut self, cluster: &Snapshot, profile: &Profile) -> Result<bool, Fault> {
        let journal = cluster.journal();
        if self.layout != journal.layout || self.buckets.is_sparse() {
            return Ok(false);
        }
        let Some(touches) = journal.since(self.seen) else { return Ok(false) };
        if touches.len() == 0 {
            return Ok(true);
        }
        if touches.len() > self.ring.len() / 2 + 8 || self.images != images(&self.sample, cluster) {
            return Ok(false);
        }
        let mut changed: Vec<NodeId> = touches.map(|touch| touch.node()).collect();
        self.seen = journal.next();
        changed.sort_unstable();
        changed.dedup();
        if self.failing.is_some() {
            changed.iter().for_each(|node| self.stale.insert(*node));
        }
        self.look_again(cluster, profile, &changed)
    }

    fn look_again(&mut self, cluster: &Snapshot, profile: &Profile, nodes: &[NodeId]) -> Result<bool, Fault> {
        let sample = self.sample.clone();
        let Some(mut local) = Local::prepare(&sample, cluster, profile)? else { return Ok(false) };
        let mut axes = Axes::new();
        let columns: Vec<_> = self.starts.iter().map(|start| start.column(cluster)).collect();
        for node in nodes.iter().copied() {
            let place = self.ring.place(node);
            let mut slot = Slot::NOWHERE;
            if local.fits(cluster, node)? {
                axes.clear();
                axes.extend(
                    self.starts.iter().zip(&columns).map(|(start, column)| start.place(*column, node)),
                );
                slot.score = local.score(cluster, node, &mut axes)?;
                if axes.len() != self.starts.len() + self.scaled.len() {
                    return Ok(false);
                }
                slot.bucket = self.buckets.of(&axes);
            }
            let before = std::mem::replace(&mut self.slots[node.index()], slot);
            if before == slot {
                continue;
            }
            if before.bucket != NOWHERE {
                self.buckets.remove(before.bucket, before.score, place);
            }
            if slot.bucket != NOWHERE {
                self.buckets.insert(slot.bucket, slot.score, place);
            }
        }
        Ok(true)
    }
}

/// Changes when one of the pod's images comes to a node or goes.
fn images(pod: &PodFacts, cluster: &Snapshot) -> u64 {
    if !cluster.columns().has_images() {
        return 0;
    }
    let mut hasher = FxHasher::default();
    for image in &pod.images {
        cluster.columns().image(&with_tag(image)).map(|row| row.version).hash(&mut hasher);
    }
    hasher.finish()
}
