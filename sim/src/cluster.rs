//! The parts of a simulated cluster, each of which can be stopped and started: [`Control`].

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use orlop::assembly::{Assembly, InvalidSpec, assemble, node_config, number_nodes};
use orlop::drive::drive;
use orlop::spec::{ClusterSpec, NodeSpec};
use orlop::stats::Watched;
use orlop_api::{Api, Link, LocalApi, User};
use orlop_core::runtime::{ContainerId, RunState, Runtime, SandboxId, SandboxStatus};
use orlop_core::store::{Revision, Store, StoreError};
use orlop_core::{Clock, Entropy, Key, ManualClock, Name};
use orlop_runtime_mock::{Fault, MockRuntime, Policy};
use orlop_scheduler::Profile;
use parking_lot::Mutex;

use crate::clock::SkewedClock;
use crate::executor::{Handle, TaskId};
use crate::faults::{Faults, FaultyApi, Switch};
use crate::invariants::Monitor;
use crate::store::SimStore;

/// A part of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// All controllers.
    Controllers,
    /// The scheduler.
    Scheduler,
    /// The agent of the node with this number.
    Node(usize),
}

/// How much a store holds: what must not grow under constant load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Objects of all kinds.
    pub objects: usize,
    /// How many revisions back it can still be read.
    pub revisions: u64,
}

/// Makes the scheduler's profiles, anew for each start.
pub type Profiles = Arc<dyn Fn() -> Vec<Profile> + Send + Sync>;

/// A hand on the cluster: stops and starts components, breaks things, and reaches the API. Clones are the same hand.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

pub(crate) struct Inner {
    handle: Handle,
    clock: ManualClock,
    api: LocalApi<SimStore>,
    spec: ClusterSpec,
    entropy: Entropy,
    profiles: Profiles,
    faults: Faults,
    faults_on: Switch,
    nodes: Vec<SimNode>,
    slots: Mutex<BTreeMap<Component, Slot>>,
    monitor: Arc<Mutex<Monitor>>,
}

struct SimNode {
    spec: NodeSpec,
    runtime: MockRuntime,
}

#[derive(Default)]
struct Slot {
    starts: u64,
    running: Option<(TaskId, SkewedClock)>,
}

/// What a cluster is made of.
pub(crate) struct Ground {
    pub(crate) handle: Handle,
    pub(crate) clock: ManualClock,
    pub(crate) api: LocalApi<SimStore>,
    pub(crate) spec: ClusterSpec,
    pub(crate) entropy: Entropy,
    pub(crate) profiles: Profiles,
    pub(crate) policy: Policy,
    pub(crate) faults: Faults,
    pub(crate) faults_on: Switch,
    pub(crate) monitor: Arc<Mutex<Monitor>>,
}

impl Control {
    /// A cluster of which nothing is started yet.
    pub(crate) fn new(ground: Ground) -> Result<Control, InvalidSpec> {
        let Ground { handle, clock, api, spec, entropy, profiles, policy, faults, faults_on, monitor } =
            ground;
        let nodes = number_nodes(&spec, &[])?
            .into_iter()
            .map(|node| {
                node_config(&spec, &node, None)?;
                let runtime = MockRuntime::new(policy.clone(), Arc::new(clock.clone()));
                Ok(SimNode { spec: node, runtime })
            })
            .collect::<Result<_, InvalidSpec>>()?;
        let slots = Mutex::default();
        Ok(Control(Arc::new(Inner {
            handle,
            clock,
            api,
            spec,
            entropy,
            profiles,
            faults,
            faults_on,
            nodes,
            slots,
            monitor,
        })))
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.0.nodes.len()
    }

    /// How much the store holds.
    pub fn stored(&self) -> Stored {
        let store = self.0.api.store();
        let view = store.view();
        // The refusal of what is gone says where the history begins.
        let oldest = match store.view_at(Revision(0)) {
            Err(StoreError::Expired { oldest, .. }) => oldest.0,
            _ => 0,
        };
        Stored { objects: view.count("", ""), revisions: view.revision().0 - oldest }
    }

    /// A node's name.
    pub fn node_name(&self, node: usize) -> Name {
        self.0.nodes[node].spec.name.clone()
    }

    /// The virtual clock.
    pub fn clock(&self) -> &ManualClock {
        &self.0.clock
    }

    /// Waits.
    pub async fn sleep(&self, time: Duration) {
        self.0.clock.sleep_until(self.0.clock.now() + time).await;
    }

    /// A way to the API that always works, for who stands outside.
    pub fn link(&self) -> Link {
        let user = User {
            name: Name::new_static("simulation"),
            groups: vec![Name::new_static("system:masters"), Name::new_static("system:authenticated")],
            ..User::default()
        };
        Link { api: Arc::new(self.0.api.clone()), user, manager: Name::new_static("simulation") }
    }

    /// The store.
    pub fn store(&self) -> &SimStore {
        self.0.api.store()
    }

    pub(crate) fn faults_on(&self) -> bool {
        self.0.faults_on.is_on()
    }

    /// Everything, in order.
    pub(crate) fn components(&self) -> Vec<Component> {
        let nodes = (0..self.nodes()).map(Component::Node);
        [Component::Controllers, Component::Scheduler].into_iter().chain(nodes).collect()
    }

    /// Whether a component runs.
    pub fn is_up(&self, component: Component) -> bool {
        self.0.slots.lock().get(&component).is_some_and(|slot| slot.running.is_some())
    }

    /// Starts a component that does not run, with nothing remembered.
    pub fn start(&self, component: Component) {
        if self.is_up(component) {
            return;
        }
        let starts = {
            let mut slots = self.0.slots.lock();
            let slot = slots.entry(component).or_default();
            slot.starts += 1;
            slot.starts
        };
        let inner = &*self.0;
        let entropy = inner.entropy.child(&format!("{component:?} {starts}"));
        let monitor = inner.monitor.clone();
        let api = FaultyApi::new(
            Arc::new(inner.api.clone()),
            inner.clock.clone(),
            entropy.child("network"),
            inner.faults,
            inner.faults_on.clone(),
            Arc::new(move |pod: Key| monitor.lock().doubt(pod)),
        );
        let clock = SkewedClock::new(inner.clock.clone());
        let spec = ClusterSpec {
            controllers: component == Component::Controllers && inner.spec.controllers,
            scheduler: component == Component::Scheduler && inner.spec.scheduler,
            ..inner.spec.clone()
        };
        let mut nodes = Vec::new();
        if let Component::Node(number) = component {
            let node = &inner.nodes[number];
            // It was made once before, when the cluster was.
            if let Ok(config) = node_config(&inner.spec, &node.spec, None) {
                nodes.push((config, Arc::new(node.runtime.clone()) as Arc<dyn Runtime>));
            }
            inner.monitor.lock().node_is(&node.spec.name, Some(inner.clock.now()));
        }
        let parts = assemble(
            &spec,
            Assembly {
                api: Arc::new(api) as Arc<dyn Api>,
                entropy,
                profiles: (inner.profiles)(),
                backoff: orlop_scheduler::Backoff::default(),
                controllers: Vec::new(),
                kubelet: Name::new_static("kubelet"),
                nodes,
                planes: Vec::new(),
                authority: String::new(),
                scheme: inner.api.served().scheme.clone(),
            },
        );
        for assembled in parts {
            let task = drive(assembled.part, assembled.link, Arc::new(clock.clone()), Watched::default());
            let task = inner.handle.spawn(task);
            inner.slots.lock().entry(component).or_default().running = Some((task, clock.clone()));
        }
    }

    /// Ends a component at once, whatever it is doing.
    pub fn stop(&self, component: Component) {
        let running = self.0.slots.lock().get_mut(&component).and_then(|slot| slot.running.take());
        if let Some((task, _)) = running {
            self.0.handle.cancel(task);
        }
        if let Component::Node(node) = component {
            self.0.monitor.lock().node_is(&self.0.nodes[node].spec.name, None);
        }
    }

    /// A node loses power: its agent stops, and all that runs on it ends.
    pub fn crash_node(&self, node: usize) {
        self.stop(Component::Node(node));
        self.inject(node, Fault::Reboot);
    }

    /// Does something beside everything else.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.handle.spawn(task);
    }

    /// Lets something go wrong in a node's runtime.
    pub fn inject(&self, node: usize, fault: Fault) {
        self.0.nodes[node].runtime.inject(fault);
    }

    /// A node's clock jumps forward; it is set right when its agent starts again.
    pub fn jump(&self, node: usize, by: Duration) {
        if let Some((_, clock)) =
            self.0.slots.lock().get(&Component::Node(node)).and_then(|slot| slot.running.as_ref())
        {
            clock.jump(by);
        }
    }

    /// The store's machine loses power and comes back; see [`SimStore::restart`].
    pub fn restart_store(&self, kept: usize) {
        self.0.monitor.lock().recovering = true;
        let found = match self.store().restart(kept) {
            Ok(None) => Ok(()),
            Ok(Some(lost)) => Err(lost),
            Err(error) => Err(error.to_string()),
        };
        let mut monitor = self.0.monitor.lock();
        monitor.recovering = false;
        monitor.report(self.0.clock.now(), "commits_durable", "what was answered survives a crash", found);
        drop(monitor);
        self.0.api.refresh();
    }

    /// A sandbox that is up on a node.
    pub(crate) async fn sandbox_of(&self, node: usize, entropy: &mut Entropy) -> Option<SandboxId> {
        let up: Vec<SandboxStatus> = self.list(node).await;
        pick(&up, entropy).map(|sandbox| sandbox.id.clone())
    }

    /// A container that runs on a node.
    pub(crate) async fn container_of(&self, node: usize, entropy: &mut Entropy) -> Option<ContainerId> {
        let up = self.list(node).await;
        let running: Vec<&ContainerId> = up
            .iter()
            .flat_map(|sandbox| &sandbox.containers)
            .filter(|container| matches!(container.state, RunState::Running(_)))
            .map(|container| &container.id)
            .collect();
        pick(&running, entropy).map(|id| (*id).clone())
    }

    async fn list(&self, node: usize) -> Vec<SandboxStatus> {
        self.0.nodes[node].runtime.list().await.unwrap_or_default()
    }
}

/// One of them, by chance.
pub(crate) fn pick<'a, T>(all: &'a [T], entropy: &mut Entropy) -> Option<&'a T> {
    all.get(entropy.below(all.len() as u64) as usize)
}
