//! From addresses to names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use orlop_core::Key;

use super::forward;
use crate::plan::{NetPlan, ServiceKind};

/// The address that a name below `in-addr.arpa` or `ip6.arpa` stands for.
pub(super) fn address(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let octets: Vec<u8> = digits.split('.').rev().map(|d| d.parse()).collect::<Result<_, _>>().ok()?;
        return Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?)));
    }
    let digits = name.strip_suffix(".ip6.arpa")?;
    let mut number = 0u128;
    let mut count = 0;
    for digit in digits.split('.').rev() {
        if digit.len() != 1 {
            return None;
        }
        number = (number << 4) | u128::from(u8::from_str_radix(digit, 16).ok()?);
        count += 1;
    }
    (count == 32).then(|| IpAddr::V6(Ipv6Addr::from(number)))
}

/// The names of an address: the Service that has it, else the endpoints of headless Services, else the pod.
pub(super) fn names(plan: &NetPlan, zone: &str, ip: IpAddr) -> Vec<String> {
    let is_own = |key: &&Key| plan.services.get(*key).is_some_and(|s| s.cluster_ips.contains(&ip));
    if let Some(key) = plan.addresses.get(&ip).and_then(|keys| keys.iter().find(is_own)) {
        return vec![forward::name_of(key, zone)];
    }
    // Asked rarely enough that no index is worth its upkeep.
    let mut names: Vec<String> = plan
        .services
        .values()
        .filter(|service| service.kind == ServiceKind::Headless)
        .flat_map(|service| {
            let own = forward::name_of(&service.key, zone);
            forward::ready(service)
                .filter(|endpoint| endpoint.address == ip)
                .map(move |endpoint| format!("{}.{own}", forward::hostname(endpoint)))
                .collect::<Vec<_>>()
        })
        .collect();
    names.sort();
    names.dedup();
    if names.is_empty()
        && let Some(pod) = plan.pods.get(&ip)
    {
        let dashed = ip.to_string().replace(['.', ':'], "-");
        names.push(format!("{dashed}.{}.pod.{zone}", pod.key.namespace));
    }
    names
}

/// Whether the address could be one of this cluster, so that "no such name" can be said of it.
pub(super) fn may_be_ours(plan: &NetPlan, ip: IpAddr) -> bool {
    plan.nodes.values().any(|node| node.pod_cidrs.iter().any(|cidr| cidr.contains(&ip)))
}
