//! What the runtime has, as it tells of itself: a list, a loss, an end.

use orlop_core::Timestamp;
use orlop_core::runtime::{ContainerId, Exit, SandboxId, SandboxStatus};

use super::{Env, Out, PodMachine, Sandbox};

impl PodMachine {
    /// Takes over what runs since before the agent's start.
    pub(crate) fn adopt(&mut self, env: &mut Env<'_>, found: &SandboxStatus, out: &mut Out) {
        self.sandbox_attempt = found.attempt + 1;
        self.addresses = found.addresses.clone();
        self.sandbox =
            if found.ready { Sandbox::Up(found.id.clone()) } else { Sandbox::Stopped(found.id.clone()) };
        self.each(env, out, |_, unit, cx| unit.adopt(cx, &found.containers));
        // A container that serves stands behind init containers that have done their part.
        self.initialized = self.mains().iter().any(|unit| unit.current.is_some());
        if !found.ready && self.over.is_none() {
            self.lose_sandbox(env.now);
        }
    }

    fn lose_sandbox(&mut self, now: Timestamp) {
        for unit in &mut self.units {
            unit.on_sandbox_lost(now);
        }
        self.initialized = false;
    }

    /// The runtime's list, asked for at `asked`, has this sandbox of the pod (the youngest one), or none.
    pub(crate) fn on_list(
        &mut self,
        env: &mut Env<'_>,
        found: Option<&SandboxStatus>,
        asked: Timestamp,
        out: &mut Out,
    ) {
        match (&self.sandbox, found) {
            (Sandbox::None(_), Some(found)) if found.attempt + 1 == self.sandbox_attempt => {
                // Its creation was not answered.
                self.addresses = found.addresses.clone();
                self.sandbox = Sandbox::Up(found.id.clone());
                self.sandbox_noticed = env.now;
            }
            (Sandbox::Up(id), Some(found)) if *id == found.id && found.ready => {}
            (Sandbox::Up(id), _) if self.sandbox_noticed < asked => {
                let id = id.clone();
                self.on_sandbox_lost(env.now, &id);
            }
            _ => {}
        }
        let listed = found.map_or(&[][..], |found| &found.containers);
        self.each(env, out, |i, unit, cx| unit.on_list(i, cx, listed, asked));
    }

    pub(crate) fn on_sandbox_lost(&mut self, now: Timestamp, id: &SandboxId) {
        if self.sandbox == Sandbox::Up(id.clone()) {
            self.sandbox = Sandbox::Stopped(id.clone());
            self.lose_sandbox(now);
        }
    }

    pub(crate) fn on_exit(&mut self, env: &mut Env<'_>, id: &ContainerId, exit: &Exit, out: &mut Out) {
        self.each(env, out, |i, unit, cx| unit.on_exit_of(i, cx, id, exit));
    }

    /// Whether a list, asked for at `asked`, tells nothing new.
    pub(crate) fn agrees_with(&self, found: Option<&SandboxStatus>, asked: Timestamp) -> bool {
        let sandbox = match &self.sandbox {
            Sandbox::None(_) => found.is_none(),
            Sandbox::Up(id) => {
                self.sandbox_noticed >= asked || found.is_some_and(|found| found.id == *id && found.ready)
            }
            _ => true,
        };
        let listed = found.map_or(&[][..], |found| &found.containers);
        sandbox && self.units.iter().all(|unit| unit.agrees_with(listed, asked))
    }

    /// Whether a sandbox in the runtime's list is a leftover of an earlier attempt.
    pub(crate) fn has_outgrown(&self, found: &SandboxStatus) -> bool {
        self.sandbox.id() != Some(&found.id) && found.attempt + 1 < self.sandbox_attempt
    }
}
