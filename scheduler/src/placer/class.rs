//! Pods that are alike, and where others keep them from or draw them to, kept up to date: [`Class`].

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::facts::PodFacts;
use crate::framework::Reach;
use crate::journal::Touch;
use crate::profile::Profile;
use crate::ring::{PlaceBits, Ring};
use crate::snapshot::{NodeId, Snapshot};

use super::buckets::{Axes, Buckets};
use super::ground::{Ground, NOWHERE, Slot};
use super::lanes::Lanes;
use super::totals::{Scratch, choose};

/// Pods that are alike: a ground that they share with others who ask the same of nodes, and what is different for them.
pub(super) struct Class {
    pub(super) sample: Arc<PodFacts>,
    /// The touches that it has taken in, and the state of all else that it depends on.
    seen: u64,
    layout: u64,
    terms: u64,
    selectors: u64,
    pub(super) lanes: Lanes,
    /// The ground, and its stamp.
    pub(super) ground: Option<(usize, u64)>,
    pub(super) moved: Moved,
}

/// The nodes that are elsewhere for a class than where its ground has them, because of pods near them.
#[derive(Default)]
pub(super) struct Moved {
    /// Where they were in the ground, and in which bucket of `buckets` they are.
    nodes: FxHashMap<NodeId, (Slot, u32)>,
    pub(super) out: PlaceBits,
    /// How many are missing in the ground, by bucket and score.
    gone: FxHashMap<(u32, i64), u32>,
    /// The same by bucket.
    gone_from: FxHashMap<u32, u32>,
    pub(super) buckets: Buckets,
}

impl Moved {
    fn new(bound: usize) -> Moved {
        Moved { buckets: Buckets::new(bound), ..Moved::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) fn gone(&self, bucket: u32, score: i64) -> u32 {
        self.gone.get(&(bucket, score)).copied().unwrap_or(0)
    }

    pub(super) fn gone_from(&self, bucket: u32) -> u32 {
        self.gone_from.get(&bucket).copied().unwrap_or(0)
    }

    fn take_back(&mut self, node: NodeId, place: u32) {
        let Some((from, bucket)) = self.nodes.remove(&node) else { return };
        self.out.set(place, false);
        if from.bucket == NOWHERE {
            return;
        }
        self.buckets.remove(bucket, from.score, place);
        let less = |n: &mut u32| {
            *n -= 1;
            *n == 0
        };
        if self.gone.get_mut(&(from.bucket, from.score)).is_some_and(less) {
            self.gone.remove(&(from.bucket, from.score));
        }
        if self.gone_from.get_mut(&from.bucket).is_some_and(less) {
            self.gone_from.remove(&from.bucket);
        }
    }

    fn put(&mut self, node: NodeId, place: u32, from: Slot, axes: &Axes) {
        let mut bucket = NOWHERE;
        if from.bucket != NOWHERE {
            bucket = self.buckets.of(axes);
            self.buckets.insert(bucket, from.score, place);
            *self.gone.entry((from.bucket, from.score)).or_default() += 1;
            *self.gone_from.entry(from.bucket).or_default() += 1;
        }
        self.out.set(place, true);
        self.nodes.insert(node, (from, bucket));
    }
}

impl Class {
    /// Looks at all pods that are there; `ground` is the next to be asked for.
    pub(super) fn build(sample: Arc<PodFacts>, cluster: &Snapshot, profile: &Profile) -> Class {
        let (lanes, moved) = Lanes::build(&sample, cluster, profile);
        let journal = cluster.journal();
        let mut class = Class {
            sample,
            seen: journal.next(),
            layout: journal.layout,
            terms: journal.terms,
            selectors: journal.selectors,
            lanes,
            ground: None,
            moved: Moved::new(cluster.len()),
        };
        for node in moved {
            // Where it is shows once there is a ground.
            class.moved.nodes.insert(node, (Slot { bucket: NOWHERE, score: 0 }, NOWHERE));
        }
        class
    }

    /// Whether being near or apart from other pods, or spread among them, may rule nodes out.
    pub(super) fn has_hard_lanes(&self) -> bool {
        self.lanes.all.iter().any(|lane| lane.is_hard())
    }

    /// How much it holds.
    pub(super) fn size(&self) -> usize {
        64 + self.moved.nodes.len()
    }

    /// Takes in what has changed, given the ground as it is now. Answers `false` if it must be built anew.
    pub(super) fn catch_up(
        &mut self,
        cluster: &Snapshot,
        profile: &Profile,
        ground: &Ground,
        ring: &Ring,
    ) -> bool {
        if self.moved.buckets.is_sparse() {
            self.moved = Moved { nodes: std::mem::take(&mut self.moved.nodes), ..Moved::new(ring.len()) };
            self.ground = None;
        }
        let mut changed = Vec::new();
        if !self.read_journal(cluster, profile, &mut changed) {
            return false;
        }
        if self.ground.is_none_or(|(_, stamp)| stamp != ground.stamp) {
            // The buckets of another ground mean nothing in this one.
            changed = self.moved.nodes.keys().copied().chain(changed).collect();
            self.moved = Moved::new(ring.len());
        }
        changed.sort_unstable();
        changed.dedup();
        let columns = self.lanes.columns(cluster);
        let mut axes = Axes::new();
        for node in changed {
            let (place, slot) = (ring.place(node), ground.slot(node));
            self.moved.take_back(node, place);
            axes.clear();
            match slot.bucket {
                NOWHERE => axes.resize(self.lanes.starts.len(), 0),
                bucket => axes.extend_from_slice(&ground.buckets.get(bucket).axes),
            }
            if self.lanes.settle(&columns, node, &mut axes) {
                self.moved.put(node, place, slot, &axes);
            }
        }
        true
    }

    /// Lets the lanes know of pods that came and went; `changed` gets the nodes that may have moved.
    fn read_journal(&mut self, cluster: &Snapshot, profile: &Profile, changed: &mut Vec<NodeId>) -> bool {
        let journal = cluster.journal();
        if self.layout != journal.layout || self.terms != journal.terms {
            return false;
        }
        if self.selectors != journal.selectors {
            if !self.lanes.still_hold(&self.sample, cluster, profile) {
                return false;
            }
            self.selectors = journal.selectors;
        }
        let Some(touches) = journal.since(self.seen) else { return false };
        for touch in touches {
            if self.moved.nodes.contains_key(&touch.node()) {
                changed.push(touch.node());
            }
            if let Touch::Pod { node, crowd, by } = touch
                && !self.lanes.count(&self.sample, cluster, (node, crowd, by.into()), changed)
            {
                return false;
            }
        }
        self.seen = journal.next();
        true
    }

    /// The best node for a pod that starts at a point of the ring.
    pub(super) fn choose(
        &self,
        ground: &Ground,
        ring: &Ring,
        start: u64,
        scratch: &mut Scratch,
    ) -> Option<NodeId> {
        let start = ring.first_from(start);
        let place = choose(ground, self, ring, start, scratch)?;
        Some(ring.node(place))
    }
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
