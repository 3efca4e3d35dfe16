//! The reference cluster from outside: driven by the real kubectl, and compared with what Kubernetes answered.

mod budget;
mod custom_runtime;
mod manifests;
mod readme;
mod rolling;
mod shared;
mod transcripts;
mod up;
