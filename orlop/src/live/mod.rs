//! A cluster that runs: on tokio, on the system's clock.

mod builder;
mod clock;
mod cluster;
mod gateway;
#[cfg(feature = "server")]
mod metrics;
#[cfg(feature = "loopback")]
mod plane;
#[cfg(feature = "server")]
mod server;
mod start;

pub use builder::{Authorization, Builder, StartError};
pub use clock::SystemClock;
pub use cluster::{Applied, Cluster, WaitError};
