//! A whole Orlop cluster on a virtual clock, replayable from a seed.
//!
//! The parts are those of the live cluster: the API over a store, every controller, the scheduler and a node agent with
//! a runtime for each node, assembled by [`orlop::assembly::assemble`] and driven by [`orlop::drive::drive`]. Here they
//! run on one thread, one after another ([`Executor`]), on a clock that moves only when nobody has anything left to do.
//! So hours of a small cluster take seconds, and the same seed gives the same history, to the byte: what went wrong once goes wrong
//! again, as often as it takes to understand it.
//!
//! ```
//! use std::time::Duration;
//!
//! use orlop_core::{Key, Object, Write, kinds::Deployment};
//! use orlop_sim::{Options, Simulation};
//! use serde_json::json;
//!
//! let mut sim = Simulation::new(7, Options::nodes(2))?;
//! let link = sim.link();
//! let web = json!({
//!     "apiVersion": "apps/v1", "kind": "Deployment",
//!     "metadata": {"name": "web", "namespace": "default"},
//!     "spec": {
//!         "replicas": 3,
//!         "selector": {"matchLabels": {"app": "web"}},
//!         "template": {
//!             "metadata": {"labels": {"app": "web"}},
//!             "spec": {"containers": [{"name": "web", "image": "web:v1"}]},
//!         },
//!     },
//! });
//! sim.block_on(async move { link.perform(Write::create(Deployment::KIND, web)).await }, Duration::ZERO);
//! sim.run_for(Duration::from_secs(60))?;
//! assert_eq!(sim.monitor().totals.bindings, 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | for | see |
//! |---|---|
//! | a cluster, and time | [`Simulation`], [`Options`] |
//! | things to do | [`Workload`], or a scenario of one's own through [`Simulation::link`] |
//! | things to go wrong | [`Faults`], [`Control`] |
//! | what must always hold | [`Monitor`], [`Violation`] |
//! | one number for all that happened | [`History`] |
//!
//! On the command line: `cargo run -p orlop-sim -- --seed 7 --nodes 100 --hours 2`.

mod clock;
mod cluster;
mod executor;
mod facts;
mod faults;
mod history;
mod invariants;
mod simulation;
mod store;
mod workload;

pub use clock::SkewedClock;
pub use cluster::{Component, Control, Profiles, Stored};
pub use executor::{Executor, Handle, TaskId};
pub use facts::HEALTHY;
pub use faults::{Faults, FaultyApi, UnknownFault};
pub use history::{Counts, History};
pub use invariants::{Monitor, Totals, Violation};
pub use simulation::{Options, Simulation, StartError};
pub use store::SimStore;
pub use workload::Workload;
