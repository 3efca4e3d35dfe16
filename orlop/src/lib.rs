//! Build your own container orchestrator: a Kubernetes-compatible cluster as a library.
//!
//! *The store says what is; pure functions say what should change; a thin shell makes it so.* A [`Cluster`] is the whole
//! of it in this process: store, API, controllers, scheduler, network, nodes. It runs on tokio, opens no socket unless it
//! is asked to, keeps nothing outside itself, and ends when it is dropped; many live side by side.
//!
//! ```
//! use std::time::Duration;
//!
//! use orlop::base::kinds::Pod;
//! use orlop::{Cluster, manifest::Manifests};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cluster = Cluster::builder().start().await?;
//!
//! let mut manifests = Manifests::default();
//! manifests.add_text("web.yaml", "
//! apiVersion: apps/v1
//! kind: Deployment
//! metadata: {name: web}
//! spec:
//!   replicas: 3
//!   selector: {matchLabels: {app: web}}
//!   template:
//!     metadata: {labels: {app: web}}
//!     spec: {containers: [{name: web, image: 'web:1'}]}
//! ");
//! for manifest in &manifests.objects {
//!     cluster.apply(manifest).await?;
//! }
//! cluster.wait_ready("default", "web", Duration::from_secs(10)).await?;
//!
//! let pods = cluster.list::<Pod>("default").await?;
//! assert_eq!(pods.len(), 3);
//! for pod in &pods {
//!     println!("{} runs on {} at {}", pod.metadata.name, pod.spec.node_name, pod.status.pod_ip);
//! }
//! cluster.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Making it one's own
//! [`Builder`] takes whatever is to be different: predicates and priorities of the [`scheduler`], a controller with its
//! effects on something outside ([`base::Controller`], [`base::Executor`]), a container runtime
//! ([`base::runtime::Runtime`]), a store ([`base::Store`]), a data plane ([`netplan::DataPlane`]), an authoriser. Each of
//! these seams says in its documentation what it guarantees. Suites check it: for stores and runtimes with feature
//! `conformance` of `orlop-core`, for data planes in [`netplan::conformance`]. Small programs stand in `examples/`.
//!
//! # The map
//! In reading order: [`spec`] says what a cluster is made of, as data. [`assembly`] makes its parts of that; they are
//! pure but for what they are given. [`part`] is what a part is, and [`parts`] dresses the scheduler, the network and
//! the nodes as such. [`drive()`](drive::drive) is the one loop that runs each of them, on threads or in the simulator.
//! [`Cluster`] starts them all. Beside them, [`manifest`] reads YAML with the place of every error, and [`stats`] counts
//! what parts do.
//!
//! The crates underneath are re-exported: [`base`] (objects, store, cache, controllers: `orlop-core`), [`api`],
//! [`apiserver`], [`controllers`], [`scheduler`], [`netplan`], [`node`], [`runtime_mock`].
//!
//! # Features
//! - `server` (default): the API over TLS, `/metrics` and health, and a tower service in process.
//! - `loopback` (default): Services, DNS and Ingress on 127/8; see [`Builder::loopback`].
//! - `live`: [`Cluster`] itself, on tokio; the two above bring it. Without it: what clusters are assembled from, with no
//!   async runtime.
//! - `redb`: the durable embedded store; see `Builder::redb`.
//! - `kube`: a `kube::Client` over the cluster in this process; see `Cluster::kube_client`.

pub mod assembly;
pub mod drive;
#[cfg(feature = "live")]
mod live;
#[cfg(feature = "live")]
mod logs;
pub mod manifest;
pub mod part;
pub mod parts;
pub mod spec;
pub mod stats;

#[cfg(feature = "live")]
pub use live::{Applied, Authorization, Builder, Cluster, StartError, SystemClock, WaitError};
pub use spec::{ClusterSpec, NodeSpec};

pub use orlop_api as api;
#[cfg(feature = "server")]
pub use orlop_apiserver as apiserver;
pub use orlop_controllers as controllers;
pub use orlop_core as base;
pub use orlop_netplan as netplan;
pub use orlop_node as node;
pub use orlop_runtime_mock as runtime_mock;
pub use orlop_scheduler as scheduler;
