//! Answers to the recorded cases of the real kube-scheduler, in the form of the recording.

use std::time::Duration;

use orlop_core::kinds::{CSINode, Namespace, Node, PodDisruptionBudget, Service};
use orlop_core::oracle::{Answer, Family};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::change::Change;
use crate::decision::{Decision, Rejection};
use crate::facts::{NodeFacts, PodFacts};
use crate::profile::Profile;
use crate::queue::Backoff;
use crate::schedule::schedule;
use crate::snapshot::Snapshot;
use crate::volumes::{ClaimFacts, ClassFacts, CsiNodeFacts, VolumeFacts};

/// The families that this crate answers.
pub const FAMILIES: &[Family] =
    &[Family { name: "scheduler-decisions", answer: |case| answer(case), agrees: |_, a, b| a == b }];

fn answer(case: &Value) -> Answer {
    match cluster(case).and_then(|cluster| Ok((cluster, PodFacts::from_json(&case["pod"])?))) {
        Ok((cluster, pod)) => Answer::Output(answer_form(&schedule(&pod, &cluster, &profile(), 0))),
        Err(e) => Answer::Error(e.to_string()),
    }
}

/// The profile of the recording: the default one with volumes and without dynamic resources.
pub fn profile() -> Profile {
    Profile::default().with_volumes().without("DynamicResources")
}

/// The cluster of a case.
///
/// # Errors
/// When an object is not of its kind's form.
pub fn cluster(case: &Value) -> Result<Snapshot, serde_json::Error> {
    let mut cluster = Snapshot::new();
    let mut take = |changes: Vec<Change>| changes.into_iter().for_each(|change| cluster.apply(change));
    take(all::<Namespace>(&case["namespaces"])?.iter().map(Change::from).collect());
    take(all::<Node>(&case["nodes"])?.iter().map(|n| Change::Node(NodeFacts::from(n))).collect());
    take(all(&case["pods"])?.iter().map(|p| Change::Pod(PodFacts::from(p))).collect());
    take(all::<Service>(&case["services"])?.iter().map(Change::from).collect());
    take(all::<PodDisruptionBudget>(&case["podDisruptionBudgets"])?.iter().map(Change::from).collect());
    take(all(&case["persistentVolumes"])?.iter().map(|v| Change::Volume(VolumeFacts::from(v))).collect());
    take(all(&case["persistentVolumeClaims"])?.iter().map(|c| Change::Claim(ClaimFacts::from(c))).collect());
    take(all(&case["storageClasses"])?.iter().map(|c| Change::Class(ClassFacts::from(c))).collect());
    take(all::<CSINode>(&case["csiNodes"])?.iter().map(|n| Change::CsiNode(CsiNodeFacts::from(n))).collect());
    Ok(cluster)
}

fn all<T: DeserializeOwned>(list: &Value) -> Result<Vec<T>, serde_json::Error> {
    Ok(Option::<Vec<T>>::deserialize(list)?.unwrap_or_default())
}

fn rejection(rejection: &Rejection) -> Value {
    json!({
        "plugin": rejection.plugin,
        "code": rejection.refusal.code.as_str(),
        "reasons": rejection.refusal.reasons.to_vec(),
    })
}

/// A decision as the recording writes it.
pub fn answer_form(decision: &Decision) -> Value {
    let mut out = Map::new();
    if let Some(refused) = &decision.refused {
        out.insert("preFilter".to_owned(), rejection(refused));
    }
    if let Some(narrowed) = &decision.narrowed {
        out.insert("preFilterNodes".to_owned(), json!(narrowed.nodes));
    }
    let rejected: Map<String, Value> =
        decision.rejected.iter().map(|(node, r)| (node.to_string(), rejection(r))).collect();
    out.insert("rejected".to_owned(), Value::Object(rejected));
    if !decision.totals.is_empty() {
        out.insert("scores".to_owned(), json!(decision.scores));
        out.insert("totals".to_owned(), json!(decision.totals));
    }
    out.insert("best".to_owned(), json!(decision.best));
    if decision.node.is_none() {
        let found = decision.post_filter.clone().unwrap_or_default();
        let mut victims: Vec<String> = found.victims.iter().map(ToString::to_string).collect();
        victims.sort_unstable();
        let node = found.nominated.unwrap_or_default();
        let mut preemption = json!({"node": node, "victims": victims});
        if !found.message.is_empty() {
            preemption["message"] = found.message.into();
        }
        out.insert("preemption".to_owned(), preemption);
    }
    Value::Object(out)
}

/// The part of the family `backoff` that this crate answers: `schedulerBackoff`.
pub const BACKOFF: Family = Family { name: "backoff", answer: waits, agrees: |_, a, b| a == b };

/// Whether a case of the family is one of the scheduler's.
pub fn answers_backoff(input: &Value) -> bool {
    input["op"] == "schedulerBackoff"
}

fn waits(input: &Value) -> Answer {
    let seconds = |name: &str| Duration::from_secs(input[name].as_u64().unwrap_or(0));
    let backoff = Backoff { first: seconds("initialSeconds"), max: seconds("maxSeconds") };
    let attempts = input["attempts"].as_str().and_then(|range| {
        let (from, to) = range.split_once("..")?;
        Some(from.parse::<u32>().ok()?..=to.parse::<u32>().ok()?)
    });
    match attempts {
        Some(attempts) => {
            let millis: Vec<u64> = attempts.map(|n| backoff.after(n).as_millis() as u64).collect();
            Answer::Output(json!({"millisPerAttempt": millis}))
        }
        None => Answer::Error(format!("attempts: {} is no range", input["attempts"])),
    }
}
