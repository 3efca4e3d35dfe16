//! The answers for pods that are alike, kept up to date: [`Class`].

use std::sync::Arc;

use crate::bitset::NodeSet;
use crate::decision::Fault;
use crate::facts::PodFacts;
use crate::framework::{Reach, Scale};
use crate::journal::Touch;
use crate::plugins::image_locality::with_tag;
use crate::profile::Profile;
use crate::ring::Ring;
use crate::schedule::{Ready, guarded};
use crate::snapshot::{NodeId, Snapshot};

use super::buckets::{Axes, Buckets};
use super::failing::Failing;
use super::lanes::Lanes;
use super::local::Local;
use super::totals::{Scaled, Scratch, choose};

/// A node that no pod of the class may run on, whatever its neighbours.
const NOWHERE: u32 = u32::MAX;
/// More buckets than this, and they are laid out anew, without those that have become empty.
const BUCKETS: usize = 4_096;

/// Where a node is.
#[derive(Clone, Copy)]
struct Slot {
    bucket: u32,
    score: i64,
}

/// The answers for pods that are alike.
pub(super) struct Class {
    pub(super) sample: Arc<PodFacts>,
    pub(super) hash: u64,
    /// When it was last asked.
    pub(super) used: u64,
    /// The touches that it has taken in, and the state of all else that it depends on.
    seen: u64,
    layout: u64,
    selectors: u64,
    images: u64,
    ring: Arc<Ring>,
    lanes: Lanes,
    scaled: Vec<Scaled>,
    slots: Vec<Slot>,
    buckets: Buckets,
    pub(super) failing: Option<Failing>,
    /// Nodes that `failing` has not looked at again.
    pub(super) stale: NodeSet,
}

impl Class {
    /// Asks all plugins about all nodes. `None`: answers for such pods cannot be kept.
    pub(super) fn build(
        sample: Arc<PodFacts>,
        hash: u64,
        cluster: &Snapshot,
        profile: &Profile,
        ring: &Arc<Ring>,
    ) -> Result<Option<Class>, Fault> {
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
        let lanes = Lanes::build(&pod, cluster, profile, scaled.len());
        let journal = cluster.journal();
        let mut class = Class {
            sample,
            hash,
            used: 0,
            seen: journal.next(),
            layout: journal.layout,
            selectors: journal.selectors,
            images: images(&pod, cluster),
            ring: ring.clone(),
            lanes,
            scaled,
            slots: vec![Slot { bucket: NOWHERE, score: 0 }; cluster.columns().pod_counts().len()],
            buckets: Buckets::new(ring.len()),
            failing: None,
            stale: NodeSet::new(),
        };
        let mut axes = Axes::new();
        let columns = class.lanes.columns(cluster);
        for (at, (node, score)) in order.iter().zip(&totals).enumerate() {
            axes.clear();
            axes.extend(raws.iter().map(|raw| raw[at]));
            class.lanes.add_places(&columns, *node, &mut axes);
            let bucket = class.buckets.of(&axes);
            class.buckets.insert(bucket, *score, ring.place(*node));
            class.slots[node.index()] = Slot { bucket, score: *score };
        }
        Ok(Some(class))
    }

    /// Whether being near or apart from other pods, or spread among them, may rule nodes out.
    pub(super) fn has_hard_lanes(&self) -> bool {
        self.lanes.all.iter().any(|lane| lane.is_hard())
    }

    /// How many nodes it holds answers for.
    pub(super) fn size(&self) -> usize {
        self.slots.len()
    }

    /// Takes in what has changed. Answers `false` if it must be built anew.
    pub(super) fn catch_up(&mut self, cluster: &Snapshot, profile: &Profile) -> Result<bool, Fault> {
        let journal = cluster.journal();
        if self.layout != journal.layout || self.buckets.rows().len() > BUCKETS {
            return Ok(false);
        }
        if self.selectors != journal.selectors {
            if !self.lanes.still_hold(&self.sample, cluster, profile) {
                return Ok(false);
            }
            self.selectors = journal.selectors;
        }
        let Some(touches) = journal.since(self.seen) else { return Ok(false) };
        if touches.len() == 0 {
            return Ok(true);
        }
        if touches.len() > self.ring.len() / 2 + 8 || self.images != images(&self.sample, cluster) {
            return Ok(false);
        }
        let mut changed = Vec::with_capacity(touches.len());
        for touch in touches {
            changed.push(touch.node());
            if let Touch::Pod { node, crowd, by } = touch
                && !self.lanes.count(&self.sample, cluster, (node, crowd, by.into()), &mut changed)
            {
                return Ok(false);
            }
        }
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
        let columns = self.lanes.columns(cluster);
        for node in nodes.iter().copied() {
            let place = self.ring.place(node);
            let mut slot = Slot { bucket: NOWHERE, score: 0 };
            if local.fits(cluster, node)? {
                axes.clear();
                slot.score = local.score(cluster, node, &mut axes)?;
                if axes.len() != self.scaled.len() {
                    return Ok(false);
                }
                self.lanes.add_places(&columns, node, &mut axes);
                slot.bucket = self.buckets.of(&axes);
            }
            let before = std::mem::replace(&mut self.slots[node.index()], slot);
            if (before.bucket, before.score) == (slot.bucket, slot.score) {
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

    /// The best node for a pod that starts at a point of the ring.
    pub(super) fn choose(&self, start: u64, scratch: &mut Scratch) -> Option<NodeId> {
        let start = self.ring.first_from(start);
        let place = choose(&self.buckets, &self.scaled, &self.lanes, &self.ring, start, scratch)?;
        Some(self.ring.node(place))
    }
}

/// Changes when one of the pod's images comes to a node or goes.
fn images(pod: &PodFacts, cluster: &Snapshot) -> u64 {
    let rows = pod.images.iter().filter_map(|image| cluster.columns().image(&with_tag(image)));
    rows.map(|row| row.version).sum()
}

/// Whether answers can be kept under a profile: every priority says how far it reaches, and those that count pods in
/// domains are there once.
pub(super) fn is_keepable(profile: &Profile) -> bool {
    let scores = || profile.scores.iter().map(|weighted| weighted.plugin.reach());
    let filters = || profile.filters.iter().map(|plugin| plugin.reach());
    let once = |n: usize| n <= 1;
    profile.sample_percent == 100
        && !scores().any(|reach| matches!(reach, Reach::Cluster))
        && once(scores().filter(|r| matches!(r, Reach::Affinity(_))).count())
        && once(scores().filter(|r| matches!(r, Reach::Spread(_))).count())
        && once(filters().filter(|r| matches!(r, Reach::Affinity(_))).count())
        && once(filters().filter(|r| matches!(r, Reach::Spread(_))).count())
}
