//! The network planner: plans, and hands each plan to the data planes.

use std::sync::Arc;
use std::time::Duration;

use orlop_core::store::Revision;
use orlop_core::{Cut, Failure, Kind, Timestamp, Write};
use orlop_netplan::{DataPlane, NetPlan, NetPlanner};

use crate::part::{Done, Job, Part};

/// How long to wait before a plan that could not be applied is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Plans the network and has each data plane carry the plan out, one plan at a time, the latest.
pub struct Network {
    planner: NetPlanner,
    planes: Vec<Arc<dyn DataPlane>>,
    /// The revision up to which the world was seen.
    seen: Revision,
    applied: Revision,
    under_way: bool,
    retry: Option<Timestamp>,
}

impl Network {
    /// Plans with `planner` for `planes`.
    pub fn new(planner: NetPlanner, planes: Vec<Arc<dyn DataPlane>>) -> Network {
        Network { planner, planes, seen: Revision(0), applied: Revision(0), under_way: false, retry: None }
    }
}

/// What applying a plan came to: the revision that holds everywhere, or nothing.
struct Answer(Option<Revision>);

/// Every plane is told, whatever becomes of the others.
async fn apply(planes: Vec<Arc<dyn DataPlane>>, plan: Arc<NetPlan>) -> Answer {
    let mut reached = Some(plan.revision);
    for plane in planes {
        match plane.apply(plan.clone()).await {
            Ok(applied) => reached = reached.map(|reached| reached.min(applied.revision)),
            Err(error) => {
                tracing::warn!(%error, "a network plan is not carried out; it is tried again");
                reached = None;
            }
        }
    }
    Answer(reached)
}

impl Part for Network {
    fn name(&self) -> &str {
        "network"
    }

    fn kinds(&self) -> Vec<Kind> {
        self.planner.followed().to_vec()
    }

    fn reads(&self, kinds: &[Kind]) -> bool {
        self.planner.followed() == kinds
    }

    fn on_cut(&mut self, cut: Cut) {
        self.planner.apply(cut);
        self.seen = self.planner.plan().revision;
    }

    fn malformed(&self) -> usize {
        self.planner.malformed()
    }

    fn poll(&mut self, now: Timestamp) -> Vec<Job> {
        if self.under_way || self.seen <= self.applied || self.retry.is_some_and(|at| at > now) {
            return Vec::new();
        }
        self.retry = None;
        self.under_way = true;
        let (planes, plan) = (self.planes.clone(), self.planner.plan().clone());
        let outside = Box::pin(async move { Box::new(apply(planes, plan).await) as _ });
        vec![Job { id: Some(0), outside: Some(outside), ..Job::default() }]
    }

    fn on_done(&mut self, now: Timestamp, done: Done) -> Vec<Write> {
        self.under_way = false;
        match done.outside.and_then(|answer| answer.downcast::<Answer>().ok()).and_then(|answer| answer.0) {
            Some(revision) => self.applied = self.applied.max(revision),
            None => self.retry = Some(now + RETRY),
        }
        Vec::new()
    }

    fn on_lost_event(&mut self, _now: Timestamp, _event: &Write, _failure: &Failure) -> Option<Write> {
        None
    }

    fn next_wake(&self) -> Option<Timestamp> {
        self.retry
    }
}
