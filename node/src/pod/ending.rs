//! Has everything end, and notices that it has.

use std::time::Duration;

use orlop_core::runtime::Call;

use super::restart::Restarts;
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

    /// Has all containers end: first what the pod is for, then its sidecars, each after those that stand behind it
    /// (KEP-753). They share the one grace, and at its end whatever still waits is stopped, too.
    pub(super) fn end(&mut self, env: &mut Env<'_>, ending: &Ending, out: &mut Out) {
        for unit in self.units.iter_mut().filter(|unit| unit.current.is_some()) {
            unit.give_up();
        }
        if let Some(revision) = ending.unrouted_by {
            let wait_until = ending.deadline.min(ending.since + env.config.unroute_wait_max);
            let passed = env.planes.is_none_or(|reached| reached >= revision);
            if !passed && env.now < wait_until && self.units.iter().any(|unit| unit.running().is_some()) {
                out.wake_at(wait_until);
                return;
            }
        }
        let waits = self.turns();
        self.each(env, out, |i, unit, cx| {
            if unit.running().is_some() {
                unit.end_by(i, cx, ending.deadline);
                unit.stop_after_others(waits[i]);
            }
        });
    }

    /// Which containers have to wait for others before they are told to stop.
    fn turns(&self) -> Vec<bool> {
        let (init, mains) = self.own().split_at(self.init_count);
        let mut others_live = mains.iter().any(Unit::is_alive);
        let mut waits = vec![false; self.units.len()];
        for (i, unit) in init.iter().enumerate().rev().filter(|(_, unit)| unit.role == Role::Sidecar) {
            waits[i] = others_live;
            others_live |= unit.is_alive();
        }
        waits
    }

    /// Notices that everything has ended, and cleans up.
    pub(super) fn conclude(&mut self, env: &mut Env<'_>, out: &mut Out) {
        if self.over.is_none() && self.quiet() {
            if self.ending.is_some() {
                self.over = Some(status::final_phase(self.own(), self.init_count, self.verdict.as_ref()));
            } else {
                let settled = self.units.iter().all(|unit| unit.work == Work::None);
                let restarts = Restarts::of(env.config, &self.item);
                let phase = status::phase(self.own(), self.init_count, restarts);
                if matches!(phase, "Succeeded" | "Failed") && settled {
                    self.over = Some(phase);
                }
            }
        }
        if self.over.is_none() {
            return self.end_sidecars(env, out);
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

    /// When all else has ended for good, the sidecars and the ephemeral containers end, too.
    fn end_sidecars(&mut self, env: &Env<'_>, out: &mut Out) {
        if self.ending.is_some() || self.anew {
            return;
        }
        let restarts = Restarts::of(env.config, &self.item);
        let (init, mains) = self.own().split_at(self.init_count);
        let failed = |unit: &Unit| {
            unit.role == Role::Init
                && unit.is_over(restarts)
                && unit.exit().is_some_and(|exit| exit.code != 0)
        };
        let done = mains.iter().all(|unit| unit.is_over(restarts)) || init.iter().any(failed);
        // One that waits for its next try would run again.
        let stays = |unit: &Unit| unit.running().is_some() || unit.work != Work::None;
        if done && self.units.iter().any(stays) {
            let deadline = env.now + grace_of(&self.item);
            self.ending = Some(Ending { since: env.now, deadline, unrouted_by: None });
            out.wake_at(env.now);
        }
    }
}
