//! One container of a pod: what runs, and what is being done to have it run.

use std::time::Duration;

use orlop_core::kinds::{Container, LifecycleHandler};
use orlop_core::runtime::{
    Call, Check, ContainerId, ContainerStatus, Exit, ExitReason, ImageInfo, ImagePull, Probe, ProbeAnswer,
    ProbePurpose, RunState, RuntimeError,
};
use orlop_core::{Name, Timestamp};

use super::probe::{self, Prober};
use super::{Cx, Op};
use crate::backoff::Backoff;
use crate::spec;

/// How long `ErrImagePull` is shown before it becomes `ImagePullBackOff`.
const PULL_ERROR_SHOWN: Duration = Duration::from_secs(1);
/// How long an end is shown before `CrashLoopBackOff` is.
const END_SHOWN: Duration = Duration::from_secs(1);
/// The wait after an error that is none of the container's.
const RETRY: Duration = Duration::from_secs(1);
/// The wait after an error that only a change of something else cures.
const RETRY_CONFIG: Duration = Duration::from_secs(10);
/// The least time that a container gets to end by itself.
pub(crate) const GRACE_MIN: Duration = Duration::from_secs(2);
/// How long after the end of a grace the runtime's own kill is awaited.
pub(crate) const KILL_SLACK: Duration = Duration::from_secs(1);

/// A container's part in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before the next one begins.
    Init,
    /// An init container that stays.
    Sidecar,
    /// What the pod is for.
    Main,
}

/// One run of a container.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) attempt: u32,
    pub(crate) id: ContainerId,
    pub(crate) image: Name,
    pub(crate) image_id: Name,
    pub(crate) since: Timestamp,
    pub(crate) exit: Option<Exit>,
    /// When the agent learnt of it: an older list does not know it.
    noticed: Timestamp,
}

/// What is being done to have the next instance.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Work {
    None,
    Looking,
    Pulling {
        since: Timestamp,
    },
    Creating {
        image_id: Name,
    },
    Starting {
        id: ContainerId,
        image_id: Name,
    },
    /// It may exist already: the next list tells.
    Finding,
    /// It did not work, and why; tried again at `until`.
    Failed(Wait),
}

/// A wait before the next try, as a pod's status shows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wait {
    reason: &'static str,
    message: String,
    /// From when on it is shown: an end is seen for a moment before the wait that follows it.
    from: Timestamp,
    /// From when on another reason is shown.
    then: Option<(Timestamp, &'static str, String)>,
    until: Timestamp,
    /// Whether a change of another object may end the wait.
    on_change: bool,
}

#[derive(Clone, Debug)]
struct Stop {
    deadline: Timestamp,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    Begin,
    /// The hook before the stop runs.
    Hook,
    Sleep(Timestamp),
    Told,
    Killed(Timestamp),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum PostStart {
    Done,
    Due,
    Asked,
}

pub(crate) struct Unit {
    pub(crate) spec: Container,
    pub(crate) role: Role,
    pub(crate) current: Option<Instance>,
    pub(crate) previous: Option<Instance>,
    pub(crate) work: Work,
    /// The wait that the present try has ended.
    last_wait: Option<(&'static str, String)>,
    /// The number of the first instance, where earlier ones were forgotten by the runtime.
    pub(crate) base: u32,
    crash: Backoff,
    pulls: Backoff,
    probers: Vec<Prober>,
    post_start: PostStart,
    stop: Option<Stop>,
}

impl Unit {
    pub(crate) fn new(spec: Container, role: Role) -> Unit {
        Unit {
            spec,
            role,
            current: None,
            previous: None,
            work: Work::None,
            last_wait: None,
            base: 0,
            crash: Backoff::crash_loop(),
            pulls: Backoff::image_pull(),
            probers: Vec::new(),
            post_start: PostStart::Done,
            stop: None,
        }
    }

    pub(crate) fn running(&self) -> Option<&Instance> {
        self.current.as_ref().filter(|instance| instance.exit.is_none())
    }

    pub(crate) fn exit(&self) -> Option<&Exit> {
        self.current.as_ref()?.exit.as_ref()
    }

    /// Whether the runtime has been asked for something that may end in a running container.
    pub(crate) fn in_flight(&self) -> bool {
        matches!(self.work, Work::Creating { .. } | Work::Starting { .. } | Work::Finding)
    }

    /// Whether it has started, by its startup probe and its hook.
    pub(crate) fn started(&self) -> bool {
        self.running().is_some() && self.post_start == PostStart::Done && self.passes(ProbePurpose::Startup)
    }

    pub(crate) fn ready(&self) -> bool {
        match self.role {
            Role::Init => self.exit().is_some_and(|exit| exit.code == 0),
            _ => self.started() && self.passes(ProbePurpose::Readiness),
        }
    }

    fn passes(&self, purpose: ProbePurpose) -> bool {
        self.probers.iter().filter(|p| p.purpose == purpose).all(|p| p.verdict == Some(true))
    }

    pub(crate) fn restart_count(&self) -> u32 {
        self.current.as_ref().map_or(self.base, |instance| instance.attempt)
    }

    /// Why it does not run, where that is a failure or a wait. It is shown until the next try has worked.
    pub(crate) fn waiting(&self, now: Timestamp) -> Option<(&'static str, &str)> {
        match &self.work {
            Work::Failed(wait) if now < wait.from => None,
            Work::Failed(wait) => match &wait.then {
                Some((at, reason, message)) if now >= *at => Some((reason, message)),
                _ => Some((wait.reason, &wait.message)),
            },
            Work::None => None,
            _ => self.last_wait.as_ref().map(|(reason, message)| (*reason, message.as_str())),
        }
    }

    fn next_attempt(&self) -> u32 {
        self.current.as_ref().map_or(self.base, |instance| instance.attempt + 1)
    }

    /// Sees to it that it runs, or has ended as it should. `restart`: whether it runs again after this end.
    pub(crate) fn ensure(&mut self, i: usize, cx: &mut Cx<'_>, restart: impl Fn(&Exit) -> bool) {
        self.show_next_reason(i, cx);
        match &self.work {
            Work::None => {}
            Work::Failed(wait) if wait.until > cx.now && !(wait.on_change && cx.changed) => {
                cx.out.wake_at(wait.until);
                if wait.from > cx.now {
                    cx.out.wake_at(wait.from);
                }
                return;
            }
            Work::Failed(wait) => {
                self.last_wait = Some((wait.reason, wait.message.clone()));
                self.work = Work::None;
            }
            _ => return,
        }
        match self.current.as_ref().map(|instance| instance.exit.clone()) {
            Some(None) => return,
            Some(Some(exit)) => {
                if !restart(&exit) {
                    return;
                }
                if let Some(until) = self.crash.until(exit.finished).filter(|until| *until > cx.now) {
                    let (container, pod) = (&self.spec.name, cx.pod_name());
                    let delay = self.crash.delay();
                    let text = match delay.as_secs() {
                        secs @ 0..60 => format!("{secs}s"),
                        secs => format!("{}m{}s", secs / 60, secs % 60),
                    };
                    let message =
                        format!("back-off {text} restarting failed container={container} pod={pod}");
                    cx.note(
                        i,
                        &self.spec,
                        true,
                        "BackOff",
                        format!("Back-off restarting failed container {container} in pod {pod}"),
                    );
                    let from = cx.now + END_SHOWN;
                    cx.out.wake_at(from);
                    self.fail(cx, "CrashLoopBackOff", message, until);
                    if let Work::Failed(wait) = &mut self.work {
                        wait.from = from;
                    }
                    return;
                }
                self.crash.next(cx.now, exit.finished);
            }
            None => {}
        }
        self.begin(i, cx);
    }

    /// An error that has been shown for its time becomes a wait.
    fn show_next_reason(&mut self, i: usize, cx: &mut Cx<'_>) {
        let Work::Failed(wait) = &mut self.work else { return };
        let Some((at, reason, message)) = wait.then.take() else { return };
        if at > cx.now {
            cx.out.wake_at(at);
            wait.then = Some((at, reason, message));
            return;
        }
        (wait.reason, wait.message) = (reason, message);
        let image = &self.spec.image;
        cx.note(i, &self.spec, false, "BackOff", format!("Back-off pulling image \"{image}\""));
        cx.note(i, &self.spec, true, "Failed", "Error: ImagePullBackOff");
    }

    fn fail(&mut self, cx: &mut Cx<'_>, reason: &'static str, message: String, until: Timestamp) {
        cx.out.wake_at(until);
        let from = cx.now;
        self.work = Work::Failed(Wait { reason, message, from, then: None, until, on_change: false });
    }

    fn begin(&mut self, i: usize, cx: &mut Cx<'_>) {
        if self.spec.image_pull_policy == "Always" {
            self.pull(i, cx);
        } else {
            self.work = Work::Looking;
            cx.out.call(Op::Look(i), Call::Image(self.spec.image.clone()));
        }
    }

    fn pull(&mut self, i: usize, cx: &mut Cx<'_>) {
        let image = self.spec.image.clone();
        cx.note(i, &self.spec, false, "Pulling", format!("Pulling image \"{image}\""));
        self.work = Work::Pulling { since: cx.now };
        let annotations = cx.facts.pod.metadata.annotations.clone();
        cx.out.call(Op::Pull(i), Call::PullImage(ImagePull { image, auth: None, annotations }));
    }

    pub(crate) fn on_look(
        &mut self,
        i: usize,
        cx: &mut Cx<'_>,
        found: Result<Option<ImageInfo>, RuntimeError>,
    ) {
        if self.work != Work::Looking {
            return;
        }
        match found {
            Ok(Some(image)) => {
                let name = &self.spec.image;
                cx.note(
                    i,
                    &self.spec,
                    false,
                    "Pulled",
                    format!("Container image \"{name}\" already present on machine"),
                );
                self.create(i, cx, image.id);
            }
            Ok(None) if self.spec.image_pull_policy == "Never" => {
                let message = format!(
                    "Container image \"{}\" is not present with pull policy of Never",
                    self.spec.image
                );
                cx.note(i, &self.spec, true, "ErrImageNeverPull", message.clone());
                self.fail(cx, "ErrImageNeverPull", message, cx.now + RETRY_CONFIG);
            }
            Ok(None) => self.pull(i, cx),
            Err(error) => self.fail(cx, "ImageInspectError", error.to_string(), cx.now + RETRY),
        }
    }

    pub(crate) fn on_pull(
        &mut self,
        i: usize,
        cx: &mut Cx<'_>,
        pulled: Result<Option<ImageInfo>, RuntimeError>,
    ) {
        let Work::Pulling { since } = self.work else { return };
        let name = self.spec.image.clone();
        match pulled {
            Ok(image) => {
                let image = image.unwrap_or_default();
                let took = cx.now.since(since).as_millis();
                let took =
                    if took < 1000 { format!("{took}ms") } else { format!("{:.3}s", took as f64 / 1e3) };
                cx.note(
                    i,
                    &self.spec,
                    false,
                    "Pulled",
                    format!(
                        "Successfully pulled image \"{name}\" in {took} ({took} including waiting). Image size: {} bytes.",
                        image.size_bytes
                    ),
                );
                self.create(i, cx, image.id);
            }
            Err(RuntimeError::InvalidImageName(_)) => {
                let message = format!("Failed to apply default image \"{name}\": couldn't parse image name");
                cx.note(i, &self.spec, true, "InspectFailed", message.clone());
                self.fail(cx, "InvalidImageName", message, cx.now + RETRY_CONFIG);
            }
            Err(error) => {
                cx.note(i, &self.spec, true, "Failed", format!("Failed to pull image \"{name}\": {error}"));
                cx.note(i, &self.spec, true, "Failed", "Error: ErrImagePull");
                self.pulls.next(cx.now, cx.now);
                let until = cx.now + self.pulls.delay();
                let then = cx.now + PULL_ERROR_SHOWN;
                cx.out.wake_at(then.min(until));
                let later = format!("Back-off pulling image \"{name}\": ErrImagePull: {error}");
                self.work = Work::Failed(Wait {
                    reason: "ErrImagePull",
                    message: error.to_string(),
                    from: cx.now,
                    then: Some((then, "ImagePullBackOff", later)),
                    until,
                    on_change: false,
                });
            }
        }
    }

    fn create(&mut self, i: usize, cx: &mut Cx<'_>, image_id: Name) {
        let (init, stays) = (self.role == Role::Init, self.role == Role::Sidecar);
        match spec::container(&cx.facts, &self.spec, self.next_attempt(), init, stays) {
            Ok(spec) => {
                self.work = Work::Creating { image_id };
                let sandbox = cx.sandbox.clone();
                cx.out.call(Op::Create(i), Call::CreateContainer(sandbox, Box::new(spec)));
            }
            Err(message) => {
                cx.note(i, &self.spec, true, "Failed", format!("Error: {message}"));
                let until = cx.now + RETRY_CONFIG;
                cx.out.wake_at(until);
                self.work = Work::Failed(Wait {
                    reason: "CreateContainerConfigError",
                    message,
                    from: cx.now,
                    then: None,
                    until,
                    on_change: true,
                });
            }
        }
    }

    pub(crate) fn on_create(
        &mut self,
        i: usize,
        cx: &mut Cx<'_>,
        created: Result<ContainerId, RuntimeError>,
    ) {
        let Work::Creating { image_id } = &self.work else { return };
        match created {
            Ok(id) => {
                cx.note(i, &self.spec, false, "Created", "Container created");
                self.work = Work::Starting { id: id.clone(), image_id: image_id.clone() };
                cx.out.call(Op::Start(i), Call::StartContainer(id));
            }
            Err(RuntimeError::AlreadyExists(_)) => {
                self.work = Work::Finding;
                cx.out.relist = true;
            }
            Err(error) => {
                cx.note(i, &self.spec, true, "Failed", format!("Error: {error}"));
                if matches!(error, RuntimeError::NotFound(_)) {
                    cx.out.relist = true;
                }
                let wait = if matches!(error, RuntimeError::InvalidSpec(_)) { RETRY_CONFIG } else { RETRY };
                self.fail(cx, "CreateContainerError", error.to_string(), cx.now + wait);
            }
        }
    }

    pub(crate) fn on_start(&mut self, i: usize, cx: &mut Cx<'_>, started: Result<Timestamp, RuntimeError>) {
        let Work::Starting { id, image_id } = self.work.clone() else { return };
        match started {
            Ok(since) => {
                cx.note(i, &self.spec, false, "Started", "Container started");
                self.run(cx, id, image_id, since);
            }
            Err(RuntimeError::StartFailed(message) | RuntimeError::InvalidSpec(message)) => {
                cx.note(i, &self.spec, true, "Failed", format!("Error: {message}"));
                self.run(cx, id, image_id, cx.now);
                self.on_exit(Exit {
                    code: 128,
                    signal: None,
                    reason: ExitReason::StartError,
                    message,
                    started: None,
                    finished: cx.now,
                });
            }
            Err(_) => {
                // Whether it runs is for the next list to tell.
                self.work = Work::Finding;
                cx.out.relist = true;
            }
        }
    }

    fn run(&mut self, cx: &mut Cx<'_>, id: ContainerId, image_id: Name, since: Timestamp) {
        let attempt = self.next_attempt();
        let image = self.spec.image.clone();
        let instance = Instance { attempt, id, image, image_id, since, exit: None, noticed: cx.now };
        if let Some(ended) = self.current.replace(instance)
            && let Some(older) = self.previous.replace(ended)
        {
            // The runtime keeps the last two, for their logs.
            cx.out.call(Op::Forget, Call::RemoveContainer(older.id));
        }
        self.work = Work::None;
        self.last_wait = None;
        self.stop = None;
        self.probers = if cx.facts.config.probes { Prober::all(&self.spec, since) } else { Vec::new() };
        let hook = self.spec.lifecycle.as_ref().and_then(|l| l.post_start.as_ref());
        self.post_start =
            if hook.is_some() && cx.facts.config.probes { PostStart::Due } else { PostStart::Done };
    }

    /// It has ended.
    pub(crate) fn on_exit(&mut self, exit: Exit) {
        if let Some(instance) = &mut self.current {
            instance.exit = Some(exit);
        }
        self.probers.clear();
        self.post_start = PostStart::Done;
        self.stop = None;
    }

    /// The runtime tells of an end, perhaps before it has answered to the start.
    pub(crate) fn on_exit_of(&mut self, cx: &mut Cx<'_>, id: &ContainerId, exit: &Exit) {
        match self.work.clone() {
            Work::Starting { id: starting, image_id } if starting == *id && exit.started.is_some() => {
                self.run(cx, starting, image_id, exit.started.unwrap_or(exit.finished));
                self.on_exit(exit.clone());
            }
            _ if self.running().is_some_and(|instance| instance.id == *id) => self.on_exit(exit.clone()),
            _ => {}
        }
    }

    /// What a list, asked for at `asked`, says of this container's instances.
    pub(crate) fn on_list(
        &mut self,
        i: usize,
        cx: &mut Cx<'_>,
        listed: &[ContainerStatus],
        asked: Timestamp,
    ) {
        if self.work == Work::Finding {
            let next = self.next_attempt();
            match listed.iter().find(|c| c.name == self.spec.name && c.attempt == next) {
                None => self.work = Work::None,
                Some(found) => match &found.state {
                    RunState::Created => {
                        self.work = Work::Starting { id: found.id.clone(), image_id: found.image_id.clone() };
                        cx.out.call(Op::Start(i), Call::StartContainer(found.id.clone()));
                    }
                    RunState::Running(since) => {
                        self.run(cx, found.id.clone(), found.image_id.clone(), *since);
                    }
                    RunState::Exited(exit) => {
                        let since = exit.started.unwrap_or(exit.finished);
                        self.run(cx, found.id.clone(), found.image_id.clone(), since);
                        self.on_exit(exit.clone());
                    }
                },
            }
            return;
        }
        let Some(instance) = self.running().filter(|instance| instance.noticed < asked) else { return };
        match listed.iter().find(|c| c.id == instance.id).map(|c| &c.state) {
            Some(RunState::Exited(exit)) => self.on_exit(exit.clone()),
            Some(_) => {}
            None => {
                let started = Some(instance.since);
                self.on_exit(lost(started, cx.now));
            }
        }
    }

    /// Whether a list, asked for at `asked`, tells nothing new.
    pub(crate) fn agrees_with(&self, listed: &[ContainerStatus], asked: Timestamp) -> bool {
        self.work != Work::Finding
            && self.running().filter(|instance| instance.noticed < asked).is_none_or(|instance| {
                listed.iter().any(|c| c.id == instance.id && matches!(c.state, RunState::Running(_)))
            })
    }

    pub(crate) fn waits_for_objects(&self) -> bool {
        matches!(&self.work, Work::Failed(wait) if wait.on_change)
    }

    /// Takes over what runs since before the agent's start.
    pub(crate) fn adopt(&mut self, cx: &mut Cx<'_>, listed: &[ContainerStatus]) {
        let mut own: Vec<_> = listed.iter().filter(|c| c.name == self.spec.name).collect();
        own.sort_by_key(|c| c.attempt);
        for found in own {
            let (since, exit) = match &found.state {
                RunState::Created => {
                    // Nobody knows whether somebody waits for its start: it is made anew.
                    cx.out.call(Op::Forget, Call::RemoveContainer(found.id.clone()));
                    continue;
                }
                RunState::Running(since) => (*since, None),
                RunState::Exited(exit) => (exit.started.unwrap_or(exit.finished), Some(exit.clone())),
            };
            self.run(cx, found.id.clone(), found.image_id.clone(), since);
            if let Some(instance) = &mut self.current {
                instance.attempt = found.attempt;
                instance.image = found.image.clone();
            }
            self.post_start = PostStart::Done;
            if let Some(exit) = exit {
                self.on_exit(exit);
            }
        }
    }

    /// The sandbox is gone, and this container with it.
    pub(crate) fn on_sandbox_lost(&mut self, now: Timestamp) {
        if let Some(since) = self.running().map(|instance| instance.since) {
            self.on_exit(lost(Some(since), now));
        }
        if self.role == Role::Init && self.current.is_some() {
            // The next sandbox is prepared anew.
            self.base = self.next_attempt();
            self.previous = self.current.take();
        }
        self.work = Work::None;
    }

    /// Hooks and probes of what runs, and the progress of a stop.
    pub(crate) fn tick(&mut self, i: usize, cx: &mut Cx<'_>) {
        let Some(id) = self.running().map(|instance| instance.id.clone()) else { return };
        if self.stop.is_some() {
            return self.advance_stop(i, cx, id);
        }
        let attempt = self.restart_count();
        if self.post_start == PostStart::Due {
            let hook = self.spec.lifecycle.as_ref().and_then(|l| l.post_start.as_ref());
            match hook.and_then(|hook| self.hook(hook, Duration::from_secs(60))) {
                Some(probe) => {
                    self.post_start = PostStart::Asked;
                    cx.out.call(Op::PostStart(i, attempt), Call::Probe(id.clone(), probe));
                }
                None => self.post_start = PostStart::Done,
            }
        }
        let started = self.started();
        for prober in &mut self.probers {
            let active = match prober.purpose {
                ProbePurpose::Startup => prober.verdict != Some(true),
                _ => started,
            };
            if !active {
                continue;
            }
            if let Some(probe) = prober.ask(cx.now, &self.spec) {
                cx.out.call(Op::Probe(i, attempt, prober.purpose), Call::Probe(id.clone(), probe));
            }
            cx.out.wake_at(prober.next.max(cx.now + Duration::from_millis(1)));
        }
        let image = self.spec.image.clone();
        if self.running().is_some_and(|instance| instance.image != image) && cx.facts.config.restarts {
            let name = &self.spec.name;
            cx.note(
                i,
                &self.spec,
                false,
                "Killing",
                format!("Container {name} definition changed, will be restarted"),
            );
            self.stop(cx.now + cx.grace());
            self.advance_stop(i, cx, id);
        }
    }

    fn hook(&self, hook: &LifecycleHandler, timeout: Duration) -> Option<Probe> {
        let check = if let Some(exec) = &hook.exec {
            Check::Exec(exec.command.clone())
        } else {
            probe::http_check(hook.http_get.as_ref()?, &self.spec)
        };
        Some(Probe { purpose: ProbePurpose::Hook, check, timeout })
    }

    pub(crate) fn on_post_start(
        &mut self,
        i: usize,
        cx: &mut Cx<'_>,
        attempt: u32,
        answer: Result<ProbeAnswer, RuntimeError>,
    ) {
        if attempt != self.restart_count() || self.post_start != PostStart::Asked {
            return;
        }
        self.post_start = PostStart::Done;
        if !matches!(answer, Ok(ProbeAnswer::Success)) {
            cx.note(i, &self.spec, true, "FailedPostStartHook", "PostStartHook failed");
            self.stop(cx.now + cx.grace());
        }
    }

    pub(crate) fn on_probe(
        &mut self,
        i: usize,
        cx: &mut Cx<'_>,
        attempt: u32,
        purpose: ProbePurpose,
        answer: Result<ProbeAnswer, RuntimeError>,
    ) {
        if attempt != self.restart_count() || self.running().is_none() {
            return;
        }
        let Some(prober) = self.probers.iter_mut().find(|p| p.purpose == purpose) else { return };
        prober.asking = false;
        // A runtime that cannot answer says nothing about the container.
        let Ok(answer) = answer else { return };
        let changed = prober.heed(&answer);
        let (verdict, grace) = (prober.verdict, prober.grace());
        let word = probe::word(purpose);
        if let ProbeAnswer::Failure(seen) = &answer {
            cx.note(i, &self.spec, true, "Unhealthy", format!("{word} probe failed: {seen}"));
        }
        if purpose != ProbePurpose::Readiness && changed && verdict == Some(false) && self.stop.is_none() {
            let (name, word) = (&self.spec.name, word.to_lowercase());
            cx.note(
                i,
                &self.spec,
                false,
                "Killing",
                format!("Container {name} failed {word} probe, will be restarted"),
            );
            self.stop(cx.now + grace.unwrap_or_else(|| cx.grace()));
        }
    }

    /// It shall end by `deadline`; an earlier one replaces a later one.
    pub(crate) fn stop(&mut self, deadline: Timestamp) {
        match &mut self.stop {
            Some(stop) if stop.deadline <= deadline => {}
            Some(stop) => {
                stop.deadline = deadline;
                if stop.stage == Stage::Told {
                    stop.stage = Stage::Begin;
                }
            }
            None => self.stop = Some(Stop { deadline, stage: Stage::Begin }),
        }
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stop.is_some()
    }

    fn advance_stop(&mut self, i: usize, cx: &mut Cx<'_>, id: ContainerId) {
        let attempt = self.restart_count();
        let Some(stop) = &self.stop else { return };
        let (deadline, stage) = (stop.deadline, stop.stage.clone());
        let pre_stop = self.spec.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref());
        let tell = match (&stage, pre_stop) {
            (Stage::Begin, Some(hook)) if deadline > cx.now => {
                if let Some(sleep) = &hook.sleep {
                    let sleep = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0));
                    let until = (cx.now + sleep).min(deadline);
                    cx.out.wake_at(until);
                    self.set_stage(Stage::Sleep(until));
                    false
                } else if let Some(probe) = self.hook(hook, deadline.since(cx.now)) {
                    cx.out.call(Op::PreStop(i, attempt), Call::Probe(id.clone(), probe));
                    cx.out.wake_at(deadline);
                    self.set_stage(Stage::Hook);
                    false
                } else {
                    true
                }
            }
            (Stage::Begin, _) => true,
            (Stage::Sleep(until), _) if *until > cx.now => {
                cx.out.wake_at(*until);
                false
            }
            (Stage::Sleep(_), _) => true,
            (Stage::Hook, _) => {
                cx.out.wake_at(deadline);
                deadline <= cx.now
            }
            (Stage::Told, _) => {
                let kill = deadline + GRACE_MIN + KILL_SLACK;
                if cx.now >= kill {
                    cx.out.call(Op::Kill, Call::KillContainer(id.clone()));
                    self.set_stage(Stage::Killed(cx.now));
                    cx.out.wake_at(cx.now + RETRY);
                } else {
                    cx.out.wake_at(kill);
                }
                false
            }
            (Stage::Killed(at), _) => {
                // The runtime may be away: again and again, until it is done.
                if cx.now >= *at + RETRY {
                    cx.out.call(Op::Kill, Call::KillContainer(id.clone()));
                    cx.out.relist = true;
                    self.set_stage(Stage::Killed(cx.now));
                    cx.out.wake_at(cx.now + RETRY);
                } else {
                    cx.out.wake_at(*at + RETRY);
                }
                false
            }
        };
        if tell {
            let grace = deadline.since(cx.now).max(GRACE_MIN);
            cx.out.call(Op::Stop(i), Call::StopContainer(id, grace));
            cx.out.wake_at(deadline.max(cx.now) + GRACE_MIN + KILL_SLACK);
            self.set_stage(Stage::Told);
        }
    }

    fn set_stage(&mut self, stage: Stage) {
        if let Some(stop) = &mut self.stop {
            stop.stage = stage;
        }
    }

    pub(crate) fn on_pre_stop(&mut self, cx: &Cx<'_>, attempt: u32) {
        if attempt == self.restart_count()
            && let Some(stop) = self.stop.as_mut().filter(|stop| stop.stage == Stage::Hook)
        {
            stop.stage = Stage::Sleep(cx.now);
        }
    }

    /// The runtime did not take a stop: the next step tells it again.
    pub(crate) fn on_stop_failed(&mut self, cx: &Cx<'_>) {
        if let Some(stop) = self.stop.as_mut().filter(|stop| stop.stage == Stage::Told) {
            stop.stage = Stage::Sleep(cx.now + RETRY);
        }
    }
}

/// The end of something of which the runtime knows nothing any more.
fn lost(started: Option<Timestamp>, now: Timestamp) -> Exit {
    Exit {
        code: 137,
        signal: None,
        reason: ExitReason::Error,
        message: "The container could not be located when the pod was last looked at".to_owned(),
        started,
        finished: now,
    }
}
