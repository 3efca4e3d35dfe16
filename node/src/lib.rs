//! The kubelet's job, without doing anything itself.
//!
//! [`Agent`] is told what the API and the container runtime show, and answers with what to do: calls of the runtime,
//! writes to the API. A pod is a pure machine from what should be and what is to the next step; a shell of a few
//! lines, or the simulator, carries the steps out.
//!
//! ```
//! use orlop_core::Timestamp;
//! use orlop_node::{Agent, NodeConfig, Task};
//!
//! let mut agent = Agent::new(NodeConfig::new("worker-1", "172.18.0.2".parse()?));
//! let actions = agent.poll(Timestamp::from_secs(1_700_000_000));
//! // It asks the runtime who it is, and registers its Node.
//! assert!(matches!(actions[0].task, Task::Runtime(_)));
//! assert!(actions.iter().any(|action| matches!(action.task, Task::Write(_))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Apart from that, [`preflight`] says whether a machine can be a node at all.

mod agent;
mod backoff;
mod config;
mod logs;
mod objects;
#[cfg(feature = "oracle")]
pub mod oracle;
mod pod;
pub mod preflight;
mod registration;
mod services;
mod spec;
mod system_pods;
mod volumes;

pub use agent::{Action, ActionId, ActionResult, Agent, COMPONENT, Task, execute};
pub use backoff::Backoff;
pub use config::{NodeConfig, Reporting};
pub use logs::Run;
pub use system_pods::{MIRROR_ANNOTATION, Role, system_pods};
