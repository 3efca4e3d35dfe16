//! Namespace: empties a namespace that is being deleted, then lets it go.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::kinds::{Namespace, Pod};
use orlop_core::{Item, Key, Kind, Name, Object, Plan, Scope, Timestamp, World, Write};
use serde_json::{Value, json};

/// The finalizer, in a namespace's spec, that this controller removes.
const FINALIZER: &str = "kubernetes";

/// When to look again while a kind is not seen yet. Objects of it are heard of as they appear; that there are none is
/// not.
const PATIENCE: Duration = Duration::from_secs(1);

/// Deletes what is in a namespace that goes: its pods first, and when these are gone all else, of every kind that the
/// runner follows. A namespace does not go before all kinds are seen.
pub struct NamespaceController;

impl Controller for NamespaceController {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<Namespace>().every(|_, key, _, world| {
            if key.namespace.is_empty() {
                return Vec::new();
            }
            let namespace = Key::cluster(key.namespace.clone());
            let going =
                world.object(&Namespace::KIND, &namespace).is_some_and(|n| n.body.header().deleted.is_some());
            if going { vec![namespace] } else { Vec::new() }
        });
    }

    fn reconcile(&self, key: &Key, world: &World, ctx: &mut Context<'_>) -> Plan {
        let Some(namespace) = world.get::<Namespace>(key).filter(|n| n.metadata.is_terminating()) else {
            return Plan::nothing();
        };
        if !namespace.spec.finalizers.iter().any(|f| f == FINALIZER) {
            return Plan::nothing();
        }
        let pods = content(&Pod::KIND, key, world);
        let (content, reported) = if pods.is_empty() {
            let namespaced = world.kinds().filter(|kind| kind.scope == Scope::Namespaced);
            let content: Vec<Found> = namespaced.flat_map(|kind| content(kind, key, world)).collect();
            // What is deleted now and has no finalizers will be gone at once.
            let remaining =
                content.clone().into_iter().filter(|found| !found.finalizers.is_empty()).collect();
            (content, remaining)
        } else {
            (pods, Vec::new())
        };
        let mut plan = Plan::nothing();
        for found in content.iter().filter(|found| !found.deleted) {
            let mut write = Write::delete(found.kind.clone(), found.key.clone());
            write.uid = Some(found.uid.clone());
            plan = plan.and(write);
        }
        if content.is_empty() && world.awaits() {
            return plan.wake_at(ctx.now + PATIENCE);
        }
        if content.is_empty() {
            return plan.and(finalized(namespace));
        }
        let conditions = conditions(&reported);
        if let Some(patch) = status(namespace, &conditions, ctx.now) {
            let mut write = Write::merge(Namespace::KIND, key.clone(), patch).on("status");
            write.uid = Some(namespace.metadata.uid.clone());
            plan = plan.and(write);
        }
        plan
    }
}

#[derive(Clone)]
struct Found {
    kind: Kind,
    key: Key,
    uid: Name,
    deleted: bool,
    finalizers: Vec<Name>,
}

fn content(kind: &Kind, namespace: &Key, world: &World) -> Vec<Found> {
    let found = |(key, stored): (&Key, &orlop_core::Stored)| {
        let header = stored.body.header();
        Found {
            kind: kind.clone(),
            key: key.clone(),
            uid: header.uid.clone(),
            deleted: header.deleted.is_some(),
            finalizers: header.finalizers.to_vec(),
        }
    };
    world.objects_in(kind, &namespace.name).map(found).collect()
}

/// The namespace without our finalizer.
fn finalized(namespace: &Item<Namespace>) -> Write {
    let mut object = namespace.stored().to_value();
    let rest: Vec<&Name> = namespace.spec.finalizers.iter().filter(|f| *f != FINALIZER).collect();
    object["spec"]["finalizers"] = json!(rest);
    let write = Write::replace(Namespace::KIND, object).on("finalize");
    write.seen(&namespace.metadata, namespace.revision())
}

struct Condition {
    r#type: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

/// What is left, by kind and by finalizer.
fn conditions(left: &[Found]) -> Vec<Condition> {
    let fine = |r#type, reason, message: &str| Condition {
        r#type,
        status: "False",
        reason,
        message: message.to_owned(),
    };
    let mut all = vec![
        fine(
            "NamespaceDeletionDiscoveryFailure",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        fine(
            "NamespaceDeletionGroupVersionParsingFailure",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        fine(
            "NamespaceDeletionContentFailure",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
    ];
    if left.is_empty() {
        all.push(fine("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed"));
        all.push(fine(
            "NamespaceFinalizersRemaining",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ));
        return all;
    }
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut finalizers: BTreeMap<&Name, usize> = BTreeMap::new();
    for found in left {
        *kinds.entry(format!("{}.{}", found.kind.plural, found.kind.group)).or_default() += 1;
        for finalizer in &found.finalizers {
            *finalizers.entry(finalizer).or_default() += 1;
        }
    }
    let list = |parts: Vec<String>| parts.join(", ");
    let kinds = kinds.iter().map(|(kind, n)| format!("{kind} has {n} resource instances")).collect();
    let finalizers = finalizers.iter().map(|(name, n)| format!("{name} in {n} resource instances")).collect();
    all.push(Condition {
        r#type: "NamespaceContentRemaining",
        status: "True",
        reason: "SomeResourcesRemain",
        message: format!("Some resources are remaining: {}", list(kinds)),
    });
    all.push(Condition {
        r#type: "NamespaceFinalizersRemaining",
        status: "True",
        reason: "SomeFinalizersRemain",
        message: format!("Some content in the namespace has finalizers remaining: {}", list(finalizers)),
    });
    all
}

/// The change of the status, if it changes.
fn status(namespace: &Item<Namespace>, conditions: &[Condition], now: Timestamp) -> Option<Value> {
    let present = namespace.stored().to_value();
    let before: Vec<Value> = present["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let mut after = before.clone();
    for condition in conditions {
        let mut next = json!({
            "type": condition.r#type,
            "status": condition.status,
            "lastTransitionTime": now,
            "reason": condition.reason,
            "message": condition.message,
        });
        match after.iter_mut().find(|c| c["type"] == condition.r#type) {
            Some(c) if c["status"] == condition.status && c["message"] == condition.message => {}
            Some(c) => {
                if c["status"] == condition.status {
                    next["lastTransitionTime"] = c["lastTransitionTime"].clone();
                }
                *c = next;
            }
            None => after.push(next),
        }
    }
    (after != before).then(|| json!({"status": {"conditions": after}}))
}
