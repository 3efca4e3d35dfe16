//! Who owns what a selector selects: adoption of orphans, release of what no longer matches.

use orlop_core::controller::Watches;
use orlop_core::kinds::Pod;
use orlop_core::rules::Selector;
use orlop_core::{Item, Meta, Object, OwnerReference, Write};
use serde_json::{Value, json};

/// What is to be done about an object that an owner might own.
#[derive(Debug, PartialEq)]
pub enum Claim {
    /// It is owned and selected.
    Mine,
    /// It becomes the owner's, or ceases to be.
    Change(Box<Write>),
    /// It is none of the owner's business.
    Ignore,
}

/// What `owner` does about `object`. Neither an owner that is being deleted nor an object that is changes hands.
pub fn claim<T: Object>(
    owner: &Meta,
    reference: &OwnerReference,
    selector: &Selector,
    object: &Item<T>,
) -> Claim {
    let meta = object.meta();
    let selected = selector.matches(&meta.labels);
    match meta.controller() {
        Some(controller) if controller.uid != owner.uid => Claim::Ignore,
        Some(_) if selected => Claim::Mine,
        Some(_) if owner.is_terminating() => Claim::Ignore,
        Some(_) => {
            let rest: Vec<&OwnerReference> =
                meta.owner_references.iter().filter(|r| r.uid != owner.uid).collect();
            let rest = if rest.is_empty() { json!(null) } else { json!(rest) };
            change(object, json!({"metadata": {"ownerReferences": rest}}))
        }
        None if owner.is_terminating() || meta.is_terminating() || !selected => Claim::Ignore,
        None => {
            let owners: Vec<&OwnerReference> = meta.owner_references.iter().chain([reference]).collect();
            change(object, json!({"metadata": {"ownerReferences": owners}}))
        }
    }
}

fn change<T: Object>(object: &Item<T>, patch: Value) -> Claim {
    Claim::Change(Box::new(Write::merge_seen(object, patch)))
}

/// Whether the claim made an orphan the owner's.
pub(crate) fn is_adoption<T: Object>(claim: &Claim, object: &Item<T>) -> bool {
    matches!(claim, Claim::Change(_)) && object.meta().controller().is_none()
}

/// A pod that nobody controls concerns those of its namespace that would adopt it. Of other pods only the header is
/// looked at: there are many of them.
pub(crate) fn watch_orphans<Owner: Object>(
    watches: &mut Watches<'_>,
    wants: impl Fn(&Owner, &Pod) -> bool + Send + 'static,
) {
    watches.reads::<Pod>().mapped_of(Pod::KIND, move |key, stored, world| {
        let owned = stored.body.header().owners.iter().any(|owner| owner.controller);
        if owned || world.in_namespace::<Owner>(&key.namespace).next().is_none() {
            return Vec::new();
        }
        let Ok(pod) = Item::<Pod>::decode(stored) else { return Vec::new() };
        let owners = world.in_namespace::<Owner>(&key.namespace);
        owners.filter(|owner| wants(owner, &pod)).map(|owner| owner.meta().key()).collect()
    });
}
