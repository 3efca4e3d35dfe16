//! The loopback data plane of a running cluster.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use orlop_core::{Clock, Entropy};
use orlop_netplan::Mirror;
use orlop_netplan::loopback::{Loopback, Options, claim};

use super::builder::StartError;
use crate::spec::ClusterSpec;

/// A plane in the first free part of 127/8.
pub(super) fn loopback(
    spec: &ClusterSpec,
    clock: &Arc<dyn Clock>,
    entropy: &Entropy,
    redirect: BTreeMap<SocketAddr, SocketAddr>,
) -> Result<(Loopback, Mirror), StartError> {
    let (mirror, claim) = claim(&spec.networks).map_err(|error| StartError::DataPlane(error.to_string()))?;
    let plane = Loopback::start(Options {
        claim: Some(claim),
        redirect,
        cluster_dns: spec.dns_address(),
        ..Options::new(mirror.clone(), clock.clone(), entropy.child("loopback"))
    });
    Ok((plane, mirror))
}
