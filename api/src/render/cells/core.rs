//! Small objects of the legacy group.

use orlop_core::Timestamp;
use serde_json::Value;

use super::{age, entries, int, name, scalar, text};
use crate::render::age::since;
use crate::render::columns::{AGE, Known, NAME, Printer};

pub(super) static CONFIG_MAP: Printer = Printer {
    columns: &[NAME, Known::text("Data"), AGE],
    cells: |o, now| {
        let count = entries(&o["data"]).count() + entries(&o["binaryData"]).count();
        vec![name(o), count.into(), age(o, now)]
    },
};

pub(super) static SECRET: Printer = Printer {
    columns: &[NAME, Known::text("Type"), Known::text("Data"), AGE],
    cells: |o, now| {
        // Clear text that was not yet turned into data counts as such.
        let clear = entries(&o["stringData"]).filter(|(k, _)| o["data"].get(k.as_str()).is_none()).count();
        let count = entries(&o["data"]).count() + clear;
        vec![name(o), text(&o["type"]).into(), count.into(), age(o, now)]
    },
};

pub(super) static SERVICE_ACCOUNT: Printer =
    Printer { columns: &[NAME, AGE], cells: |o, now| vec![name(o), age(o, now)] };

pub(super) static RESOURCE_QUOTA: Printer = Printer {
    columns: &[NAME, Known::text("Request"), Known::text("Limit"), AGE],
    cells: |o, now| {
        let mut hard: Vec<(&String, &Value)> = entries(&o["status"]["hard"]).collect();
        hard.sort_by_key(|(k, _)| k.as_str());
        let show = |limits: bool| {
            let shown: Vec<String> = hard
                .iter()
                .filter(|(k, _)| k.starts_with("limits") == limits)
                .map(|(k, hard)| {
                    let used = &o["status"]["used"][k.as_str()];
                    let used = if used.is_null() { "0".to_owned() } else { scalar(used) };
                    format!("{k}: {used}/{}", scalar(hard))
                })
                .collect();
            Value::from(shown.join(", "))
        };
        vec![name(o), show(false), show(true), age(o, now)]
    },
};

pub(super) static EVENT: Printer = Printer {
    columns: &[
        Known::text("Last Seen"),
        Known::text("Type"),
        Known::text("Reason"),
        Known::text("Object"),
        Known::wide("Subobject"),
        Known::wide("Source"),
        Known::text("Message"),
        Known::wide("First Seen"),
        Known { name: "Count", ty: "string", format: "", priority: 1 },
        Known { name: "Name", ty: "string", format: "name", priority: 1 },
    ],
    cells: event,
};

/// Reads both forms of an Event, of the legacy group and of `events.k8s.io`.
fn event(o: &Value, now: Timestamp) -> Vec<Value> {
    let pick = |old: &str, new: &str| -> Value {
        match &o[old] {
            Value::Null => o[new].clone(),
            value => value.clone(),
        }
    };
    let about = pick("involvedObject", "regarding");
    let first = pick("firstTimestamp", "deprecatedFirstTimestamp");
    let last = pick("lastTimestamp", "deprecatedLastTimestamp");
    let first = if first.is_null() { since(&o["eventTime"], now) } else { since(&first, now) };
    let mut shown = if last.is_null() { first.clone() } else { since(&last, now) };
    let mut count = int(&pick("count", "deprecatedCount"));
    if o["series"].is_object() {
        shown = since(&o["series"]["lastObservedTime"], now);
        count = int(&o["series"]["count"]);
    } else if count == 0 {
        count = 1;
    }
    let kind = text(&about["kind"]).to_lowercase();
    let target = match text(&about["name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let source = pick("source", "deprecatedSource");
    let controller = match text(&o["reportingComponent"]) {
        "" => text(&o["reportingController"]),
        component => component,
    };
    let component = match text(&source["component"]) {
        "" => controller,
        component => component,
    };
    let host = match text(&source["host"]) {
        "" => text(&o["reportingInstance"]),
        host => host,
    };
    let source = if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") };
    let message = pick("message", "note");
    vec![
        shown.into(),
        text(&o["type"]).into(),
        text(&o["reason"]).into(),
        target.into(),
        text(&about["fieldPath"]).into(),
        source.into(),
        text(&message).trim().into(),
        first.into(),
        count.into(),
        name(o),
    ]
}
