//! Hooks and probes of what runs.

use std::time::Duration;

use orlop_core::kinds::LifecycleHandler;
use orlop_core::runtime::{Call, Check, ContainerId, Probe, ProbeAnswer, ProbePurpose, RuntimeError};

use super::{PostStart, Unit};
use crate::pod::probe;
use crate::pod::{Cx, Op};

/// How long a hook after the start may take at most.
const POST_START_MAX: Duration = Duration::from_secs(60);

impl Unit {
    /// Hooks and probes of what runs, and the progress of a stop.
    pub(crate) fn tick(&mut self, i: usize, cx: &mut Cx<'_>) {
        let Some(id) = self.running().map(|instance| instance.id.clone()) else { return };
        if self.stop.is_some() {
            self.advance_stop(i, cx, id.clone());
        } else {
            self.advance_post_start(i, cx, &id);
        }
        self.probe(i, cx, &id);
        let image = self.spec.image.clone();
        let changed = self.running().is_some_and(|instance| instance.image != image);
        if changed && self.stop.is_none() && cx.facts.config.restarts {
            let name = &self.spec.name;
            cx.note(
                i,
                &self.spec,
                false,
                "Killing",
                format!("Container {name} definition changed, will be restarted"),
            );
            self.renewed = true;
            self.stop(cx.now + cx.grace());
            self.advance_stop(i, cx, id);
        }
    }

    fn advance_post_start(&mut self, i: usize, cx: &mut Cx<'_>, id: &ContainerId) {
        match self.post_start {
            PostStart::Due => {
                let hook =
                    self.spec.lifecycle.as_ref().and_then(|l| l.post_start.clone()).unwrap_or_default();
                if let Some(sleep) = &hook.sleep {
                    let sleep = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0));
                    self.post_start = PostStart::Sleep(cx.now + sleep);
                    self.advance_post_start(i, cx, id);
                } else if let Some(probe) = self.hook(&hook, POST_START_MAX) {
                    self.post_start = PostStart::Asked;
                    let call = Call::Probe(id.clone(), probe);
                    cx.out.call(Op::PostStart(i, self.restart_count()), call);
                } else {
                    self.fail_post_start(i, cx);
                }
            }
            PostStart::Sleep(until) if until > cx.now => cx.out.wake_at(until),
            PostStart::Sleep(_) => {
                self.post_start = PostStart::Done;
                // Those that wait for it, here and in the pod, go on at once.
                cx.out.wake_at(cx.now);
            }
            PostStart::Done | PostStart::Asked | PostStart::Failed => {}
        }
    }

    fn fail_post_start(&mut self, i: usize, cx: &mut Cx<'_>) {
        self.post_start = PostStart::Failed;
        cx.note(i, &self.spec, true, "FailedPostStartHook", "PostStartHook failed");
        self.stop(cx.now + cx.grace());
        cx.out.wake_at(cx.now);
    }

    /// Asks the probes whose time has come. Of what is stopping only the readiness is asked for, until its end
    /// (KEP-1669).
    fn probe(&mut self, i: usize, cx: &mut Cx<'_>, id: &ContainerId) {
        let (started, stopping) = (self.started(), self.stop.is_some());
        let attempt = self.restart_count();
        for prober in &mut self.probers {
            let active = match prober.purpose {
                ProbePurpose::Startup => !stopping && prober.verdict != Some(true),
                ProbePurpose::Readiness => started,
                _ => started && !stopping,
            };
            if !active {
                continue;
            }
            if let Some(probe) = prober.ask(cx.now, &self.spec) {
                cx.out.call(Op::Probe(i, attempt, prober.purpose), Call::Probe(id.clone(), probe));
            }
            // While an answer is out, it is the answer that wakes.
            if !prober.asking {
                cx.out.wake_at(prober.next);
            }
        }
    }

    /// What the runtime is asked to carry a hook out. `None`: it is of a kind that fails whenever it is run, as
    /// Kubernetes keeps `tcpSocket` in hooks for compatibility alone.
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
        match answer {
            Ok(ProbeAnswer::Success) => self.post_start = PostStart::Done,
            _ => self.fail_post_start(i, cx),
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
