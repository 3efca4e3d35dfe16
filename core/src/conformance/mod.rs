//! What every implementation of a seam guarantees, as suites to run from tests.

pub mod runtime;
pub mod store;
