//! Protection of volumes: a claim goes when no pod on a node uses it, a volume when no claim is bound to it.
//!
//! The API puts a finalizer on every new claim and volume; these controllers take it off those that are being deleted.

use std::convert::Infallible;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::kinds::{PersistentVolume, PersistentVolumeClaim, Pod};
use orlop_core::world::Index;
use orlop_core::{Item, Key, Name, Object, Plan, World, Write};

use serde_json::json;

use crate::gc::without_finalizer;

const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";

/// Pods by the claims that they use, as `NAMESPACE/CLAIM`.
pub(crate) struct ByClaim;

impl Index for ByClaim {
    type Of = Pod;

    fn values(pod: &Pod, out: &mut Vec<Name>) {
        out.extend(claims(pod).map(|claim| Name::from(format!("{}/{claim}", pod.metadata.namespace))));
    }
}

/// The claims that a pod names, and those that are made for its ephemeral volumes.
fn claims(pod: &Pod) -> impl Iterator<Item = String> + '_ {
    pod.spec.volumes.iter().filter_map(|volume| match &volume.persistent_volume_claim {
        Some(source) => Some(source.claim_name.to_string()),
        None => volume.ephemeral.as_ref().map(|_| format!("{}-{}", pod.metadata.name, volume.name)),
    })
}

/// Lets go of claims.
pub struct ClaimProtectionController;

impl Controller for ClaimProtectionController {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "persistentvolumeclaim-protection-controller"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<PersistentVolumeClaim>().index::<ByClaim>();
        watches.mapped::<Pod>(|pod, _| {
            claims(pod).map(|claim| Key::new(pod.metadata.namespace.clone(), claim)).collect()
        });
    }

    fn reconcile(&self, key: &Key, world: &World, _: &mut Context<'_>) -> Plan {
        let Some(claim) = world.get::<PersistentVolumeClaim>(key) else { return Plan::nothing() };
        let name = format!("{}/{}", key.namespace, key.name);
        let mut users = world.lookup::<ByClaim>(&name);
        // A pod that is on no node yet will not be started with a claim that goes.
        match users.any(|pod| !pod.spec.node_name.is_empty()) {
            true => Plan::nothing(),
            false => let_go(claim, CLAIM_PROTECTION),
        }
    }
}

/// Lets go of volumes.
pub struct VolumeProtectionController;

impl Controller for VolumeProtectionController {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "persistentvolume-protection-controller"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<PersistentVolume>();
    }

    fn reconcile(&self, key: &Key, world: &World, _: &mut Context<'_>) -> Plan {
        match world.get::<PersistentVolume>(key).filter(|volume| volume.status.phase != "Bound") {
            Some(volume) => let_go(volume, VOLUME_PROTECTION),
            None => Plan::nothing(),
        }
    }
}

/// Takes a finalizer off an object that is being deleted.
fn let_go<T: Object>(object: &Item<T>, finalizer: &str) -> Plan {
    let meta = object.meta();
    if !meta.is_terminating() || !meta.finalizers.iter().any(|f| f == finalizer) {
        return Plan::nothing();
    }
    let patch = json!({"metadata": without_finalizer(&meta.finalizers, finalizer)});
    Plan::write(Write::merge_seen(object, patch))
}
