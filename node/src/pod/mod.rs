//! One pod on this node: a pure machine from what should be and what is to what is to be done.

mod context;
mod ending;
mod found;
mod probe;
mod pursue;
mod reply;
mod report;
pub(crate) mod restart;
pub(crate) mod status;
mod unit;

use std::net::IpAddr;
use std::time::Duration;

use orlop_core::kinds::{Container, EphemeralContainer, Pod};
use orlop_core::plan::Reference;
use orlop_core::runtime::SandboxId;
use orlop_core::{Item, Name, Note, Revision, Timestamp};

use crate::spec::PodFacts;
use context::grace_of;
pub(crate) use context::{Cx, Env, Op, Out, PodWrite};
use status::Conditions;
pub(crate) use unit::Role;
use unit::Unit;

/// The wait before something is tried again that the runtime or the API refused.
const RETRY: Duration = Duration::from_secs(1);
/// The grace of what is not in the API any more.
const ORPHAN_GRACE: Duration = Duration::from_secs(2);

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
    item: Item<Pod>,
    about: Reference,
    /// Whether the object is still in the API.
    exists: bool,
    sandbox: Sandbox,
    sandbox_attempt: u32,
    /// When the agent learnt of the sandbox: an older list does not know it.
    sandbox_noticed: Timestamp,
    addresses: Vec<IpAddr>,
    /// The init containers, then those that the pod is for, then ephemeral ones as they come.
    units: Vec<Unit>,
    init_count: usize,
    main_count: usize,
    /// The init containers have all done their part since the sandbox was made.
    initialized: bool,
    /// All containers are being ended, to begin anew.
    anew: bool,
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
        let main_count = spec.containers.len();
        let over = match item.status.phase.as_str() {
            "Succeeded" => Some("Succeeded"),
            "Failed" => Some("Failed"),
            _ => None,
        };
        let mut machine = PodMachine {
            about: Reference::to(&item),
            exists: true,
            sandbox: Sandbox::None(None),
            sandbox_attempt: 0,
            sandbox_noticed: Timestamp::EPOCH,
            addresses: Vec::new(),
            init_count: spec.init_containers.len(),
            main_count,
            initialized: false,
            anew: false,
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
        machine.add_ephemeral();
        machine.recall();
        machine
    }

    /// What only the status remembers, where the runtime has forgotten.
    fn recall(&mut self) {
        let status = &self.item.status;
        let own = status.init_container_statuses.iter().chain(&status.container_statuses);
        for told in own.chain(&status.ephemeral_container_statuses) {
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
        self.sandbox != Sandbox::Creating && self.units.iter().all(|unit| !unit.is_alive())
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
        self.add_ephemeral();
    }

    /// Takes up the ephemeral containers that are new: none ever changes, or goes before its pod.
    fn add_ephemeral(&mut self) {
        let known = self.units.len() - self.own_count();
        let fresh = self.item.spec.ephemeral_containers.iter().skip(known).map(as_container);
        self.units.extend(fresh.map(|spec| Unit::new(spec, Role::Ephemeral)));
    }

    /// How many containers there are that are not ephemeral.
    fn own_count(&self) -> usize {
        self.init_count + self.main_count
    }

    /// All that decides over the pod's phase: what is not ephemeral.
    fn own(&self) -> &[Unit] {
        &self.units[..self.own_count()]
    }

    /// What the pod is for.
    fn mains(&self) -> &[Unit] {
        &self.own()[self.init_count..]
    }

    /// The object is gone from the API.
    pub(crate) fn on_gone(&mut self) {
        self.exists = false;
    }

    /// The node has no room for it, or it does not belong here.
    pub(crate) fn refuse(&mut self, reason: &'static str, why: &str, out: &mut Out) {
        self.note(out, true, reason, why.to_owned());
        self.verdict = Some(Verdict { reason, message: format!("Pod was rejected: {why}") });
    }

    /// Whether it was never begun here.
    pub(crate) fn is_new(&self) -> bool {
        self.sandbox == Sandbox::None(None)
            && self.sandbox_attempt == 0
            && self.start_time.is_none()
            && self.over.is_none()
            && self.verdict.is_none()
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
            own_count: self.own_count(),
            out,
        }
    }

    /// Whether another object's appearance may get it on.
    pub(crate) fn waits_for_objects(&self) -> bool {
        self.volume_told.is_some() || self.units.iter().any(Unit::waits_for_objects)
    }

    /// Whether the data planes are waited for.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.is_some()
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
}

/// An ephemeral container as one that has neither ports, probes, hooks nor resources of its own.
fn as_container(given: &EphemeralContainer) -> Container {
    Container {
        name: given.name.clone(),
        image: given.image.clone(),
        image_pull_policy: given.image_pull_policy.clone(),
        command: given.command.clone(),
        args: given.args.clone(),
        working_dir: given.working_dir.clone(),
        env: given.env.clone(),
        env_from: given.env_from.clone(),
        volume_mounts: given.volume_mounts.clone(),
        security_context: given.security_context.clone(),
        stdin: given.stdin,
        stdin_once: given.stdin_once,
        tty: given.tty,
        termination_message_path: given.termination_message_path.clone(),
        termination_message_policy: given.termination_message_policy.clone(),
        ..Container::default()
    }
}

/// Whether the pod stands for something that runs without the API's doing.
pub(crate) fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotation(crate::system_pods::MIRROR_ANNOTATION).is_some()
}
