//! Pods that have a node, and for which something must come about before they are bound: their volumes.

use std::time::Duration;

use orlop_core::{Attempt, AttemptId, Key, Name, Outcome, Timestamp, Write};

use super::{Placed, Scheduler, profile_of};
use crate::schedule::guarded;

/// How often is looked whether it has come about; first after as long. As in Kubernetes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long that may take: what `bindTimeoutSeconds` of `VolumeBindingArgs` is by default.
const LIMIT: Duration = Duration::from_secs(600);

/// A placed pod that is not bound yet because what its pre-bind plugins asked for has not come about.
pub(super) struct Preparing {
    pub(super) placed: Placed,
    step: Step,
    deadline: Timestamp,
}

enum Step {
    /// What they ask for is being written.
    Writing(AttemptId),
    /// It is written; at this time is looked whether others have done their part.
    LookAt(Timestamp),
}

impl Scheduler {
    /// Writes what the pre-bind plugins ask for, and waits.
    pub(super) fn prepare(&mut self, placed: Placed, writes: Vec<Write>, now: Timestamp) -> Attempt {
        let (id, key) = (self.new_id(), placed.facts.key.clone());
        let preparing = Preparing { placed, step: Step::Writing(id), deadline: now + LIMIT };
        self.preparing.insert(key.clone(), preparing);
        self.attempt(id, &key, writes, None)
    }

    /// Takes in how the writing went. Answers whether there is nothing else to it: a failure is that of a binding.
    pub(super) fn on_prepared(&mut self, now: Timestamp, id: AttemptId, outcome: &Outcome) -> bool {
        let writes = |preparing: &Preparing| matches!(preparing.step, Step::Writing(writes) if writes == id);
        let Some((key, preparing)) = self.preparing.iter_mut().find(|(_, preparing)| writes(preparing))
        else {
            return false;
        };
        if outcome.failed.is_none() {
            preparing.step = Step::LookAt(now + LOOK_EVERY);
            return true;
        }
        let key = key.clone();
        if let Some(preparing) = self.preparing.remove(&key) {
            self.under_way.insert(id, preparing.placed);
        }
        false
    }

    /// When to look next.
    pub(super) fn next_look(&self) -> Option<Timestamp> {
        let at = |preparing: &Preparing| match preparing.step {
            Step::LookAt(at) => Some(at),
            Step::Writing(_) => None,
        };
        self.preparing.values().filter_map(at).min()
    }

    /// Binds the pods for which everything has come about.
    pub(super) fn look(&mut self, now: Timestamp) -> Vec<Attempt> {
        let due = |preparing: &Preparing| matches!(preparing.step, Step::LookAt(at) if at <= now);
        let keys: Vec<Key> =
            self.preparing.iter().filter(|(_, p)| due(p)).map(|(key, _)| key.clone()).collect();
        keys.into_iter().filter_map(|key| self.look_at(&key, now)).collect()
    }

    fn look_at(&mut self, key: &Key, now: Timestamp) -> Option<Attempt> {
        let preparing = self.preparing.remove(key)?;
        let Placed { facts, node } = preparing.placed.clone();
        let profile = profile_of(&self.placers, &facts)?;
        let awaited = guarded("bind", || -> Result<Vec<Name>, (Name, String)> {
            let mut awaited = Vec::new();
            for plugin in &profile.pre_bind {
                let name = || Name::from(plugin.name());
                if !plugin.is_done(&facts, &node, &self.snapshot).map_err(|why| (name(), why))? {
                    awaited.push(name());
                }
            }
            Ok(awaited)
        });
        match awaited {
            Ok(Ok(awaited)) if awaited.is_empty() => self.bind(preparing.placed, Vec::new(), now),
            Ok(Ok(_)) if now < preparing.deadline => {
                let step = Step::LookAt(now + LOOK_EVERY);
                self.preparing.insert(key.clone(), Preparing { step, ..preparing });
                None
            }
            Ok(Err((name, why))) => {
                self.forget(&preparing.placed);
                let message = format!("running PreBind plugin {name:?}: {why}");
                self.give_up(&facts, vec![name], message, now)
            }
            Ok(Ok(awaited)) => {
                self.forget(&Placed { facts: facts.clone(), node });
                let names: Vec<&str> = awaited.iter().map(Name::as_str).collect();
                let message = format!("running PreBind plugin {:?}: timed out", names.join(", "));
                self.give_up(&facts, awaited, message, now)
            }
            Err(fault) => {
                self.forget(&preparing.placed);
                self.fault(&facts, fault.to_string(), now)
            }
        }
    }
}
