//! Hooks and probes of what runs.

use std::time::Duration;

use orlop_core::kinds::LifecycleHandler;
use orlop_core::runtime::{Call, Check, Probe, ProbeAnswer, ProbePurpose, RuntimeError};

use super::{PostStart, Unit};
use crate::pod::probe;
use crate::pod::{Cx, Op};

impl Unit {
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

    pub(super) fn hook(&self, hook: &LifecycleHandler, timeout: Duration) -> Option<Probe> {
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
}
