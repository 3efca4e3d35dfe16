//! A node agent, a mock runtime and an API of a few lines, on one hand-turned clock.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use orlop_core::body::{Body, Stored};
use orlop_core::plan::{Action as Act, Failure, FailureReason, Write};
use orlop_core::{Change, Cut, Key, Kind, Revision, Timestamp};
use orlop_node::{ActionId, ActionResult, Agent, NodeConfig, Task};
use orlop_runtime_mock::{MockMachine, Output, Policy, Ticket};
use serde_json::{Value, json};

/// 2026-01-01T00:00:00Z.
pub(crate) const BEGIN: i64 = 1_767_225_600;

pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) agent: Agent,
    pub(crate) machine: MockMachine,
    config: NodeConfig,
    objects: BTreeMap<(Kind, Key), (Value, Revision)>,
    revision: u64,
    waiting: BTreeMap<Ticket, ActionId>,
    /// What was seen, a line each.
    pub(crate) trace: String,
    /// Writes other than events and leases.
    pub(crate) writes: usize,
    pub(crate) refuse_writes: u32,
    /// Whether the runtime's events overtake its replies.
    pub(crate) events_first: bool,
    /// How often it had to move on.
    pub(crate) wakes: usize,
    shown: BTreeMap<Key, String>,
}

pub(crate) fn config() -> NodeConfig {
    let mut config = NodeConfig::new("n1", "172.18.0.2".parse().unwrap());
    config.pod_cidrs = vec!["10.244.1.0/24".parse().unwrap()];
    config.volumes = true;
    config
}

impl World {
    pub(crate) fn new(config: NodeConfig, policy: Policy) -> World {
        let mut world = World {
            now: Timestamp::from_secs(BEGIN),
            agent: Agent::new(config.clone()),
            machine: MockMachine::new(policy),
            config,
            objects: BTreeMap::new(),
            revision: 0,
            waiting: BTreeMap::new(),
            trace: String::new(),
            writes: 0,
            refuse_writes: 0,
            events_first: false,
            wakes: 0,
            shown: BTreeMap::new(),
        };
        world.start_agent();
        world
    }

    /// A new agent, which knows nothing, at the same API and runtime.
    pub(crate) fn start_agent(&mut self) {
        self.agent = Agent::new(self.config.clone());
        self.waiting.clear();
        let mut cut =
            Cut { revision: Revision(self.revision), reset: self.agent.kinds(), changes: Vec::new() };
        for ((kind, key), (value, revision)) in &self.objects {
            let object = Some(stored(value, *revision));
            cut.changes.push(Change { kind: kind.clone(), key: key.clone(), object });
        }
        self.agent.on_cut(cut);
        self.settle();
    }

    pub(crate) fn at(&self) -> String {
        format!("{:.2}", self.now.since(Timestamp::from_secs(BEGIN)).as_secs_f64())
    }

    /// Moves on by `secs`, stopping wherever something is due.
    pub(crate) fn run(&mut self, secs: f64) {
        let end = self.now + Duration::from_secs_f64(secs);
        loop {
            self.settle();
            let next = [self.agent.next_wake(), self.machine.next_wake()].into_iter().flatten().min();
            match next {
                Some(at) if at <= end => {
                    assert!(at > self.now, "a wake in the past at {}: {at:?}", self.at());
                    self.now = at;
                    self.wakes += 1;
                }
                _ => break,
            }
        }
        self.now = end;
        self.settle();
    }

    /// Lets everything happen that needs no time.
    pub(crate) fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 500, "no end of things to do at {}\n{}", self.at(), self.trace);
            let actions = self.agent.poll(self.now);
            let mut idle = actions.is_empty();
            for action in actions {
                match action.task {
                    Task::Runtime(call) => {
                        let ticket = self.machine.call(self.now, call);
                        self.waiting.insert(ticket, action.id);
                    }
                    Task::Write(write) => {
                        let result = self.write(write);
                        self.agent.on_result(action.id, ActionResult::Written(result));
                    }
                }
            }
            let mut outputs = self.machine.poll(self.now);
            if self.events_first {
                outputs.sort_by_key(|output| matches!(output, Output::Reply(..)));
            }
            for output in outputs {
                idle = false;
                match output {
                    Output::Reply(ticket, reply) => {
                        if let Some(id) = self.waiting.remove(&ticket) {
                            self.agent.on_result(id, ActionResult::Runtime(reply));
                        }
                    }
                    Output::Event(event) => self.agent.on_runtime(event),
                }
            }
            if idle && self.agent.next_wake().is_none_or(|at| at > self.now) {
                return;
            }
        }
    }

    fn write(&mut self, write: Write) -> Result<Revision, Failure> {
        let fail = |reason| Err(Failure { reason, message: format!("{reason:?}") });
        if write.kind.plural == "events" {
            if let Act::Create(event) = &write.action {
                let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
                let about = &event["involvedObject"];
                let path = about["fieldPath"].as_str().unwrap_or_default();
                let container = path.split(['{', '}']).nth(1).map(|c| format!("/{c}")).unwrap_or_default();
                let mut line = format!(
                    "  {} {}{container}: {}",
                    text("reason"),
                    about["name"].as_str().unwrap_or_default(),
                    text("message")
                );
                if text("type") == "Warning" {
                    line.push_str(" (warning)");
                }
                writeln!(self.trace, "{line}").unwrap();
            }
            return Ok(Revision(self.revision));
        }
        if self.refuse_writes > 0 {
            self.refuse_writes -= 1;
            return fail(FailureReason::Unavailable);
        }
        if write.kind.plural != "leases" {
            self.writes += 1;
        }
        let slot = (write.kind.clone(), write.key.clone());
        let present = self.objects.get(&slot).cloned();
        if let Some((object, revision)) = &present {
            let uid_differs = write.uid.as_ref().is_some_and(|uid| object["metadata"]["uid"] != uid.as_str());
            if uid_differs || write.revision.is_some_and(|seen| seen != *revision) {
                return fail(FailureReason::Conflict);
            }
        }
        match (write.action, present) {
            (Act::Create(_), Some(_)) => fail(FailureReason::AlreadyExists),
            (Act::Create(object), None) => {
                self.put(&write.kind, object);
                Ok(Revision(self.revision))
            }
            (_, None) => fail(FailureReason::NotFound),
            (Act::Merge(patch), Some((mut object, _))) => {
                merge(&mut object, &patch);
                self.put(&write.kind, object);
                Ok(Revision(self.revision))
            }
            (Act::Replace(object), Some(_)) => {
                self.put(&write.kind, object);
                Ok(Revision(self.revision))
            }
            (Act::Delete { grace, .. }, Some(_)) => {
                assert_eq!(grace, Some(0), "an agent deletes what has ended");
                self.remove(&write.kind, &write.key);
                Ok(Revision(self.revision))
            }
        }
    }

    /// Stores an object and tells the agent.
    pub(crate) fn put(&mut self, kind: &Kind, mut object: Value) {
        self.revision += 1;
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = Key::new(text("namespace"), text("name"));
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = format!("uid-{}", self.revision).into();
            object["metadata"]["creationTimestamp"] = self.now.to_string().into();
        }
        let revision = Revision(self.revision);
        let change = Change { kind: kind.clone(), key: key.clone(), object: Some(stored(&object, revision)) };
        if kind.plural == "pods" {
            self.show(&key, &object);
        }
        self.objects.insert((kind.clone(), key), (object, revision));
        self.agent.on_cut(Cut { revision, reset: Vec::new(), changes: vec![change] });
    }

    pub(crate) fn remove(&mut self, kind: &Kind, key: &Key) {
        self.revision += 1;
        self.objects.remove(&(kind.clone(), key.clone()));
        if kind.plural == "pods" {
            self.shown.remove(key);
            let line = format!("{} {} gone", self.at(), key.name);
            writeln!(self.trace, "{line}").unwrap();
        }
        let change = Change { kind: kind.clone(), key: key.clone(), object: None };
        self.agent.on_cut(Cut {
            revision: Revision(self.revision),
            reset: Vec::new(),
            changes: vec![change],
        });
    }

    fn show(&mut self, key: &Key, pod: &Value) {
        let line = summary(pod);
        if self.shown.insert(key.clone(), line.clone()).as_ref() != Some(&line) {
            let at = self.at();
            writeln!(self.trace, "{at} {} {line}", key.name).unwrap();
        }
    }

    /// Adds a pod that is bound to the node.
    pub(crate) fn pod(&mut self, yaml: &str) {
        self.put(&pods(), pod(yaml));
        self.settle();
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.objects.get(&(pods(), Key::new("default", name))).map(|(value, _)| value)
    }

    pub(crate) fn object(&self, kind: &Kind, key: &Key) -> Option<&Value> {
        self.objects.get(&(kind.clone(), key.clone())).map(|(value, _)| value)
    }

    /// Changes a pod as a user does.
    pub(crate) fn edit(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut pod = self.get(name).expect("the pod exists").clone();
        change(&mut pod);
        self.put(&pods(), pod);
        self.settle();
    }

    /// Asks for a pod's deletion.
    pub(crate) fn delete(&mut self, name: &str, grace: u64) {
        let ends = (self.now + Duration::from_secs(grace)).to_string();
        self.edit(name, |pod| {
            pod["metadata"]["deletionTimestamp"] = ends.into();
            pod["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        });
    }

    /// The last written revision.
    pub(crate) fn revision(&self) -> Revision {
        Revision(self.revision)
    }
}

pub(crate) fn pods() -> Kind {
    Kind::namespaced("", "v1", "Pod", "pods")
}

fn stored(value: &Value, revision: Revision) -> Stored {
    let body = Body::parse(Bytes::from(value.to_string())).expect("an object");
    Stored { body: Arc::new(body), revision }
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
        match value {
            Value::Null => drop(target.as_object_mut().map(|t| t.remove(name))),
            value => merge(&mut target[name], value),
        }
    }
}

/// A pod in YAML: its name, then fields of its spec; `annotations` goes to the metadata.
pub(crate) fn pod(yaml: &str) -> Value {
    let mut spec: Value = serde_yaml::from_str(yaml).expect("YAML");
    let fields = spec.as_object_mut().expect("fields");
    let name = fields.remove("name").expect("a name");
    let annotations = fields.remove("annotations").unwrap_or_else(|| json!({}));
    let policy = fields.entry("restartPolicy").or_insert_with(|| "Always".into()).clone();
    assert!(policy.is_string());
    fields.entry("nodeName").or_insert_with(|| "n1".into());
    fields.entry("containers").or_insert_with(|| json!([{"name": "main", "image": "web:1"}]));
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in fields.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if container["image"].is_null() {
                container["image"] = "web:1".into();
            }
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "generation": 1, "annotations": annotations},
        "spec": spec,
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    })
}

/// A pod's status in one line.
pub(crate) fn summary(pod: &Value) -> String {
    let status = &pod["status"];
    let mut line = status["phase"].as_str().unwrap_or("?").to_owned();
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        line.push_str(" terminating");
    }
    let ready = status["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == "Ready");
    if ready.is_some_and(|ready| ready["status"] == "True") {
        line.push_str(" ready");
    }
    if let Some(reason) = status["reason"].as_str() {
        write!(line, " {reason}").unwrap();
    }
    for list in ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"] {
        for container in status[list].as_array().into_iter().flatten() {
            write!(line, " {}={}", container["name"].as_str().unwrap_or("?"), state(container)).unwrap();
        }
    }
    line
}

fn state(container: &Value) -> String {
    let one = |state: &Value| -> String {
        if let Some(waiting) = state.get("waiting") {
            waiting["reason"].as_str().unwrap_or("waiting").to_owned()
        } else if let Some(ended) = state.get("terminated") {
            format!("{}({})", ended["reason"].as_str().unwrap_or("?"), ended["exitCode"])
        } else if state.get("running").is_some() {
            "running".to_owned()
        } else {
            String::new()
        }
    };
    let mut text = one(&container["state"]);
    if container["ready"] == true && container["state"].get("terminated").is_none() {
        text.push('+');
    }
    if container["restartCount"] != 0 {
        write!(text, "#{}", container["restartCount"]).unwrap();
    }
    let last = one(&container["lastState"]);
    if !last.is_empty() {
        write!(text, "<{last}").unwrap();
    }
    text
}
