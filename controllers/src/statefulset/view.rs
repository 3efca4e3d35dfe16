//! What the controller reads of StatefulSets. Templates stay as they are stored, so that copying one changes nothing.

use orlop_core::rules::{IntOrString, LabelSelector};
use orlop_core::{Kind, Meta, Name, Object};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A StatefulSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StatefulSetView {
    /// Metadata.
    pub metadata: Meta,
    /// What should be.
    pub spec: StatefulSetSpec,
    /// What is.
    pub status: StatefulSetStatus,
}

/// What a StatefulSet should be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatefulSetSpec {
    /// How many pods; 1 if absent.
    pub replicas: Option<i32>,
    /// How long a pod must be ready to be available.
    pub min_ready_seconds: Option<i32>,
    /// Which number the first pod has.
    pub ordinals: Ordinals,
    /// Whether claims are deleted with their pods, or with the set.
    pub persistent_volume_claim_retention_policy: Retention,
    /// `OrderedReady` or `Parallel`.
    pub pod_management_policy: Name,
    /// How many revisions are kept that nobody uses.
    pub revision_history_limit: Option<i32>,
    /// Which pods.
    pub selector: LabelSelector,
    /// The Service that gives the pods their names.
    pub service_name: Name,
    /// What a pod looks like.
    pub template: Value,
    /// How templates are replaced.
    pub update_strategy: UpdateStrategy,
    /// A claim for each of these is made for each pod.
    pub volume_claim_templates: Vec<Value>,
}

/// Which number the first pod has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ordinals {
    /// The first number.
    pub start: i32,
}

/// What becomes of claims: `Retain` (also if absent) or `Delete`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Retention {
    /// When the set is deleted.
    pub when_deleted: Name,
    /// When the pod is surplus.
    pub when_scaled: Name,
}

/// How templates are replaced.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UpdateStrategy {
    /// `RollingUpdate` or `OnDelete`.
    pub r#type: Name,
    /// For `RollingUpdate`.
    pub rolling_update: Option<RollingUpdate>,
}

/// How a rolling update goes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RollingUpdate {
    /// How many pods may be unavailable at once.
    pub max_unavailable: Option<IntOrString>,
    /// Pods below this place keep the current template.
    pub partition: Option<i32>,
}

/// The state of a StatefulSet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatefulSetStatus {
    /// The generation that this speaks of.
    pub observed_generation: i64,
    /// Pods.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready_replicas: i32,
    /// Pods that have been ready for long enough.
    pub available_replicas: i32,
    /// Pods of the current revision.
    pub current_replicas: i32,
    /// Pods of the revision to come.
    pub updated_replicas: i32,
    /// The revision that pods have, or are given below the partition.
    pub current_revision: Name,
    /// The revision of the template.
    pub update_revision: Name,
    /// How many names of revisions were taken.
    pub collision_count: Option<i32>,
}

impl Object for StatefulSetView {
    const KIND: Kind = orlop_core::kinds::StatefulSet::KIND;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl StatefulSetView {
    pub(super) fn replicas(&self) -> usize {
        usize::try_from(self.spec.replicas.unwrap_or(1)).unwrap_or(0)
    }

    pub(super) fn is_ordered(&self) -> bool {
        self.spec.pod_management_policy != "Parallel"
    }

    pub(super) fn min_ready(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or(0)
    }

    /// The place of a number among the set's pods; `None` if it is outside of their range.
    pub(super) fn place(&self, ordinal: i32) -> Option<usize> {
        let place = usize::try_from(ordinal.checked_sub(self.spec.ordinals.start)?).ok()?;
        (place < self.replicas()).then_some(place)
    }

    /// The number at a place.
    pub(super) fn ordinal(&self, place: usize) -> i32 {
        self.spec.ordinals.start.saturating_add(i32::try_from(place).unwrap_or(i32::MAX))
    }

    /// The number of a pod of this set by its name; `None` if it is not named so.
    pub(super) fn ordinal_of(&self, pod: &str) -> Option<i32> {
        let digits = pod.strip_prefix(self.metadata.name.as_str())?.strip_prefix('-')?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    }
}
