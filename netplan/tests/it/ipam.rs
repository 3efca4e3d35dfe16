//! Addresses and ports.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use orlop_core::{Entropy, Timestamp};
use orlop_netplan::ipam::{IpError, NodeCidrs, PodAddresses, PortError, PortRange, QUARANTINE, ServiceRange};
use proptest::prelude::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(secs: u64) -> Timestamp {
    Timestamp::EPOCH + Duration::from_secs(secs)
}

#[test]
fn service_addresses_come_from_the_dynamic_band_until_it_is_full() {
    let range = ServiceRange::new(net("10.96.0.0/27"));
    assert_eq!((range.size(), range.static_band()), (32, 16));
    let mut entropy = Entropy::seeded(3);
    let mut taken = BTreeSet::new();
    for _ in 0..14 {
        let ip = range.allocate(|ip| taken.contains(&ip), &mut entropy).unwrap();
        assert!(ip >= "10.96.0.17".parse::<IpAddr>().unwrap(), "{ip} is of the static band");
        taken.insert(ip);
    }
    for _ in 0..16 {
        let ip = range.allocate(|ip| taken.contains(&ip), &mut entropy).unwrap();
        assert!(ip < "10.96.0.17".parse::<IpAddr>().unwrap());
        taken.insert(ip);
    }
    assert_eq!(range.allocate(|ip| taken.contains(&ip), &mut entropy), Err(IpError::Full));
    assert_eq!(taken.len(), 30);
    assert!(!taken.contains(&ip("10.96.0.0")) && !taken.contains(&ip("10.96.0.31")));
}

#[test]
fn certain_addresses_are_checked_in_kubernetes_words() {
    let range = ServiceRange::new(net("10.96.0.0/16"));
    let taken = |addr: IpAddr| addr == ip("10.96.0.1");
    let check = |text: &str| range.check(ip(text), taken).map_err(|e| e.to_string());
    assert_eq!(check("10.96.0.2"), Ok(()));
    assert_eq!(check("10.96.0.1").unwrap_err(), "provided IP is already allocated");
    for outside in ["10.96.0.0", "10.96.255.255", "10.97.0.1", "192.168.1.1", "fd00::1"] {
        assert_eq!(check(outside).unwrap_err(), "the provided network does not match the current range");
    }
    // IPv6 has no broadcast address.
    assert!(ServiceRange::new(net("fd00::/112")).contains(ip("fd00::ffff")));
}

#[test]
fn tiny_and_huge_service_ranges() {
    let mut entropy = Entropy::seeded(1);
    assert_eq!(ServiceRange::new(net("10.0.0.0/32")).allocate(|_| false, &mut entropy), Err(IpError::Full));
    let four = ServiceRange::new(net("10.0.0.4/30"));
    assert!(four.contains(four.allocate(|_| false, &mut entropy).unwrap()));
    let huge = ServiceRange::new(net("fd00::/64"));
    assert!(huge.contains(huge.allocate(|_| false, &mut entropy).unwrap()));
    let everything = ServiceRange::new(net("::/0"));
    assert!(everything.contains(everything.allocate(|_| false, &mut entropy).unwrap()));
}

#[test]
fn node_ports() {
    let range = PortRange::default();
    assert_eq!(range.to_string(), "30000-32767");
    assert_eq!(
        range.check(30_081, |p| p == 30_081).unwrap_err().to_string(),
        "provided port is already allocated"
    );
    assert_eq!(
        range.check(-1, |_| false).unwrap_err().to_string(),
        "provided port is not in the valid range. The range of valid ports is 30000-32767"
    );
    let mut entropy = Entropy::seeded(5);
    assert!(range.allocate(|_| false, &mut entropy).unwrap() >= 30_086);
    assert_eq!(range.allocate(|p| p != 30_003, &mut entropy), Ok(30_003));
    assert_eq!(range.allocate(|_| true, &mut entropy), Err(PortError::Full));
    for bad in
        ["x", "30000-", "-1-5", "3-2", "1-65536", "1+65535", "9223372036854775807+9", "1-2+3", "80 - 90"]
    {
        assert!(bad.parse::<PortRange>().is_err(), "{bad}");
    }
    let empty: PortRange = " ".parse().unwrap();
    assert_eq!(empty.allocate(|_| false, &mut entropy), Err(PortError::Full));
    assert!(empty.check(0, |_| false).is_err());
    assert_eq!("80".parse::<PortRange>().unwrap().to_string(), "80-80");
    assert_eq!("65535+0".parse::<PortRange>().unwrap().allocate(|_| false, &mut entropy), Ok(65_535));
}

#[test]
fn nodes_get_ranges_of_both_families() {
    let mut cidrs = NodeCidrs::new(&[net("10.244.0.0/16"), net("fd00:244::/56")]).unwrap();
    let given = |cidrs: &mut NodeCidrs| {
        cidrs.allocate().map(|c| c.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(given(&mut cidrs).unwrap(), "10.244.0.0/24 fd00:244::/64");
    cidrs.occupy(&[net("10.244.1.0/24"), net("fd00:244:0:5::/64"), net("192.168.0.0/24")]);
    assert_eq!(given(&mut cidrs).unwrap(), "10.244.2.0/24 fd00:244:0:1::/64");
    // When one family is exhausted, nothing is taken from the other.
    let mut cidrs = NodeCidrs::new(&[net("10.0.0.0/23"), net("fd00::/64")]).unwrap();
    let mut got = Vec::new();
    while let Ok(more) = cidrs.allocate() {
        got.push(more);
    }
    assert_eq!(got.len(), 2);
    assert!(NodeCidrs::new(&[net("10.0.0.0/16"), net("10.1.0.0/16")]).is_err());
    assert!(NodeCidrs::new(&[]).is_err());
}

#[test]
fn a_freed_address_rests() {
    let mut pods = PodAddresses::new([net("10.244.1.0/29")]);
    // .0 network, .1 gateway, .7 broadcast: five are left.
    let got: Vec<_> = (0..5).map(|_| pods.allocate(at(0)).unwrap()[0].to_string()).collect();
    assert_eq!(got, ["10.244.1.2", "10.244.1.3", "10.244.1.4", "10.244.1.5", "10.244.1.6"]);
    assert_eq!(pods.allocate(at(0)), None);
    pods.release(ip("10.244.1.4"), at(10));
    pods.release(ip("10.244.1.4"), at(11));
    assert_eq!(pods.allocate(at(11)), None);
    assert_eq!(pods.next_free_at(), Some(at(10) + QUARANTINE));
    assert_eq!(pods.allocate(at(10) + QUARANTINE), Some(vec![ip("10.244.1.4")]));
}

#[test]
fn the_search_goes_round() {
    let mut pods = PodAddresses::new([net("10.244.1.0/24")]);
    let first = pods.allocate(at(0)).unwrap()[0];
    pods.release(first, at(0));
    // Long rested, but others come first.
    assert_ne!(pods.allocate(at(1000)).unwrap()[0], first);
}

#[test]
fn a_restart_resumes_behind_the_youngest_pod() {
    let held = [
        (ip("10.244.1.9"), at(5)),
        (ip("10.244.1.3"), at(9)),
        (ip("10.244.1.4"), at(2)),
        (ip("1.1.1.1"), at(99)),
    ];
    let mut pods = PodAddresses::restore([net("10.244.1.0/24"), net("fd00::/64")], held);
    assert_eq!(pods.allocate(at(10)), Some(vec![ip("10.244.1.5"), ip("fd00::2")]));
    assert_eq!(pods.held(), 4);
    assert!(pods.occupy(ip("10.244.1.77")));
    assert!(!pods.occupy(ip("10.244.1.77")));
    assert!(!pods.occupy(ip("8.8.8.8")));
}

proptest! {
    /// Whatever happens, no two pods share an address, and none comes back before it has rested.
    #[test]
    fn addresses_are_unique_and_rested(steps in proptest::collection::vec((any::<bool>(), 0u64..30, any::<prop::sample::Index>()), 1..200)) {
        let mut pods = PodAddresses::new([net("10.0.0.0/27")]);
        let mut held: Vec<IpAddr> = Vec::new();
        let mut freed: Vec<(IpAddr, Timestamp)> = Vec::new();
        let mut now = at(0);
        for (give, wait, which) in steps {
            now = now + Duration::from_secs(wait);
            if give || held.is_empty() {
                if let Some(got) = pods.allocate(now) {
                    prop_assert!(!held.contains(&got[0]));
                    for (ip, since) in &freed {
                        prop_assert!(*ip != got[0] || now.since(*since) >= QUARANTINE);
                    }
                    held.push(got[0]);
                } else {
                    let resting = freed.iter().filter(|(_, since)| now.since(*since) < QUARANTINE).map(|(ip, _)| ip);
                    prop_assert_eq!(held.len() + resting.collect::<BTreeSet<_>>().len(), 29);
                }
            } else {
                let gone = held.swap_remove(which.index(held.len()));
                pods.release(gone, now);
                freed.push((gone, now));
            }
        }
    }

    #[test]
    fn what_is_allocated_is_free_and_valid(bits in 0u32..14, taken in proptest::collection::btree_set(0u32..20_000, 0..400), seed: u64) {
        let range = ServiceRange::new(net(&format!("10.96.0.0/{}", 32 - bits)));
        let is_taken = |ip: IpAddr| match ip {
            IpAddr::V4(v4) => taken.contains(&(u32::from(v4) - u32::from(std::net::Ipv4Addr::new(10, 96, 0, 0)))),
            IpAddr::V6(_) => false,
        };
        match range.allocate(is_taken, &mut Entropy::seeded(seed)) {
            Ok(ip) => prop_assert!(range.check(ip, is_taken).is_ok()),
            Err(_) => {
                let free = (0..1u32 << bits).map(|n| IpAddr::from(std::net::Ipv4Addr::from(0x0a60_0000 + n)));
                prop_assert_eq!(free.filter(|ip| range.check(*ip, is_taken).is_ok()).count(), 0);
            }
        }
    }
}
