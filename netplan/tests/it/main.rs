//! The crate's integration tests.

mod balance;
mod dns;
mod fixture;
mod ingress;
mod ipam;
#[cfg(feature = "loopback")]
mod loopback;
mod mirror;
#[cfg(feature = "oracle")]
mod oracle;
mod planner;
mod progress;
