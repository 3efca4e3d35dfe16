//! Claims and volumes in the small model of a cluster.

use expect_test::{Expect, expect};
use orlop_controllers::{ClaimProtectionController, VolumeBinder, VolumeProtectionController};
use orlop_core::Object;
use orlop_core::kinds::{PersistentVolume, PersistentVolumeClaim, Pod, StorageClass};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::model::Model;

fn world() -> Model {
    Model::new(|runner| {
        runner.add(VolumeBinder);
        runner.add(ClaimProtectionController);
        runner.add(VolumeProtectionController);
    })
}

fn class(model: &mut Model, name: &str, provisioner: &str, mode: &str) {
    let meta = json!({"name": name});
    model.put(
        &StorageClass::KIND,
        json!({"metadata": meta, "provisioner": provisioner, "volumeBindingMode": mode}),
    );
}

fn volume(name: &str, class: &str, size: &str, modes: &[&str]) -> Value {
    json!({
        "metadata": {"name": name, "finalizers": ["kubernetes.io/pv-protection"]},
        "spec": {"capacity": {"storage": size}, "storageClassName": class, "accessModes": modes,
            "persistentVolumeReclaimPolicy": "Retain"},
        "status": {"phase": "Pending"},
    })
}

fn claim(name: &str, class: Option<&str>, size: &str) -> Value {
    let mut claim = json!({
        "metadata": {"name": name, "namespace": "shop", "finalizers": ["kubernetes.io/pvc-protection"]},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
        "status": {"phase": "Pending"},
    });
    if let Some(class) = class {
        claim["spec"]["storageClassName"] = class.into();
    }
    claim
}

/// Who has what, and what was said; what was said before is left out.
fn check(model: &mut Model, expected: Expect) {
    let said = model.events.len();
    model.settle(&mut |_| {});
    let mut story = Vec::new();
    for volume in model.all(&PersistentVolume::KIND) {
        let owner = volume["spec"]["claimRef"]["name"].as_str().unwrap_or("nobody");
        let by = volume["metadata"]["annotations"]["pv.kubernetes.io/bound-by-controller"].as_str();
        story.push(format!(
            "{} {} for {owner}{}",
            volume["metadata"]["name"],
            volume["status"]["phase"],
            by.map_or("", |_| ", chosen")
        ));
    }
    for claim in model.all(&PersistentVolumeClaim::KIND) {
        story.push(format!(
            "{} {} {} {}",
            claim["metadata"]["name"],
            claim["status"]["phase"],
            claim["spec"]["volumeName"],
            claim["status"]["capacity"]
        ));
    }
    story.extend(model.events[said..].iter().cloned());
    expected.assert_eq(&story.join("\n").replace('"', ""));
}

#[test]
fn a_claim_gets_the_smallest_that_will_do() {
    let mut model = world();
    for (name, class, size, modes) in [
        ("huge", "", "9Gi", &["ReadWriteOnce"][..]),
        ("many", "", "2Gi", &["ReadWriteOnce", "ReadWriteMany"]),
        ("other", "fast", "2Gi", &["ReadWriteOnce"]),
        ("small", "", "1Gi", &["ReadWriteOnce"]),
        ("suits", "", "3Gi", &["ReadWriteOnce"]),
    ] {
        model.put(&PersistentVolume::KIND, volume(name, class, size, modes));
    }
    model.put(&PersistentVolumeClaim::KIND, claim("c", Some(""), "2Gi"));
    check(
        &mut model,
        expect![[r#"
            huge Available for nobody
            many Available for nobody
            other Available for nobody
            small Available for nobody
            suits Bound for c, chosen
            c Bound suits {storage:3Gi}
            FailedBinding: no persistent volumes available for this claim and no storage class is set"#]],
    );
    model.put(&PersistentVolumeClaim::KIND, claim("d", None, "20Gi"));
    check(
        &mut model,
        expect![[r#"
            huge Available for nobody
            many Available for nobody
            other Available for nobody
            small Available for nobody
            suits Bound for c, chosen
            c Bound suits {storage:3Gi}
            d Pending null null
            FailedBinding: no persistent volumes available for this claim and no storage class is set"#]],
    );
}

#[test]
fn a_claim_that_waits_takes_what_the_scheduler_chose() {
    let mut model = world();
    class(&mut model, "manual", "kubernetes.io/no-provisioner", "WaitForFirstConsumer");
    model.put(&PersistentVolume::KIND, volume("v", "manual", "1Gi", &["ReadWriteOnce"]));
    model.put(&PersistentVolumeClaim::KIND, claim("c", Some("manual"), "1Gi"));
    check(
        &mut model,
        expect![[r#"
            v Available for nobody
            c Pending null null
            WaitForFirstConsumer: waiting for first consumer to be created before binding"#]],
    );
    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]);
    model.put(
        &Pod::KIND,
        json!({"metadata": {"name": "p", "namespace": "shop"}, "spec": {"volumes": volumes}}),
    );
    model.edit(&PersistentVolumeClaim::KIND, "shop", "c", json!({"metadata": {"labels": {"a": "b"}}}));
    check(
        &mut model,
        expect![[r#"
            v Available for nobody
            c Pending null null
            WaitForPodScheduled: waiting for pod p to be scheduled"#]],
    );
    let uid =
        model.get(&PersistentVolumeClaim::KIND, "shop", "c").expect("a claim")["metadata"]["uid"].clone();
    let chosen = json!({"claimRef": {"namespace": "shop", "name": "c", "uid": uid}});
    model.edit(&PersistentVolume::KIND, "", "v", json!({"spec": chosen}));
    check(
        &mut model,
        expect![[r#"
            v Bound for c
            c Bound v {storage:1Gi}"#]],
    );
}

#[test]
fn provisioners_are_told_and_classes_found() {
    let mut model = world();
    model.put(&PersistentVolumeClaim::KIND, claim("c", None, "1Gi"));
    model.put(&PersistentVolumeClaim::KIND, claim("wants-none", Some(""), "1Gi"));
    model.put(&PersistentVolumeClaim::KIND, claim("lost", Some("absent"), "1Gi"));
    check(
        &mut model,
        expect![[r#"
            c Pending null null
            lost Pending null null
            wants-none Pending null null
            FailedBinding: no persistent volumes available for this claim and no storage class is set
            FailedBinding: no persistent volumes available for this claim and no storage class is set
            ProvisioningFailed: storageclass.storage.k8s.io \absent\ not found"#]],
    );
    class(&mut model, "fast", "disks.example.test", "Immediate");
    let default = json!({"storageclass.kubernetes.io/is-default-class": "true"});
    model.edit(&StorageClass::KIND, "", "fast", json!({"metadata": {"annotations": default}}));
    model.settle(&mut |_| {});
    let class_of = |model: &Model, name| {
        let claim = model.get(&PersistentVolumeClaim::KIND, "shop", name).expect("a claim");
        let by = &claim["metadata"]["annotations"]["volume.kubernetes.io/storage-provisioner"];
        format!("{} {by}", claim["spec"]["storageClassName"])
    };
    assert_eq!(class_of(&model, "c"), r#""fast" "disks.example.test""#);
    assert_eq!(class_of(&model, "wants-none"), r#""" null"#);
    assert!(model.events.last().is_some_and(|event| event.contains("ExternalProvisioning")));
}

#[test]
fn volumes_are_given_back_by_their_policy() {
    let mut model = world();
    for (name, policy) in [("a", "Retain"), ("b", "Delete"), ("c", "Recycle"), ("d", "Delete")] {
        let mut volume = volume(name, "", "1Gi", &["ReadWriteOnce"]);
        volume["spec"]["persistentVolumeReclaimPolicy"] = policy.into();
        volume["spec"]["claimRef"] = json!({"namespace": "shop", "name": name});
        if name == "d" {
            volume["metadata"]["annotations"] =
                json!({"pv.kubernetes.io/provisioned-by": "disks.example.test"});
        }
        model.put(&PersistentVolume::KIND, volume);
        model.put(&PersistentVolumeClaim::KIND, claim(name, Some(""), "1Gi"));
    }
    check(
        &mut model,
        expect![[r#"
            a Bound for a
            b Bound for b
            c Bound for c
            d Bound for d
            a Bound a {storage:1Gi}
            b Bound b {storage:1Gi}
            c Bound c {storage:1Gi}
            d Bound d {storage:1Gi}"#]],
    );
    for name in ["a", "b", "c", "d"] {
        model.delete(&PersistentVolumeClaim::KIND, "shop", name, None);
    }
    check(
        &mut model,
        expect![[r#"
            a Released for a
            b Failed for b
            c Failed for c
            d Released for d
            VolumeFailedDelete: error getting deleter volume plugin for volume \b\: no deletable volume plugin matched
            VolumeFailedRecycle: No recycler plugin found for the volume!"#]],
    );
    model.delete(&PersistentVolume::KIND, "", "a", None);
    model.settle(&mut |_| {});
    assert!(model.get(&PersistentVolume::KIND, "", "a").is_none(), "nothing holds it");
}

#[test]
fn a_claim_whose_volume_goes_is_lost() {
    let mut model = world();
    let mut asked = claim("c", Some(""), "5Gi");
    asked["spec"]["volumeName"] = "v".into();
    model.put(&PersistentVolumeClaim::KIND, asked);
    model.put(&PersistentVolume::KIND, volume("v", "", "1Gi", &["ReadWriteOnce"]));
    check(
        &mut model,
        expect![[r#"
            v Available for nobody
            c Pending v null
            VolumeMismatch: Cannot bind to requested volume \v\: requested PV is too small"#]],
    );
    model.edit(&PersistentVolume::KIND, "", "v", json!({"spec": {"capacity": {"storage": "5Gi"}}}));
    check(
        &mut model,
        expect![[r#"
            v Bound for c, chosen
            c Bound v {storage:5Gi}"#]],
    );
    model.edit(&PersistentVolume::KIND, "", "v", json!({"metadata": {"finalizers": null}}));
    model.delete(&PersistentVolume::KIND, "", "v", None);
    check(
        &mut model,
        expect![[r#"
            c Lost v null
            ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!"#]],
    );
}

proptest! {
    /// Whatever comes and goes: no volume is two claims', and no claim that could have one is left without.
    #[test]
    fn nobody_shares_and_nobody_waits_in_vain(
        steps in proptest::collection::vec((0..4u8, 0..5u8, 1..4u8), 1..40),
    ) {
        let mut model = world();
        for (what, name, size) in steps {
            let (name, size) = (format!("n{name}"), format!("{size}Gi"));
            match what {
                0 if model.get(&PersistentVolume::KIND, "", &name).is_none() => {
                    model.put(&PersistentVolume::KIND, volume(&name, "", &size, &["ReadWriteOnce"]));
                }
                1 if model.get(&PersistentVolumeClaim::KIND, "shop", &name).is_none() => {
                    model.put(&PersistentVolumeClaim::KIND, claim(&name, Some(""), &size));
                }
                2 if model.get(&PersistentVolumeClaim::KIND, "shop", &name).is_some() => {
                    model.delete(&PersistentVolumeClaim::KIND, "shop", &name, None);
                }
                3 if model.get(&PersistentVolume::KIND, "", &name).is_some() => {
                    model.delete(&PersistentVolume::KIND, "", &name, None);
                }
                _ => {}
            }
            model.settle(&mut |_| {});
            let claims = model.all(&PersistentVolumeClaim::KIND);
            let volumes = model.all(&PersistentVolume::KIND);
            let mut taken: Vec<&Value> = claims.iter().map(|c| &c["spec"]["volumeName"]).filter(|v| !v.is_null()).collect();
            let count = taken.len();
            taken.sort_by_key(|name| name.to_string());
            taken.dedup();
            prop_assert_eq!(taken.len(), count);
            for claim in claims.iter().filter(|claim| claim["status"]["phase"] == "Pending") {
                let wanted = claim["spec"]["resources"]["requests"]["storage"].as_str();
                let fits = |v: &&Value| {
                    v["status"]["phase"] == "Available"
                        && v["metadata"]["deletionTimestamp"].is_null()
                        && v["spec"]["capacity"]["storage"].as_str() >= wanted
                };
                prop_assert!(!volumes.iter().any(fits), "{claim} could have one of {volumes:?}");
            }
        }
    }
}
