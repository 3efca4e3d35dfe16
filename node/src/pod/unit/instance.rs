//! Which instance runs or has ended, from replies, events and lists.

use orlop_core::runtime::{Call, ContainerId, ContainerStatus, Exit, ExitReason, RunState};
use orlop_core::{Name, Timestamp};

use super::{Instance, PostStart, Role, Unit, Work};
use crate::pod::probe::Prober;
use crate::pod::{Cx, Op};

impl Unit {
    pub(super) fn run(&mut self, cx: &mut Cx<'_>, id: ContainerId, image_id: Name, since: Timestamp) {
        let attempt = self.next_attempt();
        let image = self.spec.image.clone();
        let instance = Instance { attempt, id, image, image_id, since, exit: None, noticed: cx.now };
        if let Some(ended) = self.current.replace(instance)
            && let Some(older) = self.previous.replace(ended)
        {
            // The runtime keeps the last two, for their logs.
            cx.out.call(Op::Forget, Call::RemoveContainer(older.id));
        }
        self.work = Work::None;
        self.last_wait = None;
        self.stop = None;
        self.renewed = false;
        self.probers = if cx.facts.config.probes { Prober::all(&self.spec, since) } else { Vec::new() };
        let hook = self.spec.lifecycle.as_ref().and_then(|l| l.post_start.as_ref());
        self.post_start =
            if hook.is_some() && cx.facts.config.probes { PostStart::Due } else { PostStart::Done };
    }

    /// It has ended.
    pub(crate) fn on_exit(&mut self, exit: Exit) {
        if let Some(instance) = &mut self.current {
            instance.exit = Some(exit);
        }
        self.probers.clear();
        self.post_start = PostStart::Done;
        self.stop = None;
    }

    /// The runtime tells of an end, perhaps before it has answered to the start.
    pub(crate) fn on_exit_of(&mut self, i: usize, cx: &mut Cx<'_>, id: &ContainerId, exit: &Exit) {
        match self.work.clone() {
            Work::Starting { id: starting, image_id } if starting == *id && exit.started.is_some() => {
                // The answer will find nothing to tell any more.
                cx.note(i, &self.spec, false, "Started", "Container started");
                self.run(cx, starting, image_id, exit.started.unwrap_or(exit.finished));
                self.on_exit(exit.clone());
            }
            _ if self.running().is_some_and(|instance| instance.id == *id) => self.on_exit(exit.clone()),
            _ => {}
        }
    }

    /// What a list, asked for at `asked`, says of this container's instances.
    pub(crate) fn on_list(
        &mut self,
        i: usize,
        cx: &mut Cx<'_>,
        listed: &[ContainerStatus],
        asked: Timestamp,
    ) {
        if self.work == Work::Finding {
            let next = self.next_attempt();
            match listed.iter().find(|c| c.name == self.spec.name && c.attempt == next) {
                None => self.work = Work::None,
                Some(found) => match &found.state {
                    RunState::Created => {
                        self.work = Work::Starting { id: found.id.clone(), image_id: found.image_id.clone() };
                        cx.out.call(Op::Start(i), Call::StartContainer(found.id.clone()));
                    }
                    RunState::Running(since) => {
                        self.run(cx, found.id.clone(), found.image_id.clone(), *since);
                    }
                    RunState::Exited(exit) => {
                        let since = exit.started.unwrap_or(exit.finished);
                        self.run(cx, found.id.clone(), found.image_id.clone(), since);
                        self.on_exit(exit.clone());
                    }
                },
            }
            return;
        }
        let Some(instance) = self.running().filter(|instance| instance.noticed < asked) else { return };
        match listed.iter().find(|c| c.id == instance.id).map(|c| &c.state) {
            Some(RunState::Exited(exit)) => self.on_exit(exit.clone()),
            Some(_) => {}
            None => {
                let started = Some(instance.since);
                self.on_exit(lost(started, cx.now));
            }
        }
    }

    /// Whether a list, asked for at `asked`, tells nothing new.
    pub(crate) fn agrees_with(&self, listed: &[ContainerStatus], asked: Timestamp) -> bool {
        self.work != Work::Finding
            && self.running().filter(|instance| instance.noticed < asked).is_none_or(|instance| {
                listed.iter().any(|c| c.id == instance.id && matches!(c.state, RunState::Running(_)))
            })
    }

    /// Takes over what runs since before the agent's start.
    pub(crate) fn adopt(&mut self, cx: &mut Cx<'_>, listed: &[ContainerStatus]) {
        let mut own: Vec<_> = listed.iter().filter(|c| c.name == self.spec.name).collect();
        own.sort_by_key(|c| c.attempt);
        for found in own {
            let (since, exit) = match &found.state {
                RunState::Created => {
                    // Nobody knows whether somebody waits for its start: it is made anew.
                    cx.out.call(Op::Forget, Call::RemoveContainer(found.id.clone()));
                    continue;
                }
                RunState::Running(since) => (*since, None),
                RunState::Exited(exit) => (exit.started.unwrap_or(exit.finished), Some(exit.clone())),
            };
            self.run(cx, found.id.clone(), found.image_id.clone(), since);
            if let Some(instance) = &mut self.current {
                instance.attempt = found.attempt;
                instance.image = found.image.clone();
            }
            self.post_start = PostStart::Done;
            if let Some(exit) = exit {
                self.on_exit(exit);
            }
        }
    }

    /// It is removed from the runtime, and runs anew as if it never had; only its status remembers. An ephemeral
    /// container never runs anew.
    pub(crate) fn begin_anew(&mut self, cx: &mut Cx<'_>) {
        if self.role == Role::Ephemeral {
            return;
        }
        self.base = self.next_attempt();
        for instance in self.current.iter().chain(&self.previous) {
            cx.out.call(Op::Forget, Call::RemoveContainer(instance.id.clone()));
        }
        self.previous = self.current.take().or(self.previous.take());
        self.last_wait = None;
        self.work = Work::None;
    }

    /// The sandbox is gone, and this container with it.
    pub(crate) fn on_sandbox_lost(&mut self, now: Timestamp) {
        if let Some(since) = self.running().map(|instance| instance.since) {
            self.on_exit(lost(Some(since), now));
        }
        if self.role == Role::Init && self.current.is_some() {
            // The next sandbox is prepared anew.
            self.base = self.next_attempt();
            self.previous = self.current.take();
        }
        self.work = Work::None;
    }
}

/// The end of something of which the runtime knows nothing any more.
fn lost(started: Option<Timestamp>, now: Timestamp) -> Exit {
    Exit {
        code: 137,
        signal: None,
        reason: ExitReason::Error,
        message: "The container could not be located when the pod was last looked at".to_owned(),
        started,
        finished: now,
    }
}
