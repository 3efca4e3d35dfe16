//! What a pod's volumes need before its containers may be made, and what they bring. Mounting itself is the runtime's.

use std::collections::BTreeMap;

use bytes::Bytes;
use orlop_core::kinds::{Container, DownwardAPIVolumeFile, KeyToPath, Pod, Volume, VolumeMount};
use orlop_core::rules::quote::go_quoted;
use orlop_core::runtime::{Mount, MountSource};
use orlop_core::{Key, Labels, Name};

use crate::objects::{Holder, Objects};
use crate::spec::{PodFacts, expand, field_of, resource_of};

/// Files by their path below the mount.
type Files = BTreeMap<String, Bytes>;

/// An object whose data a volume shows.
struct Source<'a> {
    holder: Holder,
    name: &'a Name,
    /// Which of its keys appear where; empty: all, under their names.
    items: &'a [KeyToPath],
    optional: bool,
}

/// The first object, or key of one, that a volume of the pod names and that does not exist: the volume's name and a
/// sentence.
pub(crate) fn missing(pod: &Pod, objects: &Objects) -> Option<(String, String)> {
    pod.spec.volumes.iter().find_map(|volume| {
        let lacking = sources(volume).into_iter().filter(|source| !source.optional);
        let mut sentences = lacking.filter_map(|source| lack(pod, objects, &source));
        Some((volume.name.to_string(), sentences.next()?))
    })
}

/// What a source lacks.
fn lack(pod: &Pod, objects: &Objects, source: &Source<'_>) -> Option<String> {
    let key = Key::new(pod.metadata.namespace.clone(), source.name.clone());
    if objects.lacks(source.holder, &key) {
        return Some(format!("{} {:?} not found", source.holder.noun(), source.name.as_str()));
    }
    let data = objects.data(source.holder, &key).filter(|_| !source.items.is_empty())?;
    let item = source.items.iter().find(|item| !data.contains_key(item.key.as_str()))?;
    Some(match source.holder {
        Holder::ConfigMap => format!("configmap references non-existent config key: {}", item.key),
        Holder::Secret => format!("references non-existent secret key: {}", item.key),
    })
}

/// The objects whose data a volume shows, in order: a later one stands above an earlier one.
fn sources(volume: &Volume) -> Vec<Source<'_>> {
    let source = |holder, name, items, optional: Option<bool>| Source {
        holder,
        name,
        items,
        optional: optional == Some(true),
    };
    let mut all = Vec::new();
    if let Some(s) = &volume.config_map {
        all.push(source(Holder::ConfigMap, &s.name, &s.items[..], s.optional));
    }
    if let Some(s) = &volume.secret {
        all.push(source(Holder::Secret, &s.secret_name, &s.items[..], s.optional));
    }
    for projection in volume.projected.iter().flat_map(|projected| &projected.sources) {
        if let Some(s) = &projection.config_map {
            all.push(source(Holder::ConfigMap, &s.name, &s.items[..], s.optional));
        }
        if let Some(s) = &projection.secret {
            all.push(source(Holder::Secret, &s.name, &s.items[..], s.optional));
        }
    }
    all
}

/// A mount of a container, whose environment is `env`. A sentence, where variables lead out of the volume.
pub(crate) fn mount(
    facts: &PodFacts<'_>,
    container: &Container,
    mount: &VolumeMount,
    env: &BTreeMap<&str, &str>,
) -> Result<Mount, String> {
    let volume = facts.pod.spec.volumes.iter().find(|volume| volume.name == mount.name);
    let source = volume.map_or(MountSource::Other, |volume| source(facts, container, volume));
    let part = match mount.sub_path_expr.as_str() {
        "" => mount.sub_path.clone(),
        expression => {
            let part = expand(expression, env);
            // What is written there was looked at when the pod was made; what variables hold was not.
            if part.starts_with('/') || part.split('/').any(|step| step == "..") {
                return Err(format!("subPath {} leads out of volume {}", go_quoted(&part), mount.name));
            }
            part
        }
    };
    // What is made of objects is never written to.
    let read_only = mount.read_only || matches!(source, MountSource::Files(_));
    let source = part_of(source, part.trim_matches('/'));
    Ok(Mount { volume: mount.name.clone(), path: mount.mount_path.clone(), source, read_only })
}

fn source(facts: &PodFacts<'_>, container: &Container, volume: &Volume) -> MountSource {
    if volume.empty_dir.is_some() {
        return MountSource::Empty;
    }
    if let Some(host) = &volume.host_path {
        return MountSource::Host(host.path.clone());
    }
    let made = volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some();
    if !made {
        return MountSource::Other;
    }
    let mut files = Files::new();
    for source in sources(volume) {
        let key = Key::new(facts.pod.metadata.namespace.clone(), source.name.clone());
        let mut data = facts.objects.data(source.holder, &key).unwrap_or_default();
        if source.items.is_empty() {
            files.append(&mut data);
        } else {
            let shown = source.items.iter();
            files.extend(shown.filter_map(|i| Some((i.path.to_string(), data.get(i.key.as_str())?.clone()))));
        }
    }
    // Tokens of service accounts are not made here: where one is projected, its file is not there.
    let own = volume.downward_api.iter().flat_map(|source| &source.items);
    let projections = volume.projected.iter().flat_map(|projected| &projected.sources);
    let projected = projections.filter_map(|p| p.downward_api.as_ref()).flat_map(|source| &source.items);
    for item in own.chain(projected) {
        files.insert(item.path.to_string(), told(facts, container, item).into());
    }
    MountSource::Files(files.into_iter().map(|(path, bytes)| (path.into(), bytes)).collect())
}

/// What a file of the downward API tells.
fn told(facts: &PodFacts<'_>, container: &Container, item: &DownwardAPIVolumeFile) -> String {
    let meta = &facts.pod.metadata;
    match (&item.field_ref, &item.resource_field_ref) {
        (Some(field), _) => match field.field_path.as_str() {
            "metadata.labels" => lines(&meta.labels),
            "metadata.annotations" => lines(&meta.annotations),
            path => field_of(facts, path).to_string(),
        },
        (None, Some(resource)) => resource_of(facts, container, resource).to_string(),
        (None, None) => String::new(),
    }
}

/// `name="value"`, a line each, without a break at the end.
fn lines(labels: &Labels) -> String {
    let all: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={}", go_quoted(value))).collect();
    all.join("\n")
}

/// What stands below a path of a source, `subPath`; a single file has no path below its mount.
fn part_of(source: MountSource, part: &str) -> MountSource {
    match source {
        source if part.is_empty() => source,
        MountSource::Host(path) => {
            MountSource::Host(smol_str::format_smolstr!("{}/{part}", path.trim_end_matches('/')))
        }
        MountSource::Files(files) => {
            let below = |path: &Name| match path.strip_prefix(part)? {
                "" => Some(Name::default()),
                rest => rest.strip_prefix('/').map(Name::from),
            };
            MountSource::Files(files.into_iter().filter_map(|(p, b)| Some((below(&p)?, b))).collect())
        }
        source => source,
    }
}
