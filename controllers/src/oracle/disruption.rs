//! PodDisruptionBudgets.

use orlop_core::kinds::{Deployment, Pod, PodDisruptionBudget, ReplicaSet, StatefulSet};
use orlop_core::oracle::Answer;
use orlop_core::{Name, OwnerReference};
use serde_json::{Value, json};

use super::{answered, now, parse, sorted, without_empty};
use crate::disruption::{Scaled, reckon, scale_of, selector};

pub(super) fn answer(input: &Value) -> Answer {
    answered((|| {
        let budget: PodDisruptionBudget = parse(&input["podDisruptionBudget"])?;
        let pods: Vec<Pod> = parse(&input["pods"])?;
        let deployments: Vec<Deployment> = parse(&input["deployments"])?;
        let replica_sets: Vec<ReplicaSet> = parse(&input["replicaSets"])?;
        let stateful_sets: Vec<StatefulSet> = parse(&input["statefulSets"])?;
        let selector = selector(&budget).map_err(|e| Answer::Error(e.to_string()))?;
        let pods: Vec<&Pod> = pods.iter().filter(|pod| selector.matches(&pod.metadata.labels)).collect();
        let find = |kind: &str, name: &Name| -> Option<Scaled> {
            match kind {
                "Deployment" => {
                    let it = deployments.iter().find(|it| it.metadata.name == *name)?;
                    Some(Scaled::new(&it.metadata, it.spec.replicas))
                }
                "ReplicaSet" => {
                    let it = replica_sets.iter().find(|it| it.metadata.name == *name)?;
                    Some(Scaled::new(&it.metadata, it.spec.replicas))
                }
                "StatefulSet" => {
                    let it = stateful_sets.iter().find(|it| it.metadata.name == *name)?;
                    Some(Scaled::new(&it.metadata, it.spec.replicas))
                }
                _ => None,
            }
        };
        let scale = |owner: &OwnerReference| scale_of(owner, &find);
        let reckoning = reckon(&budget, &pods, &scale, now(input)).map_err(Answer::Error)?;
        Ok(json!({
            "status": reckoning.status,
            "statusWritten": reckoning.status != budget.status,
        }))
    })())
}

pub(super) fn agrees(_input: &Value, expected: &Answer, got: &Answer) -> bool {
    let (Answer::Output(expected), Answer::Output(got)) = (expected, got) else { return false };
    let normal = |output: &Value| {
        let mut status = output["status"].clone();
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let conditions = conditions
            .iter()
            .map(|c| json!({"type": c["type"], "status": c["status"], "reason": c["reason"]}));
        status["conditions"] = conditions.collect();
        // Only the names of disrupted pods are recorded.
        let names = match &status["disruptedPods"] {
            Value::Object(pods) => pods.keys().map(|name| name.as_str().into()).collect(),
            Value::Array(names) => names.clone(),
            _ => Vec::new(),
        };
        status["disruptedPods"] = sorted(names).into();
        (without_empty(&status), output["statusWritten"].clone())
    };
    normal(expected) == normal(got)
}
