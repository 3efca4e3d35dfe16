//! Has everything end, and notices that it has.

use std::time::Duration;

use orlop_core::runtime::Call;

use super::unit::{Role, Unit, Work};
use super::{Ending, Env, ORPHAN_GRACE, Op, Out, PodMachine, Sandbox, grace_of, status};

impl PodMachine {
    /// Whether and by when everything has to end.
    pub(super) fn begin_ending(&mut self, env: &Env<'_>) {
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

    /// Has all containers end: first what the pod is for, then its sidecars.
    pub(super) fn end(&mut self, env: &mut Env<'_>, ending: &Ending, out: &mut Out) {
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
    pub(super) fn conclude(&mut self, env: &mut Env<'_>, out: &mut Out) {
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
}
