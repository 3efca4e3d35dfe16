//! Volume binding: a claim gets the volume that suits it best, and a volume whose claim is gone is given back.
//!
//! A claim of a class that waits for its first consumer gets no volume here: the scheduler chooses one that the pod's
//! node reaches and names the claim in it; what is left is to complete that. Volumes are made by provisioners outside,
//! which are told by an annotation of the claim, and which also delete what they made.
//!
//! Claims and volumes are keys of one controller: a volume's has no namespace.

mod matching;

use std::convert::Infallible;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::kinds::{PersistentVolume, PersistentVolumeClaim, Pod, StorageClass};
use orlop_core::rules::volume::{CLASS_ANNOTATION, class_of};
use orlop_core::{Item, Key, Name, Note, Object, Plan, World, Write};
use serde_json::{Map, Value, json};

use crate::volume_protection::ByClaim;
use matching::{ByReference, ByVolume, Free, Unbound, best, is_for, mismatch, reference};

/// On a claim: it has its volume. Without the volume it is lost.
const BOUND: &str = "pv.kubernetes.io/bind-completed";
/// The other side was chosen by a controller, not by a user.
const BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// Who made a volume, and will delete it.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// On a claim: the node for which a volume is to be made.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// On a claim: who is to make its volume. The first is what older provisioners read.
const PROVISIONER: [&str; 2] =
    ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"];
/// On a class: it is that of claims which name none. The second is older.
const DEFAULT_CLASS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// Binds claims and volumes. See the module's documentation.
pub struct VolumeBinder;

impl Controller for VolumeBinder {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "persistentvolume-controller"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<PersistentVolumeClaim>().index::<Unbound>().index::<ByVolume>();
        watches.each::<PersistentVolume>().index::<ByReference>().index::<Free>();
        watches.reads::<Pod>().index::<ByClaim>();
        watches.mapped::<PersistentVolumeClaim>(|claim, world| {
            let name = reference(&claim.metadata);
            let named = world.lookup::<ByReference>(&name).map(|volume| volume.key());
            let asked = Some(&claim.spec.volume_name).filter(|name| !name.is_empty());
            named.chain(asked.map(|name| Key::cluster(name.clone()))).collect()
        });
        watches.mapped::<PersistentVolume>(|volume, world| {
            let asking = world.lookup::<ByVolume>(&volume.metadata.name).map(|claim| claim.key());
            let named = volume.spec.claim_ref.as_ref().filter(|claim| !claim.name.is_empty());
            let named = named.map(|claim| Key::new(claim.namespace.clone(), claim.name.clone()));
            // What became free may be what others wait for.
            let free =
                world.get::<PersistentVolume>(&volume.key()).filter(|volume| matching::is_free(volume));
            let mut keys: Vec<Key> = asking.chain(named).collect();
            if let Some(volume) = free {
                let class = class_of(&volume.metadata, &volume.spec.storage_class_name);
                keys.extend(world.lookup::<Unbound>(class).map(|claim| claim.key()));
            }
            keys
        });
        watches.mapped::<StorageClass>(|class, world| {
            // Claims without a class may get this one.
            let concerned = ["", class.metadata.name.as_str()];
            concerned.iter().flat_map(|class| world.lookup::<Unbound>(class)).map(|c| c.key()).collect()
        });
    }

    fn reconcile(&self, key: &Key, world: &World, _: &mut Context<'_>) -> Plan {
        if key.namespace.is_empty() {
            return world.get::<PersistentVolume>(key).map_or_else(Plan::nothing, |v| volume(v, world));
        }
        let Some(claim) = world.get::<PersistentVolumeClaim>(key) else { return Plan::nothing() };
        match (claim.metadata.annotation(BOUND), claim.spec.volume_name.as_str()) {
            (Some(_), name) => bound(claim, name, world),
            (None, "") => unbound(claim, world),
            (None, name) => asked(claim, name, world),
        }
    }
}

fn volume_named<'a>(world: &'a World, name: &str) -> Option<&'a Item<PersistentVolume>> {
    world.get::<PersistentVolume>(&Key::cluster(Name::from(name)))
}

/// A claim that has got its volume.
fn bound(claim: &Item<PersistentVolumeClaim>, name: &str, world: &World) -> Plan {
    if name.is_empty() {
        let lost = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
        return lose(claim, "ClaimLost", lost);
    }
    match volume_named(world, name) {
        None => {
            lose(claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
        }
        Some(volume) if is_for(volume, claim) || volume.spec.claim_ref.is_none() => bind(volume, claim),
        Some(_) => {
            let twice = "Two claims are bound to the same volume, this one is bound incorrectly";
            lose(claim, "ClaimMisbound", twice)
        }
    }
}

fn lose(claim: &Item<PersistentVolumeClaim>, reason: &'static str, message: &str) -> Plan {
    let plan = claim_phase(claim, "Lost");
    if plan.is_empty() { plan } else { plan.note(Note::warning(claim, reason, message)) }
}

/// A claim for which its user has chosen a volume.
fn asked(claim: &Item<PersistentVolumeClaim>, name: &str, world: &World) -> Plan {
    let Some(volume) = volume_named(world, name) else { return claim_phase(claim, "Pending") };
    if is_for(volume, claim) {
        return bind(volume, claim);
    }
    let (reason, message) = match (&volume.spec.claim_ref, mismatch(volume, claim)) {
        (Some(_), _) => ("FailedBinding", format!("volume {name:?} already bound to a different claim.")),
        (None, Some(why)) => ("VolumeMismatch", format!("Cannot bind to requested volume {name:?}: {why}")),
        (None, None) => return bind(volume, claim),
    };
    claim_phase(claim, "Pending").note(Note::warning(claim, reason, message))
}

/// A claim that takes any volume that suits it.
fn unbound(claim: &Item<PersistentVolumeClaim>, world: &World) -> Plan {
    let meta = &claim.metadata;
    let name = class_of(meta, &claim.spec.storage_class_name);
    let class = world.get::<StorageClass>(&Key::cluster(name.clone()));
    let waits = class.is_some_and(|class| class.volume_binding_mode == "WaitForFirstConsumer")
        && meta.annotation(SELECTED_NODE).is_none();
    if let Some(volume) = best(claim, name, waits, world) {
        return bind(volume, claim);
    }
    let plan = claim_phase(claim, "Pending");
    if name.is_empty() {
        if let Some(class) = default_class(world).filter(|_| names_no_class(claim)) {
            let patch = json!({"spec": {"storageClassName": class.metadata.name}});
            return Plan::write(Write::merge_seen(claim, patch));
        }
        let none = "no persistent volumes available for this claim and no storage class is set";
        return plan.note(Note::normal(claim, "FailedBinding", none));
    }
    if waits {
        return plan.note(waiting(claim, world));
    }
    let Some(class) = class else {
        let message = format!("storageclass.storage.k8s.io {name:?} not found");
        return plan.note(Note::warning(claim, "ProvisioningFailed", message));
    };
    let provisioner = &class.provisioner;
    if provisioner.starts_with("kubernetes.io/") {
        let message = format!("no volume plugin matched name: {provisioner}");
        return plan.note(Note::warning(claim, "ProvisioningFailed", message));
    }
    if PROVISIONER.iter().all(|key| meta.annotation(key) == Some(provisioner.as_str())) {
        return plan;
    }
    let annotations: Map<String, Value> =
        PROVISIONER.iter().map(|key| ((*key).to_owned(), json!(provisioner))).collect();
    let message = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
    );
    Plan::write(Write::merge_seen(claim, json!({"metadata": {"annotations": annotations}})))
        .note(Note::normal(claim, "ExternalProvisioning", message))
}

/// For whom a claim waits that is bound once a pod needs it.
fn waiting(claim: &Item<PersistentVolumeClaim>, world: &World) -> Note {
    let pods: Vec<&str> = world
        .lookup::<ByClaim>(&reference(&claim.metadata))
        .filter(|pod| pod.spec.node_name.is_empty())
        .map(|pod| pod.metadata.name.as_str())
        .collect();
    let message = match pods.as_slice() {
        [] => {
            let message = "waiting for first consumer to be created before binding";
            return Note::normal(claim, "WaitForFirstConsumer", message);
        }
        [pod] => format!("waiting for pod {pod} to be scheduled"),
        pods => format!("waiting for pods {} to be scheduled", pods.join(",")),
    };
    Note::normal(claim, "WaitForPodScheduled", message)
}

/// Whether a claim leaves its class open; one that names the empty class wants none.
fn names_no_class(claim: &Item<PersistentVolumeClaim>) -> bool {
    claim.metadata.annotation(CLASS_ANNOTATION).is_none()
        && claim.stored().to_value()["spec"]["storageClassName"].is_null()
}

/// The newest of the classes that are marked as the default.
fn default_class(world: &World) -> Option<&Item<StorageClass>> {
    let marked = |class: &&Item<StorageClass>| {
        DEFAULT_CLASS.iter().any(|key| class.metadata.annotation(key) == Some("true"))
    };
    world.all::<StorageClass>().filter(marked).max_by(|a, b| {
        let (a, b) = (&a.metadata, &b.metadata);
        a.creation_timestamp.cmp(&b.creation_timestamp).then_with(|| b.name.cmp(&a.name))
    })
}

/// What is left to do until both sides name each other and say that they are bound.
fn bind(volume: &Item<PersistentVolume>, claim: &Item<PersistentVolumeClaim>) -> Plan {
    let mut plan = Plan::nothing();
    let owner = &claim.metadata;
    if volume.spec.claim_ref.as_ref().is_none_or(|r| r.uid != owner.uid || !is_for(volume, claim)) {
        let mut patch = json!({"spec": {"claimRef": {
            "apiVersion": "v1", "kind": PersistentVolumeClaim::KIND.kind, "namespace": owner.namespace,
            "name": owner.name, "uid": owner.uid, "resourceVersion": claim.revision().to_string(),
        }}});
        if !is_for(volume, claim) {
            patch["metadata"] = json!({"annotations": {BY_CONTROLLER: "yes"}});
        }
        plan = plan.and(Write::merge_seen(volume, patch));
    }
    plan = then(plan, volume_phase(volume, "Bound", None));
    let (name, mut annotations) = (&volume.metadata.name, Map::new());
    let mut patch = json!({});
    if claim.spec.volume_name != *name {
        patch["spec"] = json!({"volumeName": name});
        annotations.insert(BY_CONTROLLER.into(), "yes".into());
    }
    if owner.annotation(BOUND).is_none() {
        annotations.insert(BOUND.into(), "yes".into());
    }
    if !annotations.is_empty() {
        patch["metadata"] = json!({"annotations": annotations});
        plan = plan.and(Write::merge_seen(claim, patch));
    }
    let (spec, status) = (&volume.spec, &claim.status);
    if status.phase != "Bound" || status.access_modes != spec.access_modes {
        let mut now = json!({"phase": "Bound", "accessModes": spec.access_modes});
        // Once bound, what the claim holds is its file system's size, which may differ from the volume's.
        if status.phase != "Bound" {
            now["capacity"] = json!(spec.capacity);
            if !spec.volume_attributes_class_name.is_empty() {
                now["currentVolumeAttributesClassName"] = json!(spec.volume_attributes_class_name);
            }
        }
        plan = then(plan, Plan::write(Write::merge_seen(claim, json!({"status": now})).on("status")));
    }
    plan
}

/// The one, then the other, which may write to what the first has changed.
fn then(mut plan: Plan, next: Plan) -> Plan {
    for mut write in next.writes {
        if plan.writes.iter().any(|before| before.kind == write.kind && before.key == write.key) {
            write.revision = None;
        }
        plan.writes.push(write);
    }
    plan.events.extend(next.events);
    plan
}

/// What becomes of a volume.
fn volume(volume: &Item<PersistentVolume>, world: &World) -> Plan {
    let Some(claim) = volume.spec.claim_ref.as_ref().filter(|claim| !claim.uid.is_empty()) else {
        return volume_phase(volume, "Available", None);
    };
    let key = Key::new(claim.namespace.clone(), claim.name.clone());
    match world.get::<PersistentVolumeClaim>(&key).filter(|c| c.metadata.uid == claim.uid) {
        None => reclaim(volume),
        // The claim will be looked at.
        Some(claim) if claim.spec.volume_name.is_empty() => Plan::nothing(),
        Some(claim) if claim.spec.volume_name == volume.metadata.name => volume_phase(volume, "Bound", None),
        // The claim got another. One that was made for it is of no use to anybody else.
        Some(_) if is_made(volume) && volume.spec.persistent_volume_reclaim_policy == "Delete" => {
            reclaim(volume)
        }
        Some(_) => {
            let patch = match volume.metadata.annotation(BY_CONTROLLER) {
                Some(_) => {
                    json!({"metadata": {"annotations": {BY_CONTROLLER: null}}, "spec": {"claimRef": null}})
                }
                None => json!({"spec": {"claimRef": {"uid": null}}}),
            };
            let freed = Plan::write(Write::merge_seen(volume, patch));
            then(freed, volume_phase(volume, "Available", None))
        }
    }
}

fn is_made(volume: &PersistentVolume) -> bool {
    volume.metadata.annotation(PROVISIONED_BY).is_some()
}

/// A volume whose claim is gone, by its policy. Data is kept where nobody outside deletes it: nothing here can.
fn reclaim(volume: &Item<PersistentVolume>) -> Plan {
    let phase = volume.status.phase.as_str();
    let name = &volume.metadata.name;
    let (reason, message) = match volume.spec.persistent_volume_reclaim_policy.as_str() {
        "Delete" if !is_made(volume) => (
            "VolumeFailedDelete",
            format!(
                "error getting deleter volume plugin for volume {name:?}: no deletable volume plugin matched"
            ),
        ),
        "Recycle" => ("VolumeFailedRecycle", "No recycler plugin found for the volume!".to_owned()),
        _ if phase == "Failed" => return Plan::nothing(),
        _ => return volume_phase(volume, "Released", None),
    };
    match phase {
        "Failed" => Plan::nothing(),
        "Released" => {
            volume_phase(volume, "Failed", Some(&message)).note(Note::warning(volume, reason, message))
        }
        _ => volume_phase(volume, "Released", None),
    }
}

fn volume_phase(volume: &Item<PersistentVolume>, phase: &str, message: Option<&str>) -> Plan {
    if volume.status.phase == phase {
        return Plan::nothing();
    }
    let patch = json!({"status": {"phase": phase, "message": message, "reason": null}});
    Plan::write(Write::merge_seen(volume, patch).on("status"))
}

fn claim_phase(claim: &Item<PersistentVolumeClaim>, phase: &str) -> Plan {
    if claim.status.phase == phase {
        return Plan::nothing();
    }
    let patch = json!({"status": {"phase": phase, "accessModes": null, "capacity": null}});
    Plan::write(Write::merge_seen(claim, patch).on("status"))
}
