//! The extension points, one small trait each.
//!
//! Kubernetes' *Filter* plugins are what people call **predicates** (may this pod run on that node?), its *Score*
//! plugins are **priorities** (how well would it run there?). A plugin receives facts and never a handle: what it may
//! look at is in its arguments, so a test or a simulator can give it the same.
//!
//! | point | trait | asked |
//! |---|---|---|
//! | PreEnqueue | [`PreEnqueue`] | before a pod may enter the active queue |
//! | QueueSort | [`QueueSort`] | which of two pods is tried first |
//! | PreFilter | [`PreFilter`] | once a pod: prepares a [`Predicate`] |
//! | Filter | [`Filter`], [`Predicate`] | for each node |
//! | PostFilter | [`PostFilter`] | when no node was left |
//! | PreScore | [`PreScore`] | once a pod: prepares a [`Priority`] |
//! | Score, normalisation | [`Score`], [`Priority`] | for each node that was left, then over all of them |
//! | Reserve, Unreserve | [`Reserve`] | once a node is chosen, and if that comes to nothing |
//! | Permit | [`Permit`] | before binding: go on, wait or give up |
//! | PreBind | [`PreBind`] | what must be written before the binding |
//! | Bind | [`Bind`] | how the pod is bound |
//! | PostBind | [`PostBind`] | tells that it was |
//! | queueing hints | [`QueueingHint`] | whether an event makes a rejected pod worth another try |
//!
//! Start with [`Filter`] and [`Score`]: two methods, one node at a time. What needs work that is the same for all
//! nodes prepares it in [`PreFilter`] or [`PreScore`]; what they return borrows the pod and the snapshot, is typed by
//! the plugin, and is gone after the decision. Both also see all nodes at once, as columns, in
//! [`Predicate::filter_all`] and [`Priority::score_all`], whose defaults call the per-node method.
//!
//! A plugin that panics costs the pod in question its attempt, and nothing else.

use std::borrow::Cow;

use orlop_core::{Name, Timestamp, Write};
use smallvec::SmallVec;

use crate::bitset::NodeSet;
use crate::facts::{NodeFacts, PodFacts};
use crate::plugins::{InterPodAffinity, PodTopologySpread};
use crate::preempt::PostFilterContext;
use crate::snapshot::{NodeId, NodeView, Snapshot};

/// The highest score after normalisation; the lowest is 0.
pub const MAX_SCORE: i64 = 100;

/// Why, in the words that people read: `Insufficient cpu`.
pub type Reason = Cow<'static, str>;

/// How firmly a node is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// Evicting pods may help.
    Unschedulable,
    /// Evicting pods does not help.
    UnschedulableAndUnresolvable,
}

impl Code {
    /// Kubernetes' name of the code.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Unschedulable => "Unschedulable",
            Code::UnschedulableAndUnresolvable => "UnschedulableAndUnresolvable",
        }
    }
}

/// What a predicate says of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The pod may run there.
    Fits,
    /// It may not.
    Refuses(Refusal),
}

/// Why a pod may not run somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// How firmly.
    pub code: Code,
    /// At least one.
    pub reasons: SmallVec<[Reason; 1]>,
}

impl Refusal {
    /// A refusal for one reason.
    pub fn new(code: Code, reason: impl Into<Reason>) -> Refusal {
        Refusal { code, reasons: SmallVec::from_iter([reason.into()]) }
    }
}

impl Verdict {
    /// A refusal that evicting pods may cure.
    pub fn refuse(reason: impl Into<Reason>) -> Verdict {
        Verdict::Refuses(Refusal::new(Code::Unschedulable, reason))
    }

    /// A refusal that evicting pods does not cure.
    pub fn refuse_firmly(reason: impl Into<Reason>) -> Verdict {
        Verdict::Refuses(Refusal::new(Code::UnschedulableAndUnresolvable, reason))
    }

    /// Refuses unless `fits`.
    pub fn fits_or(fits: bool, refusal: impl FnOnce() -> Verdict) -> Verdict {
        if fits { Verdict::Fits } else { refusal() }
    }

    /// Whether the pod may run there.
    pub fn fits(&self) -> bool {
        matches!(self, Verdict::Fits)
    }
}

/// What of the cluster a predicate's answer for one pod and one node may depend on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Depends(u16);

impl Depends {
    /// Nothing but the pod.
    pub const NOTHING: Depends = Depends(0);
    /// The node's name.
    pub const NODE_NAME: Depends = Depends(1);
    /// The node's labels.
    pub const NODE_LABELS: Depends = Depends(1 << 1);
    /// The node's taints.
    pub const NODE_TAINTS: Depends = Depends(1 << 2);
    /// Whether the node is cordoned.
    pub const NODE_CORDON: Depends = Depends(1 << 3);
    /// What pods may have of the node.
    pub const NODE_CAPACITY: Depends = Depends(1 << 4);
    /// The images that the node has.
    pub const NODE_IMAGES: Depends = Depends(1 << 5);
    /// The pods on the node.
    pub const PODS_THERE: Depends = Depends(1 << 6);
    /// The pods on other nodes, and the other nodes themselves.
    pub const ELSEWHERE: Depends = Depends(1 << 7);
    /// Objects that are neither nodes nor pods.
    pub const OTHER_OBJECTS: Depends = Depends(1 << 8);
    /// Anything.
    pub const EVERYTHING: Depends = Depends(u16::MAX);

    /// This and that.
    pub const fn and(self, other: Depends) -> Depends {
        Depends(self.0 | other.0)
    }

    /// Whether all of `other` is among it.
    pub const fn includes(self, other: Depends) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::fmt::Debug for Depends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Depends({:#b})", self.0)
    }
}

/// What a plugin's answers for a node depend on, so that a [`Placer`](crate::Placer) knows which to keep.
///
/// `schedule` asks every plugin about every node, whatever it says here.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Reach<'a> {
    /// On anything.
    Cluster,
    /// On the node, the pods on it, and the pod in question but for its name, UID, times and nomination. A score also
    /// promises that it does not depend on which other nodes were left, and that its normalisation is the one that it
    /// names.
    Node,
    /// As `Node`, and of the pod only on what it asks of a node: its priority, requests, tolerations, node selector and
    /// affinity, host ports, images and device claims. Then pods of many owners share one set of answers.
    Wants,
    /// As `Wants`, and on how many nodes have the pod's images.
    Images,
    /// On the pods in the domains of the node, as InterPodAffinity sees them.
    Affinity(&'a InterPodAffinity),
    /// On the pods in the domains of the node, as PodTopologySpread sees them.
    Spread(&'a PodTopologySpread),
}

/// How a priority normalises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Not at all.
    AsIs,
    /// As [`normalize`] does.
    Highest {
        /// Whether the highest becomes 0.
        reverse: bool,
    },
}

/// A predicate that looks at one node at a time.
///
/// ```
/// use orlop_scheduler::{Filter, NodeView, PodFacts, Verdict};
///
/// /// Keeps databases on nodes with fast disks.
/// struct FastDisk;
///
/// impl Filter for FastDisk {
///     fn name(&self) -> &str {
///         "FastDisk"
///     }
///     fn filter(&self, pod: &PodFacts, node: &NodeView<'_>) -> Verdict {
///         if pod.label("tier") == Some("db") && node.label("disk") != Some("nvme") {
///             return Verdict::refuse_firmly("node(s) had no fast disk");
///         }
///         Verdict::Fits
///     }
/// }
/// ```
///
/// # Guarantees
/// It is asked with the pods that are already on the node in view, those that were placed a moment ago and whose
/// binding is still on its way too. It must answer from its arguments alone.
pub trait Filter: Send + Sync {
    /// The plugin's name, unique in a profile.
    fn name(&self) -> &str;

    /// What its answers depend on. A plugin that says nothing is asked anew for every pod and every node.
    fn reach(&self) -> Reach<'_> {
        Reach::Cluster
    }

    /// May `pod` run on `node`?
    fn filter(&self, pod: &PodFacts, node: &NodeView<'_>) -> Verdict;

    /// What would have to change for `pod` to run on a node that was refused, for people.
    fn remedy(&self, pod: &PodFacts, node: &NodeView<'_>) -> Option<String> {
        let _ = (pod, node);
        None
    }

    /// What the answer may depend on; a promise that `testkit` tries.
    fn depends_on(&self) -> Depends {
        Depends::EVERYTHING
    }

    /// Whether more capacity, and more nodes, never make it refuse a node that it took; a claim that `testkit` tries.
    fn is_monotone(&self) -> bool {
        false
    }
}

/// A predicate that prepares something for each pod.
pub trait PreFilter: Send + Sync {
    /// The plugin's name, unique in a profile.
    fn name(&self) -> &str;

    /// What its answers depend on. A plugin that says nothing is asked anew for every pod and every node.
    fn reach(&self) -> Reach<'_> {
        Reach::Cluster
    }

    /// Prepares for `pod`.
    fn pre_filter<'a>(&'a self, pod: &'a PodFacts, cluster: &'a Snapshot) -> Prepared<'a>;

    /// What would have to change for the pod, of which no node would do, to be taken into consideration, for people.
    fn remedy(&self, pod: &PodFacts, cluster: &Snapshot) -> Option<String> {
        let _ = (pod, cluster);
        None
    }

    /// What the answer may depend on; a promise that `testkit` tries.
    fn depends_on(&self) -> Depends {
        Depends::EVERYTHING
    }

    /// Whether more capacity, and more nodes, never make it refuse a node that it took; a claim that `testkit` tries.
    fn is_monotone(&self) -> bool {
        false
    }
}

/// What preparing a predicate led to.
pub enum Prepared<'a> {
    /// The plugin has nothing to say about this pod.
    Skip,
    /// No node will do.
    Refuse(Refusal),
    /// It will be asked for each node.
    Ready(Box<dyn Predicate + 'a>),
    /// It will be asked for these nodes; no other will do.
    Only(NodeSet, Box<dyn Predicate + 'a>),
}

impl<'a> Prepared<'a> {
    /// It will be asked for each node.
    pub fn ready(predicate: impl Predicate + 'a) -> Prepared<'a> {
        Prepared::Ready(Box::new(predicate))
    }
}

/// A predicate that is prepared for one pod.
pub trait Predicate {
    /// May the pod run on `node`?
    fn filter(&self, node: &NodeView<'_>) -> Verdict;

    /// What would have to change for the pod to run on a node that was refused, for people.
    fn remedy(&self, node: &NodeView<'_>) -> Option<String> {
        let _ = node;
        None
    }

    /// Whether [`Predicate::filter`] would let the pod run on `node`: for predicates whose reasons take a while to write.
    fn fits(&self, node: &NodeView<'_>) -> bool {
        self.filter(node).fits()
    }

    /// Takes the nodes that refuse out of `nodes`. Must agree with [`Predicate::filter`], which is asked for the
    /// reasons when no node is left.
    fn filter_all(&self, cluster: &Snapshot, nodes: &mut NodeSet) {
        nodes.retain(|node| self.filter(&cluster.view(node)).fits());
    }

    /// What was prepared must now hold for a cluster in which `pod` also runs on `node`.
    ///
    /// What can be seen through [`NodeView`] is already so; only state of one's own needs care. Exactly undone by
    /// [`Predicate::remove_pod`].
    fn add_pod(&mut self, pod: &PodFacts, node: &NodeView<'_>) {
        let _ = (pod, node);
    }

    /// What was prepared must now hold for a cluster in which `pod` no longer runs on `node`.
    fn remove_pod(&mut self, pod: &PodFacts, node: &NodeView<'_>) {
        let _ = (pod, node);
    }
}

/// A priority that looks at one node at a time.
pub trait Score: Send + Sync {
    /// The plugin's name, unique in a profile.
    fn name(&self) -> &str;

    /// What its scores depend on. A plugin that says nothing is asked anew for every pod and every node.
    fn reach(&self) -> Reach<'_> {
        Reach::Cluster
    }

    /// What [`Score::normalize`] does; asked of plugins that reach no farther than the node.
    fn scale(&self) -> Scale {
        Scale::AsIs
    }

    /// How well `pod` would run on `node`: 0 to [`MAX_SCORE`], or anything if [`Score::normalize`] maps it there.
    fn score(&self, pod: &PodFacts, node: &NodeView<'_>) -> i64;

    /// Maps the scores of all nodes that were left to 0 to [`MAX_SCORE`].
    fn normalize(&self, scores: &mut [i64]) {
        let _ = scores;
    }
}

/// A priority that prepares something for each pod.
pub trait PreScore: Send + Sync {
    /// The plugin's name, unique in a profile.
    fn name(&self) -> &str;

    /// What its scores depend on. A plugin that says nothing is asked anew for every pod and every node.
    fn reach(&self) -> Reach<'_> {
        Reach::Cluster
    }

    /// What [`Priority::normalize`] does; asked of plugins that reach no farther than the node.
    fn scale(&self) -> Scale {
        Scale::AsIs
    }

    /// Prepares for `pod`, given the nodes that were left; `None`: nothing to say about this pod.
    fn pre_score<'a>(
        &'a self,
        pod: &'a PodFacts,
        cluster: &'a Snapshot,
        nodes: &'a [NodeId],
    ) -> Option<Box<dyn Priority + 'a>>;
}

/// A priority that is prepared for one pod.
pub trait Priority {
    /// How well the pod would run on `node`.
    fn score(&self, node: &NodeView<'_>) -> i64;

    /// Scores all of `nodes` into `scores`, which is as long. Must agree with [`Priority::score`].
    fn score_all(&self, cluster: &Snapshot, nodes: &[NodeId], scores: &mut [i64]) {
        for (node, score) in nodes.iter().zip(scores) {
            *score = self.score(&cluster.view(*node));
        }
    }

    /// Maps the scores to 0 to [`MAX_SCORE`].
    fn normalize(&self, cluster: &Snapshot, nodes: &[NodeId], scores: &mut [i64]) {
        let _ = (cluster, nodes, scores);
    }
}

/// Scales scores so that the highest becomes [`MAX_SCORE`]; `reverse` turns them around, for scores that count what
/// is bad.
pub fn normalize(scores: &mut [i64], reverse: bool) {
    let max = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        *score = if max == 0 { 0 } else { MAX_SCORE * *score / max };
        if reverse {
            *score = MAX_SCORE - *score;
        }
    }
}

/// Asked before a pod may enter the active queue.
pub trait PreEnqueue: Send + Sync {
    /// The plugin's name, unique in a profile.
    fn name(&self) -> &str;

    /// Whether the pod may be tried at all.
    fn pre_enqueue(&self, pod: &PodFacts) -> Verdict;
}

/// Orders the active queue. A profile has exactly one, and all profiles of a scheduler the same.
pub trait QueueSort: Send + Sync {
    /// The plugin's name.
    fn name(&self) -> &str;

    /// The key by which pods are tried: smallest first, then the time at which the pod was queued.
    fn rank(&self, pod: &PodFacts) -> i64;
}

/// Asked when no node was left: a way to make room.
pub trait PostFilter: Send + Sync {
    /// The plugin's name, unique in a profile.
    fn name(&self) -> &str;

    /// Looks for a way to make room.
    fn post_filter(&self, pod: &PodFacts, context: &mut PostFilterContext<'_, '_>) -> PostFiltered;
}

/// What a [`PostFilter`] found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PostFiltered {
    /// The node on which there will be room; `None` if there is no way.
    pub nominated: Option<Name>,
    /// The pods that must go from there.
    pub victims: Vec<orlop_core::Key>,
    /// Whether a node for which the pod was nominated earlier is of no use any more.
    pub give_up_nomination: bool,
    /// What to tell people; becomes part of the decision's message.
    pub message: String,
}

/// Claims what the chosen node offers, and gives it back.
///
/// A plugin that keeps such claims holds them behind a lock of its own: the framework calls it from one thread.
pub trait Reserve: Send + Sync {
    /// The plugin's name, unique in a profile.
    fn name(&self) -> &str;

    /// Claims; a refusal gives up this attempt.
    fn reserve(&self, pod: &PodFacts, node: &NodeView<'_>) -> Verdict;

    /// Gives back. Also called when an earlier plugin's claim failed, so it must bear never having claimed.
    fn unreserve(&self, pod: &PodFacts, node: &str);
}

/// What a [`Permit`] plugin says.
#[derive(Clone, Debug, PartialEq)]
pub enum Permission {
    /// Bind.
    Allow,
    /// Ask again when something has changed, and give up at this moment.
    Wait(Timestamp),
    /// Give up this attempt.
    Deny(Refusal),
}

/// Delays or refuses a binding.
pub trait Permit: Send + Sync {
    /// The plugin's name, unique in a profile.
    fn name(&self) -> &str;

    /// Asked once a node is reserved for `pod`, and again after each change while it says [`Permission::Wait`].
    fn permit(&self, pod: &PodFacts, node: &str, cluster: &Snapshot, now: Timestamp) -> Permission;
}

/// What must be written before the binding.
pub trait PreBind: Send + Sync {
    /// The plugin's name, unique in a profile.
    fn name(&self) -> &str;

    /// The writes, in order.
    fn pre_bind(&self, pod: &PodFacts, node: &str, cluster: &Snapshot) -> Vec<Write>;

    /// Whether what the writes set going has come about, where others have a part in it. Until then, ten minutes at
    /// most, the pod is not bound. Asked only where there was something to write.
    ///
    /// # Errors
    /// Why it will not come about any more: another node is looked for.
    fn is_done(&self, _pod: &PodFacts, _node: &str, _cluster: &Snapshot) -> Result<bool, String> {
        Ok(true)
    }
}

/// Binds a pod to its node.
pub trait Bind: Send + Sync {
    /// The plugin's name, unique in a profile.
    fn name(&self) -> &str;

    /// The write that binds; `None` leaves it to the next plugin.
    fn bind(&self, pod: &PodFacts, node: &str) -> Option<Write>;
}

/// Told when a pod was bound.
pub trait PostBind: Send + Sync {
    /// The plugin's name, unique in a profile.
    fn name(&self) -> &str;

    /// The pod was bound.
    fn post_bind(&self, pod: &PodFacts, node: &str);
}

/// Something that happened in the cluster, as far as it may make a rejected pod fit.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A node came, or changed from what it was.
    Node {
        /// Before.
        old: Option<&'a NodeFacts>,
        /// Now.
        new: &'a NodeFacts,
    },
    /// A bound pod came, or changed from what it was.
    AssignedPod {
        /// Before; `None` also if it was not bound.
        old: Option<&'a PodFacts>,
        /// Now.
        new: &'a PodFacts,
    },
    /// A bound pod went, or a placement came to nothing.
    AssignedPodGone(&'a PodFacts),
    /// The rejected pod itself changed.
    ThisPod {
        /// Before.
        old: &'a PodFacts,
        /// Now.
        new: &'a PodFacts,
    },
    /// An object of another kind came, changed or went.
    Other(&'a orlop_core::Kind),
}

/// Whether another try is worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Try the pod again.
    Queue,
    /// The event changes nothing for the pod.
    Skip,
}

/// Says which events may cure a plugin's rejections. A plugin that says nothing is taken to mean every event.
pub trait QueueingHint: Send + Sync {
    /// The name of the plugin whose rejections are meant.
    fn name(&self) -> &str;

    /// Whether `event` may make `pod` fit.
    fn hint(&self, pod: &PodFacts, event: &Event<'_>) -> Hint;
}
