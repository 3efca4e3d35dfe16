//! What cuts tell: [`Scheduler::on_cut`].

use std::collections::BTreeSet;
use std::sync::Arc;

use orlop_core::kinds::{Node, Pod};
use orlop_core::{Cut, Key, Kind, Name, Object, Stored, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Scheduler, pending_worth_it};
use crate::change::Change;
use crate::facts::PodFacts;
use crate::framework::Event;

impl Scheduler {
    /// Takes in what changed.
    pub fn on_cut(&mut self, cut: Cut) {
        for kind in &cut.reset {
            self.malformed.retain(|(plural, _)| *plural != kind.plural);
            let kept: BTreeSet<&Key> =
                cut.changes.iter().filter(|c| c.kind.same_resource(kind)).map(|c| &c.key).collect();
            let mut known = self.snapshot.keys(kind);
            if kind.same_resource(&Pod::KIND) {
                known.extend(self.stored.keys().cloned());
                known.sort_unstable();
                known.dedup();
            }
            for key in known.iter().filter(|key| !kept.contains(key)) {
                if let Some(change) = Change::gone(kind, key) {
                    self.take(change, kind);
                }
            }
        }
        for change in &cut.changes {
            if change.kind.same_resource(&Pod::KIND) {
                let before = match &change.object {
                    Some(stored) => self.stored.insert(change.key.clone(), stored.clone()),
                    None => self.stored.remove(&change.key),
                };
                if let (Some(before), Some(after)) = (before, &change.object)
                    && self.bound_as_assumed(&change.key, &before, after)
                {
                    continue;
                }
            }
            let place = || (change.kind.plural.clone(), change.key.clone());
            if !self.malformed.is_empty() {
                self.malformed.remove(&place());
            }
            let read = match &change.object {
                Some(stored) if change.kind.same_resource(&Pod::KIND) => {
                    self.reader.read(&change.key, stored).map(|facts| Some(Change::Pod(facts)))
                }
                _ => Change::read(change),
            };
            match read {
                Ok(Some(read)) => self.take(read, &change.kind),
                Ok(None) => {}
                Err(_) => {
                    // What cannot be read is taken as not there.
                    self.malformed.insert(place());
                    if let Some(gone) = Change::gone(&change.kind, &change.key) {
                        self.take(gone, &change.kind);
                    }
                }
            }
        }
    }

    /// Takes in the binding of an assumed pod, if nothing else about the pod has changed: then nothing new is to be read.
    fn bound_as_assumed(&mut self, key: &Key, before: &Stored, after: &Stored) -> bool {
        let (was, is) = (before.body.header(), after.body.header());
        let Some(assumed) = self.assumed.get(key).filter(|assumed| assumed.uid == is.uid && !assumed.changed)
        else {
            return false;
        };
        let known = assumed.bound == Some(after.revision);
        let alike = was.uid == is.uid
            && was.deleted.is_none()
            && is.deleted.is_none()
            && was.labels == is.labels
            && was.owners == is.owners;
        let there = || self.snapshot.pod(key).map(|pod| pod.node.clone());
        let same =
            alike && (known || there().is_some_and(|node| only_binds(before, after, &node).unwrap_or(false)));
        if same {
            self.assumed.remove(key);
            self.give_up_waiting(key);
            self.queue.remove(key);
            if let Some(pod) = self.snapshot.pod(key).cloned() {
                self.tell(&Event::AssignedPod { old: None, new: &pod });
            }
        }
        same
    }

    fn take(&mut self, change: Change, kind: &Kind) {
        match change {
            Change::Pod(facts) => self.take_pod(Arc::new(facts)),
            Change::PodGone(key) => self.pod_gone(&key),
            Change::Node(facts) => {
                let old = self.snapshot.node(&facts.name).map(|n| n.facts().clone());
                if old.as_ref() == Some(&facts) {
                    return;
                }
                self.snapshot.apply(Change::Node(facts.clone()));
                self.tell(&Event::Node { old: old.as_ref(), new: &facts });
            }
            Change::NodeGone(name) => {
                self.snapshot.apply(Change::NodeGone(name));
                self.tell(&Event::Other(&Node::KIND));
            }
            other => {
                if self.snapshot.take_other(other) {
                    self.tell(&Event::Other(kind));
                }
            }
        }
    }

    fn take_pod(&mut self, facts: Arc<PodFacts>) {
        let key = facts.key.clone();
        let same = |uid: &Name| *uid == facts.uid;
        let replaced = self.queue.get(&key).is_some_and(|p| !same(&p.facts.uid))
            || self.assumed.get(&key).is_some_and(|assumed| !same(&assumed.uid));
        if replaced {
            self.pod_gone(&key);
        }
        if facts.is_assigned() {
            // What was only assumed is news to everybody else.
            let assumed = self.assumed.remove(&key).is_some();
            let old = self.snapshot.pod(&key).filter(|_| !assumed).cloned();
            self.give_up_waiting(&key);
            self.queue.remove(&key);
            self.snapshot.put_pod(facts.clone());
            if old.as_deref() != Some(&*facts) {
                self.tell(&Event::AssignedPod { old: old.as_deref(), new: &facts });
            }
            return;
        }
        if let Some(assumed) = self.assumed.get_mut(&key)
            && !facts.finished
            && !facts.is_terminating()
        {
            assumed.changed = true;
            return;
        }
        let Some(rank) = self
            .profile(&facts)
            .filter(|_| !facts.finished && !facts.is_terminating())
            .map(|_| self.placers[0].profile().queue_sort.rank(&facts))
        else {
            self.pod_gone(&key);
            return;
        };
        self.snapshot.put_pod(facts.clone());
        if !facts.nominated.is_empty() {
            self.snapshot.nominate(&facts, &facts.nominated);
        }
        match self.queue.update(facts.clone(), rank) {
            None => self.queue.add(facts, rank),
            Some(old) if differs(&old, &facts) => {
                let event = Event::ThisPod { old: &old, new: &facts };
                let pending = self.queue.get(&key);
                if pending.is_some_and(|p| pending_worth_it(&self.placers, p, &event)) {
                    self.queue.retry(&key);
                }
            }
            Some(_) => {}
        }
    }

    fn pod_gone(&mut self, key: &Key) {
        self.queue.remove(key);
        self.assumed.remove(key);
        self.give_up_waiting(key);
        let old = self.snapshot.pod(key).cloned();
        self.snapshot.apply(Change::PodGone(key.clone()));
        if let Some(old) = old {
            self.tell(&Event::AssignedPodGone(&old));
        }
    }
}

/// Whether two states of a pod differ in nothing that matters here but that the second is bound to `node`. `None`: it
/// cannot be told from the text.
fn only_binds(before: &Stored, after: &Stored, node: &str) -> Option<bool> {
    let (before, after) = (Outline::of(before)?, Outline::of(after)?);
    let name = format!("\"nodeName\":{}", serde_json::to_string(node).ok()?);
    let spec = after.spec.get();
    let at = spec.find(&name)?;
    let (head, rest) = (&spec[..at], &spec[at + name.len()..]);
    // The comma goes with the field, be it before or behind.
    let (head, rest) = match rest.strip_prefix(',') {
        Some(rest) => (head, rest),
        None => (head.strip_suffix(',')?, rest),
    };
    let was = before.spec.get();
    let same = was.len() == head.len() + rest.len() && was.starts_with(head) && was.ends_with(rest);
    Some(same && before.status == after.status)
}

/// The parts of a pod.
#[derive(Deserialize)]
struct Outline<'a> {
    #[serde(borrow)]
    spec: &'a RawValue,
    #[serde(default)]
    status: Told,
}

/// What of a pod's status says more than how far it is with being scheduled.
#[derive(Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
struct Told {
    phase: Name,
    start_time: Option<Timestamp>,
    nominated_node_name: Name,
    container_statuses: serde_json::Value,
    init_container_statuses: serde_json::Value,
    resources: serde_json::Value,
}

impl Outline<'_> {
    fn of(stored: &Stored) -> Option<Outline<'_>> {
        serde_json::from_slice(stored.body.bytes()).ok()
    }
}

/// Whether a pending pod has changed in what it asks for: what the scheduler itself writes is no reason to try it again.
fn differs(old: &PodFacts, new: &PodFacts) -> bool {
    *old != *new && PodFacts { nominated: new.nominated.clone(), ..old.clone() } != *new
}
