//! The state machine: [`MockMachine`].

mod probe;
mod process;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use orlop_core::runtime::{
    Call, ContainerId, ContainerSpec, ExecSpec, ImageInfo, ImagePull, LogLine, LogOptions, Reply, RunState,
    RuntimeError, RuntimeEvent, RuntimeInfo, SandboxId, SandboxSpec, SandboxStatus,
};
use orlop_core::{Name, Timestamp};

use crate::container::{Container, LogPlace, cut};
use crate::exec::{Files, Place, Program};
use crate::fault::{Fault, Pending};
use crate::policy::Policy;
use crate::script::PullFailure;
pub(crate) use process::Process;

/// Names a call in the reply to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Something that the machine has to tell.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// The reply to a call.
    Reply(Ticket, Result<Reply, RuntimeError>),
    /// Something happened.
    Event(RuntimeEvent),
}

/// A container runtime as a state machine: deterministic, and on the caller's clock.
///
/// # Guarantees
/// The same calls, faults and moments in the same order give the same outputs in the same order; identifiers come
/// from a counter. Every call is replied to exactly once, by the [`MockMachine::poll`] at or after the moment that
/// [`MockMachine::next_wake`] names.
pub struct MockMachine {
    policy: Policy,
    next_id: u64,
    sandboxes: BTreeMap<SandboxId, Sandbox>,
    containers: BTreeMap<ContainerId, Container>,
    images: BTreeMap<Name, ImageInfo>,
    /// What becomes due when. Entries of containers may be outdated: the container knows.
    due: BTreeSet<(Timestamp, u64, Due)>,
    delayed: BTreeMap<u64, Output>,
    ready: VecDeque<Output>,
    faults: Pending,
}

struct Sandbox {
    spec: Arc<SandboxSpec>,
    created: Timestamp,
    ready: bool,
    containers: BTreeMap<(Name, u32), ContainerId>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Output(u64),
    Image(Name),
    Container(ContainerId),
}

/// What an image weighs for which nothing else is said.
const IMAGE_BYTES: u64 = 1 << 20;

impl MockMachine {
    /// A machine with no images on which nothing runs.
    pub fn new(policy: Policy) -> MockMachine {
        MockMachine {
            policy,
            next_id: 0,
            sandboxes: BTreeMap::new(),
            containers: BTreeMap::new(),
            images: BTreeMap::new(),
            due: BTreeSet::new(),
            delayed: BTreeMap::new(),
            ready: VecDeque::new(),
            faults: Pending::default(),
        }
    }

    /// Takes a call. Its reply comes from [`MockMachine::poll`], at once or when its time has come.
    pub fn call(&mut self, now: Timestamp, call: Call) -> Ticket {
        let ticket = Ticket(self.fresh());
        if let Some(error) = self.faults.failure(call.name()) {
            self.ready.push_back(Output::Reply(ticket, Err(error)));
            return ticket;
        }
        let outcome = self.carry_out(now, call, ticket);
        let outcome = match outcome {
            Outcome::Now(_) if self.faults.reply_lost() => {
                Outcome::Now(Err(RuntimeError::Unavailable("the reply was lost".to_owned())))
            }
            outcome => outcome,
        };
        match outcome {
            Outcome::Now(result) => self.ready.push_back(Output::Reply(ticket, result)),
            Outcome::After(Duration::ZERO, result) => self.ready.push_back(Output::Reply(ticket, result)),
            Outcome::After(time, result) => self.later(now + time, Output::Reply(ticket, result)),
            Outcome::WhenStarted => {}
        }
        ticket
    }

    /// Moves to `now` and tells what has become due, in order.
    pub fn poll(&mut self, now: Timestamp) -> Vec<Output> {
        while let Some((at, id, due)) = self.due.first().cloned() {
            if at > now {
                break;
            }
            self.due.remove(&(at, id, due.clone()));
            match due {
                Due::Output(id) => self.ready.extend(self.delayed.remove(&id)),
                Due::Image(image) => self.arrive(&image),
                Due::Container(id) => self.advance(at, &id),
            }
        }
        self.ready.drain(..).collect()
    }

    /// The moment at which [`MockMachine::poll`] has something to tell; `None`: only after another call.
    pub fn next_wake(&self) -> Option<Timestamp> {
        if !self.ready.is_empty() {
            return Some(Timestamp::EPOCH);
        }
        self.due.first().map(|(at, ..)| *at)
    }

    /// Lets something go wrong.
    pub fn inject(&mut self, now: Timestamp, fault: Fault) {
        match fault {
            Fault::FailCalls { count, call, error } => self.faults.fail(count, call, error),
            Fault::LoseReplies(count) => self.faults.lose_replies(count),
            Fault::LoseEvents(count) => self.faults.lose_events(count),
            Fault::SlowStarts { count, by } => self.faults.slow_starts(count, by),
            Fault::KillContainer(id) => self.end(now, &id, 137, Some(9)),
            Fault::LoseSandbox(id) => {
                if self.stop_sandbox(now, &id) {
                    let uid = self.sandboxes[&id].spec.uid.clone();
                    self.tell(RuntimeEvent::SandboxLost { uid, sandbox: id });
                }
            }
            Fault::Reboot => {
                let told = self.ready.len();
                let ids: Vec<SandboxId> = self.sandboxes.keys().cloned().collect();
                for id in ids {
                    self.stop_sandbox(now, &id);
                }
                // Whoever waited for a start learns that it failed; events of a dying machine reach nobody.
                let after = self.ready.split_off(told);
                self.ready.extend(after.into_iter().filter(|output| matches!(output, Output::Reply(..))));
            }
        }
    }

    /// Every container that runs, with its pod's sandbox.
    pub fn running(&self) -> impl Iterator<Item = (&ContainerId, &ContainerSpec, &SandboxSpec)> {
        self.containers.values().filter(|c| c.running_since().is_some()).filter_map(|c| {
            let sandbox = self.sandboxes.get(&c.sandbox)?;
            Some((&c.id, &c.spec, &*sandbox.spec))
        })
    }

    /// The lines of a container's log that `options` ask for, as far as they are printed by `now`.
    ///
    /// # Errors
    /// [`RuntimeError::NotFound`].
    pub fn logs(
        &self,
        now: Timestamp,
        id: &ContainerId,
        options: &LogOptions,
    ) -> Result<Vec<LogLine>, RuntimeError> {
        Ok(self.log_from(now, id, options, None)?.lines.into_iter().map(|(_, line)| line).collect())
    }

    /// The part of a log behind `after`; the tail is cut only when reading begins.
    pub(crate) fn log_from(
        &self,
        now: Timestamp,
        id: &ContainerId,
        options: &LogOptions,
        after: Option<LogPlace>,
    ) -> Result<LogPart, RuntimeError> {
        let container = self.container(id)?;
        let mut lines = container.log(now);
        match after {
            Some(after) => lines.retain(|(place, _)| *place > after),
            None => cut(&mut lines, options),
        }
        let ended = matches!(container.state, RunState::Exited(_));
        Ok(LogPart { lines, ended, next: container.next_line(now) })
    }

    /// Lets a container print a line.
    pub fn say(&mut self, now: Timestamp, id: &ContainerId, text: &str) {
        if let Some(container) = self.containers.get_mut(id) {
            container.say(now, text);
        }
    }

    /// What a command does that a probe runs in a container: its output and exit code.
    ///
    /// # Errors
    /// [`RuntimeError::NotFound`], [`RuntimeError::NotRunning`].
    pub fn exec(&self, id: &ContainerId, command: &[Name]) -> Result<(String, i32), RuntimeError> {
        let container = self.container(id)?;
        if container.running_since().is_none() {
            return Err(not_running(id));
        }
        let sandbox = self.sandbox(&container.sandbox)?;
        Ok(self.policy.commands.exec(&sandbox.spec, &container.spec, command))
    }

    /// Whether a container runs.
    pub(crate) fn must_run(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        match self.container(id)?.running_since() {
            Some(_) => Ok(()),
            None => Err(not_running(id)),
        }
    }

    /// Begins a command in a container.
    pub(crate) fn start_program(
        &self,
        now: Timestamp,
        id: &ContainerId,
        spec: &ExecSpec,
    ) -> Result<Box<dyn Program>, RuntimeError> {
        self.must_run(id)?;
        let container = self.container(id)?;
        let sandbox = self.sandbox(&container.sandbox)?;
        let place = Place { sandbox: &sandbox.spec, container: &container.spec, now };
        self.policy.exec.start(&place, spec)
    }

    /// What commands have written into a container; `None` when it does not run.
    pub(crate) fn files_of(&mut self, id: &ContainerId) -> Option<&mut Files> {
        let container = self.containers.get_mut(id)?;
        container.running_since()?;
        Some(&mut container.files)
    }

    /// The running containers of a sandbox.
    #[cfg(feature = "serve")]
    pub(crate) fn running_in(
        &self,
        sandbox: &SandboxId,
    ) -> Result<(Arc<SandboxSpec>, Running), RuntimeError> {
        let spec = self.sandbox(sandbox)?.spec.clone();
        let here = self.containers.values().filter(|c| c.sandbox == *sandbox && c.running_since().is_some());
        Ok((spec, here.map(|container| (container.id.clone(), container.spec.clone())).collect()))
    }

    #[cfg(feature = "serve")]
    pub(crate) fn sandbox_of(&self, id: &ContainerId) -> Option<(Arc<SandboxSpec>, ContainerSpec)> {
        let container = self.containers.get(id)?;
        Some((self.sandboxes.get(&container.sandbox)?.spec.clone(), container.spec.clone()))
    }

    fn fresh(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn later(&mut self, at: Timestamp, output: Output) {
        let id = self.fresh();
        self.delayed.insert(id, output);
        self.due.insert((at, id, Due::Output(id)));
    }

    fn tell(&mut self, event: RuntimeEvent) {
        if !self.faults.event_lost() {
            self.ready.push_back(Output::Event(event));
        }
    }

    fn container(&self, id: &ContainerId) -> Result<&Container, RuntimeError> {
        self.containers.get(id).ok_or_else(|| RuntimeError::NotFound(format!("container {id}")))
    }

    fn sandbox(&self, id: &SandboxId) -> Result<&Sandbox, RuntimeError> {
        self.sandboxes.get(id).ok_or_else(|| RuntimeError::NotFound(format!("sandbox {id}")))
    }

    fn carry_out(&mut self, now: Timestamp, call: Call, ticket: Ticket) -> Outcome {
        Outcome::Now(match call {
            Call::Info => Ok(Reply::Info(RuntimeInfo {
                name: Name::new_static("mock"),
                version: Name::new_static(env!("CARGO_PKG_VERSION")),
            })),
            Call::PullImage(pull) => return self.pull(now, &pull),
            Call::Image(image) => Ok(Reply::Image(self.images.get(&image).cloned())),
            Call::Images => Ok(Reply::Images(self.images.values().cloned().collect())),
            Call::RemoveImage(image) => {
                self.images.remove(&image);
                Ok(Reply::Done)
            }
            Call::CreateSandbox(spec) => self.create_sandbox(now, *spec).map(Reply::Sandbox),
            Call::StopSandbox(id) => {
                self.stop_sandbox(now, &id);
                Ok(Reply::Done)
            }
            Call::RemoveSandbox(id) => {
                self.stop_sandbox(now, &id);
                for id in self.sandboxes.remove(&id).into_iter().flat_map(|s| s.containers.into_values()) {
                    self.containers.remove(&id);
                }
                Ok(Reply::Done)
            }
            Call::CreateContainer(sandbox, spec) => {
                self.create_container(&sandbox, *spec).map(Reply::Container)
            }
            Call::StartContainer(id) => match self.start(now, &id, ticket) {
                Ok(()) => return Outcome::WhenStarted,
                Err(error) => Err(error),
            },
            Call::StopContainer(id, grace) => {
                self.stop_container(now, &id, grace);
                Ok(Reply::Done)
            }
            Call::KillContainer(id) => {
                self.end(now, &id, 137, Some(9));
                Ok(Reply::Done)
            }
            Call::RemoveContainer(id) => {
                self.end(now, &id, 137, Some(9));
                if let Some(container) = self.containers.remove(&id)
                    && let Some(sandbox) = self.sandboxes.get_mut(&container.sandbox)
                {
                    sandbox.containers.retain(|_, other| *other != id);
                }
                Ok(Reply::Done)
            }
            Call::List => Ok(Reply::List(self.list())),
            Call::Probe(id, probe) => return self.probe(now, &id, &probe),
        })
    }

    fn pull(&mut self, now: Timestamp, pull: &ImagePull) -> Outcome {
        let image = &pull.image;
        if image.is_empty() || image.chars().any(char::is_whitespace) {
            return Outcome::Now(Err(RuntimeError::InvalidImageName(image.to_string())));
        }
        let course = self.policy.pull(pull);
        let result = match course.failure {
            Some(PullFailure::Missing(message)) => {
                Err(RuntimeError::ImagePull { image: image.clone(), message })
            }
            Some(PullFailure::Unauthorized(message)) => {
                Err(RuntimeError::Unauthorized { image: image.clone(), message })
            }
            None => {
                if course.time.is_zero() {
                    self.arrive(image);
                } else {
                    let number = self.fresh();
                    self.due.insert((now + course.time, number, Due::Image(image.clone())));
                }
                Ok(Reply::Image(Some(image_info(image))))
            }
        };
        Outcome::After(course.time, result)
    }

    fn arrive(&mut self, image: &Name) {
        self.images.insert(image.clone(), image_info(image));
        self.tell(RuntimeEvent::ImagePulled(image_info(image)));
    }

    fn create_sandbox(&mut self, now: Timestamp, spec: SandboxSpec) -> Result<SandboxId, RuntimeError> {
        if self.sandboxes.values().any(|s| s.spec.uid == spec.uid && s.spec.attempt == spec.attempt) {
            return Err(RuntimeError::AlreadyExists(format!("sandbox {} of pod {}", spec.attempt, spec.uid)));
        }
        let id = SandboxId(smol_str::format_smolstr!("{}-{}", spec.name, self.fresh()));
        let sandbox =
            Sandbox { spec: Arc::new(spec), created: now, ready: true, containers: BTreeMap::new() };
        self.sandboxes.insert(id.clone(), sandbox);
        Ok(id)
    }

    /// Answers whether it was up.
    fn stop_sandbox(&mut self, now: Timestamp, id: &SandboxId) -> bool {
        let Some(sandbox) = self.sandboxes.get_mut(id) else { return false };
        let was_ready = std::mem::replace(&mut sandbox.ready, false);
        let containers: Vec<ContainerId> = sandbox.containers.values().cloned().collect();
        for container in containers {
            self.end(now, &container, 137, Some(9));
        }
        was_ready
    }

    fn create_container(
        &mut self,
        sandbox: &SandboxId,
        spec: ContainerSpec,
    ) -> Result<ContainerId, RuntimeError> {
        let number = self.fresh();
        let found = self.sandbox(sandbox)?;
        if !found.ready {
            return Err(RuntimeError::NotFound(format!("sandbox {sandbox}")));
        }
        let slot = (spec.name.clone(), spec.attempt);
        if found.containers.contains_key(&slot) {
            return Err(RuntimeError::AlreadyExists(format!("attempt {} of container {}", slot.1, slot.0)));
        }
        let image_id = match self.images.get(&spec.image) {
            Some(image) => image.id.clone(),
            None => return Err(RuntimeError::ImageAbsent(spec.image.clone())),
        };
        let script = self
            .policy
            .script(&found.spec, &spec)
            .map_err(|error| RuntimeError::InvalidSpec(error.to_string()))?;
        let id = ContainerId(smol_str::format_smolstr!(
            "{}-{}-{}-{number}",
            found.spec.name,
            spec.name,
            spec.attempt
        ));
        let container = Container::new(id.clone(), sandbox.clone(), spec, image_id, script);
        self.containers.insert(id.clone(), container);
        if let Some(sandbox) = self.sandboxes.get_mut(sandbox) {
            sandbox.containers.insert(slot, id.clone());
        }
        Ok(id)
    }

    fn start(&mut self, now: Timestamp, id: &ContainerId, ticket: Ticket) -> Result<(), RuntimeError> {
        let delay = self.faults.delay();
        let container =
            self.containers.get_mut(id).ok_or_else(|| RuntimeError::NotFound(format!("container {id}")))?;
        if container.state != RunState::Created || container.starting.is_some() {
            return Err(RuntimeError::AlreadyExists(format!("a start of container {id}")));
        }
        container.starting = Some((now + container.script.start_up + delay, ticket));
        self.watch(id);
        Ok(())
    }

    fn stop_container(&mut self, now: Timestamp, id: &ContainerId, grace: Duration) {
        match self.containers.get_mut(id) {
            Some(container) if container.running_since().is_some() => {
                container.stop(now, grace);
                self.watch(id);
            }
            // What has not begun to run is not asked twice.
            Some(container) if container.starting.is_some() => self.end(now, id, 137, Some(9)),
            _ => {}
        }
    }

    fn watch(&mut self, id: &ContainerId) {
        let number = self.fresh();
        if let Some(at) = self.containers.get(id).and_then(Container::due) {
            self.due.insert((at, number, Due::Container(id.clone())));
        }
    }

    /// A container's moment has come, unless it has another one by now.
    fn advance(&mut self, at: Timestamp, id: &ContainerId) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if container.due() != Some(at) {
            return;
        }
        if let Some((_, ticket)) = container.starting.take() {
            container.run(at);
            let uid = self.sandboxes.get(&container.sandbox).map(|s| s.spec.uid.clone()).unwrap_or_default();
            self.ready.push_back(Output::Reply(ticket, Ok(Reply::Started(at))));
            self.tell(RuntimeEvent::Started { uid, container: id.clone(), at });
            self.begin_process(at, id);
            self.watch(id);
        } else if let Some((_, code, signal)) = container.ending.filter(|(end, ..)| *end <= at) {
            self.end(at, id, code, signal);
        } else {
            self.step_process(at, id);
        }
    }

    fn end(&mut self, at: Timestamp, id: &ContainerId, code: i32, signal: Option<i32>) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let starting = container.starting.take();
        if container.running_since().is_none() && starting.is_none() {
            return;
        }
        let exit = container.end(at, code, signal);
        let uid = self.sandboxes.get(&container.sandbox).map(|s| s.spec.uid.clone()).unwrap_or_default();
        if let Some((_, ticket)) = starting {
            let error = RuntimeError::StartFailed(format!("container {id} was killed while it started"));
            self.ready.push_back(Output::Reply(ticket, Err(error)));
        }
        self.tell(RuntimeEvent::Exited { uid, container: id.clone(), exit });
    }

    fn list(&self) -> Vec<SandboxStatus> {
        let status = |(id, sandbox): (&SandboxId, &Sandbox)| SandboxStatus {
            id: id.clone(),
            uid: sandbox.spec.uid.clone(),
            namespace: sandbox.spec.namespace.clone(),
            name: sandbox.spec.name.clone(),
            attempt: sandbox.spec.attempt,
            addresses: sandbox.spec.addresses.clone(),
            ready: sandbox.ready,
            created: sandbox.created,
            containers: sandbox
                .containers
                .values()
                .filter_map(|id| self.containers.get(id))
                .map(Container::status)
                .collect(),
        };
        self.sandboxes.iter().map(status).collect()
    }
}

enum Outcome {
    Now(Result<Reply, RuntimeError>),
    After(Duration, Result<Reply, RuntimeError>),
    /// The reply comes with the container's start.
    WhenStarted,
}

/// A part of a log.
pub(crate) struct LogPart {
    pub(crate) lines: Vec<(LogPlace, LogLine)>,
    /// Nothing more will come.
    pub(crate) ended: bool,
    /// When the next line comes.
    pub(crate) next: Option<Timestamp>,
}

fn image_info(image: &Name) -> ImageInfo {
    ImageInfo {
        id: smol_str::format_smolstr!("{image}@mock"),
        names: vec![image.clone()],
        size_bytes: IMAGE_BYTES,
    }
}

fn not_running(id: &ContainerId) -> RuntimeError {
    RuntimeError::NotRunning(format!("container {id} does not run"))
}

/// The containers that run in one sandbox.
#[cfg(feature = "serve")]
pub(crate) type Running = Vec<(ContainerId, ContainerSpec)>;
