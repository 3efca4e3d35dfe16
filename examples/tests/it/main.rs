//! The reference cluster from outside: driven by the real kubectl, and compared with what Kubernetes answered.

mod budget;
mod manifests;
mod shared;
mod transcripts;
