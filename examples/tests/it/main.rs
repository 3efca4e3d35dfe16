//! The reference cluster from outside: driven by the real kubectl, and compared with what Kubernetes answered.

mod budget;
mod custom_runtime;
mod gangs;
mod helm;
mod idle;
mod kube_rs;
mod manifests;
mod plugins;
mod python;
mod readme;
mod rolling;
mod sessions;
mod shared;
mod transcripts;
mod up;
