//! Garbage collection: what is owned goes with its last owner.
//!
//! In the background (the owner goes first), in the foreground (an owner that has the finalizer `foregroundDeletion` waits
//! for those that block it), or not at all (the finalizer `orphan`: the owned are released first).
//!
//! A key stands for all objects of that name, whatever their kind: of every kind that the runner follows. An owner of a
//! kind that is not seen counts as present, until it is.

use std::convert::Infallible;
use std::time::Duration;

use orlop_core::controller::{Context, Controller, Watches};
use orlop_core::plan::{Action, Propagation};
use orlop_core::{Key, Kind, Name, OwnerReference, Plan, Scope, Stored, World, Write};
use serde_json::{Value, json};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// When to look again at an object whose owner's kind is about to be seen.
const SOON: Duration = Duration::from_secs(1);
/// When to look again at an object whose owner's kind is not known: it may be defined yet.
const LATER: Duration = Duration::from_secs(30);

/// Collects garbage. See the module's documentation.
pub struct GarbageCollector;

impl Controller for GarbageCollector {
    type Effect = Infallible;

    fn name(&self) -> &'static str {
        "generic-garbage-collector"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.every(concerned);
    }

    fn reconcile(&self, key: &Key, world: &World, ctx: &mut Context<'_>) -> Plan {
        let mut plan = Plan::nothing();
        let mut unsure = false;
        for kind in world.kinds() {
            if let Some(stored) = world.object(kind, key) {
                unsure |= look(&Object { kind, key, stored }, world, &mut plan);
            }
        }
        if unsure { plan.wake_at(ctx.now + if world.awaits() { SOON } else { LATER }) } else { plan }
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
        self.merge(without_finalizer(&self.stored.body.header().finalizers, finalizer))
    }

    fn with_owners(&self, owners: &[&OwnerReference]) -> Write {
        self.merge(json!({"ownerReferences": if owners.is_empty() { Value::Null } else { json!(owners) }}))
    }
}

/// What an owner reference points to.
enum Owner {
    /// It is there, or cannot be.
    Solid,
    /// Its kind is not seen.
    Unknown,
    /// It is gone.
    Dangling,
    /// It is being deleted, and waits for what it owns.
    Waiting,
}

/// The objects that refer to the owner with this UID.
fn owned<'a>(world: &'a World, uid: &'a str) -> impl Iterator<Item = Object<'a>> {
    world.kinds().flat_map(move |kind| {
        let object = move |key| Some(Object { kind, key, stored: world.object(kind, key)? });
        world.owned_keys(kind, uid).iter().filter_map(object)
    })
}

/// Whom a change concerns: the object itself if it is owned or goes; its owners, who may wait for it; what it owns, if it
/// goes or is gone.
fn concerned(kind: &Kind, key: &Key, stored: &Stored, world: &World) -> Vec<Key> {
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
        keys.extend(owned(world, &header.uid).map(|object| object.key.clone()));
    }
    keys
}

fn owned_by<'a>(object: &'a Object<'a>, world: &'a World) -> impl Iterator<Item = Object<'a>> {
    owned(world, &object.stored.body.header().uid)
}

fn owner(object: &Object<'_>, reference: &OwnerReference, world: &World) -> Owner {
    let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
    let known = world.kinds().find(|kind| kind.kind == reference.kind && kind.group == group);
    let Some(kind) = known else { return Owner::Unknown };
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

/// Plans for one object; answers whether it is to be looked at again, for not all kinds that matter are seen.
fn look(object: &Object<'_>, world: &World, plan: &mut Plan) -> bool {
    if object.is_deleting() {
        if world.awaits() && (object.has_finalizer(ORPHAN) || object.has_finalizer(FOREGROUND)) {
            // It may own what is not seen yet.
            return true;
        }
        if object.has_finalizer(ORPHAN) {
            release_owned(object, world, plan);
        } else if object.has_finalizer(FOREGROUND) {
            finish_foreground(object, world, plan);
        }
        return false;
    }
    let (mut solid, mut dangling, mut waiting, mut unknown) = (Vec::new(), 0, 0, false);
    for reference in object.owners() {
        match owner(object, reference, world) {
            Owner::Solid => solid.push(reference),
            Owner::Unknown => {
                unknown = true;
                solid.push(reference);
            }
            Owner::Dangling => dangling += 1,
            Owner::Waiting => waiting += 1,
        }
    }
    if !solid.is_empty() {
        if dangling + waiting > 0 {
            plan.writes.push(object.with_owners(&solid));
        }
        return unknown;
    }
    if dangling + waiting == 0 {
        return false;
    }
    if waiting > 0 && owned_by(object, world).next().is_some() {
        if owned_by(object, world).any(|owned| owned.waits_for_owned()) {
            // Each waits for the other: this one blocks nobody any more.
            let freed: Vec<OwnerReference> = object
                .owners()
                .iter()
                .map(|owner| OwnerReference { block_owner_deletion: false, ..owner.clone() })
                .collect();
            if freed != object.owners() {
                plan.writes.push(object.with_owners(&freed.iter().collect::<Vec<_>>()));
                return false;
            }
        }
        plan.writes.push(object.delete(Propagation::Foreground));
        return false;
    }
    // Whoever put a finalizer on the object has said how it is to go.
    plan.writes.push(object.delete(if object.has_finalizer(ORPHAN) {
        Propagation::Orphan
    } else if object.has_finalizer(FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    }));
    false
}

fn release_owned(object: &Object<'_>, world: &World, plan: &mut Plan) {
    let uid = &object.stored.body.header().uid;
    for owned in owned_by(object, world) {
        let rest: Vec<&OwnerReference> = owned.owners().iter().filter(|owner| owner.uid != *uid).collect();
        plan.writes.push(owned.with_owners(&rest));
    }
    plan.writes.push(object.without_finalizer(ORPHAN));
}

fn finish_foreground(object: &Object<'_>, world: &World, plan: &mut Plan) {
    let uid = &object.stored.body.header().uid;
    let blocks = |owned: &Object<'_>| {
        owned.owners().iter().any(|owner| owner.uid == *uid && owner.block_owner_deletion)
    };
    if !owned_by(object, world).any(|owned| blocks(&owned)) {
        plan.writes.push(object.without_finalizer(FOREGROUND));
    }
}

/// A patch of metadata that takes one finalizer away.
pub(crate) fn without_finalizer(all: &[Name], gone: &str) -> Value {
    let rest: Vec<&Name> = all.iter().filter(|finalizer| *finalizer != gone).collect();
    json!({"finalizers": if rest.is_empty() { Value::Null } else { json!(rest) }})
}
