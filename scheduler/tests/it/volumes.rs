//! Claims that wait for the pod that uses them are bound before it is.

use orlop_core::Timestamp;
use orlop_scheduler::{Code, Permission, Permit, PodFacts, Profile, Refusal, Snapshot};

use crate::rig::Rig;

fn rig() -> Rig {
    Rig::new(vec![Profile::default().with_volumes()])
}

const STORAGE: &str = "
    node a zone=x
    node b zone=y
    class late wait
    claim c1 class=late
    claim c2 class=late
    volume v1 class=late zone=x size=1Gi
    volume v2 class=late zone=y size=2Gi
";

#[test]
fn the_volume_that_suits_is_bound_before_the_pod() {
    let mut rig = rig();
    rig.put(STORAGE).put("pod p claim=c1 select=zone:y").run();
    assert_eq!(rig.log(), "v2 bound to c1\np -> b\n");
}

/// Both pods are tried before the first write is seen: the second must not be promised the first one's volume.
#[test]
fn a_volume_is_promised_once() {
    let mut rig = rig();
    rig.hold = true;
    rig.put(STORAGE).put("pod p claim=c1 select=zone:x\npod q claim=c2 select=zone:x").run().release();
    let log = rig.log();
    assert!(log.contains("v1 bound to c1\np -> a\n"), "{log}");
    assert!(
        log.contains("q: 0/2 nodes are available:")
            && log.contains("didn't find available persistent volumes"),
        "{log}"
    );
    assert!(!log.contains("bound to c2"), "{log}");
}

#[test]
fn a_promise_that_comes_to_nothing_is_taken_back() {
    struct NotThese;
    impl Permit for NotThese {
        fn name(&self) -> &str {
            "NotThese"
        }
        fn permit(&self, pod: &PodFacts, _: &str, _: &Snapshot, _: Timestamp) -> Permission {
            match pod.label("bad") {
                Some(_) => Permission::Deny(Refusal::new(Code::Unschedulable, "not this one")),
                None => Permission::Allow,
            }
        }
    }
    let mut rig = Rig::new(vec![Profile::default().with_volumes().permit(NotThese)]);
    rig.put("node a zone=x\nclass late wait\nclaim c1 class=late\nclaim c2 class=late\nvolume v1 class=late zone=x");
    rig.put("pod p claim=c1 bad=1").run();
    assert_eq!(rig.log(), "p: not this one\n");
    rig.put("pod q claim=c2").run();
    assert_eq!(rig.log(), "v1 bound to c2\nq -> a\n");
}

#[test]
fn volumes_are_made_where_the_pod_goes() {
    let mut rig = rig();
    rig.put("node a zone=x\nclass made wait makes\nclaim c1 class=made\npod p claim=c1").run();
    assert_eq!(rig.log(), "c1 made for a\np -> a\n");
}
