//! Which plugins decide, in which order and with what weight: [`Profile`].

use orlop_core::Name;

use crate::facts::PodFacts;
use crate::framework::{
    Bind, Depends, Filter, Permit, PostBind, PostFilter, PreBind, PreEnqueue, PreFilter, PreScore, Predicate,
    Prepared, Priority, QueueSort, QueueingHint, Reach, Reserve, Scale, Score, Verdict,
};
use crate::plugins;
use crate::snapshot::{NodeId, NodeView, Snapshot};

/// The plugins that decide for the pods which name this profile in `spec.schedulerName`.
///
/// ```
/// use orlop_scheduler::{Filter, NodeView, PodFacts, Profile, Verdict};
///
/// struct Never;
/// impl Filter for Never {
///     fn name(&self) -> &str {
///         "Never"
///     }
///     fn filter(&self, _: &PodFacts, _: &NodeView<'_>) -> Verdict {
///         Verdict::refuse_firmly("node(s) may have no pods")
///     }
/// }
///
/// let profile = Profile::default().filter(Never).without("NodePorts");
/// assert_eq!(profile.filters().last(), Some("Never"));
/// ```
pub struct Profile {
    pub(crate) name: Name,
    pub(crate) sample_percent: u32,
    pub(crate) pre_enqueue: Vec<Box<dyn PreEnqueue>>,
    pub(crate) queue_sort: Box<dyn QueueSort>,
    pub(crate) filters: Vec<Box<dyn PreFilter>>,
    pub(crate) post_filters: Vec<Box<dyn PostFilter>>,
    pub(crate) scores: Vec<Weighted>,
    pub(crate) reserve: Vec<Box<dyn Reserve>>,
    pub(crate) permit: Vec<Box<dyn Permit>>,
    pub(crate) pre_bind: Vec<Box<dyn PreBind>>,
    pub(crate) bind: Vec<Box<dyn Bind>>,
    pub(crate) post_bind: Vec<Box<dyn PostBind>>,
    pub(crate) hints: Vec<Box<dyn QueueingHint>>,
    /// Whether pods of a group are placed together.
    pub(crate) gangs: bool,
}

/// A priority and what a point of it is worth.
pub(crate) struct Weighted {
    pub(crate) plugin: Box<dyn PreScore>,
    pub(crate) weight: i64,
}

impl Default for Profile {
    /// Kubernetes' default profile, named `default-scheduler`; the predicates of volumes are added by
    /// [`Profile::with_volumes`].
    fn default() -> Profile {
        plugins::default_profile()
    }
}

impl Profile {
    /// The name of the default profile.
    pub const DEFAULT: &'static str = "default-scheduler";

    /// A profile that takes every node for every pod, first come first served.
    pub fn empty(name: impl Into<Name>) -> Profile {
        Profile {
            name: name.into(),
            sample_percent: 100,
            pre_enqueue: Vec::new(),
            queue_sort: Box::new(plugins::PrioritySort),
            filters: Vec::new(),
            post_filters: Vec::new(),
            scores: Vec::new(),
            reserve: Vec::new(),
            permit: Vec::new(),
            pre_bind: Vec::new(),
            bind: vec![Box::new(plugins::DefaultBinder)],
            post_bind: Vec::new(),
            hints: Vec::new(),
            gangs: false,
        }
    }

    /// This, and Kubernetes' predicates of volumes: VolumeRestrictions, NodeVolumeLimits, VolumeBinding and
    /// VolumeZone.
    ///
    /// For clusters in which somebody binds claims: a pod whose claim is to be bound at once stays pending until it is.
    pub fn with_volumes(mut self) -> Profile {
        plugins::add_volumes(&mut self);
        self
    }

    /// This, with pods of a `PodGroup` placed together or not at all, as Kubernetes' plugin GangScheduling has it.
    ///
    /// For clusters whose API serves `podgroups.scheduling.k8s.io` in version `v1alpha2`.
    pub fn with_gangs(mut self) -> Profile {
        self.gangs = true;
        self.hints.extend(plugins::hint_of("GangScheduling"));
        self
    }

    /// Whether it has [`Profile::with_gangs`].
    pub fn schedules_gangs(&self) -> bool {
        self.gangs
    }

    /// What pods name in `spec.schedulerName`.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// This, under another name.
    pub fn named(mut self, name: impl Into<Name>) -> Profile {
        self.name = name.into();
        self
    }

    /// This, and a predicate after those that are there.
    pub fn filter(self, plugin: impl Filter + 'static) -> Profile {
        self.pre_filter(PerNode(plugin))
    }

    /// This, and a predicate that prepares something for each pod.
    pub fn pre_filter(mut self, plugin: impl PreFilter + 'static) -> Profile {
        self.filters.push(Box::new(plugin));
        self
    }

    /// This, and a priority.
    pub fn score(self, plugin: impl Score + 'static, weight: i64) -> Profile {
        self.pre_score(PerNode(plugin), weight)
    }

    /// This, and a priority that prepares something for each pod.
    pub fn pre_score(mut self, plugin: impl PreScore + 'static, weight: i64) -> Profile {
        self.scores.push(Weighted { plugin: Box::new(plugin), weight });
        self
    }

    /// This, and something that holds pods back.
    pub fn pre_enqueue(mut self, plugin: impl PreEnqueue + 'static) -> Profile {
        self.pre_enqueue.push(Box::new(plugin));
        self
    }

    /// This, with another order of the queue.
    pub fn queue_sort(mut self, plugin: impl QueueSort + 'static) -> Profile {
        self.queue_sort = Box::new(plugin);
        self
    }

    /// This, and a way to make room; the first that finds one is taken.
    pub fn post_filter(mut self, plugin: impl PostFilter + 'static) -> Profile {
        self.post_filters.push(Box::new(plugin));
        self
    }

    /// This, and something that is claimed of the chosen node.
    pub fn reserve(mut self, plugin: impl Reserve + 'static) -> Profile {
        self.reserve.push(Box::new(plugin));
        self
    }

    /// This, and something that may delay the binding.
    pub fn permit(mut self, plugin: impl Permit + 'static) -> Profile {
        self.permit.push(Box::new(plugin));
        self
    }

    /// This, and something that is written before the binding.
    pub fn pre_bind(mut self, plugin: impl PreBind + 'static) -> Profile {
        self.pre_bind.push(Box::new(plugin));
        self
    }

    /// This, and a way to bind, before those that are there.
    pub fn bind(mut self, plugin: impl Bind + 'static) -> Profile {
        self.bind.insert(0, Box::new(plugin));
        self
    }

    /// This, and someone who is told of bindings.
    pub fn post_bind(mut self, plugin: impl PostBind + 'static) -> Profile {
        self.post_bind.push(Box::new(plugin));
        self
    }

    /// This, and someone who knows which events cure a plugin's rejections.
    pub fn hint(mut self, plugin: impl QueueingHint + 'static) -> Profile {
        self.hints.push(Box::new(plugin));
        self
    }

    /// This, without the plugin of that name at any point.
    pub fn without(mut self, name: &str) -> Profile {
        self.pre_enqueue.retain(|p| p.name() != name);
        self.filters.retain(|p| p.name() != name);
        self.post_filters.retain(|p| p.name() != name);
        self.scores.retain(|p| p.plugin.name() != name);
        self.reserve.retain(|p| p.name() != name);
        self.permit.retain(|p| p.name() != name);
        self.pre_bind.retain(|p| p.name() != name);
        self.bind.retain(|p| p.name() != name);
        self.post_bind.retain(|p| p.name() != name);
        self.hints.retain(|p| p.name() != name);
        self
    }

    /// This, scoring only so many of a hundred nodes: `percentageOfNodesToScore`.
    ///
    /// Kubernetes' rule: never fewer than 100 nodes, and 0 means 50 of a hundred in a small cluster down to 5 in a large
    /// one. Here all are scored unless told otherwise, which places better and is no slower.
    pub fn score_percent(mut self, percent: u32) -> Profile {
        self.sample_percent = percent.min(100);
        self
    }

    /// How many nodes are scored in a cluster of so many.
    pub(crate) fn nodes_to_score(&self, nodes: usize) -> usize {
        const LEAST: usize = 100;
        if nodes < LEAST || self.sample_percent == 100 {
            return nodes;
        }
        let percent = match self.sample_percent {
            0 => 50usize.saturating_sub(nodes / 125).max(5),
            percent => percent as usize,
        };
        (nodes * percent / 100).max(LEAST)
    }

    /// The predicates' names, in order.
    pub fn filters(&self) -> impl Iterator<Item = &str> {
        self.filters.iter().map(|p| p.name())
    }

    /// The predicates themselves, in order: to bench or to test one.
    pub fn filter_plugins(&self) -> impl Iterator<Item = &dyn PreFilter> {
        self.filters.iter().map(|p| &**p)
    }

    /// The priorities themselves with their weights, in order.
    pub fn score_plugins(&self) -> impl Iterator<Item = (&dyn PreScore, i64)> {
        self.scores.iter().map(|s| (&*s.plugin, s.weight))
    }

    /// The priorities' names and weights, in order.
    pub fn scores(&self) -> impl Iterator<Item = (&str, i64)> {
        self.scores.iter().map(|s| (s.plugin.name(), s.weight))
    }
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile")
            .field("name", &self.name)
            .field("filters", &self.filters().collect::<Vec<_>>())
            .field("scores", &self.scores().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A plugin that looks at one node at a time, in the place of one that prepares.
pub(crate) struct PerNode<P>(pub(crate) P);

struct ForPod<'a, P> {
    plugin: &'a P,
    pod: &'a PodFacts,
}

impl<P: Filter> PreFilter for PerNode<P> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn reach(&self) -> Reach<'_> {
        self.0.reach()
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodFacts, _: &'a Snapshot) -> Prepared<'a> {
        Prepared::ready(ForPod { plugin: &self.0, pod })
    }

    fn depends_on(&self) -> Depends {
        self.0.depends_on()
    }

    fn is_monotone(&self) -> bool {
        self.0.is_monotone()
    }
}

impl<P: Filter> Predicate for ForPod<'_, P> {
    fn filter(&self, node: &NodeView<'_>) -> Verdict {
        self.plugin.filter(self.pod, node)
    }

    fn remedy(&self, node: &NodeView<'_>) -> Option<String> {
        self.plugin.remedy(self.pod, node)
    }
}

impl<P: Score> PreScore for PerNode<P> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn reach(&self) -> Reach<'_> {
        self.0.reach()
    }

    fn scale(&self) -> Scale {
        self.0.scale()
    }

    fn pre_score<'a>(
        &'a self,
        pod: &'a PodFacts,
        _: &'a Snapshot,
        _: &'a [NodeId],
    ) -> Option<Box<dyn Priority + 'a>> {
        Some(Box::new(ForPod { plugin: &self.0, pod }))
    }
}

impl<P: Score> Priority for ForPod<'_, P> {
    fn score(&self, node: &NodeView<'_>) -> i64 {
        self.plugin.score(self.pod, node)
    }

    fn normalize(&self, _: &Snapshot, _: &[NodeId], scores: &mut [i64]) {
        self.plugin.normalize(scores);
    }
}
