//! What changed between two plans.

use std::collections::BTreeMap;
use std::sync::Arc;

use orlop_core::Key;

use super::{NetPlan, ServicePlan};

/// What changed from one plan to a later one.
#[derive(Clone, Debug, Default)]
pub struct PlanDiff {
    /// Services that are new or not as they were.
    pub changed: Vec<Arc<ServicePlan>>,
    /// Services that are gone.
    pub removed: Vec<Key>,
    /// Whether a node came, went or changed.
    pub nodes: bool,
    /// Whether HTTP requests from outside may go elsewhere.
    pub ingress: bool,
}

impl PlanDiff {
    /// Whether nothing changed that a data plane serves. Pods alone do not count: what leads to them is in Services.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty() && !self.nodes && !self.ingress
    }
}

impl NetPlan {
    /// What is to be done where `before` holds, so that this holds.
    pub fn diff(&self, before: &NetPlan) -> PlanDiff {
        let mut diff = PlanDiff {
            nodes: !Arc::ptr_eq(&self.nodes, &before.nodes) && self.nodes != before.nodes,
            ingress: !Arc::ptr_eq(&self.ingress, &before.ingress) && self.ingress != before.ingress,
            ..PlanDiff::default()
        };
        if Arc::ptr_eq(&self.services, &before.services) {
            return diff;
        }
        merge(&before.services, &self.services, |key, old, new| match (old, new) {
            (_, None) => diff.removed.push(key.clone()),
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) || old == new => {}
            (_, Some(new)) => diff.changed.push(Arc::clone(new)),
        });
        diff
    }
}

/// Walks two ordered maps side by side.
fn merge<'a, V>(
    left: &'a BTreeMap<Key, V>,
    right: &'a BTreeMap<Key, V>,
    mut each: impl FnMut(&'a Key, Option<&'a V>, Option<&'a V>),
) {
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((l, _)), Some((r, _))) => l.cmp(r),
        };
        let old = order.is_le().then(|| left.next()).flatten();
        let new = order.is_ge().then(|| right.next()).flatten();
        if let Some((key, _)) = old.or(new) {
            each(key, old.map(|(_, v)| v), new.map(|(_, v)| v));
        }
    }
}
