//! What somebody tells the agent: changes, events, results.

use orlop_core::kinds::{Node, Pod};
use orlop_core::runtime::{ImageInfo, Reply, RuntimeEvent};
use orlop_core::{Change, Cut, Item, Key, Object, Stored, Timestamp};

use super::{Action, ActionId, ActionResult, Agent, RETRY, Target};
use crate::pod::{PodMachine, is_mirror};

impl Agent {
    pub(super) fn take_cut(&mut self, cut: Cut) {
        for kind in &cut.reset {
            self.objects.reset(kind);
            let kept = |key: &Key| {
                cut.changes.iter().any(|c| c.kind.same_resource(kind) && c.key == *key && c.object.is_some())
            };
            if kind.same_resource(&Pod::KIND) {
                self.pods_seen = true;
                self.malformed.retain(|key| kept(key));
                let gone: Vec<Key> = self.by_key.keys().filter(|key| !kept(key)).cloned().collect();
                for key in gone {
                    self.take_pod(&Change { kind: Pod::KIND, key, object: None });
                }
                for mirrored in self.mirrored.iter_mut().filter(|mirrored| !kept(&mirrored.key)) {
                    mirrored.on_pod(None);
                    self.mirrored_wake = Some(Timestamp::EPOCH);
                }
            }
            if kind.same_resource(&Node::KIND) && !kept(&Key::cluster(self.config.name.clone())) {
                self.registration.on_node(None);
                self.registration_wake = Some(Timestamp::EPOCH);
            }
        }
        for change in &cut.changes {
            if change.kind.same_resource(&Pod::KIND) {
                self.take_pod(change);
            } else if change.kind.same_resource(&Node::KIND) {
                if change.key.name == self.config.name {
                    self.registration.on_node(change.object.as_ref());
                    self.registration_wake = Some(Timestamp::EPOCH);
                    self.mirrored_wake = Some(Timestamp::EPOCH);
                }
            } else if self.objects.apply(change) {
                self.changed = true;
            }
        }
    }

    fn take_pod(&mut self, change: &Change) {
        self.malformed.remove(&change.key);
        // Most pods are other nodes': the name is looked for before anything is decoded.
        let known = self.by_key.contains_key(&change.key);
        let ours = |stored: &&Stored| known || contains(stored.body.bytes(), &self.config.name);
        let item = match change.object.as_ref().filter(ours).map(Item::<Pod>::decode) {
            Some(Ok(pod)) => Some(pod).filter(|pod| pod.spec.node_name == self.config.name),
            Some(Err(_)) => {
                // That it cannot be read does not mean that it is gone: what runs goes on.
                self.malformed.insert(change.key.clone());
                return;
            }
            None => None,
        };
        if let Some(at) = self.mirrored.iter().position(|mirrored| mirrored.key == change.key) {
            self.mirrored[at].on_pod(item);
            self.mirrored_wake = Some(Timestamp::EPOCH);
            return;
        }
        let before = self.by_key.get(&change.key).cloned();
        let uid = item.as_ref().map(|item| item.metadata.uid.clone());
        if before != uid
            && let Some(before) = before
        {
            // Gone, or another pod by the same name: the old one still has to end here.
            self.by_key.remove(&change.key);
            if let Some(machine) = self.pods.get_mut(&before) {
                machine.on_gone();
                self.dirty.insert(before);
            }
        }
        let Some(item) = item.filter(|item| !is_mirror(item)) else { return };
        let uid = item.metadata.uid.clone();
        self.by_key.insert(change.key.clone(), uid.clone());
        match self.pods.get_mut(&uid) {
            Some(machine) => machine.on_pod(item),
            None => {
                self.pods.insert(uid.clone(), PodMachine::new(item));
            }
        }
        self.dirty.insert(uid);
    }

    pub(super) fn take_event(&mut self, event: RuntimeEvent, actions: &mut Vec<Action>) {
        match event {
            RuntimeEvent::Exited { uid, container, exit } => {
                self.with_pod(&uid, actions, |machine, env, out| {
                    machine.on_exit(env, &container, &exit, out)
                });
            }
            RuntimeEvent::SandboxLost { uid, sandbox } => {
                self.with_pod(&uid, actions, |machine, env, _| machine.on_sandbox_lost(env.now, &sandbox));
            }
            RuntimeEvent::ImagePulled(image) => {
                let name = image.names.first().cloned().unwrap_or_else(|| image.id.clone());
                self.images.insert(name, image);
            }
            RuntimeEvent::Lost => self.relist_at = self.now,
            // The reply to the start says the same.
            RuntimeEvent::Started { .. } => {}
        }
    }

    pub(super) fn take_result(&mut self, id: ActionId, result: ActionResult, actions: &mut Vec<Action>) {
        let Some(target) = self.under_way.remove(&id) else { return };
        let now = self.now;
        match (target, result) {
            (Target::Pod(uid, op), ActionResult::Runtime(reply)) => {
                self.with_pod(&uid, actions, |machine, env, out| machine.on_reply(env, op, reply, out));
            }
            (Target::PodWrite(uid, what), ActionResult::Written(result)) => {
                self.with_pod(&uid, actions, |machine, _, _| machine.on_written(now, what, result));
            }
            (Target::Node(what), ActionResult::Written(result)) => {
                self.registration.on_written(now, what, result);
                self.registration_wake = Some(Timestamp::EPOCH);
            }
            (Target::Mirror(at, what), ActionResult::Written(result)) => {
                self.mirrored[at].on_written(now, what, result);
                self.mirrored_wake = Some(Timestamp::EPOCH);
            }
            (Target::Info, ActionResult::Runtime(reply)) => {
                self.asking = false;
                self.asked = true;
                self.ask_at = now + RETRY;
                self.registration_wake = Some(Timestamp::EPOCH);
                if let Ok(Reply::Info(info)) = reply {
                    self.runtime = Some(info);
                    self.relist_at = now;
                }
            }
            (Target::Images, ActionResult::Runtime(Ok(Reply::Images(images)))) => {
                let named = |image: ImageInfo| {
                    (image.names.first().cloned().unwrap_or_else(|| image.id.clone()), image)
                };
                self.images.extend(images.into_iter().map(named));
            }
            (Target::List(asked), ActionResult::Runtime(reply)) => {
                self.listing = false;
                match reply {
                    Ok(Reply::List(list)) => self.take_list(list, asked, actions),
                    _ => {
                        self.relist_at = now + RETRY;
                        if !self.recovered {
                            // Perhaps it is gone altogether.
                            self.runtime = None;
                            self.ask_at = now + RETRY;
                        }
                    }
                }
            }
            // An answer of another kind than the question is a mistake of the shell; the question stays open.
            _ => {}
        }
    }
}

/// Searching text is vectorised, searching bytes is not; with a hundred agents that all see every pod, this shows.
fn contains(haystack: &[u8], needle: &str) -> bool {
    std::str::from_utf8(haystack).is_ok_and(|text| text.contains(needle))
}
