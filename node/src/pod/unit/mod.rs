//! One container of a pod: what runs, and what is being done to have it run.

mod instance;
mod start;
mod stop;
mod watch;

use std::time::Duration;

use orlop_core::kinds::Container;
use orlop_core::runtime::{ContainerId, Exit, ProbePurpose};
use orlop_core::{Name, Timestamp};

use super::Cx;
use super::probe::Prober;
use super::restart::{After, Restarts};
use crate::backoff::Backoff;
use stop::Stop;

/// How long an end is shown before `CrashLoopBackOff` is.
const END_SHOWN: Duration = Duration::from_secs(1);
/// The wait after an error that is none of the container's.
const RETRY: Duration = Duration::from_secs(1);
/// The wait after an error that only a change of something else cures.
const RETRY_CONFIG: Duration = Duration::from_secs(10);
/// A container's part in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before the next one begins.
    Init,
    /// An init container that stays.
    Sidecar,
    /// What the pod is for.
    Main,
    /// Somebody looks into the pod with it: it runs once, and neither the pod's phase nor its readiness heed it.
    Ephemeral,
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

#[derive(Clone, Copy, Debug, PartialEq)]
enum PostStart {
    Done,
    Due,
    Asked,
    Sleep(Timestamp),
    /// The container is stopped for it.
    Failed,
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
    /// It is ended because it is specified otherwise now, and runs again whatever its policy.
    renewed: bool,
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
            renewed: false,
        }
    }

    pub(crate) fn running(&self) -> Option<&Instance> {
        self.current.as_ref().filter(|instance| instance.exit.is_none())
    }

    pub(crate) fn exit(&self) -> Option<&Exit> {
        self.current.as_ref()?.exit.as_ref()
    }

    /// What follows from its end; `None`: it has not ended.
    pub(crate) fn after(&self, restarts: Restarts) -> Option<After> {
        self.exit().map(|exit| match self.renewed {
            true => After::Again,
            false => restarts.after(&self.spec, self.role, exit),
        })
    }

    /// Whether it has ended and will not run again.
    pub(crate) fn is_over(&self, restarts: Restarts) -> bool {
        self.after(restarts) == Some(After::Nothing)
    }

    /// Whether it has run in this pod.
    pub(crate) fn has_run(&self) -> bool {
        self.current.is_some() || self.previous.is_some()
    }

    /// Whether it runs, or may yet come to run by what was asked of the runtime.
    pub(crate) fn is_alive(&self) -> bool {
        self.running().is_some() || self.in_flight()
    }

    /// Whether the next container waits for it: containers are started one by one, each after the hook of the one
    /// before it.
    pub(crate) fn holds_up_the_next(&self) -> bool {
        let has_hook = self.spec.lifecycle.as_ref().is_some_and(|l| l.post_start.is_some());
        let begins = self.in_flight() || matches!(self.work, Work::Looking | Work::Pulling { .. });
        self.post_start != PostStart::Done || (has_hook && begins)
    }

    /// Gives up what would have it run, as far as the runtime has not been asked for it.
    pub(crate) fn give_up(&mut self) {
        if matches!(self.work, Work::Failed(_) | Work::Looking | Work::Pulling { .. }) {
            self.work = Work::None;
        }
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
            Role::Ephemeral => false,
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

    /// Sees to it that it runs, or has ended as it should. Whether, instead, all containers have to run again.
    pub(crate) fn ensure(&mut self, i: usize, cx: &mut Cx<'_>, restarts: Restarts) -> bool {
        self.show_next_reason(i, cx);
        match &self.work {
            Work::None => {}
            Work::Failed(wait) if wait.until > cx.now && !(wait.on_change && cx.changed) => {
                cx.out.wake_at(wait.until);
                if wait.from > cx.now {
                    cx.out.wake_at(wait.from);
                }
                return false;
            }
            Work::Failed(wait) => {
                self.last_wait = Some((wait.reason, wait.message.clone()));
                self.work = Work::None;
            }
            _ => return false,
        }
        match self.current.as_ref().map(|instance| instance.exit.clone()) {
            Some(None) => return false,
            Some(Some(exit)) => {
                let after = self.after(restarts);
                if after == Some(After::Nothing) {
                    return false;
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
                    return false;
                }
                self.crash.next(cx.now, exit.finished);
                if after == Some(After::AllAgain) {
                    return true;
                }
            }
            None => {}
        }
        self.begin(i, cx);
        false
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

    pub(crate) fn waits_for_objects(&self) -> bool {
        matches!(&self.work, Work::Failed(wait) if wait.on_change)
    }
}
