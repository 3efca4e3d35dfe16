//! What a pod's volumes need before its containers may be made. Mounting itself is the runtime's.

use orlop_core::Key;
use orlop_core::kinds::{Pod, Volume};

use crate::objects::{Holder, Objects};

/// The first object that a volume of the pod names and that does not exist: the volume's name and a sentence.
pub(crate) fn missing(pod: &Pod, objects: &Objects) -> Option<(String, String)> {
    pod.spec.volumes.iter().find_map(|volume| {
        let needs = needs(volume);
        let lacking = needs.into_iter().find(|(holder, name)| {
            objects.lacks(*holder, &Key::new(pod.metadata.namespace.clone(), name.as_str()))
        })?;
        let (holder, name) = lacking;
        Some((volume.name.to_string(), format!("{} {name:?} not found", holder.noun())))
    })
}

/// The objects without which a volume cannot be mounted.
fn needs(volume: &Volume) -> Vec<(Holder, String)> {
    let mut needs = Vec::new();
    if let Some(source) = volume.config_map.as_ref().filter(|s| s.optional != Some(true)) {
        needs.push((Holder::ConfigMap, source.name.to_string()));
    }
    if let Some(source) = volume.secret.as_ref().filter(|s| s.optional != Some(true)) {
        needs.push((Holder::Secret, source.secret_name.to_string()));
    }
    for source in volume.projected.iter().flat_map(|projected| &projected.sources) {
        if let Some(source) = source.config_map.as_ref().filter(|s| s.optional != Some(true)) {
            needs.push((Holder::ConfigMap, source.name.to_string()));
        }
        if let Some(source) = source.secret.as_ref().filter(|s| s.optional != Some(true)) {
            needs.push((Holder::Secret, source.name.to_string()));
        }
    }
    needs
}
