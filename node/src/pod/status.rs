//! What a pod's status says: phase, conditions, containers. All computed from the machine's state; the patch is the
//! difference to what the API has.

use std::collections::BTreeMap;

use orlop_core::kinds::{ContainerStatus, PodCondition, PodStatus};
use orlop_core::runtime::Exit;
use orlop_core::{Name, Timestamp};
use serde_json::{Map, Value, json};

use super::restart::{Restarts, may_restart_all};
use super::unit::{Instance, Role, Unit, Work};
use super::{Env, PodMachine, Sandbox, Verdict};

/// A machine and what it sees.
pub(crate) struct Facts<'a> {
    pub(crate) machine: &'a PodMachine,
    pub(crate) env: &'a Env<'a>,
}

/// A condition as it is now.
pub(crate) struct Fresh {
    r#type: &'static str,
    status: bool,
    reason: &'static str,
    message: String,
}

/// Since when which condition has had which status.
pub(crate) struct Conditions(BTreeMap<Name, (Name, Timestamp)>);

impl Conditions {
    /// As the API has it.
    pub(crate) fn seen(status: &PodStatus) -> Conditions {
        let dated = |c: &PodCondition| Some((c.r#type.clone(), (c.status.clone(), c.last_transition_time?)));
        Conditions(status.conditions.iter().filter_map(dated).collect())
    }

    pub(crate) fn update(&mut self, fresh: Vec<Fresh>, now: Timestamp) {
        for condition in fresh {
            let since = self.since(&condition, now);
            self.0.insert(Name::new_static(condition.r#type), (word(condition.status), since));
        }
    }

    fn since(&self, fresh: &Fresh, now: Timestamp) -> Timestamp {
        match self.0.get(fresh.r#type) {
            Some((status, since)) if *status == word(fresh.status) => *since,
            _ => now.truncate_to_secs(),
        }
    }
}

fn word(status: bool) -> Name {
    Name::new_static(if status { "True" } else { "False" })
}

/// The phase that the containers' states amount to.
pub(crate) fn phase(units: &[Unit], init_count: usize, restarts: Restarts) -> &'static str {
    let (init, mains) = units.split_at(init_count);
    // A pod that has begun does not fall back because it is prepared anew.
    let begun = mains.iter().any(Unit::has_run);
    for unit in init.iter().filter(|unit| unit.role == Role::Init) {
        match unit.exit() {
            Some(exit) if exit.code == 0 => {}
            Some(_) if unit.is_over(restarts) => return "Failed",
            _ if begun => {}
            _ => return "Pending",
        }
    }
    if !begun && init.iter().any(|unit| unit.role == Role::Sidecar && unit.current.is_none()) {
        return "Pending";
    }
    if mains.iter().any(|unit| !unit.has_run()) {
        return "Pending";
    }
    // Sidecars count, too: while one runs the pod does.
    let runs = units.iter().any(|unit| unit.role != Role::Init && unit.running().is_some());
    if runs || !mains.iter().all(|unit| unit.is_over(restarts)) {
        return "Running";
    }
    let failed = mains.iter().any(|unit| unit.exit().is_some_and(|exit| exit.code != 0));
    if failed { "Failed" } else { "Succeeded" }
}

/// The phase that the pod is in, or comes to as soon as nothing runs.
fn aimed(facts: &Facts<'_>) -> &'static str {
    let machine = facts.machine;
    match (machine.over, &machine.verdict) {
        (Some(over), _) => over,
        (None, Some(_)) => "Failed",
        (None, None) => {
            phase(machine.own(), machine.init_count, Restarts::of(facts.env.config, &machine.item))
        }
    }
}

/// The phase in which a pod is left that has been made to end.
pub(crate) fn final_phase(units: &[Unit], init_count: usize, verdict: Option<&Verdict>) -> &'static str {
    let well = units[init_count..].iter().all(|unit| unit.exit().is_some_and(|exit| exit.code == 0));
    if verdict.is_none() && well { "Succeeded" } else { "Failed" }
}

/// The pod's own conditions, in the order in which a kubelet gives them.
pub(crate) fn conditions(facts: &Facts<'_>) -> Vec<Fresh> {
    let machine = facts.machine;
    let over = Some(aimed(facts)).filter(|phase| matches!(*phase, "Succeeded" | "Failed"));
    let not_ready: Vec<&str> = machine
        .own()
        .iter()
        .filter(|unit| unit.role != Role::Init && !ready(facts, unit))
        .map(|unit| unit.spec.name.as_str())
        .collect();
    let incomplete: Vec<&str> = machine.units[..machine.init_count]
        .iter()
        .filter(|unit| match unit.role {
            Role::Sidecar => !unit.started(),
            _ => !unit.ready(),
        })
        .map(|unit| unit.spec.name.as_str())
        .collect();
    let initialized = machine.initialized || incomplete.is_empty() || over == Some("Succeeded");
    let finished = match over {
        Some("Succeeded") => Some("PodCompleted"),
        Some(_) => Some("PodFailed"),
        None => None,
    };
    let sandboxed = matches!(machine.sandbox, Sandbox::Up(_)) || facts.env.config.terse();
    let fresh = |r#type, status, reason, message: String| match facts.env.config.terse() {
        true => Fresh { r#type, status, reason: "", message: String::new() },
        false => Fresh {
            r#type,
            status,
            reason: if status { "" } else { reason },
            message: if status { String::new() } else { message },
        },
    };
    let containers_ready = not_ready.is_empty() && over.is_none();
    let unready = match finished {
        Some(reason) => (reason, String::new()),
        None => ("ContainersNotReady", format!("containers with unready status: [{}]", not_ready.join(" "))),
    };
    let gates = gates(machine);
    let ready = match (containers_ready, gates.is_empty()) {
        (true, false) => fresh("Ready", false, "ReadinessGatesNotReady", gates.join(", ")),
        (status, _) => fresh("Ready", status, unready.0, unready.1.clone()),
    };
    let mut all = vec![
        fresh("PodReadyToStartContainers", sandboxed, "", String::new()),
        fresh(
            "Initialized",
            initialized,
            "ContainersNotInitialized",
            format!("containers with incomplete status: [{}]", incomplete.join(" ")),
        ),
        ready,
        fresh("ContainersReady", containers_ready, unready.0, unready.1),
        fresh("PodScheduled", true, "", String::new()),
    ];
    if machine.units.iter().any(|unit| may_restart_all(&unit.spec)) {
        let (reason, message) = match (finished, machine.anew) {
            (Some(reason), _) => (reason, ""),
            (None, true) => ("RestartAllContainersStarted", "container exited with restart policy rule"),
            (None, false) => ("", ""),
        };
        let status = machine.anew && finished.is_none();
        all.push(Fresh { r#type: "AllContainersRestarting", status, reason, message: message.to_owned() });
    }
    all
}

/// What the readiness gates object to.
fn gates(machine: &PodMachine) -> Vec<String> {
    let status = &machine.item.status;
    let objection = |name: &Name| match status.conditions.iter().find(|c| c.r#type == *name) {
        None => Some(format!("corresponding condition of pod readiness gate \"{name}\" does not exist.")),
        Some(c) if c.status != "True" => {
            Some(format!("the status of pod readiness gate \"{name}\" is not \"True\", but {}", c.status))
        }
        Some(_) => None,
    };
    machine.item.spec.readiness_gates.iter().filter_map(|gate| objection(&gate.condition_type)).collect()
}

fn ready(facts: &Facts<'_>, unit: &Unit) -> bool {
    let held = facts.env.config.ready_annotation.as_ref().is_some_and(|name| {
        facts.machine.item.metadata.annotation(name) == Some("false") && unit.role != Role::Init
    });
    unit.ready() && !held
}

/// What the API must be told; `None`: it knows.
pub(crate) fn patch(facts: &Facts<'_>) -> Option<Value> {
    let machine = facts.machine;
    let current = &machine.item.status;
    let phase = match aimed(facts) {
        // What may still run something has not ended: others take its resources and volumes by this word.
        "Succeeded" | "Failed" if machine.over.is_none() => match current.phase.as_str() {
            "" => "Pending",
            phase => phase,
        },
        phase => phase,
    };
    if facts.env.config.terse() && is_interim(facts, phase) {
        return None;
    }
    if current.phase == phase
        && machine.over.is_some()
        && machine.units.iter().all(|unit| unit.current.is_none())
    {
        // It ended under an earlier agent, and the runtime has forgotten it: the API knows more.
        return None;
    }
    let mut own = Map::new();
    own.insert("phase".to_owned(), phase.into());
    if machine.item.metadata.generation > 0 {
        own.insert("observedGeneration".to_owned(), machine.item.metadata.generation.into());
    }
    if let Some(verdict) = machine.verdict.as_ref().filter(|_| machine.over.is_some()) {
        own.insert("reason".to_owned(), verdict.reason.into());
        own.insert("message".to_owned(), verdict.message.clone().into());
    }
    if let Some(start) = machine.start_time {
        own.insert("startTime".to_owned(), start.to_string().into());
        let ips: Vec<Value> =
            facts.env.config.addresses.iter().map(|ip| json!({"ip": ip.to_string()})).collect();
        if let Some(first) = facts.env.config.addresses.first() {
            own.insert("hostIP".to_owned(), first.to_string().into());
            own.insert("hostIPs".to_owned(), ips.into());
        }
    }
    if let (Some(first), true) = (machine.addresses.first(), machine.sandbox.id().is_some()) {
        let ips: Vec<Value> = machine.addresses.iter().map(|ip| json!({"ip": ip.to_string()})).collect();
        own.insert("podIP".to_owned(), first.to_string().into());
        own.insert("podIPs".to_owned(), ips.into());
    }
    if current.qos_class.is_empty() {
        let class = orlop_core::rules::pod_resources::qos_class(&machine.item);
        own.insert("qosClass".to_owned(), class.into());
    }
    own.insert("conditions".to_owned(), condition_values(facts).into());
    let (init, mains) = (&machine.units[..machine.init_count], machine.mains());
    let ephemeral = &machine.units[machine.own_count()..];
    let told = |units: &[Unit], told: &[ContainerStatus]| -> Vec<Value> {
        units
            .iter()
            .map(|unit| container(facts, unit, told.iter().find(|c| c.name == unit.spec.name)))
            .collect()
    };
    if !init.is_empty() && (machine.verdict.is_none() || machine.start_time.is_some()) {
        let statuses = told(init, &current.init_container_statuses);
        own.insert("initContainerStatuses".to_owned(), statuses.into());
    }
    if !ephemeral.is_empty() && (machine.verdict.is_none() || machine.start_time.is_some()) {
        let statuses = told(ephemeral, &current.ephemeral_container_statuses);
        own.insert("ephemeralContainerStatuses".to_owned(), statuses.into());
    }
    // A pod that was refused has no containers to tell of.
    if machine.verdict.is_none() || machine.start_time.is_some() {
        own.insert("containerStatuses".to_owned(), told(mains, &current.container_statuses).into());
    }

    // Compared as readers see it: what a view does not keep is no difference.
    let mut wanted = current.clone();
    let fresh: PodStatus = serde_json::from_value(Value::Object(own.clone())).ok()?;
    wanted.phase = fresh.phase;
    wanted.conditions = fresh.conditions;
    if own.contains_key("containerStatuses") {
        wanted.container_statuses = fresh.container_statuses;
    }
    if own.contains_key("initContainerStatuses") {
        wanted.init_container_statuses = fresh.init_container_statuses;
    }
    if own.contains_key("ephemeralContainerStatuses") {
        wanted.ephemeral_container_statuses = fresh.ephemeral_container_statuses;
    }
    if own.contains_key("observedGeneration") {
        wanted.observed_generation = fresh.observed_generation;
    }
    if own.contains_key("reason") {
        (wanted.reason, wanted.message) = (fresh.reason, fresh.message);
    }
    if own.contains_key("startTime") {
        wanted.start_time = fresh.start_time;
        (wanted.host_ip, wanted.host_ips) = (fresh.host_ip, fresh.host_ips);
    }
    if own.contains_key("podIP") {
        (wanted.pod_ip, wanted.pod_ips) = (fresh.pod_ip, fresh.pod_ips);
    }
    if own.contains_key("qosClass") {
        wanted.qos_class = fresh.qos_class;
    }
    (wanted != *current).then(|| json!({ "status": own }))
}

/// Whether nothing has happened yet that a terse report would tell.
fn is_interim(facts: &Facts<'_>, phase: &str) -> bool {
    let units = &facts.machine.units;
    let failing = units.iter().any(|unit| unit.waiting(facts.env.now).is_some());
    let under_way = facts
        .machine
        .mains()
        .iter()
        .any(|unit| unit.current.is_none() && !matches!(unit.work, Work::Failed(_)));
    (phase == "Pending" && !failing) || (phase == "Running" && under_way)
}

fn condition_values(facts: &Facts<'_>) -> Vec<Value> {
    let machine = facts.machine;
    let terse = facts.env.config.terse();
    let fresh = conditions(facts);
    let mut values: Vec<Value> = fresh
        .iter()
        .map(|condition| {
            let mut value = json!({
                "type": condition.r#type,
                "status": word(condition.status).as_str(),
                "lastProbeTime": null,
                "lastTransitionTime": machine.conditions.since(condition, facts.env.now).to_string(),
            });
            if !condition.reason.is_empty() {
                value["reason"] = condition.reason.into();
            }
            if !condition.message.is_empty() {
                value["message"] = condition.message.clone().into();
            }
            if !terse && machine.item.metadata.generation > 0 {
                value["observedGeneration"] = machine.item.metadata.generation.into();
            }
            value
        })
        .collect();
    // Other writers' conditions stay, behind ours.
    let others =
        machine.item.status.conditions.iter().filter(|c| fresh.iter().all(|own| own.r#type != c.r#type));
    values.extend(others.filter_map(|c| serde_json::to_value(c).ok()));
    values
}

fn container(facts: &Facts<'_>, unit: &Unit, told: Option<&ContainerStatus>) -> Value {
    let mut value = seen(facts, unit, told);
    // No probe says of an ephemeral container whether it has started.
    if unit.role == Role::Ephemeral
        && let Some(fields) = value.as_object_mut()
    {
        fields.shift_remove("started");
    }
    value
}

fn seen(facts: &Facts<'_>, unit: &Unit, told: Option<&ContainerStatus>) -> Value {
    let machine = facts.machine;
    let terse = facts.env.config.terse();
    let id = |instance: &Instance| match terse {
        true => format!("fake://{}", unit.spec.name),
        false => format!("{}://{}", facts.env.runtime, instance.id),
    };
    let previous =
        unit.previous.as_ref().and_then(|p| Some(json!({"terminated": ended(p.exit.as_ref()?, p, &id(p))})));
    let Some(current) = &unit.current else {
        // Nothing is known of an end that was told by an earlier agent, but that it was told.
        if let Some(told) = told.filter(|t| machine.over.is_some() && t.state.terminated.is_some())
            && let Ok(mut value) = serde_json::to_value(told)
        {
            fill(&mut value);
            return value;
        }
        let (reason, message) = unit.waiting(facts.env.now).unwrap_or_else(|| {
            let init = machine.init_count > 0;
            (if init { "PodInitializing" } else { "ContainerCreating" }, "")
        });
        let last = told.map(|told| told.last_state.terminated.clone().or(told.state.terminated.clone()));
        let last = match (previous, last.flatten()) {
            (Some(previous), _) => previous,
            (None, Some(last)) => {
                let mut last = json!({ "terminated": last });
                fill_exit(&mut last);
                last
            }
            (None, None) => json!({}),
        };
        return json!({
            "name": unit.spec.name.as_str(),
            "state": {"waiting": waiting(reason, message, terse)},
            "lastState": last,
            "ready": false,
            "restartCount": unit.base,
            "image": unit.spec.image.as_str(),
            "imageID": "",
            "started": false,
        });
    };
    let none = || json!({});
    let (state, last) = match (&current.exit, unit.waiting(facts.env.now)) {
        (None, _) => {
            (json!({"running": {"startedAt": current.since.to_string()}}), previous.unwrap_or_else(none))
        }
        (Some(exit), Some((reason, message))) => (
            json!({"waiting": waiting(reason, message, terse)}),
            json!({"terminated": ended(exit, current, &id(current))}),
        ),
        (Some(exit), None) => {
            (json!({"terminated": ended(exit, current, &id(current))}), previous.unwrap_or_else(none))
        }
    };
    let image_id = if terse { format!("fake://{}", current.image) } else { current.image_id.to_string() };
    json!({
        "name": unit.spec.name.as_str(),
        "state": state,
        "lastState": last,
        "ready": ready(facts, unit),
        "restartCount": unit.restart_count(),
        "image": current.image.as_str(),
        "imageID": image_id,
        "containerID": id(current),
        "started": unit.started(),
    })
}

/// Puts in what a view leaves out because it is empty, but the API always shows.
fn fill(value: &mut Value) {
    let Some(fields) = value.as_object_mut() else { return };
    for (name, empty) in [
        ("lastState", json!({})),
        ("ready", json!(false)),
        ("restartCount", json!(0)),
        ("image", json!("")),
        ("imageID", json!("")),
    ] {
        fields.entry(name).or_insert(empty);
    }
    for state in ["state", "lastState"] {
        if let Some(state) = fields.get_mut(state) {
            fill_exit(state);
        }
    }
}

fn fill_exit(state: &mut Value) {
    if let Some(fields) = state.get_mut("terminated").and_then(Value::as_object_mut) {
        fields.entry("exitCode").or_insert(json!(0));
    }
}

fn waiting(reason: &str, message: &str, terse: bool) -> Value {
    match message {
        "" => json!({ "reason": reason }),
        _ if terse => json!({ "reason": reason }),
        message => json!({ "reason": reason, "message": message }),
    }
}

fn ended(exit: &Exit, instance: &Instance, id: &str) -> Value {
    let started = exit.started.unwrap_or(instance.since);
    let mut value = json!({
        "exitCode": exit.code,
        "reason": exit.reason.as_str(),
        "startedAt": started.to_string(),
        "finishedAt": exit.finished.to_string(),
        "containerID": id,
    });
    if let Some(signal) = exit.signal.filter(|_| exit.code == 0) {
        value["signal"] = signal.into();
    }
    if !exit.message.is_empty() {
        value["message"] = exit.message.clone().into();
    }
    value
}
