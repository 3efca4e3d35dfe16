//! Jobs.

use std::time::Duration;

use orlop_core::Name;
use orlop_core::kinds::Pod;
use orlop_core::oracle::Answer;
use serde_json::{Value, json};

use super::{answered, now, parse, sorted, without_empty};
use crate::job::{Facts, Indexes, JobView, Pass, backoff_until};

pub(super) fn answer(input: &Value) -> Answer {
    answered(match input["op"].as_str() {
        Some("parseIndexes") => parse_indexes(input),
        Some("mergeIndexes") => merge_indexes(input),
        Some("backoff") => backoff(input),
        _ => sync(input),
    })
}

fn parse_indexes(input: &Value) -> Result<Value, Answer> {
    let text: Name = parse(&input["indexes"])?;
    let indexes = Indexes::parse(&text, parse(&input["completions"])?);
    Ok(json!({"canonical": indexes.to_string(), "count": indexes.count()}))
}

fn merge_indexes(input: &Value) -> Result<Value, Answer> {
    let text: Name = parse(&input["indexes"])?;
    let completions: Option<i32> = parse(&input["completions"])?;
    let mut indexes = Indexes::parse(&text, completions.unwrap_or(i32::MAX));
    let more: Vec<i32> = parse(&input["add"])?;
    more.into_iter().for_each(|index| indexes.insert(index));
    Ok(json!({"canonical": indexes.to_string()}))
}

fn backoff(input: &Value) -> Result<Value, Answer> {
    let failures: u32 = parse(&input["consecutiveFailures"])?;
    let since: u64 = parse(&input["secondsSinceLastFailure"])?;
    let now = orlop_core::Timestamp::from_secs(1_000_000);
    let until = backoff_until(failures, now - Duration::from_secs(since));
    Ok(json!({"remainingMillis": u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX)}))
}

fn sync(input: &Value) -> Result<Value, Answer> {
    let job: JobView = parse(&input["job"])?;
    let pods: Vec<Pod> = parse(&input["pods"])?;
    let pods: Vec<&Pod> = pods.iter().collect();
    // The recorded controller has just started: failures that were counted before it do not delay anything yet.
    let facts = Facts { pods: &pods, remembers: false, now: now(input) };
    let pass = Pass::run(&job, &facts);
    let names = |pods: &[&Pod]| -> Vec<Name> { pods.iter().map(|pod| pod.metadata.name.clone()).collect() };
    let created: Vec<String> = pass
        .create
        .iter()
        .filter_map(|new| {
            let index = new.index?;
            let failures = new.failures.map_or(String::new(), |(counted, ignored)| match ignored {
                0 => format!(" failureCount={counted}"),
                _ => format!(" failureCount={counted} ignoredFailureCount={ignored}"),
            });
            let (prefix, host) = (new.prefix(&job), new.hostname(&job).unwrap_or_default());
            Some(format!("index={index}{failures} generateName={prefix} hostname={host}"))
        })
        .collect();
    let mut deleted = names(&pass.drop);
    deleted.extend(names(&pass.end));
    let mut patched: Vec<Name> = names(&pass.release);
    let tracked = |pod: &&&Pod| pod.metadata.finalizers.iter().any(|f| f == crate::job::TRACKING);
    patched.extend(pass.drop.iter().filter(tracked).map(|pod| pod.metadata.name.clone()));
    patched.sort();
    patched.dedup();
    Ok(json!({
        "createdCount": pass.create.len(),
        "created": created,
        "deletedPods": deleted,
        "patchedPods": patched,
        "status": pass.after.as_ref().or(pass.before.as_ref()),
    }))
}

pub(super) fn agrees(input: &Value, expected: &Answer, got: &Answer) -> bool {
    if input["op"] != "sync" {
        return super::equal(input, expected, got);
    }
    let (Answer::Output(expected), Answer::Output(got)) = (expected, got) else { return false };
    let list = |value: &Value| {
        let mut list = sorted(value.as_array().cloned().unwrap_or_default());
        list.dedup();
        list
    };
    let normal = |output: &Value| {
        let mut status = without_empty(&output["status"]);
        if let Some(fields) = status.as_object_mut() {
            fields.entry("uncountedTerminatedPods").or_insert_with(|| json!({}));
            fields.retain(|name, value| name != "completedIndexes" || value != "");
        }
        (
            output["createdCount"].clone(),
            list(&output["created"]),
            list(&output["deletedPods"]),
            list(&output["patchedPods"]),
            status,
        )
    };
    normal(expected) == normal(got)
}
