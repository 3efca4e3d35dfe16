//! What the controller reads of DaemonSets. Templates stay as they are stored, so that copying one changes nothing.

use orlop_core::rules::{IntOrString, LabelSelector};
use orlop_core::{Kind, Meta, Name, Object};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A DaemonSet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DaemonSetView {
    /// Metadata.
    pub metadata: Meta,
    /// What should be.
    pub spec: DaemonSetSpec,
    /// What is.
    pub status: DaemonSetStatus,
}

/// What a DaemonSet should be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DaemonSetSpec {
    /// How long a pod must be ready to be available.
    pub min_ready_seconds: Option<i32>,
    /// How many revisions are kept beside the present one.
    pub revision_history_limit: Option<i32>,
    /// Which pods.
    pub selector: LabelSelector,
    /// What a pod looks like.
    pub template: Value,
    /// How templates are replaced.
    pub update_strategy: UpdateStrategy,
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
    /// On how many nodes a second pod may run meanwhile.
    pub max_surge: Option<IntOrString>,
    /// On how many nodes the pod may be unavailable.
    pub max_unavailable: Option<IntOrString>,
}

/// The state of a DaemonSet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DaemonSetStatus {
    /// Nodes that should have a pod and have one.
    pub current_number_scheduled: i32,
    /// Nodes that should have a pod.
    pub desired_number_scheduled: i32,
    /// Nodes whose pod has been ready for long enough.
    pub number_available: i32,
    /// Nodes that have a pod and should not.
    pub number_misscheduled: i32,
    /// Nodes whose pod is ready.
    pub number_ready: i32,
    /// Nodes that should have an available pod and have none.
    pub number_unavailable: i32,
    /// The generation that this speaks of.
    pub observed_generation: i64,
    /// Nodes whose pod is of the present template.
    pub updated_number_scheduled: i32,
    /// How many names of revisions were taken.
    pub collision_count: Option<i32>,
}

impl Object for DaemonSetView {
    const KIND: Kind = orlop_core::kinds::DaemonSet::KIND;
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl DaemonSetView {
    pub(super) fn min_ready(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or(0)
    }

    /// On how many of `nodes` nodes a second pod may run, and on how many the pod may be unavailable.
    pub(super) fn bounds(&self, nodes: i32) -> (usize, usize) {
        let rolling = self.spec.update_strategy.rolling_update.as_ref();
        let resolve = |amount: Option<&IntOrString>, default: i32| {
            let count = amount.map_or(Ok(default), |amount| amount.scaled(nodes, true)).unwrap_or(0);
            usize::try_from(count).unwrap_or(0)
        };
        let surge = resolve(rolling.and_then(|rolling| rolling.max_surge.as_ref()), 0);
        let unavailable = resolve(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), 1);
        if nodes > 0 && surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
    }

    /// Whether a node may have two pods for a while.
    pub(super) fn surges(&self) -> bool {
        self.spec.update_strategy.r#type != "OnDelete" && self.bounds(100).0 > 0
    }
}
