//! What the controller reads of Deployments and ReplicaSets. Templates stay as they are stored, so that copying one
//! changes nothing.

use orlop_core::kinds::{DeploymentStrategy, ReplicaSetCondition};
use orlop_core::rules::LabelSelector;
use orlop_core::{Kind, Meta, Object};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::status::DeploymentStatus;

/// A Deployment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DeploymentView {
    /// Metadata.
    pub metadata: Meta,
    /// What should be.
    pub spec: DeploymentSpec,
    /// What is.
    pub status: DeploymentStatus,
}

/// What a Deployment should be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeploymentSpec {
    /// How many pods; 1 if absent.
    pub replicas: Option<i32>,
    /// Which pods.
    pub selector: LabelSelector,
    /// What a pod looks like.
    pub template: Value,
    /// How templates are replaced.
    pub strategy: DeploymentStrategy,
    /// How long a pod must be ready to be available.
    pub min_ready_seconds: Option<i32>,
    /// How many old ReplicaSets are kept.
    pub revision_history_limit: Option<i32>,
    /// Whether rollouts are held.
    pub paused: bool,
    /// How long a rollout may stand still before it counts as failed.
    pub progress_deadline_seconds: Option<i32>,
}

impl DeploymentSpec {
    pub(super) fn replicas(&self) -> i32 {
        self.replicas.unwrap_or(1)
    }
}

impl Object for DeploymentView {
    const KIND: Kind = orlop_core::kinds::Deployment::KIND;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// A ReplicaSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReplicaSetView {
    /// Metadata.
    pub metadata: Meta,
    /// What should be.
    pub spec: ReplicaSetSpec,
    /// What is.
    pub status: ReplicaSetStatus,
}

/// What a ReplicaSet should be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ReplicaSetSpec {
    /// How many pods; 1 if absent.
    pub replicas: Option<i32>,
    /// How long a pod must be ready to be available.
    pub min_ready_seconds: Option<i32>,
    /// Which pods.
    pub selector: LabelSelector,
    /// What a pod looks like.
    pub template: Value,
}

/// The state of a ReplicaSet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ReplicaSetStatus {
    /// Pods that have neither ended nor are being deleted.
    pub replicas: i32,
    /// Of these, the ones that have all labels of the template.
    pub fully_labeled_replicas: i32,
    /// Of these, the ones that are ready.
    pub ready_replicas: i32,
    /// Of these, the ones that have been ready for long enough.
    pub available_replicas: i32,
    /// Pods that are being deleted; absent until the controller has looked.
    pub terminating_replicas: Option<i32>,
    /// The generation that this speaks of.
    pub observed_generation: i64,
    /// Conditions.
    pub conditions: Vec<ReplicaSetCondition>,
}

impl Object for ReplicaSetView {
    const KIND: Kind = orlop_core::kinds::ReplicaSet::KIND;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
