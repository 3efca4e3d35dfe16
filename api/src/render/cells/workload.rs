//! Workload controllers and what scales them.

use orlop_core::Timestamp;
use serde_json::Value;

use super::{age, containers, int, items, labels, name, scalar, selector, text};
use crate::render::columns::{AGE, Known, NAME, Printer};

const CONTAINERS: Known = Known::wide("Containers");
const IMAGES: Known = Known::wide("Images");
const SELECTOR: Known = Known::wide("Selector");

pub(super) static DEPLOYMENT: Printer = Printer {
    columns: &[
        NAME,
        Known::text("Ready"),
        Known::text("Up-to-date"),
        Known::text("Available"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |o, now| {
        let (spec, status) = (&o["spec"], &o["status"]);
        let [names, images] = containers(&spec["template"]);
        vec![
            name(o),
            format!("{}/{}", int(&status["readyReplicas"]), int(&spec["replicas"])).into(),
            int(&status["updatedReplicas"]).into(),
            int(&status["availableReplicas"]).into(),
            age(o, now),
            names,
            images,
            deployment_selector(&spec["selector"]).into(),
        ]
    },
};

/// Unlike the others, a Deployment's selector is not turned into words where it is empty or wrong.
fn deployment_selector(value: &Value) -> String {
    if value.is_null() {
        return String::new();
    }
    super::selector_text(value).unwrap_or_else(|()| "<invalid>".into())
}

pub(super) static REPLICA_SET: Printer = Printer {
    columns: &[
        NAME,
        Known::typed("Desired", "integer"),
        Known::typed("Current", "integer"),
        Known::typed("Ready", "integer"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |o, now| {
        let (spec, status) = (&o["spec"], &o["status"]);
        let [names, images] = containers(&spec["template"]);
        let selected = if o["kind"] == "ReplicationController" {
            labels(&spec["selector"])
        } else {
            selector(&spec["selector"])
        };
        vec![
            name(o),
            int(&spec["replicas"]).into(),
            int(&status["replicas"]).into(),
            int(&status["readyReplicas"]).into(),
            age(o, now),
            names,
            images,
            selected.into(),
        ]
    },
};

pub(super) static STATEFUL_SET: Printer = Printer {
    columns: &[NAME, Known::text("Ready"), AGE, CONTAINERS, IMAGES],
    cells: |o, now| {
        let (spec, status) = (&o["spec"], &o["status"]);
        let [names, images] = containers(&spec["template"]);
        let ready = format!("{}/{}", int(&status["readyReplicas"]), int(&spec["replicas"]));
        vec![name(o), ready.into(), age(o, now), names, images]
    },
};

pub(super) static DAEMON_SET: Printer = Printer {
    columns: &[
        NAME,
        Known::typed("Desired", "integer"),
        Known::typed("Current", "integer"),
        Known::typed("Ready", "integer"),
        Known::typed("Up-to-date", "integer"),
        Known::typed("Available", "integer"),
        Known::text("Node Selector"),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    cells: |o, now| {
        let (spec, status) = (&o["spec"], &o["status"]);
        let [names, images] = containers(&spec["template"]);
        vec![
            name(o),
            int(&status["desiredNumberScheduled"]).into(),
            int(&status["currentNumberScheduled"]).into(),
            int(&status["numberReady"]).into(),
            int(&status["updatedNumberScheduled"]).into(),
            int(&status["numberAvailable"]).into(),
            labels(&spec["template"]["spec"]["nodeSelector"]).into(),
            age(o, now),
            names,
            images,
            selector(&spec["selector"]).into(),
        ]
    },
};

pub(super) static CONTROLLER_REVISION: Printer = Printer {
    columns: &[NAME, Known::text("Controller"), Known::text("Revision"), AGE],
    cells: |o, now| {
        let owner = items(&o["metadata"]["ownerReferences"]).iter().find(|r| r["controller"] == true);
        let controller = owner.map_or_else(
            || "<none>".to_owned(),
            |r| {
                let group = text(&r["apiVersion"]).split_once('/').map_or("", |(group, _)| group);
                let kind = text(&r["kind"]).to_lowercase();
                let dot = if group.is_empty() { "" } else { "." };
                format!("{kind}{dot}{group}/{}", text(&r["name"]))
            },
        );
        vec![name(o), controller.into(), int(&o["revision"]).into(), age(o, now)]
    },
};

pub(super) static POD_TEMPLATE: Printer = Printer {
    columns: &[NAME, Known::text("Containers"), Known::text("Images"), Known::text("Pod Labels")],
    cells: |o, _| {
        let [names, images] = containers(&o["template"]);
        vec![name(o), names, images, labels(&o["template"]["metadata"]["labels"]).into()]
    },
};

pub(super) static SCALE: Printer = Printer {
    columns: &[
        Known::text("Name"),
        Known::typed("Desired", "integer"),
        Known::typed("Available", "integer"),
        AGE,
    ],
    cells: |o, now| {
        vec![name(o), int(&o["spec"]["replicas"]).into(), int(&o["status"]["replicas"]).into(), age(o, now)]
    },
};

pub(super) static AUTOSCALER: Printer = Printer {
    columns: &[
        NAME,
        Known::text("Reference"),
        Known::text("Targets"),
        Known::text("MinPods"),
        Known::text("MaxPods"),
        Known::text("Replicas"),
        AGE,
    ],
    cells: autoscaler,
};

fn autoscaler(o: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&o["spec"], &o["status"]);
    let target = &spec["scaleTargetRef"];
    vec![
        name(o),
        format!("{}/{}", text(&target["kind"]), text(&target["name"])).into(),
        metrics(items(&spec["metrics"]), items(&status["currentMetrics"])).into(),
        spec["minReplicas"].as_i64().map_or_else(|| "<unset>".to_owned(), |n| n.to_string()).into(),
        int(&spec["maxReplicas"]).into(),
        int(&status["currentReplicas"]).into(),
        age(o, now),
    ]
}

/// `current/target` of the first two metrics; the current ones are matched by position.
fn metrics(wanted: &[Value], current: &[Value]) -> String {
    if wanted.is_empty() {
        return "<none>".into();
    }
    let shown: Vec<String> =
        wanted.iter().enumerate().map(|(at, m)| metric(m, current.get(at))).take(2).collect();
    let shown = shown.join(", ");
    if wanted.len() > 2 { format!("{shown} + {} more...", wanted.len() - 2) } else { shown }
}

fn metric(wanted: &Value, current: Option<&Value>) -> String {
    let now = |source: &str, field: &str| -> Option<String> {
        let value = &current?[source]["current"][field];
        (!value.is_null()).then(|| scalar(value))
    };
    let of = |source: &str, field: &str, absent: &str| {
        let target = &wanted[source]["target"][field];
        let target = if target.is_null() { absent.to_owned() } else { scalar(target) };
        format!("{}/{target}", now(source, field).unwrap_or_else(|| "<unknown>".into()))
    };
    let average_first = |source: &str| {
        if wanted[source]["target"]["averageValue"].is_null() {
            of(source, "value", "<nil>")
        } else {
            format!("{} (avg)", of(source, "averageValue", "<nil>"))
        }
    };
    let resource = |source: &str| {
        let target = &wanted[source]["target"];
        let name = text(&wanted[source]["name"]);
        if !target["averageValue"].is_null() {
            return format!("{name}: {}", of(source, "averageValue", "<nil>"));
        }
        let now = match now(source, "averageUtilization") {
            Some(percent) => format!("{percent}%"),
            None => "<unknown>".into(),
        };
        let target = match target["averageUtilization"].as_i64() {
            Some(percent) => format!("{percent}%"),
            None => "<auto>".into(),
        };
        format!("{name}: {now}/{target}")
    };
    match text(&wanted["type"]) {
        "Pods" => of("pods", "averageValue", "<nil>"),
        "Object" => average_first("object"),
        "External" => average_first("external"),
        "Resource" => resource("resource"),
        "ContainerResource" => resource("containerResource"),
        _ => "<unknown type>".into(),
    }
}
