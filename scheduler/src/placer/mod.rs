//! Decisions one after the other, faster: [`Placer`] keeps what it found for pods that are alike, and looks again only
//! at what has changed since.
//!
//! Equal pods get equal answers from every plugin that looks no farther than it says ([`Reach`]). So for each *class* of
//! pods it keeps which nodes may be had and what each scores, in *buckets* of nodes that only their own scores tell
//! apart: what is normalised, and what pods in a node's domains mean, is the same for all nodes of a bucket. A decision
//! then compares buckets, not nodes.

mod alike;
mod buckets;
mod class;
pub(crate) mod failing;
mod lanes;
mod local;
mod totals;

use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::decision::{Decision, Fault};
use crate::facts::PodFacts;
use crate::framework::{Prepared, Reach};
use crate::journal::Identity;
use crate::profile::Profile;
use crate::ring::{Ring, start_of};
use crate::schedule::{fits_on, guarded, place};
use crate::snapshot::Snapshot;

use class::Class;
use totals::Scratch;

/// So many answers are kept at most, each of one class for one node.
const ROOM: usize = 8_000_000;

/// Decides for one pod after the other under one profile.
///
/// ```
/// use orlop_scheduler::{Change, NodeFacts, PodFacts, Placer, Profile, Snapshot};
/// use serde_json::json;
///
/// let mut cluster = Snapshot::new();
/// cluster.apply(Change::Node(NodeFacts::from_json(&json!({
///     "metadata": {"name": "a"}, "status": {"allocatable": {"cpu": "1", "pods": "110"}},
/// }))?));
/// let mut placer = Placer::new(Profile::default(), 7);
/// let mut placed = 0;
/// for n in 0..5 {
///     let mut pod = PodFacts::from_json(&json!({
///         "metadata": {"name": format!("p{n}"), "namespace": "default"},
///         "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "300m"}}}]},
///     }))?;
///     if let Some(node) = placer.place(&pod, &cluster).node {
///         pod.node = node;
///         cluster.apply(Change::Pod(pod));
///         placed += 1;
///     }
/// }
/// assert_eq!(placed, 3);
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// # Guarantees
/// It decides as [`place`] does, whatever it was asked before and whichever snapshot it is given; where no node is found,
/// it may tell how many were refused for which reason instead of telling for each node.
pub struct Placer {
    profile: Profile,
    seed: u64,
    keepable: bool,
    snapshot: Option<Arc<Identity>>,
    ring: Arc<Ring>,
    layout: u64,
    classes: Vec<Option<Class>>,
    free: Vec<usize>,
    by_hash: FxHashMap<u64, SmallVec<[usize; 1]>>,
    held: usize,
    asked: u64,
    scratch: Scratch,
}

impl Placer {
    /// A placer under a profile; `seed` breaks ties.
    pub fn new(profile: Profile, seed: u64) -> Placer {
        Placer {
            keepable: class::is_keepable(&profile),
            profile,
            seed,
            snapshot: None,
            ring: Arc::default(),
            layout: 0,
            classes: Vec::new(),
            free: Vec::new(),
            by_hash: FxHashMap::default(),
            held: 0,
            asked: 0,
            scratch: Scratch::default(),
        }
    }

    /// The profile.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Decides on which node `pod` should run.
    pub fn place(&mut self, pod: &PodFacts, cluster: &Snapshot) -> Decision {
        if self.keepable
            && !cluster.is_empty()
            && let Ok(Some(decision)) = self.answer(pod, cluster)
        {
            return decision;
        }
        // Also after a panic: the same plugin panics again, or the answer is as good as any.
        place(pod, cluster, &self.profile, self.seed)
    }

    /// `None`: what is kept has no answer.
    fn answer(&mut self, pod: &PodFacts, cluster: &Snapshot) -> Result<Option<Decision>, Fault> {
        if self.needs_asking(pod, cluster)? {
            return Ok(None);
        }
        let mut decision = Decision {
            pod: pod.key.clone(),
            uid: pod.uid.clone(),
            nodes: cluster.len(),
            ..Decision::default()
        };
        let nomination = cluster.nomination(&pod.key);
        if nomination.is_some_and(|node| *node != pod.nominated) {
            return Ok(None);
        }
        let nominated = !pod.nominated.is_empty();
        if nominated && let Some(node) = cluster.node(&pod.nominated) {
            match fits_on(pod, cluster, &self.profile, node.id())? {
                None => return Ok(None),
                Some(true) => {
                    decision.node = Some(node.name().clone());
                    return Ok(Some(decision));
                }
                Some(false) => {}
            }
        }
        self.attach(cluster);
        let Some(id) = self.class(pod, cluster)? else { return Ok(None) };
        let Some(class) = &mut self.classes[id] else { return Ok(None) };
        let waits = |other: &Arc<PodFacts>| other.priority >= pod.priority && other.key != pod.key;
        if class.has_hard_lanes() && cluster.nominated().any(waits) {
            return Ok(None);
        }
        if let Some(node) = class.choose(start_of(self.seed, &pod.uid), &mut self.scratch) {
            let node = cluster.view(node).name();
            if nomination == Some(node) {
                return Ok(None);
            }
            decision.node = Some(node.clone());
            return Ok(Some(decision));
        }
        if class.has_hard_lanes() {
            return Ok(None);
        }
        class.fail(pod, cluster, &self.profile, &mut decision).map(|told| told.then_some(decision))
    }

    /// Whether a plugin that is asked anew for every pod has something to say about this one.
    fn needs_asking(&self, pod: &PodFacts, cluster: &Snapshot) -> Result<bool, Fault> {
        for plugin in self.profile.filters.iter().filter(|p| matches!(p.reach(), Reach::Cluster)) {
            if !matches!(guarded(plugin.name(), || plugin.pre_filter(pod, cluster))?, Prepared::Skip) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Forgets what it knows of another snapshot.
    fn attach(&mut self, cluster: &Snapshot) {
        let identity = cluster.journal().identity();
        let same = self.snapshot.as_ref().is_some_and(|known| Arc::ptr_eq(known, identity));
        if !same {
            self.classes.clear();
            self.free.clear();
            self.by_hash.clear();
            self.held = 0;
            self.snapshot = Some(identity.clone());
        }
        if !same || self.layout != cluster.journal().layout {
            self.layout = cluster.journal().layout;
            self.ring = Arc::new(Ring::of(cluster));
        }
    }

    /// The class of a pod, up to date.
    fn class(&mut self, pod: &PodFacts, cluster: &Snapshot) -> Result<Option<usize>, Fault> {
        self.asked += 1;
        let hash = alike::hash(pod);
        let known = self.by_hash.get(&hash).into_iter().flatten().copied();
        let is_of =
            |id: &usize| self.classes[*id].as_ref().is_some_and(|class| alike::alike(pod, &class.sample));
        let known = known.into_iter().find(is_of);
        let mut sample = None;
        if let Some(id) = known
            && let Some(class) = &mut self.classes[id]
        {
            class.used = self.asked;
            if let Ok(true) = class.catch_up(cluster, &self.profile) {
                return Ok(Some(id));
            }
            sample = Some(class.sample.clone());
            self.drop_class(id);
        }
        let sample = sample.unwrap_or_else(|| Arc::new(alike::sample(pod)));
        let Some(mut class) = Class::build(sample, hash, cluster, &self.profile, &self.ring)? else {
            return Ok(None);
        };
        class.used = self.asked;
        self.make_room(class.size());
        self.held += class.size();
        let id = self.free.pop().unwrap_or_else(|| {
            self.classes.push(None);
            self.classes.len() - 1
        });
        self.classes[id] = Some(class);
        self.by_hash.entry(hash).or_default().push(id);
        Ok(Some(id))
    }

    fn drop_class(&mut self, id: usize) {
        let Some(class) = self.classes[id].take() else { return };
        self.held -= class.size();
        self.free.push(id);
        if let Some(alike) = self.by_hash.get_mut(&class.hash) {
            alike.retain(|other| *other != id);
            if alike.is_empty() {
                self.by_hash.remove(&class.hash);
            }
        }
    }

    /// Forgets the older half of the classes when there is no room for another.
    fn make_room(&mut self, size: usize) {
        if self.held + size <= ROOM {
            return;
        }
        let mut ages: Vec<(u64, usize)> = Vec::new();
        for (id, class) in self.classes.iter().enumerate() {
            ages.extend(class.as_ref().map(|class| (class.used, id)));
        }
        ages.sort_unstable();
        for (_, id) in ages.iter().take(ages.len().div_ceil(2)) {
            self.drop_class(*id);
        }
    }
}

impl std::fmt::Debug for Placer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let classes = self.classes.iter().flatten().count();
        f.debug_struct("Placer").field("profile", &self.profile).field("classes", &classes).finish()
    }
}
