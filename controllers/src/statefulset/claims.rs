//! Claims of a StatefulSet's pods, and whom they go with.

use orlop_core::kinds::{PersistentVolumeClaim, Pod};
use orlop_core::{Meta, Name, Object, OwnerReference};
use serde_json::{Value, json};

use super::view::StatefulSetView;

/// The name of the claim for a template and a number.
pub(super) fn claim_name(set: &StatefulSetView, template: &Value, ordinal: i32) -> Name {
    let template = template["metadata"]["name"].as_str().unwrap_or_default();
    smol_str::format_smolstr!("{template}-{}-{ordinal}", set.metadata.name)
}

/// The claims of the pod with a number: each one's name and the object to create.
pub(super) fn claims(set: &StatefulSetView, ordinal: i32) -> Vec<(Name, Value)> {
    set.spec
        .volume_claim_templates
        .iter()
        .map(|template| {
            let name = claim_name(set, template, ordinal);
            let mut labels = template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
            for (label, value) in &set.spec.selector.match_labels {
                labels.insert(label.to_string(), json!(value));
            }
            let mut metadata = json!({"name": name, "namespace": set.metadata.namespace, "labels": labels});
            if let Some(annotations) = template["metadata"].get("annotations") {
                metadata["annotations"] = annotations.clone();
            }
            let claim = json!({
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": metadata,
                "spec": template["spec"],
            });
            (name, claim)
        })
        .collect()
}

/// The volumes of the pod with a number: those of claims, then the template's others.
pub(super) fn volumes(set: &StatefulSetView, ordinal: i32, others: &Value) -> Vec<Value> {
    let mut volumes: Vec<Value> = Vec::new();
    for template in &set.spec.volume_claim_templates {
        volumes.push(json!({
            "name": template["metadata"]["name"],
            "persistentVolumeClaim": {"claimName": claim_name(set, template, ordinal)},
        }));
    }
    for volume in others.as_array().into_iter().flatten() {
        if !volumes.iter().any(|own| own["name"] == volume["name"]) {
            volumes.push(volume.clone());
        }
    }
    volumes
}

/// Whether a pod mounts its own claims.
pub(super) fn storage_matches(set: &StatefulSetView, ordinal: i32, pod: &Pod) -> bool {
    set.spec.volume_claim_templates.iter().all(|template| {
        let name = template["metadata"]["name"].as_str().unwrap_or_default();
        let wanted = claim_name(set, template, ordinal);
        pod.spec.volumes.iter().any(|volume| {
            volume.name == name
                && volume.persistent_volume_claim.as_ref().is_some_and(|claim| claim.claim_name == wanted)
        })
    })
}

/// Whether the owner that a claim names has been replaced by another of that name: the claim is about to go.
pub(super) fn is_stale(claim: &PersistentVolumeClaim, set: &StatefulSetView, pod: &Meta) -> bool {
    claim.metadata.owner_references.iter().any(|owner| {
        let replaced =
            |kind: &str, meta: &Meta| owner.kind == kind && owner.name == meta.name && owner.uid != meta.uid;
        replaced("StatefulSet", &set.metadata) || replaced("Pod", pod)
    })
}

/// The owners that a claim is to have, where they are not the ones it has.
pub(super) fn owners(
    claim: &Meta,
    set: &StatefulSetView,
    ordinal: i32,
    pod: &Meta,
) -> Option<Vec<OwnerReference>> {
    let ours = |owner: &OwnerReference| {
        owner.uid == set.metadata.uid || (owner.uid == pod.uid && !pod.uid.is_empty())
    };
    if claim.controller().is_some_and(|controller| !ours(controller)) {
        return None;
    }
    let retention = &set.spec.persistent_volume_claim_retention_policy;
    let surplus = set.place(ordinal).is_none();
    let wanted = if retention.when_scaled == "Delete" && surplus {
        Some(OwnerReference::controller_of(&Pod::KIND, pod))
    } else if retention.when_deleted == "Delete" {
        Some(OwnerReference::controller_of(&StatefulSetView::KIND, &set.metadata))
    } else {
        None
    };
    let has = |owner: &OwnerReference| {
        claim.owner_references.iter().any(|have| have.uid == owner.uid && have.controller)
    };
    let count = claim.owner_references.iter().filter(|owner| ours(owner)).count();
    let as_wanted = match &wanted {
        Some(owner) => count == 1 && has(owner),
        None => count == 0,
    };
    if as_wanted {
        return None;
    }
    let others = claim.owner_references.iter().filter(|owner| !ours(owner)).cloned();
    Some(others.chain(wanted).collect())
}
