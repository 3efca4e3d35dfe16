//! DynamicResources: refuses pods that claim devices, which Orlop does not allocate yet; better a clear answer than a
//! pod without its device.

use crate::facts::PodFacts;
use crate::framework::{Code, Depends, PostFilter, PostFiltered, PreFilter, Prepared, Refusal};
use crate::preempt::PostFilterContext;
use crate::snapshot::Snapshot;

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct DynamicResources;

impl PreFilter for DynamicResources {
    fn name(&self) -> &str {
        "DynamicResources"
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodFacts, _: &'a Snapshot) -> Prepared<'a> {
        if pod.device_claims == 0 {
            return Prepared::Skip;
        }
        let reason = "resource claims are not supported by this scheduler";
        Prepared::Refuse(Refusal::new(Code::UnschedulableAndUnresolvable, reason))
    }

    fn remedy(&self, _: &PodFacts, _: &Snapshot) -> Option<String> {
        Some("remove spec.resourceClaims".to_owned())
    }

    fn depends_on(&self) -> Depends {
        Depends::NOTHING
    }

    fn is_monotone(&self) -> bool {
        true
    }
}

impl PostFilter for DynamicResources {
    fn name(&self) -> &str {
        "DynamicResources"
    }

    fn post_filter(&self, _: &PodFacts, _: &mut PostFilterContext<'_, '_>) -> PostFiltered {
        PostFiltered { message: "no new claims to deallocate".to_owned(), ..PostFiltered::default() }
    }
}
