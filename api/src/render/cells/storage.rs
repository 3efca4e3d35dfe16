//! Volumes, their classes and drivers, and devices.

use orlop_core::rules::volume::CLASS_ANNOTATION;
use serde_json::Value;

use super::{age, items, name, scalar, text};
use crate::render::columns::{AGE, Known, NAME, Printer};

fn state(o: &Value) -> Value {
    if o["metadata"]["deletionTimestamp"].is_null() {
        text(&o["status"]["phase"]).into()
    } else {
        "Terminating".into()
    }
}

/// Each mode once, in the order of how much they allow.
fn modes(value: &Value) -> String {
    let has = |mode: &str| items(value).iter().any(|m| m == mode);
    [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ]
    .iter()
    .filter(|(mode, _)| has(mode))
    .map(|(_, short)| *short)
    .collect::<Vec<_>>()
    .join(",")
}

fn class(o: &Value) -> Value {
    match o["metadata"]["annotations"][CLASS_ANNOTATION].as_str() {
        Some(class) => class.into(),
        None => text(&o["spec"]["storageClassName"]).into(),
    }
}

fn unset(value: &Value) -> Value {
    value.as_str().unwrap_or("<unset>").into()
}

fn amount(value: &Value) -> String {
    if value.is_null() { "0".into() } else { scalar(value) }
}

pub(super) static VOLUME: Printer = Printer {
    columns: &[
        NAME,
        Known::text("Capacity"),
        Known::text("Access Modes"),
        Known::text("Reclaim Policy"),
        Known::text("Status"),
        Known::text("Claim"),
        Known::text("StorageClass"),
        Known::text("VolumeAttributesClass"),
        Known::text("Reason"),
        AGE,
        Known::wide("VolumeMode"),
    ],
    cells: |o, now| {
        let spec = &o["spec"];
        let claim = &spec["claimRef"];
        let claim = if claim.is_null() {
            String::new()
        } else {
            format!("{}/{}", text(&claim["namespace"]), text(&claim["name"]))
        };
        vec![
            name(o),
            amount(&spec["capacity"]["storage"]).into(),
            modes(&spec["accessModes"]).into(),
            text(&spec["persistentVolumeReclaimPolicy"]).into(),
            state(o),
            claim.into(),
            class(o),
            unset(&spec["volumeAttributesClassName"]),
            text(&o["status"]["reason"]).into(),
            age(o, now),
            unset(&spec["volumeMode"]),
        ]
    },
};

pub(super) static CLAIM: Printer = Printer {
    columns: &[
        NAME,
        Known::text("Status"),
        Known::text("Volume"),
        Known::text("Capacity"),
        Known::text("Access Modes"),
        Known::text("StorageClass"),
        Known::text("VolumeAttributesClass"),
        AGE,
        Known::wide("VolumeMode"),
    ],
    cells: |o, now| {
        let (spec, status) = (&o["spec"], &o["status"]);
        let volume = text(&spec["volumeName"]);
        let (capacity, modes) = if volume.is_empty() {
            (String::new(), String::new())
        } else {
            (amount(&status["capacity"]["storage"]), modes(&status["accessModes"]))
        };
        vec![
            name(o),
            state(o),
            volume.into(),
            capacity.into(),
            modes.into(),
            class(o),
            unset(&spec["volumeAttributesClassName"]),
            age(o, now),
            unset(&spec["volumeMode"]),
        ]
    },
};

pub(super) static CLASS: Printer = Printer {
    columns: &[
        NAME,
        Known::text("Provisioner"),
        Known::text("ReclaimPolicy"),
        Known::text("VolumeBindingMode"),
        Known::text("AllowVolumeExpansion"),
        AGE,
    ],
    cells: |o, now| {
        let annotations = &o["metadata"]["annotations"];
        let default = [
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ]
        .iter()
        .any(|a| annotations[a] == "true");
        let shown =
            if default { format!("{} (default)", text(&o["metadata"]["name"])).into() } else { name(o) };
        vec![
            shown,
            text(&o["provisioner"]).into(),
            o["reclaimPolicy"].as_str().unwrap_or("Delete").into(),
            o["volumeBindingMode"].as_str().unwrap_or("Immediate").into(),
            (o["allowVolumeExpansion"] == true).into(),
            age(o, now),
        ]
    },
};

pub(super) static ATTRIBUTES_CLASS: Printer = Printer {
    columns: &[NAME, Known::text("DriverName"), AGE],
    cells: |o, now| vec![name(o), text(&o["driverName"]).into(), age(o, now)],
};

pub(super) static ATTACHMENT: Printer = Printer {
    columns: &[
        NAME,
        Known::text("Attacher"),
        Known::text("PV"),
        Known::text("Node"),
        Known::typed("Attached", "boolean"),
        AGE,
    ],
    cells: |o, now| {
        let spec = &o["spec"];
        vec![
            name(o),
            text(&spec["attacher"]).into(),
            text(&spec["source"]["persistentVolumeName"]).into(),
            text(&spec["nodeName"]).into(),
            (o["status"]["attached"] == true).into(),
            age(o, now),
        ]
    },
};

pub(super) static DRIVER: Printer = Printer {
    columns: &[
        NAME,
        Known::typed("AttachRequired", "boolean"),
        Known::typed("PodInfoOnMount", "boolean"),
        Known::typed("StorageCapacity", "boolean"),
        Known::text("TokenRequests"),
        Known::typed("RequiresRepublish", "boolean"),
        Known::text("Modes"),
        AGE,
    ],
    cells: |o, now| {
        let spec = &o["spec"];
        let audiences: Vec<&str> =
            items(&spec["tokenRequests"]).iter().map(|t| text(&t["audience"])).collect();
        let modes: Vec<&str> = items(&spec["volumeLifecycleModes"]).iter().map(text).collect();
        let unset = |text: String| if text.is_empty() { "<unset>".to_owned() } else { text };
        vec![
            name(o),
            (spec["attachRequired"] != false).into(),
            (spec["podInfoOnMount"] == true).into(),
            (spec["storageCapacity"] == true).into(),
            unset(audiences.join(",")).into(),
            (spec["requiresRepublish"] == true).into(),
            if modes.is_empty() { "<none>".into() } else { modes.join(",").into() },
            age(o, now),
        ]
    },
};

pub(super) static CSI_NODE: Printer = Printer {
    columns: &[NAME, Known::typed("Drivers", "integer"), AGE],
    cells: |o, now| vec![name(o), items(&o["spec"]["drivers"]).len().into(), age(o, now)],
};

pub(super) static CAPACITY: Printer = Printer {
    columns: &[NAME, Known::text("StorageClassName"), Known::text("Capacity")],
    cells: |o, _| {
        let capacity = &o["capacity"];
        let shown = if capacity.is_null() { "<unset>".to_owned() } else { scalar(capacity) };
        vec![name(o), text(&o["storageClassName"]).into(), shown.into()]
    },
};

pub(super) static DEVICE_CLASS: Printer =
    Printer { columns: &[NAME, AGE], cells: |o, now| vec![name(o), age(o, now)] };

pub(super) static RESOURCE_CLAIM: Printer = Printer {
    columns: &[NAME, Known::text("State"), AGE],
    cells: |o, now| {
        let status = &o["status"];
        let mut states = Vec::new();
        if !o["metadata"]["deletionTimestamp"].is_null() {
            states.push("deleted");
        }
        if status["allocation"].is_null() {
            states.push("pending");
        } else {
            states.push("allocated");
        }
        if !items(&status["reservedFor"]).is_empty() {
            states.push("reserved");
        }
        vec![name(o), states.join(",").into(), age(o, now)]
    },
};

pub(super) static RESOURCE_SLICE: Printer = Printer {
    columns: &[NAME, Known::text("Node"), Known::text("Driver"), Known::text("Pool"), AGE],
    cells: |o, now| {
        let spec = &o["spec"];
        vec![
            name(o),
            text(&spec["nodeName"]).into(),
            text(&spec["driver"]).into(),
            text(&spec["pool"]["name"]).into(),
            age(o, now),
        ]
    },
};
