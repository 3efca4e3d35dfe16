//! Decisions one after the other, faster: [`Placer`] keeps what it found for pods that are alike, and looks again only
//! at what has changed since.
//!
//! Equal pods get equal answers from every plugin that looks no farther than it says ([`Reach`]). So for pods that ask
//! the same of nodes it keeps a *ground*: which nodes may be had and what each scores, in *buckets* of nodes that only
//! their own scores tell apart. What is normalised, and what pods in a node's domains mean, is the same for all nodes of a
//! bucket, so a decision compares buckets, not nodes.
//!
//! Pods that are alike also in what they have to do with others are a *class*. It knows of its ground's nodes only those
//! that other pods have moved to a bucket of the class's own. So a thousand ReplicaSets with pods of one size share one
//! ground, and a change of a node is looked at once for all of them.

mod alike;
mod buckets;
mod class;
pub(crate) mod failing;
mod ground;
mod kept;
mod lanes;
mod local;
mod totals;

use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::decision::{Decision, Fault};
use crate::facts::PodFacts;
use crate::framework::{Prepared, Reach};
use crate::journal::Identity;
use crate::profile::Profile;
use crate::ring::{Ring, start_of};
use crate::schedule::{Early, fits_on, guarded, place, place_prepared};
use crate::snapshot::Snapshot;

use class::Class;
use ground::Ground;
use kept::Kept;
use local::Local;
use totals::Scratch;

/// So many answers are kept at most, each of one ground for one node.
const ROOM: usize = 8_000_000;
/// The same of classes, each for one node that others have moved.
const ROOM_OF_CLASSES: usize = 8_000_000;
/// So many kinds of pods that came once are remembered at most.
const ONCE: usize = 65_536;

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
    memory: Memory,
}

impl Placer {
    /// A placer under a profile; `seed` breaks ties.
    pub fn new(profile: Profile, seed: u64) -> Placer {
        Placer { memory: Memory::new(&profile, seed), profile }
    }

    /// The profile.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Decides on which node `pod` should run.
    pub fn place(&mut self, pod: &PodFacts, cluster: &Snapshot) -> Decision {
        self.memory.place(pod, cluster, &self.profile)
    }
}

/// What a placer keeps; good for one profile.
pub(crate) struct Memory {
    seed: u64,
    keepable: bool,
    /// Whether grounds may be shared by pods that differ in who they are: no plugin looks at that.
    shares: bool,
    snapshot: Option<Arc<Identity>>,
    ring: Arc<Ring>,
    layout: u64,
    grounds: Kept<Ground>,
    classes: Kept<Class>,
    /// What pods asked for that came once: an answer is kept from the second on.
    once: FxHashSet<u64>,
    stamps: u64,
    scratch: Scratch,
}

impl Memory {
    /// Nothing yet; `seed` breaks ties.
    pub(crate) fn new(profile: &Profile, seed: u64) -> Memory {
        let filters = profile.filters.iter().map(|plugin| plugin.reach());
        let mut reaches = filters.chain(profile.scores.iter().map(|weighted| weighted.plugin.reach()));
        Memory {
            keepable: class::is_keepable(profile),
            shares: !reaches.any(|reach| matches!(reach, Reach::Node)),
            seed,
            snapshot: None,
            ring: Arc::default(),
            layout: 0,
            grounds: Kept::new(ROOM),
            classes: Kept::new(ROOM_OF_CLASSES),
            once: FxHashSet::default(),
            stamps: 0,
            scratch: Scratch::default(),
        }
    }

    /// Decides on which node `pod` should run.
    pub(crate) fn place(&mut self, pod: &PodFacts, cluster: &Snapshot, profile: &Profile) -> Decision {
        if !self.keepable || cluster.is_empty() {
            return place(pod, cluster, profile, self.seed);
        }
        let nothing_to_ask = match ask(profile, pod, cluster) {
            Ok(Some(early)) => return place_prepared(pod, cluster, profile, self.seed, early),
            Ok(None) => true,
            Err(_) => false,
        };
        if nothing_to_ask && let Ok(Some(decision)) = self.answer(pod, (cluster, profile)) {
            return decision;
        }
        // Also after a panic: the same plugin panics again, or the answer is as good as any.
        place(pod, cluster, profile, self.seed)
    }

    /// `None`: what is kept has no answer.
    fn answer(
        &mut self,
        pod: &PodFacts,
        (cluster, profile): (&Snapshot, &Profile),
    ) -> Result<Option<Decision>, Fault> {
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
            match fits_on(pod, cluster, profile, node.id())? {
                None => return Ok(None),
                Some(true) => {
                    decision.node = Some(node.name().clone());
                    return Ok(Some(decision));
                }
                Some(false) => {}
            }
        }
        self.attach(cluster);
        let Some((class, ground)) = self.class(pod, (cluster, profile))? else { return Ok(None) };
        let (Some(class), Some(ground)) = (self.classes.get(class), self.grounds.get_mut(ground)) else {
            return Ok(None);
        };
        let waits = |other: &Arc<PodFacts>| other.priority >= pod.priority && other.key != pod.key;
        if class.has_hard_lanes() && cluster.nominated().any(waits) {
            return Ok(None);
        }
        let start = start_of(self.seed, &pod.uid);
        if let Some(node) = class.choose(ground, &self.ring, start, &mut self.scratch) {
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
        ground.fail(pod, cluster, profile, &mut decision).map(|told| told.then_some(decision))
    }

    /// Forgets what it knows of another snapshot.
    fn attach(&mut self, cluster: &Snapshot) {
        let identity = cluster.journal().identity();
        let same = self.snapshot.as_ref().is_some_and(|known| Arc::ptr_eq(known, identity));
        if !same {
            self.grounds.clear();
            self.classes.clear();
            self.snapshot = Some(identity.clone());
        }
        if !same || self.layout != cluster.journal().layout {
            self.layout = cluster.journal().layout;
            self.ring = Arc::new(Ring::of(cluster));
        }
    }

    /// The class of a pod and its ground, up to date.
    fn class(
        &mut self,
        pod: &PodFacts,
        (cluster, profile): (&Snapshot, &Profile),
    ) -> Result<Option<(usize, usize)>, Fault> {
        let hash = alike::hash(pod);
        let known = self.classes.find(hash, |class| alike::alike(pod, &class.sample));
        let mut sample = None;
        if let Some(id) = known
            && let Some(mut class) = self.classes.take(id)
        {
            let ground = self.ground(&class, (cluster, profile));
            if let Ok(Some(ground)) = ground
                && let Some(kept) = self.grounds.get(ground)
                && class.catch_up(cluster, profile, kept, &self.ring)
            {
                class.ground = Some((ground, kept.stamp));
                self.classes.give_back(id, class.size(), class);
                return Ok(Some((id, ground)));
            }
            self.classes.remove(id);
            ground?;
            sample = Some(class.sample);
        } else if !self.is_worth_it(pod, (cluster, profile))? {
            return Ok(None);
        }
        let sample = sample.unwrap_or_else(|| Arc::new(alike::sample(pod)));
        let mut class = Class::build(sample, cluster, profile);
        let Some(ground) = self.ground(&class, (cluster, profile))? else { return Ok(None) };
        let Some(kept) = self.grounds.get(ground) else { return Ok(None) };
        if !class.catch_up(cluster, profile, kept, &self.ring) {
            return Ok(None);
        }
        class.ground = Some((ground, kept.stamp));
        let id = self.classes.insert(hash, class.size(), class);
        Ok(Some((id, ground)))
    }

    /// Whether to keep answers for a pod whose like has not been seen.
    fn is_worth_it(
        &mut self,
        pod: &PodFacts,
        (cluster, profile): (&Snapshot, &Profile),
    ) -> Result<bool, Fault> {
        let hash = hash_of_ground(pod, self.shares);
        if !self.once.contains(&hash) {
            if self.once.len() >= ONCE {
                self.once.clear();
            }
            self.once.insert(hash);
            return Ok(false);
        }
        Ok(Local::prepare(pod, cluster, profile)?.is_some())
    }

    /// The ground of a class, up to date; `None`: answers for such pods cannot be kept.
    fn ground(
        &mut self,
        class: &Class,
        (cluster, profile): (&Snapshot, &Profile),
    ) -> Result<Option<usize>, Fault> {
        let shares = self.shares;
        let same = |ground: &Ground| {
            let alike = if shares { alike::want_alike } else { alike::alike };
            ground.starts == class.lanes.starts && alike(&class.sample, &ground.sample)
        };
        let of_old = class.ground.filter(|(id, stamp)| {
            self.grounds
                .get(*id)
                .is_some_and(|ground| ground.stamp == *stamp && ground.starts == class.lanes.starts)
        });
        let known = match of_old {
            Some((id, _)) => {
                self.grounds.touch(id);
                Some(id)
            }
            None => self.grounds.find(hash_of_ground(&class.sample, shares), same),
        };
        let mut sample = class.sample.clone();
        if let Some(id) = known
            && let Some(ground) = self.grounds.get_mut(id)
        {
            if let Ok(true) = ground.catch_up(cluster, profile) {
                return Ok(Some(id));
            }
            sample = ground.sample.clone();
            self.grounds.remove(id);
        }
        self.stamps += 1;
        let hash = hash_of_ground(&class.sample, shares);
        let ground =
            Ground::build(sample, class.lanes.starts.clone(), self.stamps, (cluster, profile), &self.ring)?;
        Ok(ground.map(|ground| self.grounds.insert(hash, ground.size(), ground)))
    }
}

fn hash_of_ground(pod: &PodFacts, shares: bool) -> u64 {
    if shares { alike::hash_of_wants(pod) } else { alike::hash(pod) }
}

/// What plugins that are asked anew for every pod have to say about this one, if it is anything.
fn ask<'a>(
    profile: &'a Profile,
    pod: &'a PodFacts,
    cluster: &'a Snapshot,
) -> Result<Option<Early<'a>>, Fault> {
    let mut early = Early::new();
    for (at, plugin) in profile.filters.iter().enumerate() {
        if matches!(plugin.reach(), Reach::Cluster) {
            let prepared = guarded(plugin.name(), || plugin.pre_filter(pod, cluster))?;
            let says_nothing = matches!(prepared, Prepared::Skip);
            early.push((at, prepared));
            if !says_nothing {
                return Ok(Some(early));
            }
        }
    }
    Ok(None)
}

impl std::fmt::Debug for Placer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Placer")
            .field("profile", &self.profile)
            .field("classes", &self.memory.classes.len())
            .field("grounds", &self.memory.grounds.len())
            .finish()
    }
}
