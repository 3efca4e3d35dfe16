//! Balancers.

use std::net::SocketAddr;
use std::time::Duration;

use orlop_core::{Entropy, Timestamp};
use orlop_netplan::balance::{Balancer, ClientAffinity, Flow, Maglev, Random, RoundRobin, TwoChoices};
use proptest::prelude::*;

fn endpoints(count: usize) -> Vec<SocketAddr> {
    (0..count).map(|i| SocketAddr::from(([10, 244, (i / 200) as u8, (i % 200) as u8 + 2], 8080))).collect()
}

fn flow(n: u32) -> Flow {
    let client = SocketAddr::from(([10, 9, (n >> 16) as u8, (n >> 8) as u8], 1024 + (n & 0xff) as u16));
    Flow::new(client, "10.96.0.10:80".parse().unwrap())
}

fn now() -> Timestamp {
    Timestamp::EPOCH
}

fn all() -> Vec<Box<dyn Balancer>> {
    vec![
        Box::new(RoundRobin::new()),
        Box::new(Random::new(Entropy::seeded(1))),
        Box::new(TwoChoices::new(Entropy::seeded(2))),
        Box::new(Maglev::new()),
        Box::new(ClientAffinity::new(Box::new(RoundRobin::new()), Duration::from_secs(10))),
    ]
}

#[test]
fn every_balancer_spreads_and_stays_within_bounds() {
    for mut balancer in all() {
        assert_eq!(balancer.choose(&flow(1), &[], now()), None);
        balancer.set_endpoints(&endpoints(7));
        let mut counts = [0; 7];
        for n in 0..7000 {
            // Clients of their own, so that affinity has nothing to hold.
            counts[balancer.choose(&flow(n << 8), &[], now()).unwrap()] += 1;
        }
        assert!(counts.iter().all(|c| (800..1200).contains(c)), "{counts:?}");
        balancer.set_endpoints(&endpoints(1));
        assert_eq!(balancer.choose(&flow(1), &[], now()), Some(0));
        balancer.set_endpoints(&[]);
        assert_eq!(balancer.choose(&flow(1), &[], now()), None);
    }
}

#[test]
fn two_choices_shun_the_loaded() {
    let mut balancer = TwoChoices::new(Entropy::seeded(3));
    balancer.set_endpoints(&endpoints(10));
    let mut loads = [0u32; 10];
    for n in 0..10_000 {
        let at = balancer.choose(&flow(n), &loads, now()).unwrap();
        loads[at] += 1;
    }
    let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
    assert!(most - least <= 6, "{loads:?}");
}

#[test]
fn affinity_holds_until_time_out_or_the_endpoint_is_gone() {
    let mut balancer = ClientAffinity::new(Box::new(RoundRobin::new()), Duration::from_secs(10));
    balancer.set_endpoints(&endpoints(3));
    let at = |secs| Timestamp::from_secs(secs);
    let first = balancer.choose(&flow(1), &[], at(0)).unwrap();
    for secs in [5, 14, 23] {
        // Each use renews it.
        assert_eq!(balancer.choose(&flow(1), &[], at(secs)), Some(first));
    }
    assert_ne!(balancer.choose(&flow(1), &[], at(33)), Some(first));
    let kept = balancer.choose(&flow(1), &[], at(34)).unwrap();
    let mut rest = endpoints(3);
    let gone = rest.remove(kept);
    balancer.set_endpoints(&rest);
    let next = balancer.choose(&flow(1), &[], at(35)).unwrap();
    assert_ne!(rest[next], gone);
    // The endpoint keeps its client though its index changed.
    rest.reverse();
    balancer.set_endpoints(&rest);
    assert_eq!(balancer.choose(&flow(1), &[], at(36)), Some(1 - next));
}

#[test]
fn affinity_forgets_clients() {
    let mut balancer = ClientAffinity::new(Box::new(Maglev::new()), Duration::from_secs(1));
    balancer.set_endpoints(&endpoints(2));
    for n in 0..50_000u32 {
        balancer.choose(&flow(n << 8), &[], Timestamp::from_secs(i64::from(n) / 100));
    }
    assert!(balancer.clients() < 3000, "{}", balancer.clients());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The order of endpoints does not matter, slots are even, and a flow moves only if its endpoint is gone, but for
    /// a few.
    #[test]
    fn maglev_is_even_and_hardly_disrupted(count in 2usize..60, gone in any::<prop::sample::Index>(), seed: u64) {
        let before = endpoints(count);
        let gone = gone.index(count);
        let mut after = before.clone();
        after.remove(gone);
        let (mut old, mut new, mut turned) = (Maglev::new(), Maglev::new(), Maglev::new());
        old.set_endpoints(&before);
        new.set_endpoints(&after);
        let reversed: Vec<_> = before.iter().rev().copied().collect();
        turned.set_endpoints(&reversed);
        let mut entropy = Entropy::seeded(seed);
        let flows = 4000usize;
        let (mut moved, mut counts) = (0, vec![0usize; count]);
        for _ in 0..flows {
            let flow = Flow { client: "1.2.3.4".parse().unwrap(), hash: entropy.next_u64() };
            let was = old.choose(&flow, &[], now()).unwrap();
            counts[was] += 1;
            prop_assert_eq!(before[was], reversed[turned.choose(&flow, &[], now()).unwrap()]);
            if was != gone && after[new.choose(&flow, &[], now()).unwrap()] != before[was] {
                moved += 1;
            }
        }
        prop_assert!(moved * 100 < flows * 6, "{moved} of {flows} flows moved without need");
        let fair = flows / count;
        prop_assert!(counts.iter().all(|c| c.abs_diff(fair) < fair / 2 + 30), "{counts:?}");
    }
}
