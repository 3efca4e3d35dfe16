//! What decides where pods may be: taints, what tolerates them, and how pods spread.

use orlop_core::rules::names::{label_key, label_value};
use serde_json::{Value, json};

use super::affinity;
use super::common::{label_selector, one_of_if_set};
use super::error::Errors;
use super::path::{Path, Read};

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Topology spread constraints.
pub(super) fn spread(e: &mut Errors, list: &Path<'_>, constraints: &[Value]) {
    const PAIR: &str = "{topologyKey, whenUnsatisfiable}";
    for (i, constraint) in constraints.iter().enumerate() {
        let at = list.index(i);
        if constraint.int("maxSkew") <= 0 {
            let skew = constraint.int("maxSkew").into();
            e.invalid(at.field("maxSkew"), &skew, "must be greater than zero");
        }
        if constraint.text("topologyKey").is_empty() {
            e.required(at.field("topologyKey"), "can not be empty");
        }
        let action = constraint.text("whenUnsatisfiable");
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&action) {
            e.unsupported(
                at.field("whenUnsatisfiable"),
                &action.into(),
                &["DoNotSchedule", "ScheduleAnyway"],
            );
        }
        let pair = |c: &Value| (c.text("topologyKey").to_owned(), c.text("whenUnsatisfiable").to_owned());
        if constraints[i + 1..].iter().any(|other| pair(other) == pair(constraint)) {
            let (key, action) = pair(constraint);
            e.duplicate_text(at.field(PAIR), &format!("{{{key}, {action}}}"));
        }
        if let Some(domains) = constraint["minDomains"].as_i64() {
            if domains <= 0 {
                e.invalid(at.field("minDomains"), &domains.into(), "must be greater than zero");
            }
            if action != "DoNotSchedule" {
                let text =
                    format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                e.invalid(at.field("minDomains"), &domains.into(), &text);
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            one_of_if_set(e, &at, constraint, field, &["Honor", "Ignore"]);
        }
        affinity::label_keys(e, &at, constraint, "matchLabelKeys");
        label_selector(e, at.field("labelSelector"), &constraint["labelSelector"]);
    }
}

pub(super) fn tolerations(e: &mut Errors, list: &Path<'_>, tolerations: &[Value]) {
    for (i, toleration) in tolerations.iter().enumerate() {
        let at = list.index(i);
        let key = toleration.text("key");
        let operator = toleration.text("operator");
        if !key.is_empty() {
            e.rule(at.field("key"), key, label_key(key));
        } else if operator != "Exists" {
            let text =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            e.invalid_text(at.field("operator"), operator, text);
        }
        let effect = toleration.text("effect");
        if toleration.has("tolerationSeconds") && effect != "NoExecute" {
            let text = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            e.invalid_text(at.field("effect"), effect, text);
        }
        let value = toleration.text("value");
        match operator {
            "" | "Equal" => e.rule(at.field("operator"), value, label_value(value)),
            "Exists" if !value.is_empty() => e.invalid(
                at.field("operator"),
                &toleration["value"],
                "value must be empty when `operator` is 'Exists'",
            ),
            "Exists" => {}
            "Lt" | "Gt" => {
                let known = ["Equal", "Exists", "Lt", "Gt"];
                e.unsupported(at.field("operator"), &toleration["operator"], &known);
            }
            _ => e.unsupported(at.field("operator"), &toleration["operator"], &["Equal", "Exists"]),
        }
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            e.unsupported(at.field("effect"), &toleration["effect"], &EFFECTS);
        }
    }
}

/// Taints of a node.
pub(super) fn taints(e: &mut Errors, list: &Path<'_>, taints: &[Value]) {
    let mut seen = Vec::new();
    for (i, taint) in taints.iter().enumerate() {
        let at = list.index(i);
        let (key, value, effect) = (taint.text("key"), taint.text("value"), taint.text("effect"));
        e.rule(at.field("key"), key, label_key(key));
        e.rule(at.field("value"), value, label_value(value));
        if effect.is_empty() {
            e.required(at.field("effect"), "");
        } else if !EFFECTS.contains(&effect) {
            e.unsupported(at.field("effect"), &taint["effect"], &EFFECTS);
        }
        if seen.contains(&(key, effect)) {
            let shown =
                json!({"Key": key, "Value": value, "Effect": effect, "TimeAdded": taint["timeAdded"]});
            e.duplicate_why(at, &shown, "taints must be unique by key and effect pair");
        }
        seen.push((key, effect));
    }
}
