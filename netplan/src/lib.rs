//! The network of a cluster as data: who has which address, and where a connection goes.
//!
//! `plan(world) -> NetPlan` is pure; a [`DataPlane`] carries the plan out and says up to which revision it has.
//!
//! ```
//! use orlop_core::Entropy;
//! use orlop_netplan::balance::{Balancer, Flow, Maglev};
//! use orlop_netplan::ipam::{PodAddresses, ServiceRange};
//! use orlop_netplan::{Mirror, Networks};
//!
//! // A Service and a pod get their addresses,
//! let services = ServiceRange::new("10.96.0.0/16".parse()?);
//! let cluster_ip = services.allocate(|_| false, &mut Entropy::seeded(7))?;
//! let mut pods = PodAddresses::new(["10.244.1.0/24".parse()?]);
//! let pod = pods.allocate(orlop_core::Timestamp::EPOCH).expect("the range is empty")[0];
//!
//! // both are served on loopback,
//! let mirror = Mirror::natural(&Networks::default())?;
//! assert_eq!(mirror.of(pod).unwrap().to_string(), "127.244.1.2");
//! assert_eq!(mirror.back(mirror.of(cluster_ip).unwrap()), Some(cluster_ip));
//!
//! // and a connection goes to one of two endpoints: the same one each time, with this balancer.
//! let mut balancer = Maglev::new();
//! balancer.set_endpoints(&["10.244.1.2:80".parse()?, "10.244.2.2:80".parse()?]);
//! let flow = Flow::new("127.0.0.1:40000".parse()?, "10.96.0.10:80".parse()?);
//! let now = orlop_core::Timestamp::EPOCH;
//! assert_eq!(balancer.choose(&flow, &[], now), balancer.choose(&flow, &[], now));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The map, in reading order:
//!
//! - [`ipam`]: addresses of nodes, pods, Services, and node ports.
//! - [`NetPlan`] is what a data plane needs; [`NetPlanner`] makes it from what it watches; [`diff`](NetPlan::diff)
//!   says what changed.
//! - [`choice`]: which endpoints a node uses. [`balance`]: which of them a connection gets.
//! - [`dns`] and [`ingress`] answer questions about names and about HTTP requests from the plan.
//! - [`DataPlane`] is the seam to the outside, [`Progress`] and [`Gate`] how others wait for it, [`Mirror`] where
//!   addresses live on loopback; [`conformance`] is what every plane must do.
//! - `loopback` (feature) is the data plane that needs no root and no Docker.

pub mod ipam;

mod plan;
mod planner;

pub mod balance;
pub mod choice;
pub mod dns;
pub mod ingress;

pub mod conformance;

mod mirror;
mod plane;
mod progress;

#[cfg(feature = "loopback")]
pub mod loopback;
#[cfg(feature = "oracle")]
pub mod oracle;

pub use mirror::{Mirror, MirrorError, Networks};
pub use plan::{
    Affinity, Endpoint, NetPlan, NodePlan, PlanDiff, PodEntry, PodIndex, PortPlan, Protocol, ServiceKind,
    ServicePlan, TrafficPolicy,
};
pub use plane::{Applied, DataPlane, DataPlaneError, Published, PublishedAddress, What};
pub use planner::{NetPlanner, NetPod, plan, register};
pub use progress::{Gate, Progress};
