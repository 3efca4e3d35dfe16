//! Answers to the recorded cases that concern controllers.

use orlop_core::kinds::{Pod, Taint, Toleration};
use orlop_core::oracle::{Answer, Family, equal};
use orlop_core::rules::IntOrString;
use orlop_core::rules::taints::{Stay, stay};
use orlop_core::{Labels, Timestamp};
use serde_json::{Value, json};

use crate::deployment::{Act, DeploymentView, Pass, ReplicaSetView, fenceposts};

/// All families of this crate.
pub const FAMILIES: &[Family] = &[
    Family { name: "deployment", answer: deployment, agrees: deployment_agrees },
    Family { name: "deployment-fenceposts", answer: posts, agrees: equal },
];

fn parse<T: serde::de::DeserializeOwned + Default>(value: &Value) -> Result<T, Answer> {
    if value.is_null() {
        return Ok(T::default());
    }
    serde_json::from_value(value.clone()).map_err(|e| Answer::Error(e.to_string()))
}

fn answered(answer: Result<Value, Answer>) -> Answer {
    answer.map_or_else(|refusal| refusal, Answer::Output)
}

fn now(input: &Value) -> Timestamp {
    input["now"].as_str().and_then(|text| text.parse().ok()).unwrap_or(Timestamp::EPOCH)
}

fn posts(input: &Value) -> Answer {
    answered((|| {
        let surge: Option<IntOrString> = parse(&input["maxSurge"])?;
        let unavailable: Option<IntOrString> = parse(&input["maxUnavailable"])?;
        let replicas: i32 = parse(&input["replicas"])?;
        let (surge, unavailable) = fenceposts(surge.as_ref(), unavailable.as_ref(), replicas)
            .map_err(|e| Answer::Error(e.to_string()))?;
        Ok(json!({"surge": surge, "unavailable": unavailable}))
    })())
}

fn deployment(input: &Value) -> Answer {
    answered((|| {
        let deployment: DeploymentView = parse(&input["deployment"])?;
        let sets: Vec<ReplicaSetView> = parse(&input["replicaSets"])?;
        let pods: Vec<Pod> = parse(&input["pods"])?;
        let views: Vec<&ReplicaSetView> = sets.iter().collect();
        let of = |set: &ReplicaSetView| -> Vec<&Pod> {
            pods.iter().filter(|pod| pod.metadata.is_controlled_by(&set.metadata)).collect()
        };
        let by_set: Vec<(&str, Vec<&Pod>)> =
            sets.iter().map(|set| (set.metadata.uid.as_str(), of(set))).collect();
        let taken = |name: &str| sets.iter().any(|set| set.metadata.name == name);
        let pass = Pass::run(&deployment, &views, &by_set, &taken, now(input));
        Ok(describe(&deployment, &sets, &pass))
    })())
}

fn describe(deployment: &DeploymentView, sets: &[ReplicaSetView], pass: &Pass<'_>) -> Value {
    let mut after: serde_json::Map<String, Value> = sets
        .iter()
        .map(|set| {
            let state = json!({
                "replicas": set.spec.replicas.unwrap_or(1),
                "annotations": set.metadata.annotations,
            });
            (set.metadata.name.to_string(), state)
        })
        .collect();
    let mut annotations: Labels = deployment.metadata.annotations.clone();
    let mut status = deployment.status.clone();
    let mut actions = Vec::new();
    for act in &pass.acts {
        match act {
            Act::Create { name, replicas, object } => {
                let annotations = &object["metadata"]["annotations"];
                actions.push(json!({"verb": "create", "resource": "replicasets", "name": name,
                    "replicas": replicas, "annotations": annotations}));
                after.insert(name.to_string(), json!({"replicas": replicas, "annotations": annotations}));
            }
            Act::Update { name, replicas, annotations, .. } => {
                actions.push(json!({"verb": "update", "resource": "replicasets", "name": name,
                    "replicas": replicas, "annotations": annotations}));
                after.insert(name.to_string(), json!({"replicas": replicas, "annotations": annotations}));
            }
            Act::Delete { name, .. } => {
                actions.push(json!({"verb": "delete", "resource": "replicasets", "name": name}));
                after.remove(name.as_str());
            }
            Act::Status { status: written, revision } => {
                actions.push(json!({"verb": "update", "resource": "deployments", "subresource": "status"}));
                status = written.clone();
                if let Some(revision) = revision {
                    annotations.insert(crate::deployment::REVISION.into(), revision.clone());
                }
            }
        }
    }
    let conditions: Vec<Value> = status
        .conditions
        .iter()
        .map(|c| json!({"type": c.r#type, "status": c.status, "reason": c.reason, "message": c.message}))
        .collect();
    let mut status = json!(status);
    status["conditions"] = conditions.into();
    json!({
        "actions": actions,
        "replicaSetsAfter": after,
        "deploymentAfter": {"annotations": annotations, "status": status},
    })
}

/// The hash in a new ReplicaSet's name may be another; absent, empty and zero are the same.
fn deployment_agrees(_input: &Value, expected: &Answer, got: &Answer) -> bool {
    let (Answer::Output(expected), Answer::Output(got)) = (expected, got) else { return false };
    let created = |output: &Value| {
        let actions = output["actions"].as_array();
        let name = actions.into_iter().flatten().find(|a| a["verb"] == "create").map(|a| a["name"].clone());
        name.and_then(|name| name.as_str().map(str::to_owned))
    };
    let normal = |output: &Value, name: Option<String>| {
        let mut output = json!({
            "actions": output["actions"],
            "replicaSetsAfter": output["replicaSetsAfter"],
            "deploymentAfter": output["deploymentAfter"],
        });
        for action in output["actions"].as_array_mut().into_iter().flatten() {
            if let Some(action) = action.as_object_mut() {
                action.remove("object");
            }
        }
        if let Some(conditions) = output["deploymentAfter"]["status"]["conditions"].as_array_mut() {
            conditions.sort_by_key(|c| c["type"].as_str().unwrap_or_default().to_owned());
        }
        let output = without_empty(&output).to_string();
        let output = match name {
            Some(name) => output.replace(&name, "<created>"),
            None => output,
        };
        serde_json::from_str::<Value>(&output).unwrap_or_default()
    };
    normal(expected, created(expected)) == normal(got, created(got))
}

fn without_empty(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), without_empty(value)))
            .filter(|(name, value)| {
                let empty = value.is_null()
                    || value.as_object().is_some_and(serde_json::Map::is_empty)
                    || value.as_array().is_some_and(Vec::is_empty)
                    || (value == 0 && name != "terminatingReplicas" && name != "replicas");
                !empty
            })
            .collect::<serde_json::Map<String, Value>>()
            .into(),
        Value::Array(items) => items.iter().map(without_empty).collect(),
        other => other.clone(),
    }
}
