//! From the world to a [`NetPlan`].

mod build;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use orlop_core::kinds::{EndpointSlice, Ingress, IngressClass, Service};
use orlop_core::{Cache, Change, Cut, Key, Kind, Name, Object, World};

pub use views::NetPod;
use views::{NetNode, SlicesByPod, SlicesByService};

use crate::ingress::Routes;
use crate::plan::{NetPlan, NodePlan, PodEntry};

/// Follows the world and keeps a plan of it.
///
/// What a change does not concern is taken over from the plan before: a step plans what changed, not what there is. Where
/// Services or nodes come, go or change, their table, of pointers, is copied, since the last plan is still in use.
/// `apply` after any history gives the same plan as [`plan`] of the same world.
///
/// ```
/// use orlop_core::Cut;
/// use orlop_netplan::NetPlanner;
///
/// let mut planner = NetPlanner::new("cluster.local");
/// let plan = planner.apply(Cut::default());
/// assert!(plan.services.is_empty());
/// ```
pub struct NetPlanner {
    cache: Cache,
    plan: Arc<NetPlan>,
}

/// What a cut touched.
#[derive(Default)]
struct Touched {
    services: BTreeSet<Key>,
    pods: Vec<(Option<NetPod>, Option<NetPod>)>,
    nodes: BTreeMap<Name, Option<NodePlan>>,
    ingress: bool,
}

impl NetPlanner {
    /// Plans for a cluster whose domain is `zone`.
    pub fn new(zone: impl Into<Name>) -> NetPlanner {
        let mut cache = Cache::new();
        register(&mut cache);
        NetPlanner { cache, plan: Arc::new(NetPlan { zone: zone.into(), ..NetPlan::default() }) }
    }

    /// The kinds that it wants to be told of.
    pub fn followed(&self) -> &[Kind] {
        self.cache.followed()
    }

    /// How many objects it cannot read; see [`Cache::malformed`].
    pub fn malformed(&self) -> usize {
        self.cache.malformed()
    }

    /// What it sees.
    pub fn world(&self) -> &World {
        self.cache.world()
    }

    /// The plan for what it has seen so far.
    pub fn plan(&self) -> &Arc<NetPlan> {
        &self.plan
    }

    /// Moves on, and plans.
    pub fn apply(&mut self, cut: Cut) -> Arc<NetPlan> {
        let mut touched = Touched::default();
        self.cache.apply(cut, |change, before, world| touched.note(change, before, world));
        let world = self.cache.world();
        let mut plan = NetPlan::clone(&self.plan);
        plan.revision = world.revision();
        for (before, after) in &touched.pods {
            if let Some(pod) = before {
                let key = pod.key();
                pod.addresses().for_each(|ip| plan.pods.remove(&ip, &key));
            }
            if let Some(pod) = after {
                pod.addresses().for_each(|ip| plan.pods.insert(ip, pod.entry()));
            }
        }
        for key in &touched.services {
            build::replace(&mut plan, key, build::service(world, key));
        }
        if !touched.nodes.is_empty() {
            let nodes = Arc::make_mut(&mut plan.nodes);
            for (name, node) in touched.nodes {
                match node {
                    Some(node) => nodes.insert(name, node),
                    None => nodes.remove(&name),
                };
            }
        }
        if touched.ingress {
            plan.ingress = Arc::new(routes(world));
        }
        self.plan = Arc::new(plan);
        Arc::clone(&self.plan)
    }
}

impl Touched {
    fn note(&mut self, change: &Change, before: Option<&Change>, world: &World) {
        let is = |kind: Kind| change.kind.same_resource(&kind);
        let states = || [before, Some(change)].into_iter().flatten().filter_map(|c| c.object.as_ref());
        if is(Service::KIND) {
            self.services.insert(change.key.clone());
        } else if is(EndpointSlice::KIND) {
            self.services.extend(states().filter_map(|slice| {
                let service = slice.body.label(views::SERVICE_NAME_LABEL)?;
                Some(Key::new(change.key.namespace.clone(), service))
            }));
        } else if is(NetPod::KIND) {
            let decode = |c: &Change| c.object.as_ref().and_then(|stored| stored.decode::<NetPod>().ok());
            let (old, new) = (before.and_then(decode), decode(change));
            // Most changes of a pod are none to the network.
            if old == new {
                return;
            }
            for slice in world.lookup::<SlicesByPod>(&change.key.to_string()) {
                self.services.extend(views::service_of(slice));
            }
            self.pods.push((old, new));
        } else if is(NetNode::KIND) {
            let decode = |c: &Change| {
                let node = c.object.as_ref().and_then(|stored| stored.decode::<NetNode>().ok());
                node.map(|node| build::node_plan(&node))
            };
            // Heartbeats are none of the network's business.
            let now = decode(change);
            if before.and_then(decode) != now {
                self.nodes.insert(change.key.name.clone(), now);
            }
        } else if is(Ingress::KIND) || is(IngressClass::KIND) {
            self.ingress = true;
        }
    }
}

/// Declares on a cache what [`plan`] reads.
pub fn register(cache: &mut Cache) {
    cache.register::<Service>();
    cache.register_index::<SlicesByService>();
    cache.register_index::<SlicesByPod>();
    cache.register::<NetPod>();
    cache.register::<NetNode>();
    cache.register::<Ingress>();
    cache.register::<IngressClass>();
}

/// The plan for a world whose cache was prepared by [`register`].
pub fn plan(world: &World, zone: impl Into<Name>) -> NetPlan {
    let mut plan = NetPlan {
        revision: world.revision(),
        zone: zone.into(),
        pods: world.all::<NetPod>().flat_map(|pod| pod.addresses().map(|ip| (ip, pod.entry()))).collect(),
        nodes: Arc::new(build::nodes(world)),
        ingress: Arc::new(routes(world)),
        ..NetPlan::default()
    };
    for service in world.all::<Service>() {
        let key = service.key();
        build::replace(&mut plan, &key, build::service(world, &key));
    }
    plan
}

fn routes(world: &World) -> Routes {
    Routes::new(world.all::<Ingress>(), world.all::<IngressClass>())
}

impl NetPod {
    fn entry(&self) -> PodEntry {
        PodEntry {
            key: self.key(),
            node: self.spec.node_name.clone(),
            terminating: self.metadata.deletion_timestamp.is_some(),
        }
    }
}
