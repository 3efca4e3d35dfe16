//! Budgets, bindings of roles, admission policies, flow control.

use serde_json::Value;

use super::{age, int, items, name, or, scalar, text};
use crate::render::columns::{AGE, Known, NAME, Printer};

pub(super) static BUDGET: Printer = Printer {
    columns: &[
        NAME,
        Known::text("Min Available"),
        Known::text("Max Unavailable"),
        Known::typed("Allowed Disruptions", "integer"),
        AGE,
    ],
    cells: |o, now| {
        let spec = &o["spec"];
        let limit = |field: &str| or(&scalar(&spec[field]), "N/A");
        let allowed = int(&o["status"]["disruptionsAllowed"]);
        vec![name(o), limit("minAvailable"), limit("maxUnavailable"), allowed.into(), age(o, now)]
    },
};

pub(super) static BINDING: Printer = Printer {
    columns: &[
        NAME,
        Known::text("Role"),
        AGE,
        Known::wide("Users"),
        Known::wide("Groups"),
        Known::wide("ServiceAccounts"),
    ],
    cells: |o, now| {
        let role = &o["roleRef"];
        let subjects = |kind: &str| -> Value {
            items(&o["subjects"])
                .iter()
                .filter(|s| s["kind"] == kind)
                .map(|s| match kind {
                    "ServiceAccount" => format!("{}/{}", text(&s["namespace"]), text(&s["name"])),
                    _ => text(&s["name"]).to_owned(),
                })
                .collect::<Vec<_>>()
                .join(", ")
                .into()
        };
        vec![
            name(o),
            format!("{}/{}", text(&role["kind"]), text(&role["name"])).into(),
            age(o, now),
            subjects("User"),
            subjects("Group"),
            subjects("ServiceAccount"),
        ]
    },
};

pub(super) static WEBHOOKS: Printer = Printer {
    columns: &[NAME, Known::typed("Webhooks", "integer"), AGE],
    cells: |o, now| vec![name(o), items(&o["webhooks"]).len().into(), age(o, now)],
};

fn param_kind(o: &Value) -> Value {
    let kind = &o["spec"]["paramKind"];
    if kind.is_null() {
        return "<unset>".into();
    }
    format!("{}/{}", text(&kind["apiVersion"]), text(&kind["kind"])).into()
}

pub(super) static VALIDATING_POLICY: Printer = Printer {
    columns: &[NAME, Known::typed("Validations", "integer"), Known::text("ParamKind"), AGE],
    cells: |o, now| vec![name(o), items(&o["spec"]["validations"]).len().into(), param_kind(o), age(o, now)],
};

pub(super) static MUTATING_POLICY: Printer = Printer {
    columns: &[NAME, Known::typed("Mutations", "integer"), Known::text("ParamKind"), AGE],
    cells: |o, now| vec![name(o), items(&o["spec"]["mutations"]).len().into(), param_kind(o), age(o, now)],
};

/// A selector as Go prints the struct, which is what Kubernetes shows here.
fn printed(selector: &Value) -> String {
    use std::fmt::Write;
    let mut labels: Vec<(&String, &str)> =
        selector["matchLabels"].as_object().into_iter().flatten().map(|(k, v)| (k, text(v))).collect();
    labels.sort_unstable();
    let mut out = "&LabelSelector{MatchLabels:map[string]string{".to_owned();
    for (key, value) in labels {
        let _ = write!(out, "{key}: {value},");
    }
    out.push_str("},MatchExpressions:[]LabelSelectorRequirement{");
    for one in items(&selector["matchExpressions"]) {
        let values: Vec<&str> = items(&one["values"]).iter().map(text).collect();
        let (key, operator) = (text(&one["key"]), text(&one["operator"]));
        let _ = write!(
            out,
            "LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{}],}},",
            values.join(" ")
        );
    }
    out.push_str("},}");
    out
}

pub(super) static POLICY_BINDING: Printer = Printer {
    columns: &[NAME, Known::text("PolicyName"), Known::text("ParamRef"), AGE],
    cells: |o, now| {
        let spec = &o["spec"];
        let param = &spec["paramRef"];
        let shown = if param.is_null() {
            "<unset>".to_owned()
        } else if !text(&param["name"]).is_empty() {
            match text(&param["namespace"]) {
                "" => format!("*/{}", text(&param["name"])),
                namespace => format!("{namespace}/{}", text(&param["name"])),
            }
        } else {
            printed(&param["selector"])
        };
        vec![name(o), text(&spec["policyName"]).into(), shown.into(), age(o, now)]
    },
};

pub(super) static FLOW_SCHEMA: Printer = Printer {
    columns: &[
        NAME,
        Known::text("PriorityLevel"),
        Known::typed("MatchingPrecedence", "integer"),
        Known::text("DistinguisherMethod"),
        AGE,
        Known::text("MissingPL"),
    ],
    cells: |o, now| {
        let spec = &o["spec"];
        let missing = items(&o["status"]["conditions"])
            .iter()
            .find(|c| c["type"] == "Dangling")
            .map_or("?", |c| text(&c["status"]));
        vec![
            name(o),
            text(&spec["priorityLevelConfiguration"]["name"]).into(),
            int(&spec["matchingPrecedence"]).into(),
            or(text(&spec["distinguisherMethod"]["type"]), "<none>"),
            age(o, now),
            missing.into(),
        ]
    },
};

pub(super) static PRIORITY_LEVEL: Printer = Printer {
    columns: &[
        NAME,
        Known::text("Type"),
        Known::text("NominalConcurrencyShares"),
        Known::text("Queues"),
        Known::text("HandSize"),
        Known::text("QueueLengthLimit"),
        AGE,
    ],
    cells: |o, now| {
        let spec = &o["spec"];
        let none = || Value::from("<none>");
        let number = |value: &Value| value.as_i64().map_or_else(none, Value::from);
        let limited = match text(&spec["type"]) {
            "Exempt" => &spec["exempt"],
            _ => &spec["limited"],
        };
        let queuing = &limited["limitResponse"]["queuing"];
        vec![
            name(o),
            text(&spec["type"]).into(),
            number(&limited["nominalConcurrencyShares"]),
            number(&queuing["queues"]),
            number(&queuing["handSize"]),
            number(&queuing["queueLengthLimit"]),
            age(o, now),
        ]
    },
};
