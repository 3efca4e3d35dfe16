//! What belongs to the cluster as a whole.

use orlop_core::Timestamp;
use serde_json::Value;

use super::{age, condition, entries, int, items, name, or, text};
use crate::render::age::human;
use crate::render::columns::{AGE, Known, NAME, Printer};

pub(super) static NODE: Printer = Printer {
    columns: &[
        NAME,
        Known::text("Status"),
        Known::text("Roles"),
        AGE,
        Known::text("Version"),
        Known::wide("Internal-IP"),
        Known::wide("External-IP"),
        Known::wide("OS-Image"),
        Known::wide("Kernel-Version"),
        Known::wide("Container-Runtime"),
    ],
    cells: node,
};

fn node(o: &Value, now: Timestamp) -> Vec<Value> {
    let status = &o["status"];
    let known = items(&status["conditions"]).iter().any(|c| c["type"] == "Ready");
    let mut state = match known {
        false => "Unknown",
        true if condition(&status["conditions"], "Ready") => "Ready",
        true => "NotReady",
    }
    .to_owned();
    if o["spec"]["unschedulable"] == true {
        state.push_str(",SchedulingDisabled");
    }
    let address = |ty: &str| -> Value {
        let found = items(&status["addresses"]).iter().find(|a| a["type"] == ty);
        found.map_or("<none>", |a| text(&a["address"])).into()
    };
    let info = &status["nodeInfo"];
    let mut kernel = text(&or(text(&info["kernelVersion"]), "<unknown>")).to_owned();
    if !text(&info["architecture"]).is_empty() {
        kernel = format!("{kernel} ({})", text(&info["architecture"]));
    }
    vec![
        name(o),
        state.into(),
        or(&roles(&o["metadata"]["labels"]), "<none>"),
        age(o, now),
        text(&info["kubeletVersion"]).into(),
        address("InternalIP"),
        address("ExternalIP"),
        or(text(&info["osImage"]), "<unknown>"),
        kernel.into(),
        or(text(&info["containerRuntimeVersion"]), "<unknown>"),
    ]
}

fn roles(labels: &Value) -> String {
    let mut roles: Vec<&str> = entries(labels)
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None => (key == "kubernetes.io/role").then(|| text(value)),
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    roles.join(",")
}

pub(super) static NAMESPACE: Printer = Printer {
    columns: &[NAME, Known::text("Status"), AGE],
    cells: |o, now| vec![name(o), text(&o["status"]["phase"]).into(), age(o, now)],
};

pub(super) static LEASE: Printer = Printer {
    columns: &[NAME, Known::text("Holder"), AGE],
    cells: |o, now| vec![name(o), text(&o["spec"]["holderIdentity"]).into(), age(o, now)],
};

pub(super) static PRIORITY_CLASS: Printer = Printer {
    columns: &[
        NAME,
        Known::typed("Value", "integer"),
        Known::typed("Global-Default", "boolean"),
        AGE,
        Known::text("PreemptionPolicy"),
    ],
    cells: |o, now| {
        vec![
            name(o),
            int(&o["value"]).into(),
            (o["globalDefault"] == true).into(),
            age(o, now),
            o["preemptionPolicy"].as_str().unwrap_or("<unset>").into(),
        ]
    },
};

pub(super) static RUNTIME_CLASS: Printer = Printer {
    columns: &[NAME, Known::text("Handler"), AGE],
    cells: |o, now| vec![name(o), text(&o["handler"]).into(), age(o, now)],
};

pub(super) static SIGNING_REQUEST: Printer = Printer {
    columns: &[
        NAME,
        AGE,
        Known::text("SignerName"),
        Known::text("Requestor"),
        Known::text("RequestedDuration"),
        Known::text("Condition"),
    ],
    cells: |o, now| {
        let (spec, conditions) = (&o["spec"], &o["status"]["conditions"]);
        let has = |ty: &str| items(conditions).iter().any(|c| c["type"] == ty);
        let mut state = String::new();
        if has("Denied") {
            state.push_str("Denied");
        } else if has("Approved") {
            state.push_str("Approved");
        } else {
            state.push_str("Pending");
        }
        if has("Failed") {
            state.push_str(",Failed");
        }
        if !text(&o["status"]["certificate"]).is_empty() {
            state.push_str(",Issued");
        }
        let duration = match spec["expirationSeconds"].as_i64() {
            Some(seconds) => human(i128::from(seconds) * 1_000_000_000),
            None => "<none>".into(),
        };
        vec![
            name(o),
            age(o, now),
            or(text(&spec["signerName"]), "<none>"),
            text(&spec["username"]).into(),
            duration.into(),
            state.into(),
        ]
    },
};

pub(super) static COMPONENT_STATUS: Printer = Printer {
    columns: &[NAME, Known::text("Status"), Known::text("Message"), Known::text("Error")],
    cells: |o, _| {
        let healthy = items(&o["conditions"]).iter().find(|c| c["type"] == "Healthy");
        let status = match healthy.map(|c| text(&c["status"])) {
            Some("True") => "Healthy",
            Some("False") => "Unhealthy",
            _ => "Unknown",
        };
        let said = |field: &str| healthy.map_or("", |c| text(&c[field])).into();
        vec![name(o), status.into(), said("message"), said("error")]
    },
};

pub(super) static API_SERVICE: Printer = Printer {
    columns: &[NAME, Known::text("Service"), Known::text("Available"), AGE],
    cells: |o, now| {
        let service = &o["spec"]["service"];
        let by = match service.is_null() {
            true => "Local".to_owned(),
            false => format!("{}/{}", text(&service["namespace"]), text(&service["name"])),
        };
        let available = items(&o["status"]["conditions"]).iter().find(|c| c["type"] == "Available");
        let available = match available.map(|c| (text(&c["status"]), text(&c["reason"]))) {
            Some(("True", _)) => "True".to_owned(),
            Some((status, reason)) => format!("{status} ({reason})"),
            None => "Unknown".to_owned(),
        };
        vec![name(o), by.into(), available.into(), age(o, now)]
    },
};
