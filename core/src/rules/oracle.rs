//! Answers to the recorded cases that concern shared rules.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::kinds::Pod;
use crate::meta::Labels;
use crate::object::{Kind, Name};
use crate::oracle::{Answer, Family, equal};

use super::pod_resources::{self, Counting, Resources};
use super::quota::Counted;
use super::{FieldSelector, LabelSelector, Quantity, Selector};

/// Parsing, printing and computing with quantities.
pub const QUANTITY: Family = Family { name: "quantity", answer: quantity, agrees: quantity_agrees };

/// Label and field selectors in all their forms.
pub const LABEL_SELECTORS: Family = Family { name: "label-selectors", answer: selectors, agrees: equal };

/// What a pod takes, and its quality of service.
pub const POD_RESOURCES: Family = Family { name: "pod-resources", answer: pod_resources, agrees: equal };

/// All families of this crate.
pub const FAMILIES: &[Family] = &[QUANTITY, LABEL_SELECTORS, POD_RESOURCES, RESOURCE_QUOTA];

fn text<'a>(input: &'a Value, field: &str) -> &'a str {
    input[field].as_str().unwrap_or_default()
}

fn quantity(input: &Value) -> Answer {
    let answer = match text(input, "op") {
        "parse" => text(input, "s").parse::<Quantity>().map(|q| {
            let mut out = json!({
                "string": q.to_string(),
                "format": format!("{:?}", q.format()),
                "sign": q.signum(),
                "value": q.value(),
                "milliValue": q.milli_value(),
                "isZero": q.is_zero(),
            });
            if let Some(whole) = q.as_whole() {
                out["asInt64"] = whole.into();
            }
            if let Some(digits) = q.to_decimal_string() {
                out["exactDecimal"] = digits.into();
            }
            out
        }),
        "binary" => text(input, "a")
            .parse::<Quantity>()
            .and_then(|a| Ok((a, text(input, "b").parse::<Quantity>()?)))
            .map(|(a, b)| {
                let (add, sub) = (a.clone() + b.clone(), a.clone() - b.clone());
                json!({
                    "cmp": a.cmp(&b) as i8,
                    "equal": a == b,
                    "add": add.to_string(),
                    "addFormat": format!("{:?}", add.format()),
                    "sub": sub.to_string(),
                    "subFormat": format!("{:?}", sub.format()),
                    "negA": (-a).to_string(),
                })
            }),
        other => return Answer::Error(format!("unknown op {other:?}")),
    };
    match answer {
        Ok(output) => Answer::Output(output),
        Err(e) => Answer::Error(e.to_string()),
    }
}

/// Trailing zeros mean nothing, and figures beyond 64 bits are not compared.
fn quantity_agrees(input: &Value, expected: &Answer, got: &Answer) -> bool {
    let (Answer::Output(expected), Answer::Output(got)) = (expected, got) else {
        return equal(input, expected, got);
    };
    let (mut expected, mut got) = (expected.clone(), got.clone());
    let parsed = text(input, "s").parse::<Quantity>().unwrap_or_default();
    for side in [&mut expected, &mut got] {
        if let Some(digits) = side["exactDecimal"].as_str().filter(|digits| digits.contains('.')) {
            side["exactDecimal"] = digits.trim_end_matches('0').trim_end_matches('.').into();
        }
        for (field, exponent) in [("value", 0), ("milliValue", -3)] {
            if side.get(field).is_some() && parsed.scaled_value(exponent).is_none_or(|n| n == i64::MIN) {
                side[field] = Value::Null;
            }
        }
    }
    expected == got
}

fn selectors(input: &Value) -> Answer {
    let sets: Vec<Labels> = ["labelSets", "fieldSets"]
        .iter()
        .filter_map(|field| serde_json::from_value(input[*field].clone()).ok())
        .next()
        .unwrap_or_default();
    let answer = match text(input, "op") {
        "parseLabelSelector" => text(input, "selector").parse::<Selector>().map(|selector| {
            let requirements: Vec<Value> = selector
                .requirements()
                .unwrap_or_default()
                .iter()
                .map(|r| json!({"key": r.key(), "operator": r.operator().as_str(), "values": r.values()}))
                .collect();
            json!({
                "canonical": selector.to_string(),
                "matches": sets.iter().map(|set| selector.matches(set)).collect::<Vec<_>>(),
                "requirements": requirements,
                "empty": selector.is_everything(),
                "selectable": selector.requirements().is_some(),
            })
        }),
        "labelSelector" => {
            let selector = match &input["labelSelector"] {
                Value::Null => Ok(Selector::nothing()),
                value => match serde_json::from_value::<LabelSelector>(value.clone()) {
                    Ok(selector) => selector.to_selector(),
                    Err(e) => return Answer::Error(e.to_string()),
                },
            };
            selector.map(|selector| {
                json!({
                    "canonical": selector.to_string(),
                    "formatted": selector.formatted(),
                    "matches": sets.iter().map(|set| selector.matches(set)).collect::<Vec<_>>(),
                    "empty": selector.is_everything(),
                })
            })
        }
        "parseFieldSelector" => text(input, "selector").parse::<FieldSelector>().map(|selector| {
            let requirements: Vec<Value> = selector
                .requirements()
                .iter()
                .map(|r| {
                    let operator = if r.negated { "!=" } else { "=" };
                    json!({"field": r.field, "operator": operator, "value": r.value})
                })
                .collect();
            let matches = |set: &Labels| selector.matches(|field| set.get(field).map(|v| v.as_str()));
            json!({
                "canonical": selector.to_string(),
                "matches": sets.iter().map(matches).collect::<Vec<_>>(),
                "requirements": requirements,
                "empty": selector.is_everything(),
            })
        }),
        other => return Answer::Error(format!("unknown op {other:?}")),
    };
    match answer {
        Ok(output) => Answer::Output(output),
        Err(e) => Answer::Error(e.to_string()),
    }
}

fn pod_resources(input: &Value) -> Answer {
    let pod: Pod = match serde_json::from_value(input["pod"].clone()) {
        Ok(pod) => pod,
        Err(e) => return Answer::Error(e.to_string()),
    };
    let missing: Resources = [
        ("cpu".into(), Quantity::from_milli(100)),
        ("memory".into(), Quantity::from_bytes(200 * 1024 * 1024)),
    ]
    .into_iter()
    .collect();
    let plain = Counting::default();
    let without_overhead = Counting { exclude_overhead: true, ..plain };
    let with_status = Counting { use_status: true, ..plain };
    let requests = |counting| json!(pod_resources::requests(&pod, counting));
    let limits = |counting| json!(pod_resources::limits(&pod, counting));
    Answer::Output(json!({
        "requests": requests(plain),
        "requestsExcludeOverhead": requests(without_overhead),
        "requestsSkipPodLevel": requests(Counting { skip_pod_level: true, ..plain }),
        "requestsNonMissing": requests(Counting { missing: Some(&missing), ..plain }),
        "requestsUseStatus": requests(with_status),
        "limits": limits(plain),
        "limitsExcludeOverhead": limits(without_overhead),
        "limitsUseStatus": limits(with_status),
        "qosClass": pod_resources::qos_class(&pod),
    }))
}

/// What objects count for in quotas.
pub const RESOURCE_QUOTA: Family =
    Family { name: "resource-quota", answer: resource_quota, agrees: quota_agrees };

/// Lists are sets.
fn quota_agrees(input: &Value, expected: &Answer, got: &Answer) -> bool {
    let sorted = |answer: &Answer| match answer {
        Answer::Output(output) => {
            let mut output = output.clone();
            for list in output.as_object_mut().into_iter().flat_map(|o| o.values_mut()) {
                if let Value::Array(items) = list {
                    items.sort_by_key(Value::to_string);
                    items.dedup();
                }
            }
            Answer::Output(output)
        }
        Answer::Error(error) => Answer::Error(error.clone()),
    };
    equal(input, &sorted(expected), &sorted(got))
}

fn resource_quota(input: &Value) -> Answer {
    let object = &input["object"];
    let kind = match text(object, "kind") {
        "Pod" => Kind::namespaced("", "v1", "Pod", "pods"),
        "Service" => Kind::namespaced("", "v1", "Service", "services"),
        _ => Kind::namespaced("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    };
    let counted = Counted::read(&kind, object);
    let now = text(input, "now").parse().unwrap_or_default();
    let high = [Name::new_static("high")];
    let asked: [(&str, &str, &[Name]); 9] = [
        ("BestEffort", "Exists", &[]),
        ("CrossNamespacePodAffinity", "Exists", &[]),
        ("NotBestEffort", "Exists", &[]),
        ("NotTerminating", "Exists", &[]),
        ("PriorityClass", "DoesNotExist", &[]),
        ("PriorityClass", "Exists", &[]),
        ("PriorityClass", "In", &high),
        ("PriorityClass", "NotIn", &high),
        ("Terminating", "Exists", &[]),
    ];
    let scopes: Vec<String> = asked
        .iter()
        .filter(|(scope, operator, values)| counted.is_in(scope, operator, values))
        .map(|(scope, operator, values)| match values.first() {
            Some(value) => format!("{scope} {operator} {value}"),
            None => format!("{scope} {operator}"),
        })
        .collect();
    let resources = input["quotaResources"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let matching: BTreeSet<&str> = resources.filter(|resource| counted.counts(resource)).collect();
    let mut output = json!({
        "usage": counted.usage(now),
        "matchingScopes": scopes,
        "matchingResources": matching,
    });
    if let Err(missing) = counted.check_stated(matching.into_iter()) {
        output["constraintsError"] = missing.into();
    }
    Answer::Output(output)
}
