//! One binary for all integration tests of this crate.

mod backoff;
mod environment;
mod ephemeral;
mod hooks;
mod logs;
mod node;
mod pods;
mod preflight;
mod properties;
mod recorded;
mod recovery;
mod restarts;
mod stopping;
mod volumes;
mod world;
