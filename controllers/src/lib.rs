//! Kubernetes' controllers, each one pure function from what is seen to what should change.

#![allow(unused)]
pub mod claim;
pub mod deployment;
#[cfg(feature = "oracle")]
pub mod oracle;
