//! The status of a Deployment, and whether a rollout makes progress.

use std::time::Duration;

use orlop_core::Timestamp;
use orlop_core::kinds::DeploymentCondition;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::pass::Set;
use super::view::DeploymentSpec;

pub(super) const AVAILABLE: &str = "Available";
pub(super) const PROGRESSING: &str = "Progressing";
pub(super) const REPLICA_FAILURE: &str = "ReplicaFailure";
pub(super) const DONE: &str = "NewReplicaSetAvailable";
pub(super) const TIMED_OUT: &str = "ProgressDeadlineExceeded";

/// The state of a Deployment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeploymentStatus {
    /// The generation that this speaks of.
    pub observed_generation: i64,
    /// All pods, of old and new templates.
    pub replicas: i32,
    /// Those of the present template.
    pub updated_replicas: i32,
    /// Those that are ready.
    pub ready_replicas: i32,
    /// Those that have been ready for long enough.
    pub available_replicas: i32,
    /// Those that are missing or not available.
    pub unavailable_replicas: i32,
    /// Pods that are being deleted; absent while some ReplicaSet does not say.
    pub terminating_replicas: Option<i32>,
    /// How often a name was taken by another template.
    pub collision_count: Option<i32>,
    /// Conditions.
    pub conditions: Vec<DeploymentCondition>,
}

impl DeploymentStatus {
    /// As a merge patch that replaces the whole status.
    pub(super) fn patch(&self) -> Value {
        let some = |n: i64| if n == 0 { Value::Null } else { n.into() };
        json!({
            "observedGeneration": some(self.observed_generation),
            "replicas": some(self.replicas.into()),
            "updatedReplicas": some(self.updated_replicas.into()),
            "readyReplicas": some(self.ready_replicas.into()),
            "availableReplicas": some(self.available_replicas.into()),
            "unavailableReplicas": some(self.unavailable_replicas.into()),
            "terminatingReplicas": self.terminating_replicas,
            "collisionCount": self.collision_count,
            "conditions": if self.conditions.is_empty() { Value::Null } else { json!(self.conditions) },
        })
    }

    pub(super) fn condition(&self, r#type: &str) -> Option<&DeploymentCondition> {
        self.conditions.iter().find(|c| c.r#type == r#type)
    }

    /// Puts a condition last, unless one of the same status and reason is there.
    pub(super) fn set(&mut self, mut condition: DeploymentCondition) {
        if let Some(present) = self.condition(&condition.r#type).filter(|c| c.status == condition.status) {
            if present.reason == condition.reason {
                return;
            }
            condition.last_transition_time = present.last_transition_time;
        }
        self.remove(&condition.r#type.clone());
        self.conditions.push(condition);
    }

    pub(super) fn remove(&mut self, r#type: &str) {
        self.conditions.retain(|c| c.r#type != r#type);
    }

    /// Whether all pods are of the present template and available.
    pub(super) fn is_complete(&self, spec: &DeploymentSpec, generation: i64) -> bool {
        let wanted = spec.replicas();
        self.updated_replicas == wanted
            && self.replicas == wanted
            && self.available_replicas == wanted
            && self.observed_generation >= generation
    }

    /// Whether this state is nearer to the end of the rollout than `before`.
    pub(super) fn is_progress_since(&self, before: &DeploymentStatus) -> bool {
        let old = |status: &DeploymentStatus| status.replicas - status.updated_replicas;
        self.updated_replicas > before.updated_replicas
            || old(self) < old(before)
            || self.ready_replicas > before.ready_replicas
            || self.available_replicas > before.available_replicas
    }
}

/// A condition that begins now.
pub(super) fn condition(
    r#type: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        r#type: r#type.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        last_update_time: Some(now.truncate_to_secs()),
        last_transition_time: Some(now.truncate_to_secs()),
    }
}

/// How long a rollout may stand still.
pub(super) fn deadline(spec: &DeploymentSpec) -> Option<Duration> {
    let seconds = spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)?;
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// The status that these ReplicaSets add up to.
pub(super) fn calculate(
    before: &DeploymentStatus,
    spec: &DeploymentSpec,
    generation: i64,
    all: &[&Set<'_>],
    new: Option<&Set<'_>>,
    most_unavailable: i32,
    now: Timestamp,
) -> DeploymentStatus {
    let sum = |of: fn(&Set<'_>) -> i32| all.iter().map(|set| of(set)).sum::<i32>();
    let available = sum(|set| set.status.available_replicas);
    let mut status = DeploymentStatus {
        observed_generation: generation,
        replicas: sum(|set| set.status.replicas),
        updated_replicas: new.map_or(0, |set| set.status.replicas),
        ready_replicas: sum(|set| set.status.ready_replicas),
        available_replicas: available,
        unavailable_replicas: (sum(|set| set.replicas) - available).max(0),
        terminating_replicas: terminating(all),
        collision_count: before.collision_count,
        conditions: before.conditions.clone(),
    };
    status.set(if available >= spec.replicas() - most_unavailable {
        let message = "Deployment has minimum availability.".to_owned();
        condition(AVAILABLE, "True", "MinimumReplicasAvailable", message, now)
    } else {
        let message = "Deployment does not have minimum availability.".to_owned();
        condition(AVAILABLE, "False", "MinimumReplicasUnavailable", message, now)
    });
    status
}

/// A ReplicaSet that nobody has looked at yet has none; one that was looked at and does not say makes the sum unknown.
fn terminating(all: &[&Set<'_>]) -> Option<i32> {
    let mut sum = 0;
    for set in all {
        match set.status.terminating_replicas {
            None if set.status.observed_generation == 0 => {}
            count => sum += count?,
        }
    }
    Some(sum)
}
