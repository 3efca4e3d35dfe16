//! Waiting for planes.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use orlop_core::Revision;
use orlop_netplan::{Gate, Progress};

#[test]
fn a_gate_opens_when_the_last_plane_has_passed() {
    let (one, two) = (Progress::new(), Progress::new());
    let gate = Gate::new([one.clone(), two.clone()]);
    let mut passed = pin!(gate.passed(Revision(7)));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(passed.as_mut().poll(&mut cx).is_pending());
    one.reach(Revision(9));
    assert!(passed.as_mut().poll(&mut cx).is_pending());
    assert_eq!(gate.reached(), Some(Revision(0)));
    two.reach(Revision(7));
    assert_eq!(passed.as_mut().poll(&mut cx), Poll::Ready(()));
    two.reach(Revision(3));
    assert!(gate.has_passed(Revision(7)) && !gate.has_passed(Revision(8)));
    assert!(Gate::default().has_passed(Revision(u64::MAX)), "without planes there is nobody to wait for");
}
