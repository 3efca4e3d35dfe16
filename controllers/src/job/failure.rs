//! Which pods of a Job have failed, what that means, and how long to wait before the next.

use std::time::Duration;

use orlop_core::kinds::Pod;
use orlop_core::rules::pod::condition;
use orlop_core::{Name, Timestamp};

use super::view::{ExitCodes, FailureRule, JobView, PodFailurePolicy};

/// The annotation with the index of a pod.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// The annotation with the number of failures of a pod's index before it.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// The same for failures that are ignored: they delay the next pod.
pub(super) const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
/// The first failure delays the next pod so long, each further one twice as long.
const BACKOFF: Duration = Duration::from_secs(10);
const BACKOFF_MAX: Duration = Duration::from_secs(600);

/// Whether a pod counts as failed. One that is being deleted does unless the Job waits for what becomes of it.
pub(super) fn has_failed(pod: &Pod, job: &JobView) -> bool {
    match pod.status.phase.as_str() {
        "Failed" => true,
        "Succeeded" => false,
        _ => pod.metadata.is_terminating() && !job.waits_for_failure(),
    }
}

/// A pod's index; `None` if it has none or it is not one.
pub(super) fn index_of(pod: &Pod) -> Option<i32> {
    pod.metadata.annotation(INDEX)?.parse().ok().filter(|index| *index >= 0)
}

/// What the policy says of a failed pod.
pub(super) struct Verdict<'a> {
    /// The action of the rule that fits; empty if none does.
    pub(super) action: &'a str,
    /// Why the Job fails, if it does.
    pub(super) message: Option<String>,
}

impl Verdict<'_> {
    /// Whether the failure counts.
    pub(super) fn counts(&self) -> bool {
        self.action != "Ignore"
    }
}

/// The verdict on a failed pod.
pub(super) fn judge<'a>(policy: Option<&'a PodFailurePolicy>, pod: &Pod) -> Verdict<'a> {
    let rules = policy.map_or(&[][..], |policy| &policy.rules);
    let key = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
    for (index, rule) in rules.iter().enumerate() {
        let FailureRule { action, .. } = rule;
        let why = match &rule.on_exit_codes {
            Some(codes) => match exit(codes, pod) {
                Some((container, code)) => {
                    format!("Container {container} for pod {key} failed with exit code {code}")
                }
                None => continue,
            },
            None => match matching_condition(rule, pod) {
                Some(condition) => format!("Pod {key} has condition {condition}"),
                None => continue,
            },
        };
        let message = format!("{why} matching {action} rule at index {index}");
        return Verdict { action: action.as_str(), message: (action == "FailJob").then_some(message) };
    }
    Verdict { action: "", message: None }
}

fn exit<'a>(codes: &ExitCodes, pod: &'a Pod) -> Option<(&'a Name, i32)> {
    pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses).find_map(|status| {
        let code = status.state.terminated.as_ref()?.exit_code;
        let fits = code != 0
            && codes.container_name.as_ref().is_none_or(|name| *name == status.name)
            && codes.values.contains(&code) == (codes.operator == "In");
        fits.then_some((&status.name, code))
    })
}

fn matching_condition<'a>(rule: &FailureRule, pod: &'a Pod) -> Option<&'a Name> {
    let fits = |kind: &str, status: &str| {
        rule.on_pod_conditions.iter().any(|pattern| {
            let wanted = if pattern.status.is_empty() { "True" } else { &pattern.status };
            pattern.r#type == kind && wanted == status
        })
    };
    pod.status.conditions.iter().find(|c| fits(&c.r#type, &c.status)).map(|c| &c.r#type)
}

/// When a pod ended: when its last container did, or the best guess.
pub(super) fn ended_at(pod: &Pod) -> Timestamp {
    let finished: Option<Vec<Timestamp>> = pod
        .status
        .container_statuses
        .iter()
        .map(|status| status.state.terminated.as_ref()?.finished_at)
        .collect();
    let unready = || condition(pod, "Ready").filter(|c| c.status == "False")?.last_transition_time;
    let deleted = || {
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
        Some(pod.metadata.deletion_timestamp? - Duration::from_secs(u64::try_from(grace).unwrap_or(0)))
    };
    finished
        .and_then(|times| times.into_iter().max())
        .or_else(unready)
        .or_else(deleted)
        .or(pod.metadata.creation_timestamp)
        .unwrap_or(Timestamp::EPOCH)
}

/// Until when the next pod waits after so many failures in a row.
pub fn backoff_until(failures: u32, last: Timestamp) -> Timestamp {
    if failures == 0 {
        return Timestamp::EPOCH;
    }
    last + BACKOFF.saturating_mul(2_u32.saturating_pow(failures - 1)).min(BACKOFF_MAX)
}

/// Until when the next pod waits after these have ended: failures since the last success delay it.
pub(super) fn backoff(succeeded: &[&Pod], failed: &[&Pod]) -> Timestamp {
    let success = succeeded.iter().map(|pod| ended_at(pod)).max();
    let failures = failed.iter().map(|pod| ended_at(pod));
    let since: Vec<Timestamp> = failures.filter(|at| success.is_none_or(|success| *at > success)).collect();
    let last = since.iter().copied().max().unwrap_or(Timestamp::EPOCH);
    backoff_until(u32::try_from(since.len()).unwrap_or(u32::MAX), last)
}

fn number(pod: &Pod, annotation: &str) -> u32 {
    pod.metadata.annotation(annotation).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The failures of a pod's index before it: those that count, and those that are ignored.
pub(super) fn failures_before(pod: &Pod) -> (u32, u32) {
    (number(pod, FAILURES), number(pod, IGNORED_FAILURES))
}

/// Whether the failure of this pod is one too many for its index.
pub(super) fn fails_index(pod: &Pod, job: &JobView) -> bool {
    if !has_failed(pod, job) {
        return false;
    }
    let verdict = judge(job.spec.pod_failure_policy.as_ref(), pod);
    let limit = u32::try_from(job.spec.backoff_limit_per_index.unwrap_or(0)).unwrap_or(0);
    verdict.action == "FailIndex" || verdict.counts() && failures_before(pod).0 >= limit
}

/// Whether containers that are restarted in place have failed too often.
pub(super) fn restarted_too_often(job: &JobView, pods: &[&Pod]) -> bool {
    if job.spec.template["spec"]["restartPolicy"] != "OnFailure" {
        return false;
    }
    let restarts: i64 = pods
        .iter()
        .filter(|pod| matches!(pod.status.phase.as_str(), "Running" | "Pending"))
        .flat_map(|pod| pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses))
        .map(|status| i64::from(status.restart_count))
        .sum();
    match i64::from(job.spec.backoff_limit.unwrap_or(6)) {
        0 => restarts > 0,
        limit => restarts >= limit,
    }
}
