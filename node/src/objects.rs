//! What the agent sees of the objects that pods refer to.

use std::collections::BTreeMap;

use bytes::Bytes;
use orlop_core::body::Stored;
use orlop_core::kinds::{ConfigMap, Secret, Service};
use orlop_core::{Change, Key, Kind, Object};
use serde_json::Value;

use crate::services::Services;

/// ConfigMaps, Secrets and Services. A kind that nobody tells of is not missed.
#[derive(Default)]
pub(crate) struct Objects {
    pub(crate) services: Services,
    config_maps: Table,
    secrets: Table,
}

#[derive(Default)]
struct Table {
    told: bool,
    objects: BTreeMap<Key, Stored>,
}

/// A kind of object that holds data for pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    ConfigMap,
    Secret,
}

impl Holder {
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Holder::ConfigMap => "configmap",
            Holder::Secret => "secret",
        }
    }
}

impl Objects {
    /// Answers whether pods may wait for such a change.
    pub(crate) fn apply(&mut self, change: &Change) -> bool {
        if change.kind.same_resource(&Service::KIND) {
            self.services.apply(change);
            return false;
        }
        let Some(table) = self.table_mut(&change.kind) else { return false };
        table.told = true;
        match &change.object {
            Some(object) => table.objects.insert(change.key.clone(), object.clone()),
            None => table.objects.remove(&change.key),
        };
        true
    }

    /// All objects of a kind are about to be told anew.
    pub(crate) fn reset(&mut self, kind: &Kind) {
        if kind.same_resource(&Service::KIND) {
            self.services.clear();
        } else if let Some(table) = self.table_mut(kind) {
            table.told = true;
            table.objects.clear();
        }
    }

    fn table_mut(&mut self, kind: &Kind) -> Option<&mut Table> {
        if kind.same_resource(&ConfigMap::KIND) {
            Some(&mut self.config_maps)
        } else if kind.same_resource(&Secret::KIND) {
            Some(&mut self.secrets)
        } else {
            None
        }
    }

    fn table(&self, holder: Holder) -> &Table {
        match holder {
            Holder::ConfigMap => &self.config_maps,
            Holder::Secret => &self.secrets,
        }
    }

    /// Whether an object is known not to exist.
    pub(crate) fn lacks(&self, holder: Holder, key: &Key) -> bool {
        let table = self.table(holder);
        table.told && !table.objects.contains_key(key)
    }

    /// The data of an object, by key, as bytes; `None` if there is no such object.
    pub(crate) fn data(&self, holder: Holder, key: &Key) -> Option<BTreeMap<String, Bytes>> {
        let value = self.table(holder).objects.get(key)?.to_value();
        let mut data = BTreeMap::new();
        let fields = |name: &str| value[name].as_object().cloned().unwrap_or_default();
        for (name, text) in fields("data") {
            let Value::String(text) = text else { continue };
            let bytes = match holder {
                Holder::ConfigMap => Bytes::from(text),
                Holder::Secret => Bytes::from(decode_base64(&text).unwrap_or_default()),
            };
            data.insert(name, bytes);
        }
        for (name, text) in fields("binaryData") {
            let bytes = text.as_str().and_then(decode_base64).unwrap_or_default();
            data.insert(name, Bytes::from(bytes));
        }
        Some(data)
    }
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}
