//! The end of finished Jobs: `ttlSecondsAfterFinished`.

use std::convert::Infallible;
use std::time::Duration;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::plan::{Action, Propagation};
use orlop_core::{Key, Plan, World, Write};

use super::view::JobView;

/// Deletes Jobs some time after they have ended. See the module's documentation.
pub struct TtlAfterFinishedController;

impl Controller for TtlAfterFinishedController {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "ttl-after-finished-controller"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<JobView>();
    }

    fn reconcile(&self, key: &Key, world: &World, ctx: &mut Context<'_>) -> Plan {
        let Some(job) = world.get::<JobView>(key).filter(|job| !job.metadata.is_terminating()) else {
            return Plan::nothing();
        };
        let Some(ttl) = job.spec.ttl_seconds_after_finished else { return Plan::nothing() };
        let Some(finished) = job.status.finished().and_then(|end| end.last_transition_time) else {
            return Plan::nothing();
        };
        let due = finished + Duration::from_secs(u64::try_from(ttl).unwrap_or(0));
        if due > ctx.now {
            return Plan::nothing().wake_at(due);
        }
        let mut write = Write::delete_seen(job);
        write.revision = Some(job.revision());
        write.action = Action::Delete { grace: None, propagation: Some(Propagation::Foreground) };
        Plan::write(write)
    }
}
