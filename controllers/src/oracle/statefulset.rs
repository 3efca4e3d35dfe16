//! StatefulSets.

use orlop_core::kinds::{ControllerRevision, PersistentVolumeClaim, Pod};
use orlop_core::oracle::Answer;
use serde_json::{Value, json};

use super::{answered, now, parse, sorted, without_empty};
use crate::history;
use crate::statefulset::{Act, Facts, Pass, StatefulSetView};

pub(super) fn answer(input: &Value) -> Answer {
    answered((|| {
        let set: StatefulSetView = parse(&input["set"])?;
        let pods: Vec<Pod> = parse(&input["pods"])?;
        let mut revisions: Vec<ControllerRevision> = parse(&input["revisions"])?;
        let claims: Vec<PersistentVolumeClaim> = parse(&input["claims"])?;
        revisions.sort_by(history::by_age);
        let pods: Vec<&Pod> = pods.iter().collect();
        let views: Vec<&ControllerRevision> = revisions.iter().collect();
        let facts = Facts {
            pods: &pods,
            revisions: &views,
            claim: &|name| claims.iter().find(|claim| claim.metadata.name == name),
            taken: &|name| revisions.iter().any(|revision| revision.metadata.name == name),
            now: now(input),
            max_unavailable: input["maxUnavailableEnabled"] == true,
        };
        let pass = Pass::run(&set, &facts);
        Ok(describe(&pass, &revisions))
    })())
}

fn describe(pass: &Pass<'_>, revisions: &[ControllerRevision]) -> Value {
    let mut after: Vec<(String, i64)> =
        revisions.iter().map(|r| (r.metadata.name.to_string(), r.revision)).collect();
    let mut actions = Vec::new();
    for act in &pass.acts {
        match act {
            Act::CreateRevision(object) => after.push((
                object["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
                object["revision"].as_i64().unwrap_or(0),
            )),
            Act::Renumber(name, number) => {
                after.iter_mut().filter(|(n, _)| n == name).for_each(|(_, revision)| *revision = *number)
            }
            Act::DeleteRevision(name) => after.retain(|(n, _)| n != name),
            Act::CreateClaim { name, .. } => {
                actions.push(json!({"verb": "create", "persistentVolumeClaim": name, "ownerReferences": []}))
            }
            Act::OwnClaim(name, owners) => {
                let owners: Vec<String> = owners.iter().map(|o| format!("{}/{}", o.kind, o.name)).collect();
                actions.push(
                    json!({"verb": "update", "persistentVolumeClaim": name, "ownerReferences": owners}),
                );
            }
            Act::CreatePod { name, object } => {
                let labels = &object["metadata"]["labels"];
                actions.push(json!({"verb": "create", "pod": name,
                    "podIndex": labels["apps.kubernetes.io/pod-index"], "revision": labels[history::POD_REVISION]}));
            }
            Act::UpdatePod(name, _) => actions.push(json!({"verb": "update", "pod": name})),
            Act::DeletePod(name) => actions.push(json!({"verb": "delete", "pod": name})),
        }
    }
    let after: Vec<String> = after.iter().map(|(name, revision)| format!("{name}@{revision}")).collect();
    json!({
        "actions": actions,
        "revisionsAfter": after,
        "status": pass.status,
        "statusWritten": pass.status_differs(),
    })
}

pub(super) fn agrees(input: &Value, expected: &Answer, got: &Answer) -> bool {
    let (Answer::Output(expected), Answer::Output(got)) = (expected, got) else { return false };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let normal = |output: &Value| {
        let mut actions = list(&output["actions"]);
        if input["set"]["spec"]["podManagementPolicy"] == "Parallel" {
            actions = sorted(actions);
        }
        let status = without_empty(&output["status"]);
        (actions, sorted(list(&output["revisionsAfter"])), status, output["statusWritten"].clone())
    };
    normal(expected) == normal(got)
}
