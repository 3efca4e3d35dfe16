//! Kubernetes' controllers, each one pure function from what is seen to what should change.
//!
//! One file for each: start at [`replicaset`], then read [`deployment`]. They need nothing but a runner:
//!
//! ```
//! use orlop_controllers::{Config, add_all};
//! use orlop_core::Entropy;
//! use orlop_core::kinds::ConfigMap;
//! use orlop_core::Object;
//! use orlop_core::runner::Runner;
//!
//! let mut runner = Runner::new(&Entropy::seeded(1));
//! add_all(&mut runner, Config::default());
//! // Garbage is collected among the kinds that the runner follows, and namespaces are emptied of these.
//! runner.follow(ConfigMap::KIND);
//! assert!(runner.kinds().iter().any(|kind| kind.kind == "Deployment"));
//! ```

pub mod claim;
pub mod cronjob;
pub mod daemonset;
pub mod deployment;
pub mod disruption;
pub mod endpoints;
pub mod endpointslice;
pub mod gc;
pub mod history;
pub mod job;
pub mod namespace;
pub mod node_lifecycle;
#[cfg(feature = "oracle")]
pub mod oracle;
pub mod pod_gc;
pub mod ranking;
pub mod replicaset;
pub mod resource_quota;
pub mod role_aggregation;
pub mod root_ca;
pub mod service_account;
pub mod statefulset;
pub mod taint_eviction;
pub mod volume_binder;
pub mod volume_protection;

use std::convert::Infallible;

use orlop_core::Controller;

pub use cronjob::CronJobController;
pub use daemonset::DaemonSetController;
pub use deployment::DeploymentController;
pub use disruption::DisruptionController;
pub use endpoints::EndpointsController;
pub use endpointslice::EndpointSliceController;
pub use gc::GarbageCollector;
pub use job::{JobController, TtlAfterFinishedController};
pub use namespace::NamespaceController;
pub use node_lifecycle::{NodeLifecycleController, NodeSettings};
pub use pod_gc::PodGcController;
pub use replicaset::{ReplicaSetController, ReplicationManager};
pub use resource_quota::ResourceQuotaController;
pub use role_aggregation::RoleAggregationController;
pub use root_ca::RootCaController;
pub use service_account::ServiceAccountController;
pub use statefulset::StatefulSetController;
pub use taint_eviction::TaintEvictionController;
pub use volume_binder::VolumeBinder;
pub use volume_protection::{ClaimProtectionController, VolumeProtectionController};

/// What the controllers need to be told.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The certificates by which pods know the API server, in PEM.
    pub ca_bundle: String,
    /// How patient the cluster is with its nodes.
    pub nodes: NodeSettings,
}

/// Takes controllers in; a [`Runner`](orlop_core::runner::Runner) does.
pub trait Add {
    /// Takes one in.
    fn add<C: Controller<Effect = Infallible>>(&mut self, controller: C);
}

impl Add for orlop_core::runner::Runner {
    fn add<C: Controller<Effect = Infallible>>(&mut self, controller: C) {
        orlop_core::runner::Runner::add(self, controller);
    }
}

/// Adds every controller of this crate. Garbage is collected, and namespaces are emptied, of every kind that the runner
/// follows: what the controllers do not read themselves is to be followed besides
/// ([`Runner::follow`](orlop_core::runner::Runner::follow)).
pub fn add_all(to: &mut impl Add, config: Config) {
    let Config { ca_bundle, nodes } = config;
    to.add(DeploymentController);
    to.add(ReplicaSetController::default());
    to.add(ReplicationManager::default());
    to.add(StatefulSetController::default());
    to.add(DaemonSetController);
    to.add(JobController);
    to.add(CronJobController);
    to.add(TtlAfterFinishedController);
    to.add(EndpointSliceController);
    to.add(EndpointsController);
    to.add(NamespaceController);
    to.add(ServiceAccountController);
    to.add(RootCaController::new(ca_bundle));
    to.add(GarbageCollector);
    to.add(NodeLifecycleController::new(nodes));
    to.add(TaintEvictionController);
    to.add(PodGcController::default());
    to.add(ResourceQuotaController);
    to.add(RoleAggregationController);
    to.add(DisruptionController);
    to.add(VolumeBinder);
    to.add(ClaimProtectionController);
    to.add(VolumeProtectionController);
}
