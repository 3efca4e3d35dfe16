//! A cluster that runs: on tokio, on the system's clock.

mod builder;
mod clock;
mod cluster;
mod gateway;

pub use builder::{Builder, StartError};
pub use clock::SystemClock;
pub use cluster::{Applied, Cluster, WaitError};
