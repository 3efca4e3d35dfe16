//! One binary for all integration tests of this crate.

mod conformance;
mod exec;
mod machine;
mod process;
mod script;
#[cfg(feature = "serve")]
mod serve;
mod world;
