//! The node agent without any I/O: [`Agent`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use orlop_core::kinds::{ConfigMap, Node, Pod, Secret};
use orlop_core::plan::Failure;
use orlop_core::recorder::Recorder;
use orlop_core::rules::pod_resources::{Counting, requests};
use orlop_core::runtime::{
    Call, ContainerId, ImageInfo, Reply, Runtime, RuntimeError, RuntimeEvent, RuntimeInfo, SandboxStatus,
};
use orlop_core::{Change, Cut, Item, Key, Kind, Name, Note, Object, Revision, Timestamp, Write};
use orlop_netplan::ipam::PodAddresses;

use crate::config::NodeConfig;
use crate::objects::Objects;
use crate::pod::{Env, Op, Out, PodMachine, PodWrite, is_mirror};
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
        vec![Pod::KIND, Node::KIND, ConfigMap::KIND, Secret::KIND]
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

    /// The container whose log is wanted, or with `previous` the one before it.
    ///
    /// # Errors
    /// A sentence for the user, as a kubelet puts it.
    pub fn container(&self, pod: &Key, container: &str, previous: bool) -> Result<ContainerId, String> {
        self.by_key
            .get(pod)
            .and_then(|uid| self.pods.get(uid))
            .ok_or_else(|| format!("pod \"{}\" is not on node \"{}\"", pod.name, self.config.name))?
            .instance(container, previous, self.now)
    }

    /// Pods that the agent still has to do with.
    pub fn pods(&self) -> usize {
        self.pods.len()
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

    fn take_cut(&mut self, cut: Cut) {
        for kind in &cut.reset {
            self.objects.reset(kind);
            let kept = |key: &Key| {
                cut.changes.iter().any(|c| c.kind.same_resource(kind) && c.key == *key && c.object.is_some())
            };
            if kind.same_resource(&Pod::KIND) {
                self.pods_seen = true;
                let gone: Vec<Key> = self.by_key.keys().filter(|key| !kept(key)).cloned().collect();
                for key in gone {
                    self.take_pod(&Change { kind: Pod::KIND, key, object: None });
                }
                for mirrored in self.mirrored.iter_mut().filter(|mirrored| !kept(&mirrored.key)) {
                    mirrored.on_pod(None);
                    self.mirrored_wake = Some(Timestamp::EPOCH);
                }
            }
            if kind.same_resource(&Node::KIND) && !kept(&Key::cluster(self.config.name.clone())) {
                self.registration.on_node(None);
                self.registration_wake = Some(Timestamp::EPOCH);
            }
        }
        for change in &cut.changes {
            if change.kind.same_resource(&Pod::KIND) {
                self.take_pod(change);
            } else if change.kind.same_resource(&Node::KIND) {
                if change.key.name == self.config.name {
                    self.registration.on_node(change.object.as_ref());
                    self.registration_wake = Some(Timestamp::EPOCH);
                    self.mirrored_wake = Some(Timestamp::EPOCH);
                }
            } else if self.objects.apply(change) {
                self.changed = true;
            }
        }
    }

    fn take_pod(&mut self, change: &Change) {
        let item = change.object.as_ref().and_then(|stored| {
            // Most pods are other nodes': the name is looked for before anything is decoded.
            let known = self.by_key.contains_key(&change.key);
            if !known && !contains(stored.body.bytes(), self.config.name.as_bytes()) {
                return None;
            }
            Item::<Pod>::decode(stored).ok().filter(|pod| pod.spec.node_name == self.config.name)
        });
        if let Some(at) = self.mirrored.iter().position(|mirrored| mirrored.key == change.key) {
            self.mirrored[at].on_pod(item);
            self.mirrored_wake = Some(Timestamp::EPOCH);
            return;
        }
        let before = self.by_key.get(&change.key).cloned();
        let uid = item.as_ref().map(|item| item.metadata.uid.clone());
        if before != uid
            && let Some(before) = before
        {
            // Gone, or another pod by the same name: the old one still has to end here.
            self.by_key.remove(&change.key);
            if let Some(machine) = self.pods.get_mut(&before) {
                machine.on_gone();
                self.dirty.insert(before);
            }
        }
        let Some(item) = item.filter(|item| !is_mirror(item)) else { return };
        let uid = item.metadata.uid.clone();
        self.by_key.insert(change.key.clone(), uid.clone());
        match self.pods.get_mut(&uid) {
            Some(machine) => machine.on_pod(item),
            None => {
                self.pods.insert(uid.clone(), PodMachine::new(item));
            }
        }
        self.dirty.insert(uid);
    }

    fn take_event(&mut self, event: RuntimeEvent, actions: &mut Vec<Action>) {
        match event {
            RuntimeEvent::Exited { uid, container, exit } => {
                self.with_pod(&uid, actions, |machine, env, out| {
                    machine.on_exit(env, &container, &exit, out)
                });
            }
            RuntimeEvent::SandboxLost { uid, sandbox } => {
                self.with_pod(&uid, actions, |machine, env, _| machine.on_sandbox_lost(env.now, &sandbox));
            }
            RuntimeEvent::ImagePulled(image) => {
                let name = image.names.first().cloned().unwrap_or_else(|| image.id.clone());
                self.images.insert(name, image);
            }
            RuntimeEvent::Lost => self.relist_at = self.now,
            // The reply to the start says the same.
            RuntimeEvent::Started { .. } => {}
        }
    }

    fn take_result(&mut self, id: ActionId, result: ActionResult, actions: &mut Vec<Action>) {
        let Some(target) = self.under_way.remove(&id) else { return };
        let now = self.now;
        match (target, result) {
            (Target::Pod(uid, op), ActionResult::Runtime(reply)) => {
                self.with_pod(&uid, actions, |machine, env, out| machine.on_reply(env, op, reply, out));
            }
            (Target::PodWrite(uid, what), ActionResult::Written(result)) => {
                self.with_pod(&uid, actions, |machine, _, _| machine.on_written(now, what, result));
            }
            (Target::Node(what), ActionResult::Written(result)) => {
                self.registration.on_written(now, what, result);
                self.registration_wake = Some(Timestamp::EPOCH);
            }
            (Target::Mirror(at, what), ActionResult::Written(result)) => {
                self.mirrored[at].on_written(now, what, result);
                self.mirrored_wake = Some(Timestamp::EPOCH);
            }
            (Target::Info, ActionResult::Runtime(reply)) => {
                self.asking = false;
                self.asked = true;
                self.ask_at = now + RETRY;
                self.registration_wake = Some(Timestamp::EPOCH);
                if let Ok(Reply::Info(info)) = reply {
                    self.runtime = Some(info);
                    self.relist_at = now;
                }
            }
            (Target::Images, ActionResult::Runtime(Ok(Reply::Images(images)))) => {
                let named = |image: ImageInfo| {
                    (image.names.first().cloned().unwrap_or_else(|| image.id.clone()), image)
                };
                self.images.extend(images.into_iter().map(named));
            }
            (Target::List(asked), ActionResult::Runtime(reply)) => {
                self.listing = false;
                match reply {
                    Ok(Reply::List(list)) => self.take_list(list, asked, actions),
                    _ => {
                        self.relist_at = now + RETRY;
                        if !self.recovered {
                            // Perhaps it is gone altogether.
                            self.runtime = None;
                            self.ask_at = now + RETRY;
                        }
                    }
                }
            }
            // An answer of another kind than the question is a mistake of the shell; the question stays open.
            _ => {}
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

    fn ask_runtime(&mut self, actions: &mut Vec<Action>) {
        let now = self.now;
        if self.runtime.is_none() {
            if !self.asking && now >= self.ask_at {
                self.asking = true;
                self.act(actions, Target::Info, Task::Runtime(Call::Info));
                self.act(actions, Target::Images, Task::Runtime(Call::Images));
            }
        } else if !self.listing && now >= self.relist_at {
            self.list(actions);
        }
    }

    fn list(&mut self, actions: &mut Vec<Action>) {
        self.listing = true;
        self.relist_at = self.now + self.config.relist_period;
        self.act(actions, Target::List(self.now), Task::Runtime(Call::List));
    }

    fn take_list(&mut self, mut list: Vec<SandboxStatus>, asked: Timestamp, actions: &mut Vec<Action>) {
        list.sort_by(|a, b| (&a.uid, a.attempt).cmp(&(&b.uid, b.attempt)));
        if !self.recovered {
            self.found = Some(list);
            return;
        }
        let mut youngest: BTreeMap<Name, SandboxStatus> = BTreeMap::new();
        for sandbox in list {
            let outgrown = self.pods.get(&sandbox.uid).is_none_or(|machine| machine.has_outgrown(&sandbox));
            if outgrown {
                self.act(actions, Target::Nothing, Task::Runtime(Call::RemoveSandbox(sandbox.id)));
            } else {
                youngest.insert(sandbox.uid.clone(), sandbox);
            }
        }
        let uids: Vec<Name> = self.pods.keys().cloned().collect();
        for uid in uids {
            let found = youngest.get(&uid);
            if self.pods.get(&uid).is_none_or(|machine| machine.agrees_with(found, asked)) {
                continue;
            }
            self.with_pod(&uid, actions, |machine, env, out| machine.on_list(env, found, asked, out));
        }
    }

    /// Once both are known, what should run and what runs, the pods take over what is theirs.
    fn recover(&mut self, actions: &mut Vec<Action>) {
        if self.recovered || !self.pods_seen {
            return;
        }
        let Some(found) = self.found.take() else { return };
        self.recovered = true;
        let mut youngest: BTreeMap<Name, SandboxStatus> = BTreeMap::new();
        for sandbox in found {
            if let Some(older) = youngest.insert(sandbox.uid.clone(), sandbox) {
                self.act(actions, Target::Nothing, Task::Runtime(Call::RemoveSandbox(older.id)));
            }
        }
        for (uid, sandbox) in youngest {
            if self.pods.contains_key(&uid) {
                self.with_pod(&uid, actions, |machine, env, out| machine.adopt(env, &sandbox, out));
            } else {
                self.act(actions, Target::Nothing, Task::Runtime(Call::RemoveSandbox(sandbox.id)));
            }
        }
    }

    /// Has the pool of addresses, as soon as the node has ranges.
    fn keep_addresses(&mut self) {
        if self.addresses.is_some() || !self.recovered {
            return;
        }
        let ranges = self.registration.pod_cidrs(&self.config);
        if ranges.is_empty() {
            return;
        }
        // A pod that the runtime has forgotten keeps the address by which it is known.
        for machine in self.pods.values_mut() {
            machine.reserve_addresses(&ranges);
        }
        let held = self.pods.values().filter(|machine| !machine.is_host_network()).flat_map(|machine| {
            let created = machine.pod().metadata.creation_timestamp.unwrap_or_default();
            machine.addresses().iter().map(move |ip| (*ip, created))
        });
        let held: Vec<_> = held.collect();
        self.addresses = Some(PodAddresses::restore(ranges, held));
        self.dirty.extend(self.pods.keys().cloned());
    }

    fn keep_node(&mut self, actions: &mut Vec<Action>) {
        if self.registration_wake.is_none_or(|at| at > self.now) {
            return;
        }
        let (mut writes, mut notes) = (Vec::new(), Vec::new());
        let images: Vec<ImageInfo> = self.images.values().cloned().collect();
        self.registration_wake = self.registration.step(
            self.now,
            &self.config,
            self.runtime.as_ref(),
            self.asked,
            &images,
            &mut writes,
            &mut notes,
        );
        for (what, write) in writes {
            self.act(actions, Target::Node(what), Task::Write(write));
        }
        self.tell(actions, notes);
    }

    fn keep_mirrors(&mut self, actions: &mut Vec<Action>) {
        if self.mirrored_wake.is_none_or(|at| at > self.now) || !self.pods_seen {
            return;
        }
        self.mirrored_wake = None;
        let uid = self.registration.uid();
        let runtime = self.runtime.as_ref().map_or("orlop", |info| info.name.as_str()).to_owned();
        for at in 0..self.mirrored.len() {
            let (write, wake) = self.mirrored[at].step(self.now, &self.config, uid.as_ref(), &runtime);
            self.mirrored_wake = [self.mirrored_wake, wake].into_iter().flatten().min();
            if let Some((what, write)) = write {
                self.act(actions, Target::Mirror(at, what), Task::Write(write));
            }
        }
    }

    fn step_pods(&mut self, actions: &mut Vec<Action>) {
        while let Some((at, uid)) = self.timers.first().cloned() {
            if at > self.now {
                break;
            }
            self.timers.remove(&(at, uid.clone()));
            self.wakes.remove(&uid);
            self.dirty.insert(uid);
        }
        if self.changed {
            let waiting = self.pods.iter().filter(|(_, machine)| machine.waits_for_objects());
            self.dirty.extend(waiting.map(|(uid, _)| uid.clone()));
        }
        for uid in std::mem::take(&mut self.dirty) {
            self.step_pod(&uid, actions);
        }
        self.changed = false;
        if self.relist_at <= self.now && !self.listing && self.runtime.is_some() {
            self.list(actions);
        }
    }

    fn step_pod(&mut self, uid: &Name, actions: &mut Vec<Action>) {
        let Some(mut machine) = self.pods.remove(uid) else { return };
        if self.config.admission && machine.is_new() && machine.pod().metadata.deletion_timestamp.is_none() {
            self.admit(&mut machine);
        }
        let mut out = Out::default();
        machine.step(&mut self.env(), &mut out);
        if let Some(before) = self.wakes.remove(uid) {
            self.timers.remove(&(before, uid.clone()));
        }
        if let Some(at) = out.wake {
            self.wakes.insert(uid.clone(), at);
            self.timers.insert((at, uid.clone()));
        }
        if !machine.is_finished() {
            self.pods.insert(uid.clone(), machine);
        }
        self.carry_out(uid, out, actions);
    }

    /// Refuses a pod for which there is no room, as its binding may be older than what the node has taken since.
    fn admit(&self, machine: &mut PodMachine) {
        let Some((name, wanted, used, capacity)) = self.shortage(machine.pod()) else { return };
        let reason = match name.as_str() {
            "cpu" => "OutOfcpu",
            "memory" => "OutOfmemory",
            "pods" => "OutOfpods",
            "ephemeral-storage" => "OutOfephemeral-storage",
            _ => "UnexpectedAdmissionError",
        };
        let message = format!(
            "Pod was rejected: Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: {capacity}"
        );
        machine.refuse(reason, message);
    }

    /// The first resource of which the pod wants more than is left: wanted, used, capacity.
    fn shortage(&self, pod: &Pod) -> Option<(Name, i64, i64, i64)> {
        let limit = |name: &Name| self.config.allocatable().get(name).map(|amount| measure(name, amount));
        let mut used: BTreeMap<Name, i64> = BTreeMap::new();
        let mut count = 0;
        for other in self.pods.values().filter(|other| other.is_active() && !other.is_new()) {
            count += 1;
            for (name, amount) in requests(other.pod(), Counting::default()) {
                let amount = measure(&name, &amount);
                *used.entry(name).or_default() += amount;
            }
        }
        let pods = Name::new_static("pods");
        if let Some(capacity) = limit(&pods).filter(|capacity| count >= *capacity) {
            return Some((pods, 1, count, capacity));
        }
        requests(pod, Counting::default()).into_iter().find_map(|(name, amount)| {
            let wanted = measure(&name, &amount);
            let taken = used.get(&name).copied().unwrap_or(0);
            let capacity = limit(&name).unwrap_or(0);
            (wanted > 0 && taken + wanted > capacity).then_some((name, wanted, taken, capacity))
        })
    }
}

/// CPU in thousandths, all else in units, as the messages give them.
fn measure(name: &str, amount: &orlop_core::rules::Quantity) -> i64 {
    if name == "cpu" { amount.milli_value() } else { amount.value() }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}
