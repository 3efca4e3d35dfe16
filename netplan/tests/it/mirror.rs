//! Addresses on loopback.

use std::collections::BTreeSet;
use std::net::IpAddr;

use expect_test::{Expect, expect};
use orlop_netplan::{Mirror, MirrorError, Networks};
use proptest::prelude::*;

fn networks(services: &str, pods: &str, nodes: &str) -> Networks {
    let list = |text: &str| text.split_whitespace().map(|net| net.parse().unwrap()).collect();
    Networks { services: list(services), pods: list(pods), nodes: list(nodes), external: Vec::new() }
}

fn check(layout: Result<Mirror, MirrorError>, expected: Expect) {
    let text = match layout {
        Ok(mirror) => mirror.ranges().map(|(from, to)| format!("{from} at {to}\n")).collect(),
        Err(e) => format!("{e}\n"),
    };
    expected.assert_eq(&text);
}

#[test]
fn addresses_keep_all_but_their_first_byte() {
    check(
        Mirror::natural(&Networks::default()),
        expect![[r#"
            10.96.0.0/16 at 127.96.0.0/16
            10.244.0.0/16 at 127.244.0.0/16
            172.18.0.0/16 at 127.18.0.0/16
            203.0.113.0/24 at 127.1.113.0/24
        "#]],
    );
    let mirror = Mirror::natural(&Networks::default()).unwrap();
    let of = |ip: &str| mirror.of(ip.parse().unwrap()).map(|ip| ip.to_string());
    assert_eq!(of("10.96.0.10").as_deref(), Some("127.96.0.10"));
    assert_eq!(of("10.244.3.7").as_deref(), Some("127.244.3.7"));
    assert_eq!(of("8.8.8.8"), None);
    assert_eq!(of("fd00::1"), None);
}

#[test]
fn ranges_that_collide_make_way() {
    check(
        Mirror::natural(&networks("10.96.0.0/16", "192.96.0.0/16", "192.0.2.0/24")),
        expect![[r#"
            10.96.0.0/16 at 127.96.0.0/16
            192.96.0.0/16 at 127.97.0.0/16
            192.0.2.0/24 at 127.1.2.0/24
        "#]],
    );
    check(
        Mirror::natural(&networks("10.96.0.0/12", "10.128.0.0/9 fd00::/64", "")),
        expect![[r#"
            10.96.0.0/12 at 127.96.0.0/12
            10.128.0.0/9 at 127.128.0.0/9
        "#]],
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    check(
        Mirror::natural(&networks("10.0.0.0/8", "", "")),
        expect![[r#"
        10.0.0.0/8 is too large to be mirrored into 127.0.0.0/8
    "#]],
    );
    check(
        Mirror::natural(&networks("10.96.1.0/24", "10.96.0.0/16", "")),
        expect![[r#"
        10.96.1.0/24 and 10.96.0.0/16 overlap
    "#]],
    );
    check(
        Mirror::natural(&networks("10.0.0.0/9", "11.0.0.0/9", "")),
        expect![[r#"
        the cluster's ranges do not fit into 127.0.0.0/8 together
    "#]],
    );
}

#[test]
fn there_is_room_for_many_clusters() {
    // Each takes the first layout that shares no block with those before.
    let mut used = BTreeSet::new();
    let mut clusters = 0;
    for layout in Mirror::layouts(&Networks::default()).flatten() {
        let blocks: BTreeSet<u8> = layout.blocks().collect();
        assert!(!blocks.contains(&0), "127.0.0.0/16 is everybody's");
        if used.is_disjoint(&blocks) {
            used.extend(blocks);
            clusters += 1;
        }
    }
    assert!(clusters >= 40, "{clusters}");
}

proptest! {
    #[test]
    fn it_is_a_bijection(host in 0u32..65_536, shift in 0usize..256, which in 0usize..3) {
        let mirror = Mirror::layouts(&Networks::default()).nth(shift).unwrap().unwrap();
        let base = [0x0a60_0000u32, 0x0af4_0000, 0xac12_0000][which];
        let ip = IpAddr::from(std::net::Ipv4Addr::from(base + host));
        let at = mirror.of(ip).unwrap();
        prop_assert!(at.is_loopback());
        prop_assert_eq!(mirror.back(at), Some(ip));
    }
}
