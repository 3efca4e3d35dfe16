//! The node agent without any I/O: [`Agent`].

mod inputs;
mod lists;
mod node;
mod steps;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use orlop_core::kinds::{ConfigMap, Node, Pod, Secret, Service};
use orlop_core::plan::Failure;
use orlop_core::recorder::Recorder;
use orlop_core::runtime::{
    Call, ImageInfo, Reply, Runtime, RuntimeError, RuntimeEvent, RuntimeInfo, SandboxStatus,
};
use orlop_core::{Cut, Key, Kind, Name, Note, Object, Revision, Timestamp, Write};
use orlop_netplan::ipam::PodAddresses;

use crate::config::NodeConfig;
use crate::objects::Objects;
use crate::pod::{Env, Op, Out, PodMachine, PodWrite};
use crate::registration::{NodeWrite, Registration};
use crate::system_pods::{MirrorWrite, Mirrored};

/// The component's name in events and managed fields.
pub const COMPONENT: &str = "kubelet";
/// The wait before the runtime is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Names an [`Action`] in [`Agent::on_result`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActionId(u64);

/// Something to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// Names it in the result.
    pub id: ActionId,
    /// What.
    pub task: Task,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// A call of the container runtime; see [`execute`].
    Runtime(Call),
    /// A write to the API.
    Write(Write),
}

/// How an action went.
#[derive(Clone, Debug, PartialEq)]
pub enum ActionResult {
    /// The runtime's reply.
    Runtime(Result<Reply, RuntimeError>),
    /// The revision of the write.
    Written(Result<Revision, Failure>),
}

/// Carries a call of the runtime out.
pub async fn execute(call: &Call, runtime: &dyn Runtime) -> ActionResult {
    ActionResult::Runtime(call.perform(runtime).await)
}

/// What somebody has told the agent.
enum Input {
    Cut(Cut),
    Event(RuntimeEvent),
    Result(ActionId, ActionResult),
    Planes(Option<Revision>),
}

/// What an action is for.
enum Target {
    Pod(Name, Op),
    PodWrite(Name, PodWrite),
    Node(NodeWrite),
    Mirror(usize, MirrorWrite),
    Info,
    Images,
    List(Timestamp),
    /// Nobody waits for it.
    Nothing,
}

/// What becomes of one node's pods.
///
/// A shell tells it what it sees (`on_*`), asks it what to do ([`Agent::poll`]), does that, and reports back. Nothing
/// here reads a clock or does I/O, so a simulator drives it as well as a task.
///
/// # Guarantees
/// - A container never runs twice at a time, and its restart count never falls.
/// - Every action is answered for at most once; an answer that never comes holds up only what waits for it.
/// - After its patch has been seen, a pod that does not change causes no further write.
/// - A terminating pod has ended by the end of its grace, plus 3 s for a runtime that must be told to kill.
/// - The same inputs at the same moments give the same actions in the same order.
pub struct Agent {
    config: NodeConfig,
    inbox: VecDeque<Input>,
    objects: Objects,
    pods: BTreeMap<Name, PodMachine>,
    by_key: BTreeMap<Key, Name>,
    /// Pods that cannot be read, and may be this node's.
    malformed: BTreeSet<Key>,
    dirty: BTreeSet<Name>,
    wakes: BTreeMap<Name, Timestamp>,
    timers: BTreeSet<(Timestamp, Name)>,
    registration: Registration,
    registration_wake: Option<Timestamp>,
    mirrored: Vec<Mirrored>,
    mirrored_wake: Option<Timestamp>,
    addresses: Option<PodAddresses>,
    recorder: Recorder,
    runtime: Option<RuntimeInfo>,
    images: BTreeMap<Name, ImageInfo>,
    planes: Option<Revision>,
    pods_seen: bool,
    /// What the runtime's first list has shown, until the pods are known, too.
    found: Option<Vec<SandboxStatus>>,
    recovered: bool,
    asking: bool,
    /// The runtime has answered, or failed to.
    asked: bool,
    listing: bool,
    relist_at: Timestamp,
    ask_at: Timestamp,
    changed: bool,
    next_id: u64,
    under_way: BTreeMap<ActionId, Target>,
    now: Timestamp,
}

impl Agent {
    /// The agent of a node of which nothing is known yet.
    pub fn new(config: NodeConfig) -> Agent {
        let mirrored = config.system_pods.iter().cloned().map(Mirrored::new).collect();
        Agent {
            config,
            inbox: VecDeque::new(),
            objects: Objects::default(),
            pods: BTreeMap::new(),
            by_key: BTreeMap::new(),
            malformed: BTreeSet::new(),
            dirty: BTreeSet::new(),
            wakes: BTreeMap::new(),
            timers: BTreeSet::new(),
            registration: Registration::new(),
            registration_wake: Some(Timestamp::EPOCH),
            mirrored,
            mirrored_wake: Some(Timestamp::EPOCH),
            addresses: None,
            recorder: Recorder::new(),
            runtime: None,
            images: BTreeMap::new(),
            planes: None,
            pods_seen: false,
            found: None,
            recovered: false,
            asking: false,
            asked: false,
            listing: false,
            relist_at: Timestamp::EPOCH,
            ask_at: Timestamp::EPOCH,
            changed: false,
            next_id: 0,
            under_way: BTreeMap::new(),
            now: Timestamp::EPOCH,
        }
    }

    /// The node's name.
    pub fn name(&self) -> &Name {
        &self.config.name
    }

    /// The kinds whose changes it wants to be told of. Pods of other nodes and other Nodes may be left out.
    pub fn kinds(&self) -> Vec<Kind> {
        vec![Pod::KIND, Node::KIND, ConfigMap::KIND, Secret::KIND, Service::KIND]
    }

    /// What has changed in the API. The first cut gives everything (`reset`).
    pub fn on_cut(&mut self, cut: Cut) {
        self.inbox.push_back(Input::Cut(cut));
    }

    /// What has happened in the runtime.
    pub fn on_runtime(&mut self, event: RuntimeEvent) {
        self.inbox.push_back(Input::Event(event));
    }

    /// How an action went.
    pub fn on_result(&mut self, id: ActionId, result: ActionResult) {
        self.inbox.push_back(Input::Result(id, result));
    }

    /// The revision that every data plane has passed; `None`: there are none, and nobody is waited for. See
    /// [`orlop_netplan::Gate::reached`].
    pub fn on_planes(&mut self, reached: Option<Revision>) {
        if self.planes != reached {
            self.inbox.push_back(Input::Planes(reached));
        }
    }

    /// When [`Agent::poll`] has something to do even if nobody tells it anything.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let busy = !self.inbox.is_empty() || (self.ready() && !self.dirty.is_empty());
        let lists = match (self.asking || self.listing, self.runtime.is_some()) {
            (true, _) => None,
            (false, true) => Some(self.relist_at),
            (false, false) => Some(self.ask_at),
        };
        [
            busy.then_some(Timestamp::EPOCH),
            self.timers.first().filter(|_| self.ready()).map(|(at, _)| *at),
            self.registration_wake,
            self.mirrored_wake.filter(|_| self.pods_seen),
            lists,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Pods that the agent still has to do with.
    pub fn pods(&self) -> usize {
        self.pods.len()
    }

    /// How many pods, of those that may be this node's, it cannot read as they are now. What was read of them before
    /// holds on.
    pub fn malformed(&self) -> usize {
        self.malformed.len()
    }

    /// Whether what runs and what should run are both known.
    fn ready(&self) -> bool {
        self.recovered
    }

    /// What is to be done at `now`.
    pub fn poll(&mut self, now: Timestamp) -> Vec<Action> {
        self.now = self.now.max(now);
        let mut actions = Vec::new();
        while let Some(input) = self.inbox.pop_front() {
            match input {
                Input::Cut(cut) => self.take_cut(cut),
                Input::Event(event) => self.take_event(event, &mut actions),
                Input::Result(id, result) => self.take_result(id, result, &mut actions),
                Input::Planes(reached) => {
                    self.planes = reached;
                    let ending = self.pods.iter().filter(|(_, machine)| machine.is_ending());
                    self.dirty.extend(ending.map(|(uid, _)| uid.clone()));
                }
            }
        }
        self.ask_runtime(&mut actions);
        self.recover(&mut actions);
        self.keep_addresses();
        self.keep_node(&mut actions);
        self.keep_mirrors(&mut actions);
        if self.ready() {
            self.step_pods(&mut actions);
        }
        actions
    }

    fn act(&mut self, actions: &mut Vec<Action>, target: Target, task: Task) {
        self.next_id += 1;
        let id = ActionId(self.next_id);
        if !matches!(target, Target::Nothing) {
            self.under_way.insert(id, target);
        }
        actions.push(Action { id, task });
    }

    fn tell(&mut self, actions: &mut Vec<Action>, notes: Vec<Note>) {
        if !self.config.events {
            return;
        }
        for note in notes {
            if let Some(write) = self.recorder.record(self.now, COMPONENT, note) {
                self.act(actions, Target::Nothing, Task::Write(write));
            }
        }
    }

    fn with_pod(
        &mut self,
        uid: &Name,
        actions: &mut Vec<Action>,
        act: impl FnOnce(&mut PodMachine, &mut Env<'_>, &mut Out),
    ) {
        let Some(mut machine) = self.pods.remove(uid) else { return };
        let mut out = Out::default();
        act(&mut machine, &mut self.env(), &mut out);
        self.pods.insert(uid.clone(), machine);
        self.dirty.insert(uid.clone());
        self.carry_out(uid, out, actions);
    }

    fn env(&mut self) -> Env<'_> {
        Env {
            now: self.now,
            config: &self.config,
            objects: &self.objects,
            addresses: &mut self.addresses,
            runtime: self.runtime.as_ref().map_or("unknown", |info| info.name.as_str()),
            changed: self.changed,
            planes: self.planes,
        }
    }

    fn carry_out(&mut self, uid: &Name, out: Out, actions: &mut Vec<Action>) {
        for (op, call) in out.calls {
            self.act(actions, Target::Pod(uid.clone(), op), Task::Runtime(call));
        }
        for (what, write) in out.writes {
            self.act(actions, Target::PodWrite(uid.clone(), what), Task::Write(write));
        }
        if out.relist {
            self.relist_at = self.now;
        }
        self.tell(actions, out.notes);
    }
}
