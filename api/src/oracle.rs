//! Answers to the recorded cases of the real Kubernetes, see [`orlop_core::oracle`].

use std::collections::BTreeSet;

use orlop_core::oracle::{Answer, Family, equal};
use orlop_core::schema::{Schema, StructId};
use orlop_core::{Kind, Name, Scope, Timestamp};
use serde_json::{Value, json};

use crate::apply::{ApplyError, apply};
use crate::defaults;
use crate::managed_fields::{self, Writer};
use crate::patch::{self, PatchError};
use crate::validation::{self, FieldError};

/// The families that this crate answers.
pub const FAMILIES: &[Family] = &[
    Family { name: "patches", answer: patches, agrees: equal },
    Family { name: "defaulting", answer: defaulting, agrees: equal },
    Family { name: "validation", answer: validation, agrees: same_complaints },
    Family { name: "validation-update", answer: validation_update, agrees: same_complaints },
    Family { name: "server-side-apply", answer: server_side_apply, agrees: same_steps },
    Family { name: "eviction", answer: eviction, agrees: equal },
    crate::render::oracle::PRINTERS,
];

fn type_of_kind(kind: &str) -> StructId {
    let schema = Schema::builtin();
    let ty = schema.structs().iter().find(|ty| ty.kinds.iter().any(|k| k.kind == kind));
    ty.and_then(|ty| schema.by_name(&ty.name)).unwrap_or_else(|| panic!("no kind {kind}"))
}

fn answer<E: ToString>(result: Result<Value, E>) -> Answer {
    match result {
        Ok(output) => Answer::Output(output),
        Err(error) => Answer::Error(error.to_string()),
    }
}

fn patches(input: &Value) -> Answer {
    answer(patched(input))
}

fn patched(input: &Value) -> Result<Value, PatchError> {
    let [original, patch, modified, current] =
        ["original", "patch", "modified", "current"].map(|f| &input[f]);
    let schema = Schema::builtin();
    let ty = || type_of_kind(input["kind"].as_str().unwrap_or_default());
    match input["op"].as_str().unwrap_or_default() {
        "jsonPatch" => Ok(json!({"result": patch::json(original.clone(), patch)?})),
        "jsonMerge" => Ok(json!({"result": patch::merge(original.clone(), patch.clone())?})),
        "strategicMerge" => {
            Ok(json!({"result": patch::strategic(original.clone(), patch.clone(), schema, ty())?}))
        }
        "twoWayDiff" => {
            let patch = patch::two_way(original, modified, schema, ty())?;
            let result = patch::strategic(original.clone(), patch.clone(), schema, ty())?;
            Ok(json!({"patch": patch, "result": result}))
        }
        "threeWay" => {
            let overwrite = input["overwrite"] == true;
            let patch = patch::three_way(original, modified, current, overwrite, schema, ty())?;
            let result = patch::strategic(current.clone(), patch.clone(), schema, ty())?;
            let merge = patch::three_way_merge(original, modified, current)?;
            Ok(json!({"patch": patch, "result": result, "jsonMergePatch": merge}))
        }
        op => Err(PatchError::BadRequest(format!("unknown op {op}"))),
    }
}

fn kind_of(object: &Value) -> Kind {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let (group, version) = text("apiVersion").rsplit_once('/').unwrap_or(("", text("apiVersion")));
    Kind {
        group: Name::new(group),
        version: Name::new(version),
        kind: Name::new(text("kind")),
        plural: Name::default(),
        scope: Scope::Namespaced,
    }
}

fn defaulting(input: &Value) -> Answer {
    let mut object = input["object"].clone();
    defaults::apply(&kind_of(&object), &mut object);
    Answer::Output(json!({"object": object}))
}

fn complaints(errors: &[FieldError]) -> Answer {
    let of = |e: &FieldError| json!({"type": e.error_type.as_str(), "field": e.field, "detail": e.detail, "message": e.message});
    Answer::Output(json!({"errors": errors.iter().map(of).collect::<Vec<_>>()}))
}

/// Leaves out what the object's type does not know, as decoding does.
fn decoded(object: &Value) -> Value {
    let mut object = object.clone();
    let kind = object["kind"].as_str().unwrap_or_default();
    if kind == "CustomResourceDefinition" {
        // Its rules look at what decoding would leave out.
        return object;
    }
    let (schema, of) = (Schema::builtin(), kind_of(&object));
    let ty = schema
        .structs()
        .iter()
        .find(|ty| ty.kinds.iter().any(|k| k.kind == kind && k.group == of.group && k.version == of.version));
    if let Some(ty) = ty.and_then(|ty| schema.by_name(&ty.name)) {
        // What cannot be decoded stays as it is.
        drop(orlop_core::codec::conform(schema, ty, &mut object, &[]));
    }
    object
}

fn validation(input: &Value) -> Answer {
    let mut object = decoded(&input["object"]);
    let kind = kind_of(&object);
    defaults::apply(&kind, &mut object);
    defaults::settle(&kind, &mut object);
    match kind.kind.as_str() {
        "Job" => crate::local::kinds::job(&mut object),
        "LimitRange" if object["metadata"]["name"].as_str().unwrap_or_default().is_empty() => {
            object["metadata"]["name"] = "made-up".into();
        }
        _ => {}
    }
    complaints(&validation::create(&kind, &object))
}

fn validation_update(input: &Value) -> Answer {
    let kind = kind_of(&input["new"]);
    let [old, mut new] = ["old", "new"].map(|which| {
        let mut object = decoded(&input[which]);
        defaults::apply(&kind, &mut object);
        defaults::settle(&kind, &mut object);
        object
    });
    if kind.kind == "CustomResourceDefinition" {
        // A definition's status is not the client's to say.
        new["status"] = old["status"].clone();
    }
    if kind.kind == "Service" {
        // What was allocated is carried over elsewhere; the recorded cases are judged without.
        crate::local::services::drop_unused(&old["spec"], &mut new);
    }
    complaints(&validation::update(&kind, &old, &new))
}

/// Whether both complain of the same fields for the same reasons.
fn same_complaints(_input: &Value, expected: &Answer, got: &Answer) -> bool {
    let set = |answer: &Answer| match answer {
        Answer::Output(output) => output["errors"].as_array().map(|errors| {
            errors.iter().map(|e| (e["type"].to_string(), e["field"].to_string())).collect::<BTreeSet<_>>()
        }),
        Answer::Error(_) => None,
    };
    set(expected) == set(got)
}

fn server_side_apply(input: &Value) -> Answer {
    let schema = Schema::builtin();
    let ty = type_of_kind(input["kind"].as_str().unwrap_or_default());
    let mut live = json!({"apiVersion": input["apiVersion"], "kind": input["kind"]});
    let mut told = Vec::new();
    for step in input["steps"].as_array().into_iter().flatten() {
        let by = Writer {
            manager: step["manager"].as_str().unwrap_or_default(),
            api_version: input["apiVersion"].as_str().unwrap_or_default(),
            subresource: "",
            now: Timestamp::default(),
            reset: &[],
        };
        let result = if step["op"] == "apply" {
            apply(Some(&live), &step["object"], &by, step["force"] == true, schema, ty)
        } else {
            let mut after = step["object"].clone();
            managed_fields::check(&after, schema, ty).map_err(ApplyError::Schema).map(|()| {
                let mut before = live.clone();
                let known = managed_fields::take(&mut before).unwrap_or_default();
                managed_fields::record(&before, &mut after, &known, &by, schema, ty);
                after
            })
        };
        let error = match result {
            Ok(object) => {
                live = object;
                None
            }
            Err(error) => Some(error.to_string()),
        };
        let mut object = live.clone();
        let managed = managed_fields::take(&mut object).unwrap_or_else(|| json!([]));
        let managed: Value = managed
            .as_array()
            .into_iter()
            .flatten()
            .map(|entry| {
                let mut entry = entry.clone();
                if let Some(entry) = entry.as_object_mut() {
                    entry.retain(|field, _| field != "time" && field != "fieldsType");
                }
                entry
            })
            .collect();
        let mut step = json!({"object": object, "managedFields": managed});
        if let Some(error) = error {
            step["error"] = error.into();
        }
        told.push(step);
    }
    Answer::Output(json!({"steps": told}))
}

/// Objects and managed fields are the same; of refusals, conflicts are to the letter.
fn same_steps(_input: &Value, expected: &Answer, got: &Answer) -> bool {
    let (Answer::Output(expected), Answer::Output(got)) = (expected, got) else { return false };
    let steps = |answer: &Value| answer["steps"].as_array().cloned().unwrap_or_default();
    let (expected, got) = (steps(expected), steps(got));
    let text = |step: &Value| step["error"].as_str().unwrap_or_default().to_owned();
    let same_error = |a: &str, b: &str| match a.starts_with("Apply failed") {
        true => a == b,
        false => a.is_empty() == b.is_empty(),
    };
    let entries = |step: &Value| {
        let mut entries: Vec<String> = step["managedFields"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|e| format!("{:?}", (&e["operation"], &e["manager"], &e["apiVersion"])))
            .collect();
        entries.sort();
        entries
    };
    let sets = |step: &Value| {
        let mut sets = step["managedFields"].as_array().cloned().unwrap_or_default();
        sets.sort_by_key(|e| format!("{:?}", (&e["operation"], &e["manager"], &e["apiVersion"])));
        sets
    };
    expected.len() == got.len()
        && expected.iter().zip(&got).all(|(a, b)| {
            a["object"] == b["object"]
                && entries(a) == entries(b)
                && sets(a) == sets(b)
                && same_error(&text(a), &text(b))
        })
}

/// One eviction of a pod under budgets, and what it leaves behind.
fn eviction(input: &Value) -> Answer {
    let pod = &input["pod"];
    let now = Timestamp::from_secs(1_767_225_600);
    let mut budgets = input["podDisruptionBudgets"].as_array().cloned().unwrap_or_default();
    let verdict = crate::subresources::eviction::judge(pod, &budgets, now, false);
    let mut output = match &verdict {
        Ok(verdict) => {
            let status = json!({"code": 0, "message": "", "status": "Success"});
            let mut output =
                json!({"deleted": true, "status": status, "resourceVersionPrecondition": verdict.exact});
            let condition = crate::subresources::eviction::target(now);
            let shown = ["type", "status", "reason", "message"].map(|f| (f.to_owned(), condition[f].clone()));
            output["addedPodConditions"] = vec![Value::Object(shown.into_iter().collect())].into();
            output
        }
        Err(status) => {
            let mut told = json!({"code": status.code, "message": status.message});
            match status.reason.as_str() {
                "" => told["status"] = "Failure".into(),
                reason => told["reason"] = reason.into(),
            }
            let mut output = json!({"deleted": false, "status": told});
            if let Some(details) = &status.details {
                let causes: Vec<Value> = details
                    .causes
                    .iter()
                    .map(|cause| json!({"reason": cause.reason, "message": cause.message}))
                    .collect();
                if !causes.is_empty() {
                    output["causes"] = causes.into();
                }
                if let Some(seconds) = details.retry_after_seconds {
                    output["retryAfterSeconds"] = seconds.into();
                }
            }
            output
        }
    };
    if let Ok(crate::subresources::eviction::Verdict { budget: Some((at, after)), .. }) = verdict {
        budgets[at] = after;
    }
    let after = budgets.iter().map(|budget| {
        let pods = budget["status"]["disruptedPods"].as_object();
        let pods: Value = pods.map_or(Value::Null, |pods| pods.keys().cloned().collect());
        let allowed = budget["status"]["disruptionsAllowed"].as_i64().unwrap_or_default();
        let name = budget["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        (name, json!({"disruptedPods": pods, "disruptionsAllowed": allowed}))
    });
    output["budgetsAfter"] = Value::Object(after.collect());
    Answer::Output(output)
}
