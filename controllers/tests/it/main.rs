//! Tests of the crate from outside.

mod cluster;
mod custom;
mod model;
mod oracle;
mod workload;
mod workloads;
