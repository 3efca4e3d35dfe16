//! The crate's integration tests.

mod balance;
mod dns;
mod fixture;
mod ingress;
mod ipam;
mod mirror;
#[cfg(feature = "oracle")]
mod oracle;
mod planner;
