//! Garbage collection: what is owned goes with its last owner.
//!
//! In the background (the owner goes first), in the foreground (an owner that has the finalizer `foregroundDeletion` waits
//! for those that block it), or not at all (the finalizer `orphan`: the owned are released first).
//!
//! A key stands for all objects of that name, whatever their kind.

use std::convert::Infallible;
use std::sync::Arc;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::plan::{Action, Propagation};
use orlop_core::{Key, Kind, Name, OwnerReference, Plan, Scope, Stored, World, Write};
use serde_json::{Value, json};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// Collects garbage among the kinds that it knows. See the module's documentation.
pub struct GarbageCollector {
    kinds: Arc<[Kind]>,
}

impl GarbageCollector {
    /// A collector that knows of these kinds, built-in or not. An owner of another kind counts as present.
    pub fn new(kinds: impl IntoIterator<Item = Kind>) -> GarbageCollector {
        let mut kinds: Vec<Kind> = kinds.into_iter().collect();
        kinds.sort_by(|a, b| (&a.group, &a.plural).cmp(&(&b.group, &b.plural)));
        kinds.dedup_by(|a, b| a.same_resource(b));
        GarbageCollector { kinds: kinds.into() }
    }
}

impl Controller for GarbageCollector {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "generic-garbage-collector"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        for kind in self.kinds.iter() {
            let (kinds, own) = (self.kinds.clone(), kind.clone());
            watches.mapped_of(kind.clone(), move |key, stored, world| {
                concerned(&kinds, &own, key, stored, world)
            });
        }
    }

    fn reconcile(&self, key: &Key, world: &World, _ctx: &mut Context<'_>) -> Plan {
        let mut plan = Plan::nothing();
        for kind in self.kinds.iter() {
            if let Some(stored) = world.object(kind, key) {
                self.look(&Object { kind, key, stored }, world, &mut plan);
            }
        }
        plan
    }
}

/// An object of which only the header is read.
struct Object<'a> {
    kind: &'a Kind,
    key: &'a Key,
    stored: &'a Stored,
}

impl Object<'_> {
    fn owners(&self) -> &[OwnerReference] {
        &self.stored.body.header().owners
    }

    fn has_finalizer(&self, finalizer: &str) -> bool {
        self.stored.body.header().finalizers.iter().any(|f| f == finalizer)
    }

    fn is_deleting(&self) -> bool {
        self.stored.body.header().deleted.is_some()
    }

    fn waits_for_owned(&self) -> bool {
        self.is_deleting() && self.has_finalizer(FOREGROUND)
    }

    fn seen(&self, mut write: Write) -> Write {
        write.uid = Some(self.stored.body.header().uid.clone());
        write.revision = Some(self.stored.revision);
        write
    }

    fn merge(&self, metadata: Value) -> Write {
        self.seen(Write::merge(self.kind.clone(), self.key.clone(), json!({"metadata": metadata})))
    }

    fn delete(&self, propagation: Propagation) -> Write {
        let mut write = Write::delete(self.kind.clone(), self.key.clone());
        write.action = Action::Delete { grace: None, propagation: Some(propagation) };
        self.seen(write)
    }

    fn without_finalizer(&self, finalizer: &str) -> Write {
        let rest: Vec<&Name> =
            self.stored.body.header().finalizers.iter().filter(|f| *f != finalizer).collect();
        self.merge(json!({"finalizers": if rest.is_empty() { Value::Null } else { json!(rest) }}))
    }

    fn with_owners(&self, owners: &[&OwnerReference]) -> Write {
        self.merge(json!({"ownerReferences": if owners.is_empty() { Value::Null } else { json!(owners) }}))
    }
}

/// What an owner reference points to.
enum Owner {
    /// It is there, or its kind is not known.
    Solid,
    /// It is gone.
    Dangling,
    /// It is being deleted, and waits for what it owns.
    Waiting,
}

/// The objects that refer to the owner with this UID.
fn owned<'a>(kinds: &'a [Kind], world: &'a World, uid: &'a str) -> impl Iterator<Item = Object<'a>> {
    kinds.iter().flat_map(move |kind| {
        let object = move |key| Some(Object { kind, key, stored: world.object(kind, key)? });
        world.owned_keys(kind, uid).iter().filter_map(object)
    })
}

/// Whom a change concerns: the object itself if it is owned or goes; its owners, who may wait for it; what it owns, if it
/// goes or is gone.
fn concerned(kinds: &[Kind], kind: &Kind, key: &Key, stored: &Stored, world: &World) -> Vec<Key> {
    let header = stored.body.header();
    let mut keys = Vec::new();
    let gone = world.object(kind, key).is_none_or(|now| now.body.header().uid != header.uid);
    if header.deleted.is_some() || !header.owners.is_empty() {
        keys.push(key.clone());
    }
    for owner in header.owners.iter().filter(|owner| owner.block_owner_deletion) {
        keys.push(Key { namespace: key.namespace.clone(), name: owner.name.clone() });
        if !key.namespace.is_empty() {
            keys.push(Key::cluster(owner.name.clone()));
        }
    }
    if gone || header.deleted.is_some() {
        keys.extend(owned(kinds, world, &header.uid).map(|object| object.key.clone()));
    }
    keys
}

impl GarbageCollector {
    fn owned<'a>(&'a self, world: &'a World, object: &'a Object<'a>) -> impl Iterator<Item = Object<'a>> {
        owned(&self.kinds, world, &object.stored.body.header().uid)
    }

    fn owner(&self, object: &Object<'_>, reference: &OwnerReference, world: &World) -> Owner {
        let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
        let Some(kind) = self.kinds.iter().find(|kind| kind.kind == reference.kind && kind.group == group)
        else {
            return Owner::Solid;
        };
        let key = match kind.scope {
            Scope::Cluster => Key::cluster(reference.name.clone()),
            // An owner in a namespace cannot own what is in none.
            Scope::Namespaced if object.key.namespace.is_empty() => return Owner::Solid,
            Scope::Namespaced => Key::new(object.key.namespace.clone(), reference.name.clone()),
        };
        match world.object(kind, &key).filter(|stored| stored.body.header().uid == reference.uid) {
            None => Owner::Dangling,
            Some(stored) if (Object { kind, key: &key, stored }).waits_for_owned() => Owner::Waiting,
            Some(_) => Owner::Solid,
        }
    }

    fn look(&self, object: &Object<'_>, world: &World, plan: &mut Plan) {
        if object.is_deleting() {
            if object.has_finalizer(ORPHAN) {
                self.release_owned(object, world, plan);
            } else if object.has_finalizer(FOREGROUND) {
                self.finish_foreground(object, world, plan);
            }
            return;
        }
        if object.owners().is_empty() {
            return;
        }
        let (mut solid, mut dangling, mut waiting) = (Vec::new(), 0, 0);
        for reference in object.owners() {
            match self.owner(object, reference, world) {
                Owner::Solid => solid.push(reference),
                Owner::Dangling => dangling += 1,
                Owner::Waiting => waiting += 1,
            }
        }
        if !solid.is_empty() {
            if dangling + waiting > 0 {
                plan.writes.push(object.with_owners(&solid));
            }
            return;
        }
        if waiting > 0 && self.owned(world, object).next().is_some() {
            if self.owned(world, object).any(|owned| owned.waits_for_owned()) {
                // Each waits for the other: this one blocks nobody any more.
                let freed: Vec<OwnerReference> = object
                    .owners()
                    .iter()
                    .map(|owner| OwnerReference { block_owner_deletion: false, ..owner.clone() })
                    .collect();
                if freed != object.owners() {
                    plan.writes.push(object.with_owners(&freed.iter().collect::<Vec<_>>()));
                    return;
                }
            }
            plan.writes.push(object.delete(Propagation::Foreground));
            return;
        }
        // Whoever put a finalizer on the object has said how it is to go.
        plan.writes.push(object.delete(if object.has_finalizer(ORPHAN) {
            Propagation::Orphan
        } else if object.has_finalizer(FOREGROUND) {
            Propagation::Foreground
        } else {
            Propagation::Background
        }));
    }

    fn release_owned(&self, object: &Object<'_>, world: &World, plan: &mut Plan) {
        let uid = &object.stored.body.header().uid;
        for owned in self.owned(world, object) {
            let rest: Vec<&OwnerReference> =
                owned.owners().iter().filter(|owner| owner.uid != *uid).collect();
            plan.writes.push(owned.with_owners(&rest));
        }
        plan.writes.push(object.without_finalizer(ORPHAN));
    }

    fn finish_foreground(&self, object: &Object<'_>, world: &World, plan: &mut Plan) {
        let uid = &object.stored.body.header().uid;
        let blocks = |owned: &Object<'_>| {
            owned.owners().iter().any(|owner| owner.uid == *uid && owner.block_owner_deletion)
        };
        if !self.owned(world, object).any(|owned| blocks(&owned)) {
            plan.writes.push(object.without_finalizer(FOREGROUND));
        }
    }
}
