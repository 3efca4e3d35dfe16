//! How an instance ends: a hook, a request, and at last a kill.

use std::time::Duration;

use orlop_core::Timestamp;
use orlop_core::runtime::{Call, ContainerId};

use super::{RETRY, Unit};
use crate::pod::{Cx, Op};

/// The least time that a container gets to end by itself.
pub(crate) const GRACE_MIN: Duration = Duration::from_secs(2);
/// How long after the end of a grace the runtime's own kill is awaited.
pub(crate) const KILL_SLACK: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(super) struct Stop {
    deadline: Timestamp,
    stage: Stage,
    /// Others have to end before it is told.
    waits: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    Begin,
    /// The hook before the stop runs.
    Hook,
    Sleep(Timestamp),
    /// The hook is done; others have to end first.
    Turn,
    Told,
    Killed(Timestamp),
}

impl Unit {
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
            None => self.stop = Some(Stop { deadline, stage: Stage::Begin, waits: false }),
        }
    }

    /// As [`Unit::stop`], and tells of it once.
    pub(crate) fn end_by(&mut self, i: usize, cx: &mut Cx<'_>, deadline: Timestamp) {
        if self.stop.is_none() {
            let name = &self.spec.name;
            cx.note(i, &self.spec, false, "Killing", format!("Stopping container {name}"));
        }
        self.stop(deadline);
    }

    /// Whether it is told to stop only when others have ended, or at its deadline. Its hook does not wait.
    pub(crate) fn stop_after_others(&mut self, waits: bool) {
        if let Some(stop) = &mut self.stop {
            stop.waits = waits;
        }
    }

    pub(super) fn advance_stop(&mut self, i: usize, cx: &mut Cx<'_>, id: ContainerId) {
        let attempt = self.restart_count();
        let Some(stop) = &self.stop else { return };
        let (deadline, stage, waits) = (stop.deadline, stop.stage.clone(), stop.waits);
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
                    cx.note(i, &self.spec, true, "FailedPreStopHook", "PreStopHook failed");
                    true
                }
            }
            (Stage::Begin | Stage::Turn, _) => true,
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
        if tell && waits && deadline > cx.now {
            cx.out.wake_at(deadline);
            self.set_stage(Stage::Turn);
        } else if tell {
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
