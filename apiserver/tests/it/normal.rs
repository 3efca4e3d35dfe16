//! One side of a conversation without what differs from run to run: the rules of the recordings' README, by number.

use serde_json::{Map, Value};

use crate::texts::{Seen, ago, is_age};

/// Columns whose cells are ages.
const AGES: [&str; 5] = ["Age", "Last Seen", "First Seen", "Last Schedule", "Duration"];

/// Normalises the responses of one side, in order. `requests` are as recorded, placeholders and all.
pub(crate) fn normalise(requests: &[&Value], responses: &mut [Value]) {
    let mut seen = Seen::default();
    for request in requests {
        seen.literal.push_str(&request.to_string());
        prefixes(request, &mut seen.prefixes);
    }
    responses.iter().for_each(|response| names(response, &mut seen.names));
    // A name that is a part of another must not spoil it.
    seen.names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    seen.names.dedup();
    for response in responses {
        if let Some(events) = response["body"].as_array_mut() {
            bookmarks(events);
        }
        let mut columns = Columns::default();
        walk(response, &mut seen, &mut columns);
    }
}

/// Rule 4: what requests ask names to be generated from.
fn prefixes(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(prefix) = map.get("generateName").and_then(Value::as_str)
                && !prefix.is_empty()
            {
                let cut: String = prefix.chars().take(58).collect();
                if !out.contains(&cut) {
                    out.push(cut);
                }
            }
            map.values().for_each(|v| prefixes(v, out));
        }
        Value::Array(items) => items.iter().for_each(|v| prefixes(v, out)),
        _ => {}
    }
}

/// Rule 4: the names that were generated.
fn names(value: &Value, out: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            let text = |field: &str| map.get(field).and_then(Value::as_str).unwrap_or_default();
            let (prefix, name) = (text("generateName"), text("name"));
            if !prefix.is_empty() && name.starts_with(prefix) && name != prefix {
                let pair = (name.to_owned(), format!("{prefix}<generated>"));
                if !out.contains(&pair) {
                    out.push(pair);
                }
            }
            map.values().for_each(|v| names(v, out));
        }
        Value::Array(items) => items.iter().for_each(|v| names(v, out)),
        _ => {}
    }
}

/// Rule 8.
fn bookmarks(events: &mut Vec<Value>) {
    const END: &str = "k8s.io/initial-events-end";
    events.retain(|e| e["type"] != "BOOKMARK" || e["object"]["metadata"]["annotations"].get(END).is_some());
    for event in events.iter_mut().filter(|e| e["type"] == "BOOKMARK") {
        event["object"]["metadata"]["resourceVersion"] = "<bookmark-rv>".into();
    }
}

/// The columns of the last table that named them.
#[derive(Default)]
struct Columns(Vec<(String, String)>);

fn walk(value: &mut Value, seen: &mut Seen, columns: &mut Columns) {
    match value {
        Value::Object(map) => object(map, seen, columns),
        Value::Array(items) => items.iter_mut().for_each(|v| walk(v, seen, columns)),
        Value::String(text) => *text = seen.text(text),
        _ => {}
    }
}

fn object(map: &mut Map<String, Value>, seen: &mut Seen, columns: &mut Columns) {
    let text = |map: &Map<String, Value>, field: &str| {
        map.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    if text(map, "kind") == "Table" {
        table(map, columns);
    }
    if map.contains_key("gitVersion") {
        for (key, value) in map.iter_mut().filter(|(key, _)| !["major", "minor"].contains(&key.as_str())) {
            let _ = key;
            *value = "<build>".into();
        }
    }
    if text(map, "kind") == "Service" && map.get("metadata").is_some_and(is_kubernetes) {
        for port in map.get_mut("spec").and_then(|s| s["ports"].as_array_mut()).into_iter().flatten() {
            port["targetPort"] = "<server-port>".into();
        }
    }
    if text(map, "kind") == "Status" {
        custom_causes(map);
    }
    if let Some(Value::Array(entries)) = map.get_mut("managedFields") {
        entries.sort_by_key(|e| {
            ["manager", "operation", "subresource", "apiVersion", "fieldsV1"]
                .map(|f| sorted(&e[f]).to_string())
        });
    }
    let identified = map.contains_key("uid");
    let mut keys: Vec<String> = map.keys().cloned().collect();
    keys.sort();
    for key in keys {
        let value = map.get_mut(&key).expect("a key of it");
        match (key.as_str(), &mut *value) {
            ("resourceVersion", Value::String(v)) if matches!(v.as_str(), "" | "0") => {}
            ("resourceVersion", Value::String(v)) if v.bytes().all(|b| b.is_ascii_digit()) => {
                *v = if identified { seen.version(v) } else { "<rv>".into() };
            }
            ("lastTransitionTime", v) if !v.is_null() => *v = "<time>".into(),
            ("exp" | "iat" | "nbf" | "warnafter", Value::Number(_)) => *value = "<unix>".into(),
            ("nodePort" | "healthCheckNodePort", Value::Number(n)) => {
                if !seen.is_literal(&n.to_string()) {
                    *value = "<port>".into();
                }
            }
            ("continue", Value::String(v)) if !v.is_empty() => *v = "<continue>".into(),
            ("reason", Value::String(v)) if v.starts_with("RBAC: allowed by") => *v = binding(v),
            _ => walk(value, seen, columns),
        }
    }
}

fn is_kubernetes(meta: &Value) -> bool {
    meta["name"] == "kubernetes" && meta["namespace"] == "default"
}

/// Rule 12.
fn binding(text: &str) -> String {
    let end = " to Group \"system:authenticated\"";
    match text.find(end) {
        Some(at) => format!("RBAC: allowed by <binding>{}", &text[at..]),
        None => text.to_owned(),
    }
}

/// Rules 7, 16 and 17.
fn table(map: &mut Map<String, Value>, columns: &mut Columns) {
    if let Some(Value::Array(definitions)) = map.get_mut("columnDefinitions")
        && !definitions.is_empty()
    {
        columns.0.clear();
        for definition in definitions {
            let text = |field: &str| definition[field].as_str().unwrap_or_default().to_owned();
            columns.0.push((text("name"), text("type")));
            if let Some(definition) = definition.as_object_mut() {
                definition.shift_remove("description");
            }
        }
    }
    for row in map.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
        for (i, cell) in row["cells"].as_array_mut().into_iter().flatten().enumerate() {
            let Value::String(text) = cell else { continue };
            let aged = match columns.0.get(i) {
                Some((_, ty)) if ty == "date" => true,
                Some((name, _)) => AGES.contains(&name.as_str()) && is_age(text),
                None => is_age(text),
            };
            *text = if aged { "<age>".into() } else { ago(text) };
        }
    }
}

/// Rule 10: of custom kinds, causes come in any order.
fn custom_causes(map: &mut Map<String, Value>) {
    let details = map.get("details").cloned().unwrap_or_default();
    let group = details["group"].as_str().unwrap_or_default();
    let builtin = !group.contains('.') || group.ends_with(".k8s.io") && group != "apiextensions.k8s.io";
    let Some(causes) = details["causes"].as_array().filter(|c| !builtin && c.len() > 1) else { return };
    let shown = |cause: &Value| {
        let text = |field: &str| cause[field].as_str().unwrap_or_default().to_owned();
        format!("{}: {}", text("field"), text("message"))
    };
    let once = |causes: &[Value]| {
        let mut texts: Vec<String> = Vec::new();
        for text in causes.iter().map(shown) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        texts.join(", ")
    };
    let before = once(causes);
    let mut causes = causes.clone();
    causes.sort_by_key(shown);
    let after = once(&causes);
    if let Some(message) = map.get("message").and_then(Value::as_str) {
        // The message may list them in another order than the causes do.
        let list = message.find("is invalid: [").map(|at| at + "is invalid: [".len());
        let same = |at: usize| {
            message.len() == at + before.len() + 1
                && causes.iter().all(|cause| message[at..].contains(&shown(cause)))
        };
        if let Some(at) = list.filter(|at| same(*at)) {
            let sorted = format!("{}{after}]", &message[..at]);
            map.insert("message".into(), sorted.into());
        }
    }
    map["details"]["causes"] = causes.into();
}

/// A value with all its keys in order.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            Value::Object(entries.into_iter().map(|(k, v)| (k.clone(), sorted(v))).collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}
