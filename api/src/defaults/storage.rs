//! Volumes, claims and storage classes.

use serde_json::json;

use super::resources::round;
use super::tree::{Object, absent, at, is_empty, made, within, zero};

pub(super) fn persistent_volume(object: &mut Object) {
    if let Some(status) = made(object, "status") {
        zero(status, "phase", "Pending");
    }
    within(object, "spec", |spec| {
        zero(spec, "persistentVolumeReclaimPolicy", "Retain");
        absent(spec, "volumeMode", "Filesystem");
        at(spec, "capacity", round);
        sources(spec);
    });
}

pub(super) fn persistent_volume_claim(object: &mut Object) {
    if let Some(status) = made(object, "status") {
        zero(status, "phase", "Pending");
        at(status, "capacity", round);
    }
    within(object, "spec", claim_spec);
}

pub(super) fn claim_spec(spec: &mut Object) {
    absent(spec, "volumeMode", "Filesystem");
    at(spec, "resources", |resources| {
        at(resources, "limits", round);
        at(resources, "requests", round);
    });
}

/// The sources that volumes of pods and persistent volumes have in common.
pub(super) fn sources(volume: &mut Object) {
    at(volume, "hostPath", |path| absent(path, "type", ""));
    at(volume, "iscsi", |iscsi| zero(iscsi, "iscsiInterface", "default"));
    at(volume, "rbd", |rbd| {
        zero(rbd, "pool", "rbd");
        zero(rbd, "user", "admin");
        zero(rbd, "keyring", "/etc/ceph/keyring");
    });
    at(volume, "azureDisk", |disk| {
        absent(disk, "cachingMode", "ReadWrite");
        absent(disk, "kind", "Shared");
        absent(disk, "fsType", "ext4");
        absent(disk, "readOnly", false);
    });
    at(volume, "scaleIO", |disk| {
        zero(disk, "storageMode", "ThinProvisioned");
        zero(disk, "fsType", "xfs");
    });
}

pub(super) fn storage_class(object: &mut Object) {
    absent(object, "reclaimPolicy", "Delete");
    absent(object, "volumeBindingMode", "Immediate");
}

pub(super) fn csi_driver(object: &mut Object) {
    within(object, "spec", |spec| {
        absent(spec, "attachRequired", true);
        absent(spec, "podInfoOnMount", false);
        absent(spec, "storageCapacity", false);
        absent(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        absent(spec, "requiresRepublish", false);
        absent(spec, "seLinuxMount", false);
        if is_empty(spec, "volumeLifecycleModes") {
            spec.insert("volumeLifecycleModes".into(), json!(["Persistent"]));
        }
    });
}
