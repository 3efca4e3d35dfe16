//! What the controller reads of Jobs. Templates stay as they are stored, so that copying one changes nothing.

use orlop_core::kinds::JobCondition;
use orlop_core::rules::LabelSelector;
use orlop_core::{Kind, Meta, Name, Object, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A Job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct JobView {
    /// Metadata.
    pub metadata: Meta,
    /// What should be.
    pub spec: JobSpec,
    /// What is.
    pub status: JobStatus,
}

/// What a Job should be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JobSpec {
    /// How long the Job may run, in seconds.
    pub active_deadline_seconds: Option<i64>,
    /// How many failures there may be; 6 if absent.
    pub backoff_limit: Option<i32>,
    /// How many failures there may be of each index.
    pub backoff_limit_per_index: Option<i32>,
    /// `NonIndexed` (also if absent) or `Indexed`.
    pub completion_mode: Name,
    /// How many pods must succeed; if absent, any.
    pub completions: Option<i32>,
    /// Another controller's name, if another controller minds this Job.
    pub managed_by: Name,
    /// How many indexes may fail before the Job does.
    pub max_failed_indexes: Option<i32>,
    /// How many pods run at once; 1 if absent.
    pub parallelism: Option<i32>,
    /// What failures mean.
    pub pod_failure_policy: Option<PodFailurePolicy>,
    /// Whether a pod is replaced when it has failed (`Failed`) or as soon as it is being deleted.
    pub pod_replacement_policy: Name,
    /// Which pods.
    pub selector: LabelSelector,
    /// When an indexed Job counts as succeeded before all of its indexes have.
    pub success_policy: Option<SuccessPolicy>,
    /// Whether the Job is held.
    pub suspend: bool,
    /// What a pod looks like.
    pub template: Value,
    /// How long a finished Job is kept, in seconds.
    pub ttl_seconds_after_finished: Option<i32>,
}

/// What failures mean: the first rule that fits says it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodFailurePolicy {
    /// The rules.
    pub rules: Vec<FailureRule>,
}

/// One rule about failures.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FailureRule {
    /// `Ignore`, `Count`, `FailIndex` or `FailJob`.
    pub action: Name,
    /// It fits a container that ended so.
    pub on_exit_codes: Option<ExitCodes>,
    /// It fits a pod with one of these conditions.
    pub on_pod_conditions: Vec<ConditionPattern>,
}

/// Which exit codes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ExitCodes {
    /// Of this container only.
    pub container_name: Option<Name>,
    /// `In` or `NotIn`.
    pub operator: Name,
    /// The codes.
    pub values: Vec<i32>,
}

/// Which condition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ConditionPattern {
    /// Its type.
    pub r#type: Name,
    /// Its status; `True` if absent.
    pub status: Name,
}

/// When an indexed Job counts as succeeded: when one of the rules fits.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SuccessPolicy {
    /// The rules.
    pub rules: Vec<SuccessRule>,
}

/// One rule about success.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SuccessRule {
    /// So many indexes have succeeded; of `succeeded_indexes`, if these are given.
    pub succeeded_count: Option<i32>,
    /// These indexes have succeeded.
    pub succeeded_indexes: Option<Name>,
}

/// The state of a Job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JobStatus {
    /// Conditions.
    pub conditions: Vec<JobCondition>,
    /// When the Job began.
    pub start_time: Option<Timestamp>,
    /// When it was through.
    pub completion_time: Option<Timestamp>,
    /// Pods that run or are about to.
    pub active: i32,
    /// Pods that are being deleted.
    pub terminating: Option<i32>,
    /// Pods that are ready.
    pub ready: Option<i32>,
    /// Pods, or indexes, that have succeeded.
    pub succeeded: i32,
    /// Pods that have failed.
    pub failed: i32,
    /// Indexes that have succeeded, `0-3,7`.
    pub completed_indexes: Name,
    /// Indexes that have failed.
    pub failed_indexes: Option<Name>,
    /// Pods that have ended, and are not in the counts yet.
    pub uncounted_terminated_pods: Uncounted,
}

/// UIDs of pods that have ended, and are not in the counts yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Uncounted {
    /// Pods that have succeeded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub succeeded: Vec<Name>,
    /// Pods that have failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Name>,
}

impl Object for JobView {
    const KIND: Kind = orlop_core::kinds::Job::KIND;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl JobView {
    pub(super) fn is_indexed(&self) -> bool {
        self.spec.completion_mode == "Indexed"
    }

    pub(super) fn completions(&self) -> i32 {
        self.spec.completions.unwrap_or(0)
    }

    /// Whether failures are counted for each index by itself.
    pub(super) fn is_per_index(&self) -> bool {
        self.is_indexed() && self.spec.backoff_limit_per_index.is_some()
    }

    /// Whether a pod is replaced only once it has failed.
    pub(super) fn waits_for_failure(&self) -> bool {
        self.spec.pod_replacement_policy == "Failed" || self.spec.pod_failure_policy.is_some()
    }
}

impl JobStatus {
    pub(crate) fn condition(&self, r#type: &str) -> Option<&JobCondition> {
        self.conditions.iter().find(|c| c.r#type == r#type && c.status == "True")
    }

    /// The condition that ends the Job, if it has ended.
    pub(crate) fn finished(&self) -> Option<&JobCondition> {
        self.condition("Complete").or_else(|| self.condition("Failed"))
    }
}
