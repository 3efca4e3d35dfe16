//! Build your own container orchestrator.

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
