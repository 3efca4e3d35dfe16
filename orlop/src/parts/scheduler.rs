//! The scheduler: takes cuts and gives attempts.

use orlop_core::runner::AttemptId;
use orlop_core::{Cut, Failure, Kind, Timestamp, Write};
use orlop_scheduler::Scheduler;

use super::job;
use crate::part::{Done, Job, Part};
use crate::stats::LoopStats;

impl Part for Scheduler {
    fn name(&self) -> &str {
        "scheduler"
    }

    fn kinds(&self) -> Vec<Kind> {
        Scheduler::kinds(self)
    }

    fn on_cut(&mut self, cut: Cut) {
        Scheduler::on_cut(self, cut);
    }

    fn poll(&mut self, now: Timestamp) -> Vec<Job> {
        Scheduler::poll(self, now).into_iter().map(job).collect()
    }

    fn on_done(&mut self, now: Timestamp, done: Done) -> Vec<Write> {
        self.on_result(now, AttemptId::new(done.id), done.outcome)
    }

    fn on_lost_event(&mut self, now: Timestamp, event: &Write, failure: &Failure) -> Option<Write> {
        Scheduler::on_lost_event(self, now, event, failure)
    }

    fn loops(&self, out: &mut Vec<LoopStats>) {
        let stats = self.stats();
        let depth = stats.depth;
        out.clear();
        out.push(LoopStats {
            name: "scheduler",
            depth: depth.active + depth.backing_off + depth.unschedulable + depth.gated,
            looks: stats.attempts,
            failures: stats.errors,
            panics: 0,
            busy: std::time::Duration::ZERO,
        });
    }

    fn malformed(&self) -> usize {
        self.stats().malformed
    }

    fn next_wake(&self) -> Option<Timestamp> {
        Scheduler::next_wake(self)
    }
}
