//! Tests of the crate from outside.

mod cluster;
mod model;
mod oracle;
mod workload;
