//! DaemonSets.

use orlop_core::kinds::{Node, Pod};
use orlop_core::oracle::Answer;
use serde_json::{Map, Value, json};

use super::{answered, now, parse, sorted, without_empty};
use crate::daemonset::{Change, DaemonSetView, Fit, Survey};

pub(super) fn nodes(input: &Value) -> Answer {
    answered((|| {
        let set: DaemonSetView = parse(&input["daemonSet"])?;
        let nodes: Vec<Node> = parse(&input["nodes"])?;
        let fit = Fit::new(&set);
        let verdicts: Map<String, Value> = nodes
            .iter()
            .map(|node| {
                let (run, stay) = fit.of(node);
                let verdict = json!({"shouldRun": run, "shouldContinueRunning": stay});
                (node.metadata.name.to_string(), verdict)
            })
            .collect();
        Ok(json!({"nodes": verdicts}))
    })())
}

pub(super) fn update(input: &Value) -> Answer {
    answered((|| {
        let set: DaemonSetView = parse(&input["daemonSet"])?;
        let nodes: Vec<Node> = parse(&input["nodes"])?;
        let pods: Vec<Pod> = parse(&input["pods"])?;
        let pods: Vec<&Pod> = pods.iter().collect();
        let hash = input["updateRevisionHash"].as_str().unwrap_or_default();
        let mut survey = Survey::new(&set, hash, &nodes, &pods, now(input));
        let text = |change: Change| json!({"createPodsOnNodes": change.create, "deletePods": change.delete});
        let rolling = match survey.rolling_update() {
            Ok(change) => text(change),
            Err(gone) => json!({"error": gone.to_string(), "createPodsOnNodes": [], "deletePods": []}),
        };
        Ok(json!({"manage": text(survey.manage()), "rollingUpdate": rolling, "status": survey.status()}))
    })())
}

pub(super) fn update_agrees(_input: &Value, expected: &Answer, got: &Answer) -> bool {
    let (Answer::Output(expected), Answer::Output(got)) = (expected, got) else { return false };
    let list = |value: &Value| sorted(value.as_array().cloned().unwrap_or_default());
    let change = |value: &Value| {
        (list(&value["createPodsOnNodes"]), list(&value["deletePods"]), value.get("error").cloned())
    };
    let normal = |output: &Value| {
        let status = without_empty(&output["status"]);
        (change(&output["manage"]), change(&output["rollingUpdate"]), status)
    };
    normal(expected) == normal(got)
}
