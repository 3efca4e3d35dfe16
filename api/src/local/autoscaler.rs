//! HorizontalPodAutoscalers of `autoscaling/v1`: what that version has no fields for travels in annotations, metrics in
//! the form that metrics had then, behaviour in that of Go's own structs.

use serde_json::{Map, Value, json};

use crate::tree::{metadata, object, remove, text};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// The annotations that are no one's but this conversion's.
pub(crate) const ANNOTATIONS: [&str; 4] = [METRICS, CURRENT, CONDITIONS, BEHAVIOR];

fn is_cpu_percent(metric: &Value) -> bool {
    metric["type"] == "Resource" && metric["resource"]["name"] == "cpu"
}

/// The fields of a metric that say where it comes from.
const SOURCES: [&str; 5] = ["object", "pods", "resource", "containerResource", "external"];

fn put(map: &mut Map<String, Value>, field: &str, value: &Value) {
    if !value.is_null() {
        map.insert(field.into(), value.clone());
    }
}

fn or_zero(value: &Value) -> Value {
    if value.is_null() { "0".into() } else { value.clone() }
}

/// A metric as version 1 had it. `current`: what was measured, not what is aimed at.
fn metric_to_v1(metric: &Value, current: bool) -> Value {
    let mut out = Map::new();
    put(&mut out, "type", &metric["type"]);
    let (side, value, average, utilization) = if current {
        ("current", "currentValue", "currentAverageValue", "currentAverageUtilization")
    } else {
        ("target", "targetValue", "targetAverageValue", "targetAverageUtilization")
    };
    for source in SOURCES {
        let from = &metric[source];
        if from.is_null() {
            continue;
        }
        let amounts = &from[side];
        let mut to = Map::new();
        match source {
            "object" => {
                to.insert("target".into(), from["describedObject"].clone());
                put(&mut to, "metricName", &from["metric"]["name"]);
                to.insert(value.into(), or_zero(&amounts["value"]));
                put(&mut to, "selector", &from["metric"]["selector"]);
                put(&mut to, "averageValue", &amounts["averageValue"]);
            }
            "pods" => {
                put(&mut to, "metricName", &from["metric"]["name"]);
                to.insert(average.into(), or_zero(&amounts["averageValue"]));
                put(&mut to, "selector", &from["metric"]["selector"]);
            }
            "external" => {
                put(&mut to, "metricName", &from["metric"]["name"]);
                put(&mut to, "metricSelector", &from["metric"]["selector"]);
                if current {
                    to.insert(value.into(), or_zero(&amounts["value"]));
                } else {
                    put(&mut to, value, &amounts["value"]);
                }
                put(&mut to, average, &amounts["averageValue"]);
            }
            _ => {
                put(&mut to, "name", &from["name"]);
                put(&mut to, utilization, &amounts["averageUtilization"]);
                if current {
                    to.insert(average.into(), or_zero(&amounts["averageValue"]));
                } else {
                    put(&mut to, average, &amounts["averageValue"]);
                }
                put(&mut to, "container", &from["container"]);
            }
        }
        out.insert(source.into(), to.into());
    }
    out.into()
}

/// A metric out of the form that version 1 had for it.
fn metric_to_v2(metric: &Value, current: bool) -> Value {
    let mut out = Map::new();
    put(&mut out, "type", &metric["type"]);
    let (side, value, average, utilization) = if current {
        ("current", "currentValue", "currentAverageValue", "currentAverageUtilization")
    } else {
        ("target", "targetValue", "targetAverageValue", "targetAverageUtilization")
    };
    for source in SOURCES {
        let from = &metric[source];
        if from.is_null() {
            continue;
        }
        let mut to = Map::new();
        let mut amounts = Map::new();
        let selector = if source == "external" { "metricSelector" } else { "selector" };
        if matches!(source, "resource" | "containerResource") {
            put(&mut to, "name", &from["name"]);
            put(&mut to, "container", &from["container"]);
        } else {
            let mut identifier = Map::new();
            put(&mut identifier, "name", &from["metricName"]);
            put(&mut identifier, "selector", &from[selector]);
            to.insert("metric".into(), identifier.into());
        }
        let ty = match source {
            "object" => {
                to.insert("describedObject".into(), from["target"].clone());
                let by_average = !from["averageValue"].is_null();
                put(&mut amounts, "averageValue", &from["averageValue"]);
                if !(by_average && from[value] == "0") {
                    put(&mut amounts, "value", &from[value]);
                }
                if by_average { "AverageValue" } else { "Value" }
            }
            "pods" => {
                put(&mut amounts, "averageValue", &from[average]);
                "AverageValue"
            }
            "external" => {
                put(&mut amounts, "value", &from[value]);
                put(&mut amounts, "averageValue", &from[average]);
                if from[value].is_null() { "AverageValue" } else { "Value" }
            }
            _ => {
                put(&mut amounts, "averageUtilization", &from[utilization]);
                put(&mut amounts, "averageValue", &from[average]);
                if from[utilization].is_null() { "AverageValue" } else { "Utilization" }
            }
        };
        if !current {
            amounts.insert("type".into(), ty.into());
        }
        to.insert(side.into(), amounts.into());
        out.insert(source.into(), to.into());
    }
    out.into()
}

/// Behaviour as Go writes a struct that has no names for JSON.
fn behavior_to_v1(behavior: &Value) -> Value {
    let rules = |rules: &Value| -> Value {
        if rules.is_null() {
            return Value::Null;
        }
        let policies = rules["policies"].as_array().map(|list| {
            list.iter()
                .map(|p| json!({"Type": p["type"], "Value": p["value"], "PeriodSeconds": p["periodSeconds"]}))
                .collect::<Value>()
        });
        json!({
            "StabilizationWindowSeconds": rules["stabilizationWindowSeconds"],
            "SelectPolicy": rules["selectPolicy"],
            "Policies": policies,
            "Tolerance": rules["tolerance"],
        })
    };
    json!({"ScaleUp": rules(&behavior["scaleUp"]), "ScaleDown": rules(&behavior["scaleDown"])})
}

/// The same with names as JSON has them, whatever the capitals; without what is null.
fn behavior_to_v2(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| {
                let mut letters = key.chars();
                let first = letters.next().map(|c| c.to_ascii_lowercase());
                (first.into_iter().chain(letters).collect::<String>(), behavior_to_v2(value))
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(behavior_to_v2).collect(),
        other => other.clone(),
    }
}

fn condition(condition: &Value) -> Value {
    let mut out = Map::new();
    for field in ["type", "status"] {
        out.insert(field.into(), text(condition, &[field]).into());
    }
    out.insert("lastTransitionTime".into(), condition["lastTransitionTime"].clone());
    for field in ["reason", "message"] {
        if !text(condition, &[field]).is_empty() {
            out.insert(field.into(), condition[field].clone());
        }
    }
    out.into()
}

fn list(part: &mut Value, field: &str) -> Vec<Value> {
    remove(part, field).and_then(|list| list.as_array().cloned()).unwrap_or_default()
}

/// Version 1 knows one metric; others travel in annotations.
pub(super) fn to_v1(value: &mut Value) {
    let mut notes: Vec<(&str, Value)> = Vec::new();
    if let Some(spec) = value.get_mut("spec") {
        let percent = |m: &Value| m["resource"]["target"]["averageUtilization"].clone();
        let (cpu, others): (Vec<Value>, Vec<Value>) =
            list(spec, "metrics").into_iter().partition(|m| is_cpu_percent(m) && !percent(m).is_null());
        if let Some(cpu) = cpu.first() {
            spec["targetCPUUtilizationPercentage"] = percent(cpu);
        }
        if !others.is_empty() {
            notes.push((METRICS, others.iter().map(|m| metric_to_v1(m, false)).collect()));
        }
        if let Some(behavior) = remove(spec, "behavior") {
            notes.push((BEHAVIOR, behavior_to_v1(&behavior)));
        }
    }
    if let Some(status) = value.get_mut("status") {
        let metrics = list(status, "currentMetrics");
        let percent = |m: &Value| m["resource"]["current"]["averageUtilization"].clone();
        if let Some(cpu) = metrics.iter().find(|m| is_cpu_percent(m) && !percent(m).is_null()) {
            status["currentCPUUtilizationPercentage"] = percent(cpu);
        }
        if !metrics.is_empty() {
            notes.push((CURRENT, metrics.iter().map(|m| metric_to_v1(m, true)).collect()));
        }
        let conditions = list(status, "conditions");
        if !conditions.is_empty() {
            notes.push((CONDITIONS, conditions.iter().map(condition).collect()));
        }
    }
    if !notes.is_empty() {
        let annotations = metadata(value).entry("annotations".to_owned()).or_insert_with(|| json!({}));
        for (name, note) in notes {
            annotations[name] = note.to_string().into();
        }
    }
}

/// The way back. The annotations are nobody's afterwards.
pub(crate) fn to_v2(value: &mut Value) {
    let mut note = |name: &str| -> Option<Value> {
        let annotations = value.get_mut("metadata")?.get_mut("annotations")?;
        let text = remove(annotations, name)?;
        serde_json::from_str(text.as_str()?).ok()
    };
    let (metrics, current, conditions, behavior) =
        (note(METRICS), note(CURRENT), note(CONDITIONS), note(BEHAVIOR));
    let read = |list: Option<Value>, current: bool| -> Vec<Value> {
        let list = list.and_then(|list| list.as_array().cloned()).unwrap_or_default();
        list.iter().map(|m| metric_to_v2(m, current)).collect()
    };
    let spec = object(value, "spec");
    let percent = spec.shift_remove("targetCPUUtilizationPercentage").filter(|p| !p.is_null());
    let mut all = read(metrics, false);
    all.extend(percent.map(|percent| {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    }));
    if !all.is_empty() {
        spec.insert("metrics".into(), all.into());
    }
    if let Some(behavior) = behavior {
        spec.insert("behavior".into(), behavior_to_v2(&behavior));
    }
    if let Some(status) = value.get_mut("status") {
        remove(status, "currentCPUUtilizationPercentage");
        let current = read(current, true);
        if !current.is_empty() {
            status["currentMetrics"] = current.into();
        }
        if let Some(conditions) = conditions {
            status["conditions"] = conditions;
        }
    }
}
