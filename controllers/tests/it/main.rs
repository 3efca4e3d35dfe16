//! Tests of the crate from outside.

mod cluster;
mod custom;
mod model;
mod oracle;
mod volumes;
mod workload;
mod workloads;
