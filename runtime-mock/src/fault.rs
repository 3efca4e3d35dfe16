//! What can go wrong on purpose.

use std::time::Duration;

use orlop_core::Name;
use orlop_core::runtime::{ContainerId, RuntimeError, SandboxId};

/// Something that goes wrong; see [`crate::MockMachine::inject`].
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The next calls fail, without having happened.
    FailCalls {
        /// How many.
        count: u32,
        /// Only calls of this name; empty: all. See [`orlop_core::runtime::Call::name`].
        call: Name,
        /// How.
        error: RuntimeError,
    },
    /// The answers to the next calls are lost: they have happened, but the caller is told
    /// [`RuntimeError::Unavailable`].
    LoseReplies(u32),
    /// The next events are not told.
    LoseEvents(u32),
    /// The next starts take longer.
    SlowStarts {
        /// How many.
        count: u32,
        /// By how much.
        by: Duration,
    },
    /// A running container dies.
    KillContainer(ContainerId),
    /// A sandbox dies with all that runs in it.
    LoseSandbox(SandboxId),
    /// The machine restarts: everything that runs dies, nothing is told, images stay.
    Reboot,
}

/// Faults that are still to come.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    failing: Vec<(u32, Name, RuntimeError)>,
    lost_replies: u32,
    lost_events: u32,
    slow: Vec<(u32, Duration)>,
}

fn take(left: &mut u32) -> bool {
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}

impl Pending {
    pub(crate) fn fail(&mut self, count: u32, call: Name, error: RuntimeError) {
        self.failing.push((count, call, error));
    }

    pub(crate) fn lose_replies(&mut self, count: u32) {
        self.lost_replies += count;
    }

    pub(crate) fn lose_events(&mut self, count: u32) {
        self.lost_events += count;
    }

    pub(crate) fn slow_starts(&mut self, count: u32, by: Duration) {
        self.slow.push((count, by));
    }

    pub(crate) fn failure(&mut self, call: &str) -> Option<RuntimeError> {
        let at =
            self.failing.iter().position(|(left, only, _)| *left > 0 && (only.is_empty() || only == call))?;
        let (left, _, error) = &mut self.failing[at];
        *left -= 1;
        let error = error.clone();
        if *left == 0 {
            self.failing.remove(at);
        }
        Some(error)
    }

    pub(crate) fn reply_lost(&mut self) -> bool {
        take(&mut self.lost_replies)
    }

    pub(crate) fn event_lost(&mut self) -> bool {
        take(&mut self.lost_events)
    }

    pub(crate) fn delay(&mut self) -> Duration {
        let Some((left, by)) = self.slow.first_mut() else { return Duration::ZERO };
        let by = *by;
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.slow.remove(0);
        }
        by
    }
}
