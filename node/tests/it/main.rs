//! One binary for all integration tests of this crate.

mod backoff;
mod node;
mod pods;
mod preflight;
mod properties;
mod recorded;
mod recovery;
mod world;
