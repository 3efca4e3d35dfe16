//! Pods: one word that says how a pod is doing, out of all its containers' states.

use orlop_core::Timestamp;
use serde_json::{Value, json};

use super::{age, condition, int, items, name, or, text};
use crate::render::age::{between, time};
use crate::render::columns::{AGE, Known, NAME, Printer};

pub(super) static POD: Printer = Printer {
    columns: &[
        NAME,
        Known::text("Ready"),
        Known::text("Status"),
        Known::text("Restarts"),
        AGE,
        Known::wide("IP"),
        Known::wide("Node"),
        Known::wide("Nominated Node"),
        Known::wide("Readiness Gates"),
    ],
    cells,
};

fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = summarise(pod);
    let restarts = match summary.last_restart {
        Some(at) if summary.restarts != 0 => {
            format!("{} ({} ago)", summary.restarts, between(at, now))
        }
        _ => summary.restarts.to_string(),
    };
    let ip = match items(&pod["status"]["podIPs"]).first() {
        Some(first) => text(&first["ip"]),
        None => text(&pod["status"]["podIP"]),
    };
    let gates = items(&pod["spec"]["readinessGates"]);
    let open =
        gates.iter().filter(|g| condition(&pod["status"]["conditions"], text(&g["conditionType"]))).count();
    vec![
        name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        age(pod, now),
        or(ip, "<none>"),
        or(text(&pod["spec"]["nodeName"]), "<none>"),
        or(text(&pod["status"]["nominatedNodeName"]), "<none>"),
        if gates.is_empty() { "<none>".into() } else { format!("{open}/{}", gates.len()).into() },
    ]
}

struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

/// Restarts of some containers, and when the last of them ended before.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += int(&status["restartCount"]);
        self.last = self.last.max(time(&status["lastState"]["terminated"]["finishedAt"]));
    }
}

fn exit_reason(terminated: &Value) -> String {
    match text(&terminated["reason"]) {
        "" if int(&terminated["signal"]) != 0 => format!("Signal:{}", int(&terminated["signal"])),
        "" => format!("ExitCode:{}", int(&terminated["exitCode"])),
        reason => reason.to_owned(),
    }
}

fn summarise(pod: &Value) -> Summary {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let conditions = &status["conditions"];
    let mut reason = match text(&status["reason"]) {
        "" => text(&status["phase"]),
        reason => reason,
    }
    .to_owned();
    if items(conditions).iter().any(|c| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated") {
        reason = "SchedulingGated".into();
    }
    let init = items(&spec["initContainers"]);
    let is_sidecar = |name: &Value| init.iter().any(|c| c["name"] == *name && c["restartPolicy"] == "Always");
    let total = items(&spec["containers"]).len() + init.iter().filter(|c| is_sidecar(&c["name"])).count();
    let mut ready = 0;
    let (mut all, mut sidecars) = (Restarts::default(), Restarts::default());
    let mut initializing = false;
    for (at, container) in items(&status["initContainerStatuses"]).iter().enumerate() {
        all.add(container);
        let sidecar = is_sidecar(&container["name"]);
        if sidecar {
            sidecars.add(container);
        }
        let state = &container["state"];
        let terminated = &state["terminated"];
        let waiting = text(&state["waiting"]["reason"]);
        if terminated.is_object() && int(&terminated["exitCode"]) == 0 {
            continue;
        }
        if sidecar && container["started"] == true {
            ready += usize::from(container["ready"] == true);
            continue;
        }
        reason = if terminated.is_object() {
            format!("Init:{}", exit_reason(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{at}/{}", init.len())
        };
        initializing = true;
        break;
    }
    if !initializing || condition(conditions, "Initialized") {
        all = sidecars;
        let mut running = false;
        for container in items(&status["containerStatuses"]).iter().rev() {
            all.add(container);
            let state = &container["state"];
            let waiting = text(&state["waiting"]["reason"]);
            if !waiting.is_empty() {
                reason = waiting.to_owned();
            } else if state["terminated"].is_object() {
                reason = exit_reason(&state["terminated"]);
            } else if container["ready"] == true && state["running"].is_object() {
                running = true;
                ready += 1;
            }
        }
        if reason == "Completed" && running {
            reason = if condition(conditions, "Ready") { "Running" } else { "NotReady" }.into();
        }
    }
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        if status["reason"] == "NodeLost" {
            reason = "Unknown".into();
        } else if !matches!(text(&status["phase"]), "Succeeded" | "Failed") {
            reason = "Terminating".into();
        }
    }
    Summary { reason, ready, total, restarts: all.count, last_restart: all.last }
}

/// The conditions of a row, by which kubectl can leave finished pods out.
pub(crate) fn row_conditions(pod: &Value) -> Option<Value> {
    let (reason, message) = match text(&pod["status"]["phase"]) {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}
