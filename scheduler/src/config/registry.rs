//! The plugins that a configuration may name: [`Registry`], [`Plugin`].

use std::collections::BTreeMap;

use serde_json::Value;

use super::args;
use super::read::{Problems, Reader};
use super::sets::{Enabled, Point};
use crate::bitset::NodeSet;
use crate::facts::PodFacts;
use crate::framework::{
    Bind, Filter, Permit, PostBind, PostFilter, PreBind, PreEnqueue, PreFilter, PreScore, Predicate,
    Prepared, QueueSort, QueueingHint, Reserve, Score, Verdict,
};
use crate::plugins::{
    DefaultBinder, DefaultPreemption, DynamicResources, ImageLocality, NodeName, NodePorts,
    NodeUnschedulable, NodeVolumeLimits, PrioritySort, SchedulingGates, TaintToleration, VolumeBinding,
    VolumeRestrictions, VolumeZone, hint_of,
};
use crate::profile::PerNode;
use crate::snapshot::{NodeView, Snapshot};

/// One plugin at all the points at which it takes part.
///
/// ```
/// use orlop_scheduler::config::{Configuration, Plugin, Registry};
/// use orlop_scheduler::{Filter, NodeView, PodFacts, Verdict};
/// use serde_json::json;
///
/// /// Keeps a share of each node's CPU free, so many thousandths.
/// struct Headroom(i64);
/// impl Filter for Headroom {
///     fn name(&self) -> &str {
///         "Headroom"
///     }
///     fn filter(&self, pod: &PodFacts, node: &NodeView<'_>) -> Verdict {
///         let left = node.free("cpu") - pod.requests.cpu_milli;
///         Verdict::fits_or(left >= self.0, || Verdict::refuse("node(s) had no headroom"))
///     }
/// }
///
/// let registry = Registry::default().plugin("Headroom", |args| {
///     let milli = args["cpuMilli"].as_i64().ok_or("cpuMilli must be a number")?;
///     Ok(Plugin::default().filter(Headroom(milli)))
/// });
/// let read = Configuration::from_value(
///     &json!({
///         "apiVersion": "kubescheduler.config.k8s.io/v1",
///         "kind": "KubeSchedulerConfiguration",
///         "profiles": [{
///             "plugins": {"filter": {"enabled": [{"name": "Headroom"}]}},
///             "pluginConfig": [{"name": "Headroom", "args": {"cpuMilli": 500}}],
///         }],
///     }),
///     &registry,
/// )?;
/// assert_eq!(read.profiles[0].filters().last(), Some("Headroom"));
/// # Ok::<(), orlop_scheduler::config::InvalidConfiguration>(())
/// ```
#[derive(Default)]
pub struct Plugin {
    pub(super) pre_enqueue: Option<Box<dyn PreEnqueue>>,
    pub(super) queue_sort: Option<Box<dyn QueueSort>>,
    pub(super) filter: Option<Box<dyn PreFilter>>,
    pub(super) post_filter: Option<Box<dyn PostFilter>>,
    pub(super) score: Option<Box<dyn PreScore>>,
    pub(super) reserve: Option<Box<dyn Reserve>>,
    pub(super) permit: Option<Box<dyn Permit>>,
    pub(super) pre_bind: Option<Box<dyn PreBind>>,
    pub(super) bind: Option<Box<dyn Bind>>,
    pub(super) post_bind: Option<Box<dyn PostBind>>,
    pub(super) hints: Vec<Box<dyn QueueingHint>>,
    /// Whether it places pods of a group together.
    pub(super) gangs: bool,
    /// Whether its predicate prepares something.
    prepares: bool,
    /// Whether some point has it.
    pub(super) taken: bool,
}

impl Plugin {
    /// This, before a pod may enter the active queue.
    pub fn pre_enqueue(mut self, plugin: impl PreEnqueue + 'static) -> Plugin {
        self.pre_enqueue = Some(Box::new(plugin));
        self
    }

    /// This, as the order of the queue.
    pub fn queue_sort(mut self, plugin: impl QueueSort + 'static) -> Plugin {
        self.queue_sort = Some(Box::new(plugin));
        self
    }

    /// This, as a predicate.
    pub fn filter(self, plugin: impl Filter + 'static) -> Plugin {
        self.pre_filter(PerNode(plugin)).for_each_node()
    }

    /// Its predicate prepares nothing that could decide by itself.
    fn for_each_node(mut self) -> Plugin {
        self.prepares = false;
        self
    }

    /// This, as a predicate that prepares something for each pod.
    pub fn pre_filter(mut self, plugin: impl PreFilter + 'static) -> Plugin {
        self.filter = Some(Box::new(plugin));
        self.prepares = true;
        self
    }

    /// This, when no node was left.
    pub fn post_filter(mut self, plugin: impl PostFilter + 'static) -> Plugin {
        self.post_filter = Some(Box::new(plugin));
        self
    }

    /// This, as a priority.
    pub fn score(self, plugin: impl Score + 'static) -> Plugin {
        self.pre_score(PerNode(plugin))
    }

    /// This, as a priority that prepares something for each pod.
    pub fn pre_score(mut self, plugin: impl PreScore + 'static) -> Plugin {
        self.score = Some(Box::new(plugin));
        self
    }

    /// This, once a node is chosen.
    pub fn reserve(mut self, plugin: impl Reserve + 'static) -> Plugin {
        self.reserve = Some(Box::new(plugin));
        self
    }

    /// This, before binding.
    pub fn permit(mut self, plugin: impl Permit + 'static) -> Plugin {
        self.permit = Some(Box::new(plugin));
        self
    }

    /// This, for what is written before the binding.
    pub fn pre_bind(mut self, plugin: impl PreBind + 'static) -> Plugin {
        self.pre_bind = Some(Box::new(plugin));
        self
    }

    /// This, as a way to bind.
    pub fn bind(mut self, plugin: impl Bind + 'static) -> Plugin {
        self.bind = Some(Box::new(plugin));
        self
    }

    /// This, told of bindings.
    pub fn post_bind(mut self, plugin: impl PostBind + 'static) -> Plugin {
        self.post_bind = Some(Box::new(plugin));
        self
    }

    /// This, with a rule for which events cure its rejections.
    pub fn hint(mut self, plugin: impl QueueingHint + 'static) -> Plugin {
        self.hints.push(Box::new(plugin));
        self
    }

    /// Whether it takes part at a point. Preparing goes with what it prepares for.
    pub fn extends(&self, point: Point) -> bool {
        match point {
            Point::PreEnqueue => self.pre_enqueue.is_some() || self.gangs,
            Point::QueueSort => self.queue_sort.is_some(),
            Point::PreFilter => self.filter.is_some() && self.prepares,
            Point::Filter => self.filter.is_some(),
            Point::PostFilter => self.post_filter.is_some(),
            Point::PreScore | Point::Score => self.score.is_some(),
            Point::Reserve => self.reserve.is_some(),
            Point::Permit => self.permit.is_some() || self.gangs,
            Point::PreBind => self.pre_bind.is_some(),
            Point::Bind => self.bind.is_some(),
            Point::PostBind => self.post_bind.is_some(),
        }
    }
}

/// Makes a plugin of its arguments; complains and answers with none where they cannot be used.
type Make = Box<dyn Fn(&Reader<'_>) -> Option<Plugin> + Send + Sync>;

struct Known {
    make: Make,
    /// The weight with which it takes part where a configuration says nothing; `None`: it does not.
    by_default: Option<i64>,
}

/// The plugins that a configuration may name.
pub struct Registry {
    plugins: BTreeMap<String, Known>,
    /// The order of those that take part by default.
    order: Vec<String>,
}

impl Default for Registry {
    /// The built-in plugins. Those of [`crate::Profile::default`] take part by default, the plugins of volumes where a
    /// configuration enables them.
    fn default() -> Registry {
        let mut registry = Registry { plugins: BTreeMap::new(), order: Vec::new() };
        built_in(&mut registry);
        registry
    }
}

impl Registry {
    /// This, and a plugin of one's own, made of its `args` (`null` where there are none) or refusing them.
    /// Takes part where a configuration enables it.
    pub fn plugin(
        mut self,
        name: impl Into<String>,
        make: impl Fn(&Value) -> Result<Plugin, String> + Send + Sync + 'static,
    ) -> Registry {
        let make = move |args: &Reader<'_>| match make(args.raw()) {
            Ok(plugin) => Some(plugin),
            Err(error) => {
                args.refuse(error);
                None
            }
        };
        self.add(&name.into(), None, make);
        self
    }

    /// This, with a plugin taking part, with this weight, where a configuration does not disable it. Does nothing for a
    /// plugin that is not known.
    pub fn by_default(mut self, name: &str, weight: i64) -> Registry {
        if let Some(known) = self.plugins.get_mut(name) {
            if known.by_default.is_none() {
                self.order.push(name.to_owned());
            }
            known.by_default = Some(weight);
        }
        self
    }

    /// This, with the plugins of volumes taking part by default, where Kubernetes has them: for clusters in which
    /// somebody binds claims.
    pub fn with_volumes(mut self) -> Registry {
        let at =
            self.order.iter().position(|n| n == "NodeResourcesFit").map_or(self.order.len(), |at| at + 1);
        let volumes = ["VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding", "VolumeZone"];
        for name in volumes.into_iter().rev() {
            if !self.order.iter().any(|n| n == name) {
                self.order.insert(at, name.to_owned());
            }
            if let Some(known) = self.plugins.get_mut(name) {
                known.by_default = Some(0);
            }
        }
        self
    }

    fn add(
        &mut self,
        name: &str,
        by_default: Option<i64>,
        make: impl Fn(&Reader<'_>) -> Option<Plugin> + Send + Sync + 'static,
    ) {
        if by_default.is_some() {
            self.order.push(name.to_owned());
        }
        self.plugins.insert(name.to_owned(), Known { make: Box::new(make), by_default });
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.plugins.keys().map(String::as_str)
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        self.plugins.contains_key(name)
    }

    pub(super) fn defaults(&self) -> Vec<Enabled> {
        let enabled = |name: &String| Enabled {
            name: name.clone(),
            weight: self.plugins.get(name).and_then(|p| p.by_default).unwrap_or(0),
            path: String::new(),
        };
        self.order.iter().map(enabled).collect()
    }

    pub(super) fn make(&self, name: &str, args: &Reader<'_>) -> Option<Plugin> {
        (self.plugins.get(name)?.make)(args)
    }

    /// The plugin without arguments.
    pub(super) fn make_default(&self, name: &str) -> Option<Plugin> {
        let problems = Problems::default();
        self.make(name, &Reader::new(&Value::Null, "args", &problems))
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// Kubernetes' plugins, in the order of its default profile.
fn built_in(registry: &mut Registry) {
    let mut add = |name: &'static str, weight: Option<i64>, make: fn(&Reader<'_>) -> Plugin| {
        registry.add(name, weight, move |args| {
            let mut plugin = make(args);
            plugin.hints.extend(hint_of(name));
            Some(plugin)
        });
    };
    add("SchedulingGates", Some(0), |a| plain(a, Plugin::default().pre_enqueue(SchedulingGates)));
    add("PrioritySort", Some(0), |a| plain(a, Plugin::default().queue_sort(PrioritySort)));
    add("NodeUnschedulable", Some(0), |a| {
        plain(a, Plugin::default().pre_filter(NodeUnschedulable).for_each_node())
    });
    add("NodeName", Some(0), |a| plain(a, Plugin::default().pre_filter(NodeName).for_each_node()));
    add("TaintToleration", Some(3), |a| plain(a, predicate_and_priority(TaintToleration).for_each_node()));
    add("NodeAffinity", Some(2), |a| predicate_and_priority(args::node_affinity(a)));
    add("NodePorts", Some(0), |a| plain(a, Plugin::default().pre_filter(NodePorts)));
    add("NodeResourcesFit", Some(1), |a| predicate_and_priority(args::fit(a)));
    add("PodTopologySpread", Some(2), |a| predicate_and_priority(args::spread(a)));
    add("InterPodAffinity", Some(2), |a| predicate_and_priority(args::inter_pod_affinity(a)));
    add("DynamicResources", Some(0), |a| {
        args::dynamic_resources(a);
        Plugin::default().pre_filter(DynamicResources).post_filter(DynamicResources)
    });
    add("DefaultPreemption", Some(0), |a| {
        args::preemption(a);
        Plugin::default().post_filter(DefaultPreemption)
    });
    add("NodeResourcesBalancedAllocation", Some(1), |a| Plugin::default().pre_score(args::balanced(a)));
    add("ImageLocality", Some(1), |a| plain(a, Plugin::default().pre_score(ImageLocality)));
    add("DefaultBinder", Some(0), |a| plain(a, Plugin::default().bind(DefaultBinder)));
    add("VolumeRestrictions", None, |a| plain(a, Plugin::default().pre_filter(VolumeRestrictions)));
    add("NodeVolumeLimits", None, |a| plain(a, Plugin::default().pre_filter(NodeVolumeLimits)));
    add("VolumeBinding", None, |a| {
        args::volume_binding(a);
        let plugin = VolumeBinding::default();
        Plugin::default().pre_filter(plugin.clone()).reserve(plugin.clone()).pre_bind(plugin)
    });
    add("GangScheduling", None, |a| plain(a, Plugin { gangs: true, ..Plugin::default() }));
    add("VolumeZone", None, |a| plain(a, Plugin::default().pre_filter(VolumeZone)));
}

/// A plugin that takes no arguments.
fn plain(args: &Reader<'_>, plugin: Plugin) -> Plugin {
    args.object(&[]);
    plugin
}

fn predicate_and_priority(plugin: impl PreFilter + PreScore + Clone + 'static) -> Plugin {
    Plugin::default().pre_filter(plugin.clone()).pre_score(plugin)
}

/// A predicate of which only the preparing counts: it may refuse the pod or narrow the nodes, and asks nothing of each.
pub(super) fn only_prepared(plugin: Box<dyn PreFilter>) -> Box<dyn PreFilter> {
    struct OnlyPrepared(Box<dyn PreFilter>);

    impl PreFilter for OnlyPrepared {
        fn name(&self) -> &str {
            self.0.name()
        }

        fn pre_filter<'a>(&'a self, pod: &'a PodFacts, cluster: &'a Snapshot) -> Prepared<'a> {
            match self.0.pre_filter(pod, cluster) {
                Prepared::Ready(_) => Prepared::Skip,
                Prepared::Only(nodes, _) => Prepared::Only(nodes, Box::new(Takes)),
                other => other,
            }
        }

        fn remedy(&self, pod: &PodFacts, cluster: &Snapshot) -> Option<String> {
            self.0.remedy(pod, cluster)
        }
    }

    /// Takes every node.
    struct Takes;

    impl Predicate for Takes {
        fn filter(&self, _: &NodeView<'_>) -> Verdict {
            Verdict::Fits
        }

        fn filter_all(&self, _: &Snapshot, _: &mut NodeSet) {}
    }

    Box::new(OnlyPrepared(plugin))
}
