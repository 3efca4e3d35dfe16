//! What the runtime is asked of its own accord: who it is, and what it runs.

use std::collections::BTreeMap;

use orlop_core::runtime::{Call, SandboxStatus};
use orlop_core::{Name, Timestamp};

use super::{Action, Agent, Target, Task};

impl Agent {
    pub(super) fn ask_runtime(&mut self, actions: &mut Vec<Action>) {
        let now = self.now;
        if self.runtime.is_none() {
            if !self.asking && now >= self.ask_at {
                self.asking = true;
                self.act(actions, Target::Info, Task::Runtime(Call::Info));
                self.act(actions, Target::Images, Task::Runtime(Call::Images));
            }
        } else if !self.listing && now >= self.relist_at {
            self.list(actions);
        }
    }

    pub(super) fn list(&mut self, actions: &mut Vec<Action>) {
        self.listing = true;
        self.relist_at = self.now + self.config.relist_period;
        self.act(actions, Target::List(self.now), Task::Runtime(Call::List));
    }

    pub(super) fn take_list(
        &mut self,
        mut list: Vec<SandboxStatus>,
        asked: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        list.sort_by(|a, b| (&a.uid, a.attempt).cmp(&(&b.uid, b.attempt)));
        if !self.recovered {
            self.found = Some(list);
            return;
        }
        let mut youngest: BTreeMap<Name, SandboxStatus> = BTreeMap::new();
        for sandbox in list {
            let outgrown = self.pods.get(&sandbox.uid).is_none_or(|machine| machine.has_outgrown(&sandbox));
            if outgrown {
                self.act(actions, Target::Nothing, Task::Runtime(Call::RemoveSandbox(sandbox.id)));
            } else {
                youngest.insert(sandbox.uid.clone(), sandbox);
            }
        }
        let uids: Vec<Name> = self.pods.keys().cloned().collect();
        for uid in uids {
            let found = youngest.get(&uid);
            if self.pods.get(&uid).is_none_or(|machine| machine.agrees_with(found, asked)) {
                continue;
            }
            self.with_pod(&uid, actions, |machine, env, out| machine.on_list(env, found, asked, out));
        }
    }

    /// Once both are known, what should run and what runs, the pods take over what is theirs.
    pub(super) fn recover(&mut self, actions: &mut Vec<Action>) {
        if self.recovered || !self.pods_seen {
            return;
        }
        let Some(found) = self.found.take() else { return };
        self.recovered = true;
        let mut youngest: BTreeMap<Name, SandboxStatus> = BTreeMap::new();
        for sandbox in found {
            if let Some(older) = youngest.insert(sandbox.uid.clone(), sandbox) {
                self.act(actions, Target::Nothing, Task::Runtime(Call::RemoveSandbox(older.id)));
            }
        }
        for (uid, sandbox) in youngest {
            if self.pods.contains_key(&uid) {
                self.with_pod(&uid, actions, |machine, env, out| machine.adopt(env, &sandbox, out));
            } else {
                self.act(actions, Target::Nothing, Task::Runtime(Call::RemoveSandbox(sandbox.id)));
            }
        }
    }
}
