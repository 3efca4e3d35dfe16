//! A cluster in a hundred lines: an API without rules, and a kubelet that does one thing at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use orlop_core::plan::{Failure, FailureReason};
use orlop_core::store::Revision;
use orlop_core::{
    Action, Attempt, Body, Change, Cut, Entropy, Key, Kind, Outcome, Runner, Stored, Timestamp, Write,
};
use serde_json::{Value, json};

pub(crate) struct Model {
    pub(crate) runner: Runner,
    pub(crate) now: Timestamp,
    objects: BTreeMap<(Kind, Key), (u64, Value)>,
    revision: u64,
    changes: Vec<Change>,
    pub(crate) events: Vec<String>,
    uids: u64,
}

impl Model {
    pub(crate) fn new(add: impl FnOnce(&mut Runner)) -> Model {
        let mut runner = Runner::new(&Entropy::seeded(7));
        add(&mut runner);
        Model {
            runner,
            now: "2026-01-01T00:00:00Z".parse().expect("a time"),
            objects: BTreeMap::new(),
            revision: 0,
            changes: Vec::new(),
            events: Vec::new(),
            uids: 0,
        }
    }

    pub(crate) fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Option<&Value> {
        self.objects.get(&(kind.clone(), Key::new(namespace, name))).map(|(_, object)| object)
    }

    pub(crate) fn all(&self, kind: &Kind) -> Vec<&Value> {
        self.objects.iter().filter(|((k, _), _)| k == kind).map(|(_, (_, object))| object).collect()
    }

    /// Stores an object as it is, as a user or a kubelet would.
    pub(crate) fn put(&mut self, kind: &Kind, mut object: Value) {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = Key::new(text("namespace"), text("name"));
        if object["metadata"]["uid"].is_null() {
            self.uids += 1;
            object["metadata"]["uid"] = format!("uid-{}", self.uids).into();
            object["metadata"]["creationTimestamp"] = json!(self.now);
            object["metadata"]["generation"] = 1.into();
        }
        self.store(kind, key, Some(object));
    }

    fn store(&mut self, kind: &Kind, key: Key, object: Option<Value>) {
        self.revision += 1;
        let stored = object.map(|object| {
            let bytes = serde_json::to_vec(&object).expect("JSON").into();
            self.objects.insert((kind.clone(), key.clone()), (self.revision, object));
            Stored {
                body: Arc::new(Body::parse(bytes).expect("an object")),
                revision: Revision(self.revision),
            }
        });
        if stored.is_none() {
            self.objects.remove(&(kind.clone(), key.clone()));
        }
        self.changes.push(Change { kind: kind.clone(), key, object: stored });
    }

    /// Tells everything there is of `kind`, as the API does once it is asked to.
    pub(crate) fn reset(&mut self, kind: &Kind) {
        self.deliver();
        let all = self.objects.iter().filter(|((k, _), _)| k == kind);
        let changes = all
            .map(|((_, key), (revision, object))| {
                let bytes = serde_json::to_vec(object).expect("JSON").into();
                let body = Arc::new(Body::parse(bytes).expect("an object"));
                let stored = Stored { body, revision: Revision(*revision) };
                Change { kind: kind.clone(), key: key.clone(), object: Some(stored) }
            })
            .collect();
        self.runner.on_cut(Cut { revision: Revision(self.revision), reset: vec![kind.clone()], changes });
    }

    /// Removes every object of a kind, as the API does when its definition goes, and says nothing.
    pub(crate) fn drop_all(&mut self, kind: &Kind) {
        self.objects.retain(|(k, _), _| k != kind);
    }

    pub(crate) fn deliver(&mut self) {
        let changes = std::mem::take(&mut self.changes);
        self.runner.on_cut(Cut { revision: Revision(self.revision), reset: Vec::new(), changes });
    }

    /// Lets the controllers act once; answers whether they did.
    pub(crate) fn act(&mut self, check: &mut impl FnMut(&Model)) -> bool {
        self.deliver();
        let attempts = self.runner.poll(self.now);
        let any = attempts.iter().any(|attempt| !attempt.writes.is_empty());
        for attempt in attempts {
            self.perform(attempt, check);
        }
        any
    }

    fn perform(&mut self, attempt: Attempt, check: &mut impl FnMut(&Model)) {
        for event in &attempt.events {
            if let Action::Create(event) = &event.action {
                self.events.push(format!("{}: {}", event["reason"], event["message"]));
            }
        }
        if attempt.writes.is_empty() {
            return;
        }
        let mut outcome = Outcome::done(Revision(0));
        for write in attempt.writes {
            match self.write(&write) {
                Ok(()) => outcome.revision = Revision(self.revision),
                Err(failure) => {
                    outcome.failed = Some((Some(write), failure));
                    break;
                }
            }
            check(self);
        }
        self.runner.on_result(self.now, attempt.id, outcome);
    }

    fn write(&mut self, write: &Write) -> Result<(), Failure> {
        let fail = |reason| Err(Failure { reason, message: format!("{reason:?} of {}", write.key) });
        let at = (write.kind.clone(), write.key.clone());
        if let Action::Create(object) = &write.action {
            let mut object = object.clone();
            let namespace = <orlop_core::kinds::Namespace as orlop_core::Object>::KIND;
            let home = self.get(&namespace, "", &write.key.namespace);
            if home.is_some_and(|home| !home["metadata"]["deletionTimestamp"].is_null()) {
                return fail(FailureReason::Refused);
            }
            if write.key.name.is_empty() {
                self.uids += 1;
                let prefix = object["metadata"]["generateName"].as_str().unwrap_or_default();
                object["metadata"]["name"] = format!("{prefix}{:05}", self.uids).into();
            } else if self.objects.contains_key(&at) {
                return fail(FailureReason::AlreadyExists);
            }
            self.put(&write.kind, object);
            return Ok(());
        }
        let Some((revision, object)) = self.objects.get(&at) else { return fail(FailureReason::NotFound) };
        if write.uid.as_ref().is_some_and(|uid| object["metadata"]["uid"] != uid.as_str())
            || write.revision.is_some_and(|seen| seen.0 != *revision)
        {
            return fail(FailureReason::Conflict);
        }
        let mut next = object.clone();
        match &write.action {
            Action::Create(_) => {}
            Action::Replace(value) => next = value.clone(),
            Action::Merge(patch) => merge(&mut next, patch),
            Action::Delete { grace, propagation } => {
                let finalizers = next["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
                let mut finalizers = finalizers;
                match propagation {
                    Some(orlop_core::plan::Propagation::Foreground) => {
                        finalizers.push("foregroundDeletion".into())
                    }
                    Some(orlop_core::plan::Propagation::Orphan) => finalizers.push("orphan".into()),
                    _ => {}
                }
                let lingers = write.kind.kind == "Pod"
                    && *grace != Some(0)
                    && next["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
                if finalizers.is_empty() && !lingers {
                    self.store(&write.kind, write.key.clone(), None);
                    return Ok(());
                }
                if !finalizers.is_empty() {
                    next["metadata"]["finalizers"] = finalizers.into();
                }
                if next["metadata"]["deletionTimestamp"].is_null() {
                    next["metadata"]["deletionTimestamp"] = json!(self.now + Duration::from_secs(30));
                }
            }
        }
        if next == *object {
            return Ok(());
        }
        if next["spec"] != object["spec"] {
            next["metadata"]["generation"] =
                (object["metadata"]["generation"].as_i64().unwrap_or(0) + 1).into();
        }
        let gone = !next["metadata"]["deletionTimestamp"].is_null()
            && next["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
            && next["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty)
            && write.kind.kind != "Pod";
        self.store(&write.kind, write.key.clone(), (!gone).then_some(next));
        Ok(())
    }

    /// A user's or kubelet's change.
    pub(crate) fn edit(&mut self, kind: &Kind, namespace: &str, name: &str, patch: Value) {
        let write = Write::merge(kind.clone(), Key::new(namespace, name), patch);
        self.write(&write).expect("the object is there");
    }

    pub(crate) fn delete(
        &mut self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        propagation: Option<orlop_core::plan::Propagation>,
    ) {
        let mut write = Write::delete(kind.clone(), Key::new(namespace, name));
        write.action = Action::Delete { grace: None, propagation };
        self.write(&write).expect("the object is there");
    }

    /// Moves the pod at `pick` among those that can move: pending ones become ready, terminating ones go.
    pub(crate) fn kubelet(&mut self, pick: usize) -> bool {
        let pods: Vec<(Key, bool)> = self
            .objects
            .iter()
            .filter(|((kind, _), _)| kind.kind == "Pod")
            .filter_map(|((_, key), (_, pod))| {
                let terminating = !pod["metadata"]["deletionTimestamp"].is_null();
                (terminating || pod["status"]["phase"] != "Running").then(|| (key.clone(), terminating))
            })
            .collect();
        let Some((key, terminating)) = pods.get(pick % pods.len().max(1)) else { return false };
        let kind = <orlop_core::kinds::Pod as orlop_core::Object>::KIND;
        if *terminating {
            self.store(&kind, key.clone(), None);
            return true;
        }
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": self.now});
        let wanted = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchFields/0/values/0";
        let pod = self.get(&kind, &key.namespace, &key.name).and_then(|pod| pod.pointer(wanted));
        let node = pod.cloned().unwrap_or_else(|| "n".into());
        let patch =
            json!({"spec": {"nodeName": node}, "status": {"phase": "Running", "conditions": [ready]}});
        self.edit(&kind, &key.namespace, &key.name, patch);
        true
    }

    /// Until nobody has anything to do.
    pub(crate) fn settle(&mut self, check: &mut impl FnMut(&Model)) {
        for _ in 0..10_000 {
            let acted = self.act(check);
            let moved = self.kubelet(0);
            check(self);
            self.now = self.now + Duration::from_millis(100);
            if !acted && !moved {
                // Someone may wait for another try; deadlines are further away.
                match self.runner.next_wake() {
                    Some(at) if at < self.now + Duration::from_secs(20) => self.now = self.now.max(at),
                    _ => return,
                }
            }
        }
        panic!("the cluster does not come to rest");
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            if let Some(target) = target.as_object_mut() {
                target.shift_remove(name);
            }
        } else {
            merge(&mut target[name.as_str()], value);
        }
    }
}
