//! Claims that wait for the pod that uses them are bound before it is.

use orlop_core::kinds::{CSINode, PersistentVolume, PersistentVolumeClaim, StorageClass};
use orlop_core::{Key, Timestamp};
use orlop_scheduler::{
    AttachmentFacts, Change, Code, NodeFacts, Permission, Permit, PodFacts, Profile, Refusal, Scheduler,
    Snapshot, schedule,
};
use serde::Deserialize;
use serde_json::{Value, json};

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
    assert_eq!(rig.log(), "v2 bound to c1\n");
    assert_eq!(rig.scheduler.next_wake(), Some(rig.now + std::time::Duration::from_secs(1)));
    rig.wait(1);
    assert_eq!(rig.log(), "p -> b\n");
}

/// Both pods are tried before the first write is seen: the second must not be promised the first one's volume.
#[test]
fn a_volume_is_promised_once() {
    let mut rig = rig();
    rig.hold = true;
    rig.put(STORAGE).put("pod p claim=c1 select=zone:x\npod q claim=c2 select=zone:x").run().release();
    rig.wait(1);
    let log = rig.log();
    assert!(log.contains("v1 bound to c1\n") && log.contains("p -> a\n"), "{log}");
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
    rig.put("pod q claim=c2").run().wait(1);
    let log = rig.log();
    assert!(log.starts_with("v1 bound to c2\nq -> a\n"), "{log}");
}

#[test]
fn volumes_are_made_where_the_pod_goes() {
    let mut rig = rig();
    rig.put("node a zone=x\nclass made wait makes\nclaim c1 class=made\npod p claim=c1").run().wait(1);
    assert_eq!(rig.log(), "c1 made for a\np -> a\n");
}

/// Nobody binds the claim: the pod keeps its place for ten minutes, then it is tried again.
#[test]
fn a_pod_waits_for_its_volumes_and_not_for_ever() {
    let mut rig = rig();
    rig.unbound = true;
    rig.put(STORAGE).put("pod p claim=c1 select=zone:x").run();
    assert_eq!(rig.log(), "v1 bound to c1\n");
    for _ in 0..599 {
        rig.wait(1);
    }
    assert_eq!(rig.log(), "");
    assert_eq!(
        rig.scheduler.snapshot().pod(&Key::new("default", "p")).map(|pod| pod.node.as_str()),
        Some("a")
    );
    rig.wait(1);
    assert_eq!(rig.log(), "p: running PreBind plugin \"VolumeBinding\": timed out\n");
    assert!(rig.scheduler.snapshot().pod(&Key::new("default", "p")).is_none(), "its place is free");
}

/// A claim that is gone is not waited for: the pod held its place for ten minutes.
#[test]
fn what_will_not_come_about_is_not_waited_for() {
    let mut rig = rig();
    rig.unbound = true;
    rig.put(STORAGE).put("pod p claim=c1 select=zone:x").run();
    rig.remove("claim", "c1").wait(1);
    assert_eq!(rig.log(), "v1 bound to c1\np: running PreBind plugin \"VolumeBinding\": claim c1 is gone\n");
    assert!(rig.scheduler.snapshot().pod(&Key::new("default", "p")).is_none(), "its place is free");
}

/// A volume that somebody else has given away meanwhile was given to two claims.
#[test]
fn a_volume_is_taken_as_it_was_seen() {
    let mut rig = rig();
    rig.hold = true;
    rig.put(STORAGE).put("pod p claim=c1 select=zone:x").run();
    let writes: Vec<_> = rig.held().iter().flat_map(|attempt| &attempt.writes).collect();
    assert_eq!(writes.len(), 1);
    assert!(writes[0].revision.is_some(), "{:?}", writes[0]);
}

/// A pod that goes while its volumes are being bound leaves nothing behind.
#[test]
fn a_pod_that_goes_meanwhile_is_not_bound() {
    let mut rig = rig();
    rig.hold = true;
    rig.put(STORAGE).put("pod p claim=c1 select=zone:x").run();
    rig.remove("pod", "p").release().wait(1);
    assert_eq!(rig.log(), "v1 bound to c1\n");
    assert_eq!((rig.scheduler.stats().bound, rig.scheduler.next_wake()), (0, None));
}

/// A cluster of one node `n` whose driver attaches two volumes, of these objects besides.
fn one_node(objects: &[Value]) -> Snapshot {
    let mut cluster = Snapshot::new();
    let node = json!({"kind": "Node", "metadata": {"name": "n"},
        "status": {"allocatable": {"cpu": "8", "pods": "110"}}});
    for object in [&[node], objects].concat() {
        let read = |error: serde_json::Error| panic!("{object}: {error}");
        cluster.apply(match object["kind"].as_str() {
            Some("Node") => Change::Node(NodeFacts::from_json(&object).unwrap_or_else(read)),
            Some("CSINode") => Change::CsiNode((&CSINode::deserialize(&object).expect("a CSINode")).into()),
            Some("VolumeAttachment") => Change::Attachment(AttachmentFacts::from_json(&object)),
            Some("PersistentVolume") => {
                Change::Volume((&PersistentVolume::deserialize(&object).expect("a volume")).into())
            }
            Some("PersistentVolumeClaim") => {
                Change::Claim((&PersistentVolumeClaim::deserialize(&object).expect("a claim")).into())
            }
            Some("StorageClass") => {
                Change::Class((&StorageClass::deserialize(&object).expect("a class")).into())
            }
            _ => Change::Pod(PodFacts::from_json(&object).expect("a pod")),
        });
    }
    cluster
}

fn limits(driver: &str, count: i32) -> Value {
    json!({"kind": "CSINode", "metadata": {"name": "n"},
        "spec": {"drivers": [{"name": driver, "nodeID": "n", "allocatable": {"count": count}}]}})
}

/// A claim that is bound to a volume of the same name with this source.
fn bound(name: &str, source: &Value) -> [Value; 2] {
    let mut volume = json!({"kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {"capacity": {"storage": "1Gi"}, "claimRef": {"namespace": "default", "name": name}}});
    for (field, value) in source.as_object().expect("a source") {
        volume["spec"][field] = value.clone();
    }
    let claim = json!({"kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default",
            "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": {"volumeName": name}, "status": {"phase": "Bound"}});
    [volume, claim]
}

fn csi(driver: &str, handle: &str) -> Value {
    json!({"csi": {"driver": driver, "volumeHandle": handle}})
}

/// A pod with these volumes, on node `n` if `there`.
fn with_volumes(name: &str, volumes: &[Value], there: bool) -> Value {
    let named = volumes.iter().enumerate().map(|(n, volume)| {
        let mut volume = volume.clone();
        volume["name"] = format!("v{n}").into();
        volume
    });
    json!({"kind": "Pod", "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"containers": [{"name": "c"}], "volumes": named.collect::<Vec<_>>(),
            "nodeName": if there { "n" } else { "" }}})
}

fn claims(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"persistentVolumeClaim": {"claimName": name}})).collect()
}

/// What is said of the node for a pod with these volumes; empty if it takes the pod.
fn said(objects: &[Value], volumes: &[Value]) -> String {
    let pod = PodFacts::from_json(&with_volumes("p", volumes, false)).expect("a pod");
    let decision = schedule(&pod, &one_node(objects), &Profile::default().with_volumes(), 1);
    assert_eq!(decision.fault, None);
    let first = decision.rejected.values().next();
    first.map_or_else(String::new, |first| format!("{}: {}", first.plugin, first.refusal.reasons.join(", ")))
}

const FULL: &str = "NodeVolumeLimits: node(s) exceed max volume count";

#[test]
fn no_more_volumes_than_a_driver_attaches() {
    let volumes: Vec<Value> =
        ["a", "b", "c"].iter().flat_map(|name| bound(name, &csi("d.example.com", name))).collect();
    let with = |more: &[Value]| [&volumes, more].concat();
    let two = limits("d.example.com", 2);
    let there = with_volumes("q", &claims(&["a", "b"]), true);
    assert_eq!(said(&with(&[two.clone(), there.clone()]), &claims(&["c"])), FULL);
    assert_eq!(said(&with(std::slice::from_ref(&two)), &claims(&["a", "b", "c"])), FULL);
    // What is there already counts once, and so does what a pod has twice.
    assert_eq!(said(&with(&[two.clone(), there.clone()]), &claims(&["a", "b", "a"])), "");
    // Nobody says how many of this driver there may be; there is no CSINode.
    assert_eq!(said(&with(&[limits("e.example.com", 0), there.clone()]), &claims(&["c"])), "");
    assert_eq!(said(&with(&[there]), &claims(&["c"])), "");
    // Pods that use no volumes do not mind.
    assert_eq!(said(&with(&[limits("d.example.com", 0)]), &[json!({"emptyDir": {}})]), "");
}

/// They are read only where they matter: not every API serves them to everybody.
#[test]
fn nodes_of_drivers_are_followed_where_volumes_are_counted() {
    let follows = |profile| {
        let scheduler = Scheduler::new(vec![profile], 1);
        scheduler.kinds().iter().filter(|k| k.plural == "csinodes" || k.plural == "volumeattachments").count()
    };
    assert_eq!((follows(Profile::default()), follows(Profile::default().with_volumes())), (0, 2));
}

#[test]
fn what_is_attached_counts_though_nobody_uses_it() {
    let volumes: Vec<Value> =
        ["a", "b"].iter().flat_map(|name| bound(name, &csi("d.example.com", name))).collect();
    let attachment = json!({"kind": "VolumeAttachment", "metadata": {"name": "x"},
        "spec": {"attacher": "d.example.com", "nodeName": "n", "source": {"persistentVolumeName": "a"}}});
    let with = |limit| [&volumes[..], &[limits("d.example.com", limit), attachment.clone()]].concat();
    assert_eq!(said(&with(1), &claims(&["b"])), FULL);
    assert_eq!(said(&with(1), &claims(&["a"])), "", "it is attached for it");
    assert_eq!(said(&with(2), &claims(&["b"])), "");
}

#[test]
fn claims_that_wait_count_for_who_makes_their_volume() {
    let class = |provisioner: &str| {
        json!({"kind": "StorageClass", "metadata": {"name": "late"}, "provisioner": provisioner,
            "volumeBindingMode": "WaitForFirstConsumer"})
    };
    let claim = json!({"kind": "PersistentVolumeClaim", "metadata": {"name": "c", "namespace": "default"},
        "spec": {"storageClassName": "late"}});
    let with = |provisioner, driver| [class(provisioner), claim.clone(), limits(driver, 0)];
    assert_eq!(said(&with("d.example.com", "d.example.com"), &claims(&["c"])), FULL);
    assert_eq!(said(&with("d.example.com", "e.example.com"), &claims(&["c"])), "");
    assert_eq!(said(&with("kubernetes.io/aws-ebs", "ebs.csi.aws.com"), &claims(&["c"])), FULL);
    assert_eq!(said(&with("kubernetes.io/azure-file", "file.csi.azure.com"), &claims(&["c"])), "");
}

/// A volume of a plugin that is no more is the same as the driver's of that name.
#[test]
fn old_plugins_count_for_their_successors() {
    for (source, driver, handle) in [
        (json!({"awsElasticBlockStore": {"volumeID": "aws://z/vol-1"}}), "ebs.csi.aws.com", "vol-1"),
        (
            json!({"gcePersistentDisk": {"pdName": "d"}}),
            "pd.csi.storage.gke.io",
            "projects/UNSPECIFIED/zones/UNSPECIFIED/disks/d",
        ),
        (json!({"azureDisk": {"diskName": "d", "diskURI": "/s/d"}}), "disk.csi.azure.com", "/s/d"),
        (json!({"cinder": {"volumeID": "u"}}), "cinder.csi.openstack.org", "u"),
        (json!({"portworxVolume": {"volumeID": "w"}}), "pxd.portworx.com", "w"),
    ] {
        let old = bound("old", &source);
        let new = bound("new", &csi(driver, handle));
        let other = bound("other", &csi(driver, "other"));
        let there = with_volumes("q", &claims(&["new"]), true);
        let all = [&old[..], &new, &other, &[limits(driver, 1), there]].concat();
        assert_eq!(said(&all, &claims(&["old"])), "", "{source}: it is there already");
        assert_eq!(said(&all, &claims(&["other"])), FULL, "{source}");
        // A pod may name such a disk itself.
        let named = if driver == "ebs.csi.aws.com" { "vol-2" } else { "z" };
        let inline = |mut source: Value| {
            for (_, fields) in source.as_object_mut().expect("a source") {
                for field in ["volumeID", "pdName", "diskURI"] {
                    if fields.get(field).is_some() {
                        fields[field] = named.into();
                    }
                }
            }
            source
        };
        assert_eq!(said(&all, &[inline(source.clone())]), FULL, "{source}");
    }
}

#[test]
fn disks_that_cannot_be_shared() {
    const TAKEN: &str = "VolumeRestrictions: node(s) had no available disk";
    let gce = |reads: bool| json!({"gcePersistentDisk": {"pdName": "d", "readOnly": reads}});
    let ebs = |id: &str| json!({"awsElasticBlockStore": {"volumeID": id, "readOnly": true}});
    let iscsi =
        |reads: bool| json!({"iscsi": {"iqn": "iqn.x", "targetPortal": "p", "lun": 0, "readOnly": reads}});
    let rbd = |monitors: &[&str], image: &str, reads: bool| json!({"rbd": {"monitors": monitors, "image": image, "pool": "rbd", "readOnly": reads}});
    for (there, wanted, expected) in [
        (gce(true), gce(true), ""),
        (gce(true), gce(false), TAKEN),
        (gce(false), json!({"gcePersistentDisk": {"pdName": "e"}}), ""),
        (ebs("a"), ebs("a"), TAKEN),
        (ebs("a"), ebs("b"), ""),
        (iscsi(true), iscsi(true), ""),
        (iscsi(false), iscsi(true), TAKEN),
        (rbd(&["m1", "m2"], "i", false), rbd(&["m2"], "i", true), TAKEN),
        (rbd(&["m1"], "i", false), rbd(&["m2"], "i", false), ""),
        (rbd(&["m1"], "i", false), rbd(&["m1"], "j", false), ""),
        (rbd(&["m1"], "i", true), rbd(&["m1"], "i", true), ""),
        (gce(false), ebs("d"), ""),
    ] {
        let holder = with_volumes("q", std::slice::from_ref(&there), true);
        assert_eq!(said(&[holder], std::slice::from_ref(&wanted)), expected, "{wanted} beside {there}");
    }
}

/// A pod that has the disk goes if it is less important.
#[test]
fn a_disk_is_made_free() {
    let disk = json!({"awsElasticBlockStore": {"volumeID": "a"}});
    let cluster = one_node(&[with_volumes("q", std::slice::from_ref(&disk), true)]);
    let mut pod = with_volumes("p", &[disk], false);
    pod["spec"]["priority"] = 5.into();
    let pod = PodFacts::from_json(&pod).expect("a pod");
    let decision = schedule(&pod, &cluster, &Profile::default().with_volumes(), 1);
    let found = decision.post_filter.expect("it may evict");
    assert_eq!((found.nominated, found.victims), (Some("n".into()), vec![Key::new("default", "q")]));
    let said = decision.every["n"].iter().map(|objection| objection.remedy.as_str());
    assert_eq!(said.collect::<Vec<_>>(), ["default/q must leave the node: it has the disk"]);
}
