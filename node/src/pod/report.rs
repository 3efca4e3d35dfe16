//! Tells the API what has become of the pod, and at last lets the object go.

use std::time::Duration;

use orlop_core::plan::{Failure, FailureReason};
use orlop_core::{Action, Revision, Timestamp, Write};

use super::{Env, Out, PodMachine, PodWrite, RETRY, Sandbox, status};

impl PodMachine {
    /// Whether the last state has been told, so that the sandbox may go.
    pub(super) fn may_vanish(&self, env: &Env<'_>) -> bool {
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
    pub(super) fn report(&mut self, env: &mut Env<'_>, out: &mut Out) {
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
            write.action = Action::Delete { grace: Some(0), propagation: None };
            out.writes.push((PodWrite::Delete, write));
        }
    }

    fn update_conditions(&mut self, env: &Env<'_>) {
        let facts = status::Facts { machine: self, env };
        let now = status::conditions(&facts);
        self.conditions.update(now, env.now);
    }

    /// How a write went: the revision that it made.
    pub(crate) fn on_written(&mut self, now: Timestamp, what: PodWrite, result: Result<Revision, Failure>) {
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
