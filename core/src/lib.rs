//! What every part of an orchestrator shares: objects, the store that keeps them, the cache that shows them, and the
//! controllers that act on what they see.
//!
//! *The store says what is; pure functions say what should change; a thin shell makes it so.* This crate holds the
//! seams of that sentence and no I/O: [`Store`], [`Cache`], [`Controller`] with its [`Plan`], the sans-I/O
//! [`Runner`], [`Clock`] and [`Entropy`].

pub mod body;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod controller;
pub mod entropy;
pub mod kinds;
pub mod meta;
pub mod object;
#[cfg(feature = "oracle")]
pub mod oracle;
pub mod plan;
pub mod recorder;
pub mod rules;
pub mod runner;
pub mod runtime;
pub mod store;
pub mod time;
pub mod world;

#[cfg(feature = "schema")]
pub mod codec;
#[cfg(feature = "schema")]
pub mod schema;
#[cfg(feature = "schema")]
pub mod scheme;
#[cfg(feature = "yaml")]
pub mod yaml;

pub use body::{Body, Stored};
pub use controller::{Context, Controller, Watches};
pub use entropy::Entropy;
pub use meta::{Labels, Meta, OwnerReference};
pub use object::{Key, Kind, Name, Object, Scope};
pub use plan::{Action, Failure, FailureReason, Note, Plan, Wake, Write};
pub use recorder::Recorder;
pub use runner::{Attempt, AttemptId, Executor, Outcome, Runner};
pub use store::{Revision, Store};
pub use time::{Clock, ManualClock, Timestamp};
pub use world::{Cache, Change, Cut, Item, World};
