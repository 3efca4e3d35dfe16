//! Which volume suits a claim.

use std::cmp::Ordering;

use orlop_core::kinds::{PersistentVolume, PersistentVolumeClaim};
use orlop_core::rules::volume::class_of;
use orlop_core::rules::{Quantity, Selector};
use orlop_core::world::Index;
use orlop_core::{Item, Meta, Name, Object, World};

use super::BOUND;

/// Claims without a volume, by their class.
pub(super) struct Unbound;

impl Index for Unbound {
    type Of = PersistentVolumeClaim;

    fn values(claim: &PersistentVolumeClaim, out: &mut Vec<Name>) {
        if claim.metadata.annotation(BOUND).is_none() && claim.spec.volume_name.is_empty() {
            out.push(class_of(&claim.metadata, &claim.spec.storage_class_name).clone());
        }
    }
}

/// Claims by the volume that they name.
pub(super) struct ByVolume;

impl Index for ByVolume {
    type Of = PersistentVolumeClaim;

    fn values(claim: &PersistentVolumeClaim, out: &mut Vec<Name>) {
        out.extend(Some(&claim.spec.volume_name).filter(|name| !name.is_empty()).cloned());
    }
}

/// Volumes by the claim that they name, as `NAMESPACE/CLAIM`.
pub(super) struct ByReference;

impl Index for ByReference {
    type Of = PersistentVolume;

    fn values(volume: &PersistentVolume, out: &mut Vec<Name>) {
        let name = |claim: &orlop_core::kinds::ObjectReference| format!("{}/{}", claim.namespace, claim.name);
        out.extend(volume.spec.claim_ref.as_ref().map(|claim| Name::from(name(claim))));
    }
}

/// Volumes that are free, by their class.
pub(super) struct Free;

impl Index for Free {
    type Of = PersistentVolume;

    fn values(volume: &PersistentVolume, out: &mut Vec<Name>) {
        if is_free(volume) {
            out.push(class_of(&volume.metadata, &volume.spec.storage_class_name).clone());
        }
    }
}

pub(super) fn is_free(volume: &PersistentVolume) -> bool {
    volume.spec.claim_ref.is_none() && volume.status.phase == "Available"
}

/// What [`ByReference`] finds a claim's volumes under.
pub(super) fn reference(claim: &Meta) -> String {
    format!("{}/{}", claim.namespace, claim.name)
}

/// Whether a volume names a claim: this very one, or any of its name.
pub(super) fn is_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let claim = claim.meta();
    volume.spec.claim_ref.as_ref().is_some_and(|r| {
        r.name == claim.name && r.namespace == claim.namespace && (r.uid.is_empty() || r.uid == claim.uid)
    })
}

/// Why a volume will not do for the claim that asks for it by name.
pub(super) fn mismatch(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<&'static str> {
    if capacity(volume) < requested(claim) {
        return Some("requested PV is too small");
    }
    if class_of(&volume.metadata, &volume.spec.storage_class_name)
        != class_of(&claim.metadata, &claim.spec.storage_class_name)
    {
        return Some("storageClassName does not match");
    }
    if volume.spec.volume_attributes_class_name != claim.spec.volume_attributes_class_name {
        return Some("VolumeAttributesClassName does not match");
    }
    if mode(&volume.spec.volume_mode) != mode(&claim.spec.volume_mode) {
        return Some("incompatible volumeMode");
    }
    (!offers_modes(volume, claim)).then_some("incompatible accessMode")
}

fn capacity(volume: &PersistentVolume) -> Quantity {
    volume.spec.capacity.get("storage").cloned().unwrap_or_default()
}

fn requested(claim: &PersistentVolumeClaim) -> Quantity {
    claim.spec.resources.requests.get("storage").cloned().unwrap_or_default()
}

fn mode(mode: &str) -> &str {
    if mode.is_empty() { "Filesystem" } else { mode }
}

fn offers_modes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    claim.spec.access_modes.iter().all(|mode| volume.spec.access_modes.contains(mode))
}

/// The volume that suits a claim best: of those with the fewest access modes its own, or else the smallest that is
/// large enough. A claim that waits for its first consumer takes only what was chosen for it.
pub(super) fn best<'a>(
    claim: &PersistentVolumeClaim,
    class: &str,
    waits: bool,
    world: &'a World,
) -> Option<&'a Item<PersistentVolume>> {
    let selector = match &claim.spec.selector {
        Some(selector) => selector.to_selector().unwrap_or_else(|_| Selector::nothing()),
        None => Selector::default(),
    };
    let wanted = requested(claim);
    let name = reference(&claim.metadata);
    let own = world.lookup::<ByReference>(&name).filter(|volume| is_for(volume, claim));
    let free =
        world.lookup::<Free>(class).filter(|volume| !waits && selector.matches(&volume.metadata.labels));
    let volumes = own.map(|volume| (true, volume)).chain(free.map(|volume| (false, volume)));
    let fits = |(_, volume): &(bool, &Item<PersistentVolume>)| {
        capacity(volume) >= wanted
            && mode(&volume.spec.volume_mode) == mode(&claim.spec.volume_mode)
            && volume.spec.volume_attributes_class_name == claim.spec.volume_attributes_class_name
            && !volume.metadata.is_terminating()
            && offers_modes(volume, claim)
    };
    let better = |(own, a): &(bool, &'a Item<PersistentVolume>),
                  (other, b): &(bool, &'a Item<PersistentVolume>)| {
        let modes = |volume: &Item<PersistentVolume>| volume.spec.access_modes.len();
        modes(a)
            .cmp(&modes(b))
            .then_with(|| other.cmp(own))
            .then_with(|| capacity(a).partial_cmp(&capacity(b)).unwrap_or(Ordering::Equal))
            .then_with(|| a.metadata.name.cmp(&b.metadata.name))
    };
    volumes.filter(fits).min_by(better).map(|(_, volume)| volume)
}
