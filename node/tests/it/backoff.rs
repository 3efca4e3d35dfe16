//! Waits between restarts, as the kubelet's.

/// The recorded cases need the feature `oracle`.
#[cfg(feature = "oracle")]
#[test]
fn waits_as_the_kubelet_does() {
    use orlop_node::oracle::{BACKOFF, answers};
    if let Some(tally) = BACKOFF.check_some(|case| answers(&case.input)) {
        assert!(tally.all(), "{tally:?}");
    }
}

#[test]
fn waits_double_and_are_forgotten() {
    use orlop_core::Timestamp;
    use orlop_node::Backoff;
    let mut backoff = Backoff::crash_loop();
    let mut delays = Vec::new();
    let mut at = Timestamp::from_secs(1000);
    for _ in 0..8 {
        backoff.next(at, at);
        delays.push(backoff.delay().as_secs());
        at = at + backoff.delay();
    }
    assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300, 300]);
    let later = at + std::time::Duration::from_secs(601);
    assert_eq!(backoff.until(later), None);
    backoff.next(later, later);
    assert_eq!(backoff.delay().as_secs(), 10);
}
