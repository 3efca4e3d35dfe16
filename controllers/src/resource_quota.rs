//! ResourceQuota: counts what the objects of a namespace take of its quotas.
//!
//! Admission charges what is created; this controller finds out what is given back, gives new quotas their first
//! count, and mends whatever got lost.

use std::borrow::Cow;
use std::convert::Infallible;
use std::time::Duration;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::kinds::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use orlop_core::rules::pod_resources::Resources;
use orlop_core::rules::quota::{Counted, counted_as};
use orlop_core::{Item, Key, Kind, Object, Plan, Scope, Stored, Timestamp, World, Write};
use serde_json::{Map, Value, json};

/// Everything is counted anew this often, whether anything seems to have changed or not.
const RESYNC: Duration = Duration::from_secs(300);
/// A quota is charged shortly before the object is there: what was charged just now is not taken for lost.
const SETTLE: Duration = Duration::from_secs(2);
/// Kinds that change all the time and that nobody has quotas for.
const IGNORED: [&str; 3] = ["events", "leases", "endpointslices"];

/// Counts. See the module's documentation.
pub struct ResourceQuotaController;

impl Controller for ResourceQuotaController {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "resourcequota-controller"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<ResourceQuota>().every(|kind, key, _, world| {
            if key.namespace.is_empty() || IGNORED.contains(&kind.plural.as_str()) {
                return Vec::new();
            }
            world.objects_in(&ResourceQuota::KIND, &key.namespace).map(|(quota, _)| quota.clone()).collect()
        });
    }

    fn reconcile(&self, key: &Key, world: &World, ctx: &mut Context<'_>) -> Plan {
        let Some(quota) = world.get::<ResourceQuota>(key) else { return Plan::nothing() };
        let (hard, used) = (&quota.spec.hard, used(quota, world, ctx.now));
        let known = &quota.status;
        if known.hard == *hard && known.used == used {
            return Plan::nothing().wake_at(ctx.now + RESYNC);
        }
        let lowers = known.used.iter().any(|(name, amount)| used.get(name).is_some_and(|now| now < amount));
        if let Some(charged) = charged(quota).filter(|charged| lowers && ctx.now < *charged + SETTLE) {
            return Plan::nothing().wake_at(charged + SETTLE);
        }
        let patch = json!({"status": {
            "hard": changes(&known.hard, hard),
            "used": changes(&known.used, &used),
        }});
        Plan::write(Write::merge_seen(quota, patch).on("status"))
    }
}

/// What the objects of the namespace take of what the quota limits. What is of no kind that is known stays as it is.
fn used(quota: &Item<ResourceQuota>, world: &World, now: Timestamp) -> Resources {
    let mut used = quota.status.used.clone();
    used.retain(|name, _| quota.spec.hard.contains_key(name));
    for kind in world.kinds().filter(|kind| kind.scope == Scope::Namespaced) {
        let sample = sample(kind);
        let limited = || quota.spec.hard.keys().filter(|resource| sample.counts(resource));
        if limited().next().is_none() {
            continue;
        }
        limited().for_each(|resource| {
            used.insert(resource.clone(), Default::default());
        });
        for (_, stored) in world.objects_in(kind, &quota.metadata.namespace) {
            let object = counted(kind, stored);
            if !object.in_scopes_of(quota) {
                continue;
            }
            for (name, amount) in object.usage(now) {
                if let Some(sum) = used.get_mut(&name) {
                    *sum += &amount;
                }
            }
        }
    }
    used
}

/// An object of a kind that takes nothing, to ask what such objects are counted by.
fn sample(kind: &Kind) -> Counted<'static> {
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "pods") => Counted::Pod(Cow::Owned(Pod::default())),
        ("", "services") => Counted::Service(Cow::Owned(Service::default())),
        ("", "persistentvolumeclaims") => Counted::Claim(Cow::Owned(PersistentVolumeClaim::default())),
        ("resource.k8s.io", "resourceclaims") => Counted::Devices(Cow::Owned(Value::Null)),
        _ => Counted::Other(counted_as(kind).into()),
    }
}

fn counted(kind: &Kind, stored: &Stored) -> Counted<'static> {
    let read = match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "pods") => stored.decode().ok().map(|pod| Counted::Pod(Cow::Owned(pod))),
        ("", "services") => stored.decode().ok().map(|service| Counted::Service(Cow::Owned(service))),
        ("", "persistentvolumeclaims") => stored.decode().ok().map(|claim| Counted::Claim(Cow::Owned(claim))),
        ("resource.k8s.io", "resourceclaims") => Some(Counted::Devices(Cow::Owned(stored.to_value()))),
        _ => None,
    };
    read.unwrap_or_else(|| Counted::Other(counted_as(kind).into()))
}

/// When admission has last charged the quota.
fn charged(quota: &Item<ResourceQuota>) -> Option<Timestamp> {
    let object = quota.stored().to_value();
    let entries = object["metadata"]["managedFields"].as_array()?;
    let own = entries.iter().filter(|e| e["manager"] == "kube-apiserver" && e["subresource"] == "status");
    own.filter_map(|entry| entry["time"].as_str()?.parse().ok()).max()
}

/// A merge patch from one list of amounts to another.
fn changes(from: &Resources, to: &Resources) -> Value {
    let gone = from.keys().filter(|name| !to.contains_key(*name)).map(|name| (name.to_string(), Value::Null));
    let there = to.iter().map(|(name, amount)| (name.to_string(), amount.to_string().into()));
    Value::Object(there.chain(gone).collect::<Map<String, Value>>())
}
