//! A scheduler with a store of objects around it that does at once what it asks for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use orlop_core::kinds::{Node, PersistentVolume, PersistentVolumeClaim, Pod, StorageClass};
use orlop_core::{
    Action, Attempt, Body, Change, Cut, Failure, FailureReason, Key, Kind, Object, Outcome, Revision, Stored,
    Timestamp,
};
use orlop_scheduler::{Profile, Scheduler};
use serde_json::Value;

use crate::text;

pub(crate) struct Rig {
    pub(crate) scheduler: Scheduler,
    pub(crate) now: Timestamp,
    objects: BTreeMap<(String, Key), Value>,
    revision: u64,
    log: String,
    /// Bindings fail while this is set.
    pub(crate) bindings_fail: bool,
    /// Results are held back while this is set.
    pub(crate) hold: bool,
    held: Vec<Attempt>,
    /// Deleted pods stay, terminating, until they are removed.
    pub(crate) graceful: bool,
    /// Nobody binds claims while this is set.
    pub(crate) unbound: bool,
}

impl Rig {
    pub(crate) fn new(profiles: Vec<Profile>) -> Rig {
        Rig {
            scheduler: Scheduler::new(profiles, 7),
            now: Timestamp::from_secs(1_000_000),
            objects: BTreeMap::new(),
            revision: 0,
            log: String::new(),
            bindings_fail: false,
            hold: false,
            held: Vec::new(),
            graceful: false,
            unbound: false,
        }
    }

    /// Puts objects in, or replaces them.
    pub(crate) fn put(&mut self, lines: &str) -> &mut Rig {
        for object in text::objects(lines) {
            self.put_object(object);
        }
        self
    }

    pub(crate) fn put_object(&mut self, object: Value) {
        let kind = match object["kind"].as_str() {
            Some("Node") => Node::KIND,
            Some("PodGroup") => orlop_scheduler::pod_group(),
            Some("PersistentVolume") => PersistentVolume::KIND,
            Some("PersistentVolumeClaim") => PersistentVolumeClaim::KIND,
            Some("StorageClass") => StorageClass::KIND,
            _ => Pod::KIND,
        };
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        let key = Key::new(text("namespace"), text("name"));
        self.objects.insert((kind.plural.to_string(), key.clone()), object.clone());
        self.cut(kind, key, Some(object));
    }

    pub(crate) fn remove(&mut self, kind: &str, name: &str) -> &mut Rig {
        let (kind, key) = match kind {
            "node" => (Node::KIND, Key::cluster(name)),
            "claim" => (PersistentVolumeClaim::KIND, Key::new("default", name)),
            _ => (Pod::KIND, Key::new("default", name)),
        };
        if self.objects.remove(&(kind.plural.to_string(), key.clone())).is_some() {
            self.cut(kind, key, None);
        }
        self
    }

    pub(crate) fn pod(&self, name: &str) -> Option<&Value> {
        self.objects.get(&("pods".to_owned(), Key::new("default", name)))
    }

    fn cut(&mut self, kind: Kind, key: Key, object: Option<Value>) {
        self.revision += 1;
        let revision = Revision(self.revision);
        let object = object.map(|object| {
            let bytes = serde_json::to_vec(&object).expect("an object is JSON");
            Stored { body: Arc::new(Body::parse(bytes.into()).expect("an object has metadata")), revision }
        });
        let change = Change { kind, key, object };
        self.scheduler.on_cut(Cut { revision, reset: Vec::new(), changes: vec![change] });
    }

    /// Lets the scheduler run until it has nothing to do.
    pub(crate) fn run(&mut self) -> &mut Rig {
        loop {
            let attempts = self.scheduler.poll(self.now);
            if attempts.is_empty() && !self.scheduler.is_ready() {
                return self;
            }
            for attempt in attempts {
                if self.hold { self.held.push(attempt) } else { self.carry_out(attempt) }
            }
        }
    }

    pub(crate) fn held(&self) -> &[Attempt] {
        &self.held
    }

    /// Carries out what was held back.
    pub(crate) fn release(&mut self) -> &mut Rig {
        self.hold = false;
        for attempt in std::mem::take(&mut self.held) {
            self.carry_out(attempt);
        }
        self.run()
    }

    pub(crate) fn wait(&mut self, seconds: u64) -> &mut Rig {
        self.now = self.now + Duration::from_secs(seconds);
        self.run()
    }

    fn carry_out(&mut self, attempt: Attempt) {
        let mut events = attempt.events;
        let mut failed = None;
        for write in attempt.writes {
            match (&write.action, write.subresource) {
                (Action::Create(binding), "binding") => {
                    if self.bindings_fail || self.pod(&write.key.name).is_none() {
                        let failure =
                            Failure { reason: FailureReason::Unavailable, message: "away".to_owned() };
                        let _ = writeln!(self.log, "{} could not be bound", write.key.name);
                        failed = Some((Some(write), failure));
                        break;
                    }
                    let node = binding["target"]["name"].clone();
                    let _ = writeln!(self.log, "{} -> {}", write.key.name, node.as_str().unwrap_or_default());
                    let mut pod = self.pod(&write.key.name).expect("checked above").clone();
                    pod["spec"]["nodeName"] = node;
                    self.put_object(pod);
                }
                (Action::Merge(patch), "status") => {
                    let Some(mut pod) = self.pod(&write.key.name).cloned() else { continue };
                    let Some(fields) = patch["status"].as_object() else { continue };
                    for (field, value) in fields {
                        if field == "nominatedNodeName" {
                            let node = value.as_str().unwrap_or("none");
                            let _ = writeln!(self.log, "{} nominated for {node}", write.key.name);
                        }
                        pod["status"][field] = value.clone();
                    }
                    self.put_object(pod);
                }
                (Action::Merge(patch), "") => {
                    let plural = write.kind.plural.to_string();
                    let Some(object) = self.objects.get(&(plural, write.key.clone())) else { continue };
                    let (mut object, name) = (object.clone(), &write.key.name);
                    if let Some(claim) = patch["spec"].get("claimRef") {
                        let _ = writeln!(
                            self.log,
                            "{name} bound to {}",
                            claim["name"].as_str().unwrap_or_default()
                        );
                        object["spec"]["claimRef"] = claim.clone();
                    } else {
                        let annotations = &patch["metadata"]["annotations"];
                        let node =
                            annotations["volume.kubernetes.io/selected-node"].as_str().unwrap_or_default();
                        let _ = writeln!(self.log, "{name} made for {node}");
                        object["metadata"]["annotations"] = annotations.clone();
                    }
                    self.put_object(object);
                    self.bind_claim(&write.key, patch["spec"].get("claimRef"));
                }
                (Action::Delete { .. }, "") => {
                    let _ = writeln!(self.log, "{} evicted", write.key.name);
                    let name = write.key.name.to_string();
                    match self.pod(&name).cloned() {
                        Some(mut pod) if self.graceful => {
                            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:30Z".into();
                            self.put_object(pod);
                        }
                        _ => drop(self.remove("pod", &name)),
                    }
                }
                other => panic!("unexpected write {other:?}"),
            }
        }
        let outcome = Outcome { revision: Revision(self.revision), failed };
        events.extend(self.scheduler.on_result(self.now, attempt.id, outcome));
        for event in events {
            if let Action::Create(event) = event.action
                && event["reason"] != "Scheduled"
            {
                let name = event["involvedObject"]["name"].as_str().unwrap_or_default();
                let _ = writeln!(self.log, "{name}: {}", event["message"].as_str().unwrap_or_default());
            }
        }
    }

    /// Does a volume controller's work, or a provisioner's: the claim has its volume, which is what was written to, or
    /// is made for the claim that was.
    fn bind_claim(&mut self, written: &Key, reference: Option<&Value>) {
        if self.unbound {
            return;
        }
        let claim = match reference {
            Some(claim) => Key::new(written.namespace.clone(), claim["name"].as_str().unwrap_or_default()),
            None => written.clone(),
        };
        let found = self
            .objects
            .iter()
            .find(|((plural, key), _)| plural == "persistentvolumeclaims" && key.name == claim.name);
        let Some((_, claim)) = found else { return };
        let mut claim = claim.clone();
        claim["spec"]["volumeName"] = written.name.as_str().into();
        claim["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] = "yes".into();
        self.put_object(claim);
    }

    /// What happened since it was last asked.
    pub(crate) fn log(&mut self) -> String {
        std::mem::take(&mut self.log)
    }
}
