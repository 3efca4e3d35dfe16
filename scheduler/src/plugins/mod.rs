//! The plugins of Kubernetes' default profile, one file each: what and why, the adapter, the rule.
//!
//! [`taint_toleration`] is a good one to read first: a predicate over interned taints, and a priority.

pub mod basics;
pub mod default_preemption;
pub mod dynamic_resources;
mod hints;
pub mod image_locality;
pub mod inter_pod_affinity;
pub mod node_affinity;
pub mod node_ports;
pub mod node_resources;
pub mod pod_topology_spread;
pub mod taint_toleration;
pub mod volume_limits;
pub mod volume_restrictions;
pub mod volumes;

pub use basics::{DefaultBinder, NodeName, NodeUnschedulable, PrioritySort, SchedulingGates};
pub use default_preemption::DefaultPreemption;
pub use dynamic_resources::DynamicResources;
pub use image_locality::ImageLocality;
pub use inter_pod_affinity::InterPodAffinity;
pub use node_affinity::NodeAffinity;
pub use node_ports::NodePorts;
pub use node_resources::{BalancedAllocation, Fit, Strategy};
pub use pod_topology_spread::PodTopologySpread;
pub use taint_toleration::TaintToleration;
pub use volume_limits::NodeVolumeLimits;
pub use volume_restrictions::VolumeRestrictions;
pub use volumes::{VolumeBinding, VolumeZone};

pub(crate) use hints::hint_of;

use crate::profile::Profile;

/// Adds the predicates of volumes, where Kubernetes' default profile has them: behind NodeResourcesFit.
pub(crate) fn add_volumes(profile: &mut Profile) {
    let at = profile.filters.iter().position(|p| p.name() == "NodeResourcesFit").map_or(0, |at| at + 1);
    profile.filters.insert(at, Box::new(VolumeZone));
    let binding = VolumeBinding::default();
    profile.filters.insert(at, Box::new(binding.clone()));
    profile.filters.insert(at, Box::new(NodeVolumeLimits));
    profile.filters.insert(at, Box::new(VolumeRestrictions));
    profile.reserve.push(Box::new(binding.clone()));
    profile.pre_bind.push(Box::new(binding));
}

/// Kubernetes' default profile, without the predicates of volumes.
pub(crate) fn default_profile() -> Profile {
    let profile = Profile::empty(Profile::DEFAULT)
        .pre_enqueue(SchedulingGates)
        .pre_filter(NodeUnschedulable)
        .pre_filter(NodeName)
        .pre_filter(TaintToleration)
        .pre_filter(NodeAffinity::default())
        .pre_filter(NodePorts)
        .pre_filter(Fit::default())
        .pre_filter(PodTopologySpread::default())
        .pre_filter(InterPodAffinity::default())
        .pre_filter(DynamicResources)
        .post_filter(DynamicResources)
        .post_filter(DefaultPreemption)
        .pre_score(TaintToleration, 3)
        .pre_score(NodeAffinity::default(), 2)
        .pre_score(Fit::default(), 1)
        .pre_score(PodTopologySpread::default(), 2)
        .pre_score(InterPodAffinity::default(), 2)
        .pre_score(BalancedAllocation::default(), 1)
        .pre_score(ImageLocality, 1);
    hints::add_to(profile)
}
