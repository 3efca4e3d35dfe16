//! What people are told of a pod that was not placed: its condition, events, and the eviction of others.

use orlop_core::kinds::Pod;
use orlop_core::plan::Reference;
use orlop_core::rules::pod::{condition, new_condition, set_condition};
use orlop_core::{Attempt, AttemptId, Key, Name, Note, Object, Timestamp, Write};
use serde_json::json;

use super::{Scheduler, profile_of};
use crate::decision::Decision;
use crate::facts::PodFacts;
use crate::profile::Profile;

impl Scheduler {
    pub(super) fn say_gated(&mut self, facts: &PodFacts, now: Timestamp) -> Option<Attempt> {
        let message = "Scheduling is blocked due to non-empty scheduling gates";
        let pod = self.read(&facts.key)?;
        if condition(&pod, "PodScheduled").is_some_and(|c| c.reason == "SchedulingGated") {
            return None;
        }
        let write = status(&pod, facts, "SchedulingGated", message, None, now)?;
        let id = self.new_id();
        Some(self.attempt(id, &facts.key, vec![write], None))
    }

    /// An attempt or a binding failed: the pod is tried again after a back-off.
    pub(super) fn fault(&mut self, facts: &PodFacts, message: String, now: Timestamp) -> Option<Attempt> {
        self.stats.errors += 1;
        self.queue.give_up(&facts.key, Vec::new(), now);
        self.tell_people(facts, "SchedulerError", message, None, Vec::new(), now)
    }

    pub(super) fn give_up(
        &mut self,
        facts: &PodFacts,
        by: Vec<Name>,
        message: String,
        now: Timestamp,
    ) -> Option<Attempt> {
        let reason = if by.is_empty() { "SchedulerError" } else { "Unschedulable" };
        self.queue.give_up(&facts.key, by, now);
        self.tell_people(facts, reason, message, None, Vec::new(), now)
    }

    pub(super) fn say_unschedulable(
        &mut self,
        facts: &PodFacts,
        decision: &Decision,
        now: Timestamp,
    ) -> Option<Attempt> {
        self.queue.fail(&facts.key, blamed(decision), now);
        let (mut writes, mut preempted) = (Vec::new(), Vec::new());
        let mut nominated = None;
        if let Some(result) = &decision.post_filter {
            match &result.nominated {
                Some(node) => {
                    self.snapshot.nominate(facts, node);
                    nominated = Some(node.clone());
                    for victim in &result.victims {
                        let Some(pod) = self.read(victim).filter(|pod| !pod.metadata.is_terminating()) else {
                            continue;
                        };
                        writes.extend(self.evict(&pod, facts, now));
                        let message = format!("Preempted by pod {} on node {node}", facts.uid);
                        let about = self.reference(victim, &pod.metadata.uid);
                        preempted.extend(self.note_about(about, facts, false, "Preempted", message, now));
                    }
                }
                None if result.give_up_nomination && !facts.nominated.is_empty() => {
                    self.snapshot.nominate(facts, "");
                    nominated = Some(Name::default());
                }
                None => {}
            }
        }
        let mut told =
            self.tell_people(facts, "Unschedulable", decision.message(), nominated, writes, now)?;
        told.events.append(&mut preempted);
        Some(told)
    }

    /// The writes that put a pod out to make room for another.
    fn evict(&self, pod: &Pod, by: &PodFacts, now: Timestamp) -> Vec<Write> {
        let victim = pod.metadata.key();
        let name = self.profile(by).map_or(Name::new_static(Profile::DEFAULT), |p| p.name.clone());
        let message = format!("{name}: preempting to accommodate a higher priority pod");
        let mut conditions = pod.status.conditions.clone();
        let disruption = new_condition("DisruptionTarget", true, "PreemptionByScheduler", message);
        let mut writes = Vec::new();
        if set_condition(&mut conditions, disruption, now) {
            let patch = json!({"status": {"conditions": conditions}});
            writes.push(Write::merge(Pod::KIND, victim.clone(), patch).on("status"));
        }
        let mut delete = Write::delete(Pod::KIND, victim.clone());
        delete.uid = Some(pod.metadata.uid.clone());
        writes.push(delete);
        writes
    }

    /// The `PodScheduled` condition and the event of a pod that was not placed.
    pub(super) fn tell_people(
        &mut self,
        facts: &PodFacts,
        reason: &'static str,
        message: String,
        nominated: Option<Name>,
        mut writes: Vec<Write>,
        now: Timestamp,
    ) -> Option<Attempt> {
        let pod = self.read(&facts.key);
        writes.extend(pod.and_then(|pod| status(&pod, facts, reason, &message, nominated, now)));
        let event = self.note(facts, true, "FailedScheduling", message, now);
        let id = self.new_id();
        Some(self.attempt(id, &facts.key, writes, event))
    }

    pub(super) fn read(&self, key: &Key) -> Option<Pod> {
        self.stored.get(key)?.decode::<Pod>().ok()
    }

    pub(super) fn note(
        &mut self,
        facts: &PodFacts,
        warning: bool,
        reason: &'static str,
        message: String,
        now: Timestamp,
    ) -> Option<Write> {
        let about = self.reference(&facts.key, &facts.uid);
        self.note_about(about, facts, warning, reason, message, now)
    }

    /// A pod as events name it.
    fn reference(&self, key: &Key, uid: &Name) -> Reference {
        let revision = self.stored.get(key).map(|stored| stored.revision);
        Reference {
            api_version: Pod::KIND.api_version(),
            kind: Pod::KIND.kind,
            key: key.clone(),
            uid: uid.clone(),
            resource_version: revision.map(|r| smol_str::format_smolstr!("{r}")).unwrap_or_default(),
            field_path: Name::default(),
        }
    }

    /// An event about a pod, by whoever decides about `facts`.
    fn note_about(
        &mut self,
        about: Reference,
        facts: &PodFacts,
        warning: bool,
        reason: &'static str,
        message: String,
        now: Timestamp,
    ) -> Option<Write> {
        let component = profile_of(&self.placers, facts).map_or(Profile::DEFAULT, |p| p.name.as_str());
        let note = Note { about, warning, reason: Name::new_static(reason), message };
        self.recorder.record(now, component, note)
    }

    pub(super) fn attempt(
        &self,
        id: AttemptId,
        key: &Key,
        writes: Vec<Write>,
        event: Option<Write>,
    ) -> Attempt {
        Attempt {
            id,
            controller: "scheduler",
            key: key.clone(),
            writes,
            effects: Vec::new(),
            events: event.into_iter().collect(),
        }
    }

    pub(super) fn new_id(&mut self) -> AttemptId {
        self.next_id += 1;
        AttemptId::new(self.next_id)
    }
}

/// Who kept a pod from all nodes.
pub(super) fn blamed(decision: &Decision) -> Vec<Name> {
    let mut by = decision.rejected_by();
    if by.is_empty() {
        // There are no nodes: whatever comes may help.
        by.push(Name::new_static("no nodes"));
    }
    by
}

/// The write of a pod's `PodScheduled` condition, and of its nominated node if that changes; `None` if all is so
/// already.
fn status(
    pod: &Pod,
    facts: &PodFacts,
    reason: &'static str,
    message: &str,
    nominated: Option<Name>,
    now: Timestamp,
) -> Option<Write> {
    if pod.metadata.uid != facts.uid {
        return None;
    }
    let mut conditions = pod.status.conditions.clone();
    let changed = set_condition(&mut conditions, new_condition("PodScheduled", false, reason, message), now);
    let mut patch = serde_json::Map::new();
    if changed {
        patch.insert("conditions".to_owned(), json!(conditions));
    }
    if let Some(node) = nominated.filter(|node| *node != pod.status.nominated_node_name) {
        let node = if node.is_empty() { serde_json::Value::Null } else { json!(node) };
        patch.insert("nominatedNodeName".to_owned(), node);
    }
    if patch.is_empty() {
        return None;
    }
    let mut write = Write::merge(Pod::KIND, facts.key.clone(), json!({"status": patch})).on("status");
    write.uid = Some(facts.uid.clone());
    Some(write)
}
