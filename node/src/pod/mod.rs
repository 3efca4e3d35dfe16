//! One pod on this node: a pure machine from what should be and what is to what is to be done.

mod probe;
pub(crate) mod status;
mod unit;

use std::net::IpAddr;
use std::time::Duration;

use orlop_core::kinds::{Container, Pod};
use orlop_core::plan::Reference;
use orlop_core::runtime::{
    Call, ContainerId, Exit, ProbeAnswer, ProbePurpose, Reply, RuntimeError, SandboxId, SandboxStatus,
};
use orlop_core::{Item, Key, Name, Note, Revision, Timestamp, Write};
use orlop_netplan::ipam::PodAddresses;

use crate::config::NodeConfig;
use crate::objects::Objects;
use crate::spec::{self, PodFacts};
use crate::volumes;
use status::Conditions;
use unit::{Role, Unit, Work};

/// The wait before something is tried again that the runtime or the API refused.
const RETRY: Duration = Duration::from_secs(1);
/// The grace of what is not in the API any more.
const ORPHAN_GRACE: Duration = Duration::from_secs(2);

/// What a reply is for. Numbers are places in the list of the pod's containers and, where a late reply could meet the
/// next instance, its attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Sandbox,
    StopSandbox,
    RemoveSandbox,
    Look(usize),
    Pull(usize),
    Create(usize),
    Start(usize),
    Stop(usize),
    Kill,
    Forget,
    Probe(usize, u32, ProbePurpose),
    PostStart(usize, u32),
    PreStop(usize, u32),
}

/// What a write is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PodWrite {
    Status,
    Delete,
}

/// What a step wants done.
#[derive(Default)]
pub(crate) struct Out {
    pub(crate) calls: Vec<(Op, Call)>,
    pub(crate) writes: Vec<(PodWrite, Write)>,
    pub(crate) notes: Vec<Note>,
    pub(crate) wake: Option<Timestamp>,
    pub(crate) relist: bool,
}

impl Out {
    pub(crate) fn call(&mut self, op: Op, call: Call) {
        self.calls.push((op, call));
    }

    pub(crate) fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

/// What a step sees beyond the pod itself.
pub(crate) struct Env<'a> {
    pub(crate) now: Timestamp,
    pub(crate) config: &'a NodeConfig,
    pub(crate) objects: &'a Objects,
    pub(crate) addresses: &'a mut Option<PodAddresses>,
    pub(crate) runtime: &'a str,
    /// Whether other objects have changed since the last step.
    pub(crate) changed: bool,
    /// How far the data planes are; `None`: there are none.
    pub(crate) planes: Option<Revision>,
}

/// What a container's step sees.
pub(crate) struct Cx<'a> {
    pub(crate) now: Timestamp,
    pub(crate) changed: bool,
    pub(crate) facts: PodFacts<'a>,
    pub(crate) about: &'a Reference,
    pub(crate) sandbox: SandboxId,
    pub(crate) init_count: usize,
    pub(crate) out: &'a mut Out,
}

impl Cx<'_> {
    pub(crate) fn note(
        &mut self,
        i: usize,
        container: &Container,
        warning: bool,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let list = if i < self.init_count { "initContainers" } else { "containers" };
        let mut about = self.about.clone();
        about.field_path = smol_str::format_smolstr!("spec.{list}{{{}}}", container.name);
        self.out.notes.push(Note {
            about,
            warning,
            reason: Name::new_static(reason),
            message: message.into(),
        });
    }

    /// `web_default(uid)`.
    pub(crate) fn pod_name(&self) -> String {
        let meta = &self.facts.pod.metadata;
        format!("{}_{}({})", meta.name, meta.namespace, meta.uid)
    }

    /// What the pod grants its containers to end.
    pub(crate) fn grace(&self) -> Duration {
        grace_of(self.facts.pod)
    }
}

fn grace_of(pod: &Pod) -> Duration {
    let given = pod.spec.termination_grace_period_seconds.unwrap_or(30);
    Duration::from_secs(u64::try_from(given).unwrap_or(0))
}

#[derive(Clone, Debug, PartialEq)]
enum Sandbox {
    /// There is none; not before that moment, if it failed.
    None(Option<Timestamp>),
    Creating,
    Up(SandboxId),
    Stopping(SandboxId),
    Stopped(SandboxId),
    Removing(SandboxId),
}

impl Sandbox {
    fn id(&self) -> Option<&SandboxId> {
        match self {
            Sandbox::None(_) | Sandbox::Creating => None,
            Sandbox::Up(id) | Sandbox::Stopping(id) | Sandbox::Stopped(id) | Sandbox::Removing(id) => {
                Some(id)
            }
        }
    }
}

/// Why all containers have to end.
#[derive(Clone, Debug)]
struct Ending {
    since: Timestamp,
    deadline: Timestamp,
    /// The revision that unroutes the pod; `None`: there is nothing to wait for.
    unrouted_by: Option<Revision>,
}

/// A pod that failed as a whole, and why.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

pub(crate) struct PodMachine {
    key: Key,
    item: Item<Pod>,
    about: Reference,
    /// Whether the object is still in the API.
    exists: bool,
    sandbox: Sandbox,
    sandbox_attempt: u32,
    /// When the agent learnt of the sandbox: an older list does not know it.
    sandbox_noticed: Timestamp,
    addresses: Vec<IpAddr>,
    units: Vec<Unit>,
    init_count: usize,
    /// The init containers have all done their part since the sandbox was made.
    initialized: bool,
    start_time: Option<Timestamp>,
    conditions: Conditions,
    verdict: Option<Verdict>,
    /// The phase in which it ended for good.
    over: Option<&'static str>,
    ending: Option<Ending>,
    volume_told: Option<String>,
    /// A write is under way.
    writing: bool,
    /// The object is not looked at before it has come so far.
    seen_from: Revision,
    retry_write: Option<Timestamp>,
    deleted: bool,
}

impl PodMachine {
    pub(crate) fn new(item: Item<Pod>) -> PodMachine {
        let spec = &item.spec;
        let role = |c: &Container| if c.restart_policy == "Always" { Role::Sidecar } else { Role::Init };
        let init = spec.init_containers.iter().map(|c| Unit::new(c.clone(), role(c)));
        let units: Vec<Unit> =
            init.chain(spec.containers.iter().map(|c| Unit::new(c.clone(), Role::Main))).collect();
        let over = match item.status.phase.as_str() {
            "Succeeded" => Some("Succeeded"),
            "Failed" => Some("Failed"),
            _ => None,
        };
        let mut machine = PodMachine {
            key: item.metadata.key(),
            about: Reference::to(&item),
            exists: true,
            sandbox: Sandbox::None(None),
            sandbox_attempt: 0,
            sandbox_noticed: Timestamp::EPOCH,
            addresses: Vec::new(),
            init_count: spec.init_containers.len(),
            initialized: false,
            start_time: item.status.start_time,
            conditions: Conditions::seen(&item.status),
            verdict: None,
            over,
            ending: None,
            volume_told: None,
            writing: false,
            seen_from: Revision(0),
            retry_write: None,
            deleted: false,
            units,
            item,
        };
        machine.recall();
        machine
    }

    /// What only the status remembers, where the runtime has forgotten.
    fn recall(&mut self) {
        let status = &self.item.status;
        let all = status.init_container_statuses.iter().chain(&status.container_statuses);
        for told in all {
            let ran = told.state.running.is_some()
                || told.state.terminated.is_some()
                || told.last_state.terminated.is_some();
            if let Some(unit) = self.units.iter_mut().find(|unit| unit.spec.name == told.name) {
                let count = u32::try_from(told.restart_count).unwrap_or(0);
                unit.base = if ran { count + 1 } else { count };
            }
        }
    }

    pub(crate) fn pod(&self) -> &Pod {
        &self.item
    }

    pub(crate) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Takes the addresses that the status tells, unless it has others or they are not of the node any more.
    pub(crate) fn reserve_addresses(&mut self, ranges: &[ipnet::IpNet]) {
        if !self.addresses.is_empty() || self.over.is_some() || self.is_host_network() {
            return;
        }
        let told: Vec<IpAddr> = self.item.status.pod_ips.iter().filter_map(|ip| ip.ip.parse().ok()).collect();
        let ours = |ip: &IpAddr| ranges.iter().any(|range| range.contains(ip));
        if told.len() == ranges.len() && told.iter().all(ours) {
            self.addresses = told;
        }
    }

    pub(crate) fn is_host_network(&self) -> bool {
        self.item.spec.host_network
    }

    /// Whether the pod takes resources of the node.
    pub(crate) fn is_active(&self) -> bool {
        self.over.is_none() && self.verdict.is_none()
    }

    /// Nothing is left of it, neither here nor in the API.
    pub(crate) fn is_finished(&self) -> bool {
        !self.exists && matches!(self.sandbox, Sandbox::None(_)) && self.quiet()
    }

    /// Nothing runs, and nothing under way could make something run.
    fn quiet(&self) -> bool {
        self.sandbox != Sandbox::Creating
            && self.units.iter().all(|unit| unit.running().is_none() && !unit.in_flight())
    }

    /// The object has changed.
    pub(crate) fn on_pod(&mut self, item: Item<Pod>) {
        self.about = Reference::to(&item);
        for unit in &mut self.units {
            let all = item.spec.init_containers.iter().chain(&item.spec.containers);
            if let Some(spec) = all.into_iter().find(|c| c.name == unit.spec.name) {
                unit.spec = spec.clone();
            }
        }
        self.item = item;
    }

    /// The object is gone from the API.
    pub(crate) fn on_gone(&mut self) {
        self.exists = false;
    }

    /// The node has no room for it, or it does not belong here.
    pub(crate) fn refuse(&mut self, reason: &'static str, message: String) {
        let note =
            Note { about: self.about.clone(), warning: true, reason: Name::new_static(reason), message };
        self.verdict = Some(Verdict { reason, message: note.message });
    }

    /// Whether it was never begun here.
    pub(crate) fn is_new(&self) -> bool {
        self.sandbox == Sandbox::None(None)
            && self.sandbox_attempt == 0
            && self.start_time.is_none()
            && self.over.is_none()
            && self.verdict.is_none()
    }

    /// Takes over what runs since before the agent's start.
    pub(crate) fn adopt(&mut self, env: &mut Env<'_>, found: &SandboxStatus, out: &mut Out) {
        self.sandbox_attempt = found.attempt + 1;
        self.addresses = found.addresses.clone();
        self.sandbox =
            if found.ready { Sandbox::Up(found.id.clone()) } else { Sandbox::Stopped(found.id.clone()) };
        self.each(env, out, |_, unit, cx| unit.adopt(cx, &found.containers));
        // A container that serves stands behind init containers that have done their part.
        self.initialized = self.units[self.init_count..].iter().any(|unit| unit.current.is_some());
        if !found.ready && self.over.is_none() {
            self.lose_sandbox(env.now);
        }
    }

    fn lose_sandbox(&mut self, now: Timestamp) {
        for unit in &mut self.units {
            unit.on_sandbox_lost(now);
        }
        self.initialized = false;
    }

    /// The runtime's list, asked for at `asked`, has this sandbox of the pod (the youngest one), or none.
    pub(crate) fn on_list(
        &mut self,
        env: &mut Env<'_>,
        found: Option<&SandboxStatus>,
        asked: Timestamp,
        out: &mut Out,
    ) {
        match (&self.sandbox, found) {
            (Sandbox::None(_), Some(found)) if found.attempt + 1 == self.sandbox_attempt => {
                // Its creation was not answered.
                self.addresses = found.addresses.clone();
                self.sandbox = Sandbox::Up(found.id.clone());
                self.sandbox_noticed = env.now;
            }
            (Sandbox::Up(id), Some(found)) if *id == found.id && found.ready => {}
            (Sandbox::Up(id), _) if self.sandbox_noticed < asked => {
                let id = id.clone();
                self.on_sandbox_lost(env.now, &id);
            }
            _ => {}
        }
        let listed = found.map_or(&[][..], |found| &found.containers);
        self.each(env, out, |i, unit, cx| unit.on_list(i, cx, listed, asked));
    }

    pub(crate) fn on_sandbox_lost(&mut self, now: Timestamp, id: &SandboxId) {
        if self.sandbox == Sandbox::Up(id.clone()) {
            self.sandbox = Sandbox::Stopped(id.clone());
            self.lose_sandbox(now);
        }
    }

    pub(crate) fn on_exit(&mut self, env: &mut Env<'_>, id: &ContainerId, exit: &Exit, out: &mut Out) {
        self.each(env, out, |_, unit, cx| unit.on_exit_of(cx, id, exit));
    }

    fn each(&mut self, env: &mut Env<'_>, out: &mut Out, mut act: impl FnMut(usize, &mut Unit, &mut Cx<'_>)) {
        let mut units = std::mem::take(&mut self.units);
        for (i, unit) in units.iter_mut().enumerate() {
            act(i, unit, &mut self.cx(env, out));
        }
        self.units = units;
    }

    fn at(&mut self, i: usize, env: &mut Env<'_>, out: &mut Out, act: impl FnOnce(&mut Unit, &mut Cx<'_>)) {
        let mut units = std::mem::take(&mut self.units);
        if let Some(unit) = units.get_mut(i) {
            act(unit, &mut self.cx(env, out));
        }
        self.units = units;
    }

    fn cx<'a>(&'a self, env: &'a Env<'_>, out: &'a mut Out) -> Cx<'a> {
        Cx {
            now: env.now,
            changed: env.changed,
            facts: PodFacts {
                pod: &self.item,
                config: env.config,
                objects: env.objects,
                addresses: &self.addresses,
            },
            about: &self.about,
            sandbox: self.sandbox.id().cloned().unwrap_or_else(|| SandboxId(Name::default())),
            init_count: self.init_count,
            out,
        }
    }

    /// Whether a list, asked for at `asked`, tells nothing new.
    pub(crate) fn agrees_with(&self, found: Option<&SandboxStatus>, asked: Timestamp) -> bool {
        let sandbox = match &self.sandbox {
            Sandbox::None(_) => found.is_none(),
            Sandbox::Up(id) => {
                self.sandbox_noticed >= asked || found.is_some_and(|found| found.id == *id && found.ready)
            }
            _ => true,
        };
        let listed = found.map_or(&[][..], |found| &found.containers);
        sandbox && self.units.iter().all(|unit| unit.agrees_with(listed, asked))
    }

    /// Whether another object's appearance may get it on.
    pub(crate) fn waits_for_objects(&self) -> bool {
        self.volume_told.is_some() || self.units.iter().any(Unit::waits_for_objects)
    }

    /// Whether a sandbox in the runtime's list is a leftover of an earlier attempt.
    pub(crate) fn has_outgrown(&self, found: &SandboxStatus) -> bool {
        self.sandbox.id() != Some(&found.id) && found.attempt + 1 < self.sandbox_attempt
    }

    /// Whether the data planes are waited for.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// The instance of a container whose log is wanted.
    ///
    /// # Errors
    /// A sentence for the user.
    pub(crate) fn instance(
        &self,
        container: &str,
        previous: bool,
        now: Timestamp,
    ) -> Result<ContainerId, String> {
        let pod = &self.key.name;
        let unit = self
            .units
            .iter()
            .find(|unit| unit.spec.name == container)
            .ok_or_else(|| format!("container {container} is not valid for pod {pod}"))?;
        let instance = match (previous, unit.waiting(now).is_some(), unit.exit().is_some()) {
            // While the next try is waited for, the last instance is the previous one.
            (true, true, true) => unit.current.as_ref(),
            (true, ..) => unit.previous.as_ref(),
            (false, ..) => unit.current.as_ref(),
        };
        match instance {
            Some(instance) => Ok(instance.id.clone()),
            None if previous => {
                Err(format!("previous terminated container \"{container}\" in pod \"{pod}\" not found"))
            }
            None => {
                let reason = unit.waiting(now).map_or("ContainerCreating", |(reason, _)| reason);
                let what = if reason.contains("Image") { "trying and failing to pull image" } else { reason };
                Err(format!("container \"{container}\" in pod \"{pod}\" is waiting to start: {what}"))
            }
        }
    }

    /// A reply of the runtime.
    pub(crate) fn on_reply(
        &mut self,
        env: &mut Env<'_>,
        op: Op,
        reply: Result<Reply, RuntimeError>,
        out: &mut Out,
    ) {
        let probed = |reply: Result<Reply, RuntimeError>| -> Result<ProbeAnswer, RuntimeError> {
            match reply? {
                Reply::Probe(answer) => Ok(answer),
                other => Err(confused(&other)),
            }
        };
        match op {
            Op::Sandbox => self.on_sandbox(env, reply, out),
            Op::StopSandbox => {
                if let (Sandbox::Stopping(id), Ok(_)) = (&self.sandbox, &reply) {
                    self.sandbox = Sandbox::Stopped(id.clone());
                } else if let Sandbox::Stopping(id) = &self.sandbox {
                    self.sandbox = Sandbox::Up(id.clone());
                    out.wake_at(env.now + RETRY);
                }
            }
            Op::RemoveSandbox => match (&self.sandbox, reply) {
                (Sandbox::Removing(_), Ok(_) | Err(RuntimeError::NotFound(_))) => {
                    self.sandbox = Sandbox::None(None);
                    self.free_addresses(env);
                }
                (Sandbox::Removing(id), Err(_)) => {
                    self.sandbox = Sandbox::Stopped(id.clone());
                    self.retry_write = Some(env.now + RETRY);
                }
                _ => {}
            },
            Op::Look(i) => {
                let found = match reply {
                    Ok(Reply::Image(image)) => Ok(image),
                    Ok(other) => Err(confused(&other)),
                    Err(error) => Err(error),
                };
                self.at(i, env, out, |unit, cx| unit.on_look(i, cx, found));
            }
            Op::Pull(i) => {
                let pulled = match reply {
                    Ok(Reply::Image(image)) => Ok(image),
                    Ok(other) => Err(confused(&other)),
                    Err(error) => Err(error),
                };
                self.at(i, env, out, |unit, cx| unit.on_pull(i, cx, pulled));
            }
            Op::Create(i) => {
                let created = match reply {
                    Ok(Reply::Container(id)) => Ok(id),
                    Ok(other) => Err(confused(&other)),
                    Err(error) => Err(error),
                };
                // What was created for a pod that has to end by now is not started.
                let ending = self.ending.is_some();
                self.at(i, env, out, |unit, cx| match ending {
                    true => unit.work = Work::None,
                    false => unit.on_create(i, cx, created),
                });
            }
            Op::Start(i) => {
                let started = match reply {
                    Ok(Reply::Started(at)) => Ok(at),
                    Ok(other) => Err(confused(&other)),
                    Err(error) => Err(error),
                };
                self.at(i, env, out, |unit, cx| unit.on_start(i, cx, started));
            }
            Op::Stop(i) => {
                if reply.is_err() {
                    self.at(i, env, out, |unit, cx| unit.on_stop_failed(cx));
                }
            }
            Op::Kill | Op::Forget => {}
            Op::Probe(i, attempt, purpose) => {
                self.at(i, env, out, |unit, cx| unit.on_probe(i, cx, attempt, purpose, probed(reply)));
            }
            Op::PostStart(i, attempt) => {
                self.at(i, env, out, |unit, cx| unit.on_post_start(i, cx, attempt, probed(reply)));
            }
            Op::PreStop(i, attempt) => {
                let failed = !matches!(probed(reply), Ok(ProbeAnswer::Success));
                self.at(i, env, out, |unit, cx| {
                    if failed {
                        cx.note(i, &unit.spec.clone(), true, "FailedPreStopHook", "PreStopHook failed");
                    }
                    unit.on_pre_stop(cx, attempt);
                });
            }
        }
    }

    fn on_sandbox(&mut self, env: &mut Env<'_>, reply: Result<Reply, RuntimeError>, out: &mut Out) {
        if self.sandbox != Sandbox::Creating {
            return;
        }
        match reply {
            Ok(Reply::Sandbox(id)) => {
                self.sandbox = Sandbox::Up(id);
                self.sandbox_noticed = env.now;
            }
            Ok(_) => {}
            Err(error) => {
                let message = format!("Failed to create pod sandbox: {error}");
                self.note(out, true, "FailedCreatePodSandBox", message);
                self.sandbox = Sandbox::None(Some(env.now + RETRY));
                if matches!(error, RuntimeError::AlreadyExists(_) | RuntimeError::Unavailable(_)) {
                    // It may exist for all that; then the list tells.
                    out.relist = true;
                } else {
                    self.free_addresses(env);
                }
            }
        }
    }

    fn free_addresses(&mut self, env: &mut Env<'_>) {
        if !self.is_host_network()
            && let Some(pool) = env.addresses
        {
            for address in &self.addresses {
                pool.release(*address, env.now);
            }
        }
        self.addresses.clear();
    }

    fn note(&self, out: &mut Out, warning: bool, reason: &'static str, message: String) {
        out.notes.push(Note {
            about: self.about.clone(),
            warning,
            reason: Name::new_static(reason),
            message,
        });
    }

    /// Does what is due.
    pub(crate) fn step(&mut self, env: &mut Env<'_>, out: &mut Out) {
        self.begin_ending(env);
        if self.over.is_none() && self.verdict.is_none() && self.ending.is_none() {
            self.pursue(env, out);
        }
        if let Some(ending) = self.ending.clone() {
            self.end(env, &ending, out);
        }
        self.each(env, out, |i, unit, cx| unit.tick(i, cx));
        self.conclude(env, out);
        self.report(env, out);
    }

    /// Whether and by when everything has to end.
    fn begin_ending(&mut self, env: &Env<'_>) {
        let meta = &self.item.metadata;
        let deadline = if !self.exists {
            Some(ORPHAN_GRACE)
        } else if meta.deletion_timestamp.is_some() {
            let grace = meta.deletion_grace_period_seconds.and_then(|s| u64::try_from(s).ok());
            Some(grace.map_or_else(|| grace_of(&self.item), Duration::from_secs))
        } else if self.verdict.is_some() {
            Some(grace_of(&self.item))
        } else {
            None
        };
        let Some(grace) = deadline else { return };
        let exists = self.exists;
        let deleted_at = meta.deletion_timestamp.map(|_| self.item.revision());
        match &mut self.ending {
            None => {
                self.ending = Some(Ending {
                    since: env.now,
                    deadline: env.now + grace,
                    unrouted_by: deleted_at.filter(|_| exists),
                });
            }
            // A shorter grace counts from the beginning; the object's disappearance from now.
            Some(ending) => {
                let from = if exists { ending.since } else { env.now };
                ending.deadline = ending.deadline.min(from + grace);
            }
        }
    }

    /// Has the containers run.
    fn pursue(&mut self, env: &mut Env<'_>, out: &mut Out) {
        if self.start_time.is_none() {
            self.start_time = Some(env.now.truncate_to_secs());
        }
        if let Some(limit) = self.item.spec.active_deadline_seconds {
            let until =
                self.start_time.unwrap_or(env.now) + Duration::from_secs(u64::try_from(limit).unwrap_or(0));
            if env.now >= until {
                let message = "Pod was active on the node longer than the specified deadline".to_owned();
                self.note(out, false, "DeadlineExceeded", message.clone());
                self.verdict = Some(Verdict { reason: "DeadlineExceeded", message });
                return self.begin_ending(env);
            }
            out.wake_at(until);
        }
        if !self.have_sandbox(env, out) {
            return;
        }
        let never = self.item.spec.restart_policy == "Never";
        let on_failure = self.item.spec.restart_policy == "OnFailure";
        let restarts = env.config.restarts;
        if !self.initialized {
            for i in 0..self.init_count {
                let role = self.units[i].role;
                self.at(i, env, out, |unit, cx| {
                    unit.ensure(i, cx, |exit| match role {
                        Role::Sidecar => restarts,
                        _ => exit.code != 0 && !never && restarts,
                    });
                });
                let unit = &self.units[i];
                let done = match role {
                    Role::Sidecar => unit.started(),
                    _ => unit.exit().is_some_and(|exit| exit.code == 0),
                };
                if !done {
                    return;
                }
            }
            self.initialized = true;
        }
        let first = self.init_count;
        for i in 0..self.units.len() {
            let sidecar = self.units[i].role == Role::Sidecar;
            if i < first && !sidecar {
                continue;
            }
            self.at(i, env, out, |unit, cx| {
                unit.ensure(i, cx, |exit| {
                    restarts && (sidecar || !(never || (on_failure && exit.code == 0)))
                });
            });
        }
    }

    /// Whether there is a sandbox to run containers in; does what is needed to have one.
    fn have_sandbox(&mut self, env: &mut Env<'_>, out: &mut Out) -> bool {
        match self.sandbox.clone() {
            Sandbox::Up(_) => return true,
            Sandbox::None(Some(not_before)) if env.now < not_before => {
                out.wake_at(not_before);
                return false;
            }
            Sandbox::None(_) => {}
            Sandbox::Stopped(id) => {
                // It died: the next one starts from scratch. What has to run no more needs none.
                if self.restart_is_pointless() {
                    return false;
                }
                self.sandbox = Sandbox::Removing(id.clone());
                self.note(
                    out,
                    false,
                    "SandboxChanged",
                    "Pod sandbox changed, it will be killed and re-created.".into(),
                );
                out.call(Op::RemoveSandbox, Call::RemoveSandbox(id));
                return false;
            }
            Sandbox::Creating | Sandbox::Stopping(_) | Sandbox::Removing(_) => return false,
        }
        if env.config.volumes
            && let Some((volume, what)) = volumes::missing(&self.item, env.objects)
        {
            let message = format!("MountVolume.SetUp failed for volume \"{volume}\" : {what}");
            if self.volume_told.as_ref() != Some(&message) {
                self.note(out, true, "FailedMount", message.clone());
                self.volume_told = Some(message);
            }
            return false;
        }
        if self.addresses.is_empty() {
            match self.take_addresses(env) {
                Ok(addresses) => self.addresses = addresses,
                Err((why, retry)) => {
                    if self.volume_told.as_deref() != Some(why) {
                        self.note(out, true, "NetworkNotReady", why.to_owned());
                        self.volume_told = Some(why.to_owned());
                    }
                    self.sandbox = Sandbox::None(Some(retry));
                    out.wake_at(retry);
                    return false;
                }
            }
        }
        let spec = spec::sandbox(env.config, &self.item, self.sandbox_attempt, self.addresses.clone());
        self.sandbox_attempt += 1;
        self.sandbox = Sandbox::Creating;
        out.call(Op::Sandbox, Call::CreateSandbox(Box::new(spec)));
        false
    }

    fn take_addresses(&self, env: &mut Env<'_>) -> Result<Vec<IpAddr>, (&'static str, Timestamp)> {
        if self.is_host_network() {
            return Ok(env.config.addresses.clone());
        }
        let Some(pool) = env.addresses else {
            return Err(("network is not ready: the node has no pod range yet", env.now + RETRY));
        };
        pool.allocate(env.now).ok_or_else(|| {
            let retry = pool.next_free_at().unwrap_or(env.now + RETRY).max(env.now + RETRY);
            ("network is not ready: no address of the node's pod range is free", retry)
        })
    }

    /// Whether every container has ended as it should.
    fn restart_is_pointless(&self) -> bool {
        let ended = |unit: &Unit| match unit.exit() {
            Some(exit) => match self.item.spec.restart_policy.as_str() {
                "Never" => true,
                "OnFailure" => exit.code == 0,
                _ => false,
            },
            None => false,
        };
        self.units[self.init_count..].iter().all(ended)
    }

    /// Has all containers end: first what the pod is for, then its sidecars.
    fn end(&mut self, env: &mut Env<'_>, ending: &Ending, out: &mut Out) {
        for unit in &mut self.units {
            if matches!(unit.work, Work::Failed(_) | Work::Looking | Work::Pulling { .. })
                && unit.current.is_some()
            {
                unit.work = Work::None;
            }
        }
        if let Some(revision) = ending.unrouted_by {
            let wait_until = ending.deadline.min(ending.since + env.config.unroute_wait_max);
            let passed = env.planes.is_none_or(|reached| reached >= revision);
            if !passed && env.now < wait_until && self.units.iter().any(|unit| unit.running().is_some()) {
                out.wake_at(wait_until);
                return;
            }
        }
        let mains_run = self.units.iter().any(|u| u.role != Role::Sidecar && u.running().is_some());
        for i in 0..self.units.len() {
            let unit = &self.units[i];
            if unit.running().is_none() || (unit.role == Role::Sidecar && mains_run) {
                continue;
            }
            if !unit.stopping() {
                let name = unit.spec.name.clone();
                self.at(i, env, out, |unit, cx| {
                    let spec = unit.spec.clone();
                    cx.note(i, &spec, false, "Killing", format!("Stopping container {name}"));
                });
            }
            self.units[i].stop(ending.deadline);
        }
    }

    /// Notices that everything has ended, and cleans up.
    fn conclude(&mut self, env: &mut Env<'_>, out: &mut Out) {
        if self.over.is_none() && self.quiet() {
            if self.ending.is_some() {
                self.over = Some(status::final_phase(&self.units, self.init_count, self.verdict.as_ref()));
            } else {
                let settled = self.units.iter().all(|unit| unit.work == Work::None);
                let policy =
                    if env.config.restarts { self.item.spec.restart_policy.as_str() } else { "Never" };
                let phase = status::phase(&self.units, self.init_count, policy);
                if matches!(phase, "Succeeded" | "Failed") && settled {
                    self.over = Some(phase);
                }
            }
        }
        if self.over.is_none() {
            self.end_sidecars(env);
            return;
        }
        match self.sandbox.clone() {
            // Ended containers keep their logs until the pod goes.
            Sandbox::Up(id) if self.quiet() => {
                self.sandbox = Sandbox::Stopping(id.clone());
                out.call(Op::StopSandbox, Call::StopSandbox(id));
            }
            Sandbox::Stopped(id) if self.may_vanish(env) => {
                self.sandbox = Sandbox::Removing(id.clone());
                out.call(Op::RemoveSandbox, Call::RemoveSandbox(id));
            }
            _ => {}
        }
    }

    /// When all else has ended for good, the sidecars end, too.
    fn end_sidecars(&mut self, env: &Env<'_>) {
        let policy = if env.config.restarts { self.item.spec.restart_policy.as_str() } else { "Never" };
        let ended = |unit: &Unit| match unit.exit() {
            Some(exit) => match policy {
                "Never" => true,
                "OnFailure" => exit.code == 0,
                _ => false,
            },
            None => false,
        };
        let init_failed = policy == "Never"
            && self.units[..self.init_count]
                .iter()
                .any(|unit| unit.role == Role::Init && unit.exit().is_some_and(|exit| exit.code != 0));
        let done = self.units[self.init_count..].iter().all(ended) || init_failed;
        if self.ending.is_none() && done && self.units.iter().any(|unit| unit.running().is_some()) {
            self.ending =
                Some(Ending { since: env.now, deadline: env.now + grace_of(&self.item), unrouted_by: None });
        }
    }

    /// Whether the last state has been told, so that the sandbox may go.
    fn may_vanish(&self, env: &Env<'_>) -> bool {
        let waits = self.retry_write.is_some_and(|at| env.now < at);
        !waits && (!self.exists || (self.item.metadata.deletion_timestamp.is_some() && self.is_told(env)))
    }

    fn is_told(&self, env: &Env<'_>) -> bool {
        !self.writing && self.item.revision() >= self.seen_from && self.patch(env).is_none()
    }

    fn patch(&self, env: &Env<'_>) -> Option<serde_json::Value> {
        status::patch(&status::Facts { machine: self, env })
    }

    /// Tells the API, and at last lets the object go.
    fn report(&mut self, env: &mut Env<'_>, out: &mut Out) {
        if let Some(at) = self.retry_write.filter(|at| env.now < *at) {
            out.wake_at(at);
            return;
        }
        self.retry_write = None;
        if !self.exists || self.writing || self.item.revision() < self.seen_from {
            return;
        }
        self.update_conditions(env);
        if let Some(patch) = self.patch(env) {
            self.writing = true;
            let write = Write::merge_seen(&self.item, patch).on("status");
            out.writes.push((PodWrite::Status, write));
        } else if self.item.metadata.deletion_timestamp.is_some()
            && self.over.is_some()
            && matches!(self.sandbox, Sandbox::None(_))
            && self.quiet()
            && !self.deleted
        {
            self.deleted = true;
            self.writing = true;
            let mut write = Write::delete_seen(&self.item);
            write.action = orlop_core::Action::Delete { grace: Some(0), propagation: None };
            out.writes.push((PodWrite::Delete, write));
        }
    }

    fn update_conditions(&mut self, env: &Env<'_>) {
        let facts = status::Facts { machine: self, env };
        let now = status::conditions(&facts);
        self.conditions.update(now, env.now);
    }

    /// How a write went: the revision that it made.
    pub(crate) fn on_written(
        &mut self,
        now: Timestamp,
        what: PodWrite,
        result: Result<Revision, orlop_core::plan::Failure>,
    ) {
        use orlop_core::plan::FailureReason;
        self.writing = false;
        match result {
            Ok(revision) => {
                if what == PodWrite::Status {
                    self.seen_from = self.seen_from.max(revision);
                }
            }
            Err(failure) => {
                self.deleted = false;
                let wait = match failure.reason {
                    // The newer state is on its way to us.
                    FailureReason::Conflict => Duration::from_millis(20),
                    FailureReason::NotFound | FailureReason::Unavailable | FailureReason::AlreadyExists => {
                        RETRY
                    }
                    FailureReason::Refused => RETRY * 10,
                };
                self.retry_write = Some(now + wait);
            }
        }
    }
}

fn confused(reply: &Reply) -> RuntimeError {
    RuntimeError::Unavailable(format!("the runtime answered something else: {reply:?}"))
}

/// Whether the pod stands for something that runs without the API's doing.
pub(crate) fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotation(crate::system_pods::MIRROR_ANNOTATION).is_some()
}
