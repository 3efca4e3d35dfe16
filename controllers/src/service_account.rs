//! ServiceAccount: every namespace has one that is called `default`.

use std::convert::Infallible;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::kinds::{Namespace, ServiceAccount};
use orlop_core::{Key, Object, Plan, World, Write};
use serde_json::json;

/// Makes the default account. See the module's documentation.
pub struct ServiceAccountController;

const NAME: &str = "default";

impl Controller for ServiceAccountController {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "service-account-controller"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<Namespace>();
        watches.mapped::<ServiceAccount>(|account, _| match account.metadata.name.as_str() {
            NAME => vec![Key::cluster(account.metadata.namespace.clone())],
            _ => Vec::new(),
        });
    }

    fn reconcile(&self, key: &Key, world: &World, _ctx: &mut Context<'_>) -> Plan {
        let alive = world.get::<Namespace>(key).is_some_and(|n| !n.metadata.is_terminating());
        if !alive || world.get::<ServiceAccount>(&Key::new(key.name.clone(), NAME)).is_some() {
            return Plan::nothing();
        }
        let metadata = json!({"name": NAME, "namespace": key.name});
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
        Plan::write(Write::create(ServiceAccount::KIND, account))
    }
}
