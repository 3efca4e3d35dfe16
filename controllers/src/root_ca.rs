//! Root CA: every namespace has the certificates by which pods know the API server.

use std::convert::Infallible;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::kinds::{ConfigMap, Namespace};
use orlop_core::{Key, Object, Plan, World, Write};
use serde_json::json;

/// Keeps the ConfigMap `kube-root-ca.crt`. See the module's documentation.
pub struct RootCaController {
    bundle: String,
}

const NAME: &str = "kube-root-ca.crt";
const FIELD: &str = "ca.crt";

impl RootCaController {
    /// A controller that publishes this bundle of certificates, in PEM.
    pub fn new(bundle: impl Into<String>) -> RootCaController {
        RootCaController { bundle: bundle.into() }
    }
}

impl Controller for RootCaController {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "root-ca-certificate-publisher-controller"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<Namespace>();
        watches.mapped::<ConfigMap>(|map, _| match map.metadata.name.as_str() {
            NAME => vec![Key::cluster(map.metadata.namespace.clone())],
            _ => Vec::new(),
        });
    }

    fn reconcile(&self, key: &Key, world: &World, _ctx: &mut Context<'_>) -> Plan {
        if world.get::<Namespace>(key).is_none_or(|n| n.metadata.is_terminating()) {
            return Plan::nothing();
        }
        let Some(map) = world.get::<ConfigMap>(&Key::new(key.name.clone(), NAME)) else {
            let note = "Certificates by which pods know this cluster's API server under its internal names.";
            let map = json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": NAME,
                    "namespace": key.name,
                    "annotations": {"kubernetes.io/description": note},
                },
                "data": {FIELD: self.bundle},
            });
            return Plan::write(Write::create(ConfigMap::KIND, map));
        };
        let data = serde_json::to_value(&map.data).unwrap_or_default();
        if data == json!({FIELD: self.bundle}) {
            return Plan::nothing();
        }
        let mut data = data;
        if let Some(fields) = data.as_object_mut() {
            fields.values_mut().for_each(|value| *value = serde_json::Value::Null);
            fields.insert(FIELD.to_owned(), json!(self.bundle));
        }
        Plan::write(Write::merge_seen(map, json!({"data": data})))
    }
}
