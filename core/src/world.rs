//! What is seen of the store: [`Cache`] takes changes in, [`World`] answers questions.

mod cache;
mod views;

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::ops::{Bound, Deref};

use rustc_hash::FxHashMap;

use crate::body::{Malformed, Stored, View};
use crate::object::{Key, Kind, Name, Object};
use crate::store::Revision;
pub use cache::Cache;
use views::{AnyIndex, AnyView, ViewOf};

/// A change of one object, as far as a reader of the API can see it.
#[derive(Clone, Debug)]
pub struct Change {
    /// The object's kind.
    pub kind: Kind,
    /// The object's key.
    pub key: Key,
    /// The object from now on; `None`: it is gone.
    pub object: Option<Stored>,
}

/// Everything that changed up to a revision: applying it moves a reader from one consistent state to the next.
#[derive(Clone, Debug, Default)]
pub struct Cut {
    /// The state that the reader has reached.
    pub revision: Revision,
    /// Kinds whose objects are given in full: what is not among `changes` no longer exists.
    pub reset: Vec<Kind>,
    /// The changes, in the order of their commits.
    pub changes: Vec<Change>,
}

/// A typed view of an object, with the state that it was made from. Derefs to the view.
///
/// Readers of one process that hold the same state at the same time share one view: an object is decoded once, however
/// many follow it.
#[derive(Debug)]
pub struct Item<T> {
    view: View<T>,
    stored: Stored,
}

impl<T> Clone for Item<T> {
    fn clone(&self) -> Self {
        Item { view: self.view.clone(), stored: self.stored.clone() }
    }
}

impl<T: Object> Item<T> {
    /// Decodes the view.
    ///
    /// # Errors
    /// When a field that the view declares is not of the declared type.
    pub fn decode(stored: &Stored) -> Result<Item<T>, Malformed> {
        Ok(Item { view: stored.body.view()?, stored: stored.clone() })
    }

    /// The commit that wrote this state.
    pub fn revision(&self) -> Revision {
        self.stored.revision
    }

    /// The object in full.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }
}

impl<T> Deref for Item<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.view.0
    }
}

/// Additional look-ups over one type of view.
///
/// ```
/// use orlop_core::kinds::Pod;
/// use orlop_core::world::Index;
/// use orlop_core::Name;
///
/// /// Pods by the node that they are bound to.
/// struct ByNode;
///
/// impl Index for ByNode {
///     type Of = Pod;
///     fn values(pod: &Pod, out: &mut Vec<Name>) {
///         out.extend((!pod.spec.node_name.is_empty()).then(|| pod.spec.node_name.clone()));
///     }
/// }
/// ```
pub trait Index: 'static {
    /// The view that is indexed.
    type Of: Object;

    /// The values under which `object` is found.
    fn values(object: &Self::Of, out: &mut Vec<Name>);
}

/// A consistent state of the objects that a reader follows. Iteration is ordered by key.
#[derive(Default)]
pub struct World {
    revision: Revision,
    kinds: BTreeMap<(Name, Name), Table>,
    views: FxHashMap<TypeId, Box<dyn AnyView>>,
    indexes: FxHashMap<TypeId, Box<dyn AnyIndex>>,
}

struct Table {
    kind: Kind,
    /// Whether it is known what exists.
    told: bool,
    objects: BTreeMap<Key, Stored>,
    by_owner: BTreeMap<Name, Vec<Key>>,
}

impl World {
    /// The revision up to which everything is seen.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// One object.
    pub fn get<T: Object>(&self, key: &Key) -> Option<&Item<T>> {
        self.view::<T>().get(key)
    }

    /// All objects of a kind.
    pub fn all<T: Object>(&self) -> impl ExactSizeIterator<Item = &Item<T>> {
        self.view::<T>().values()
    }

    /// The objects of a kind in one namespace.
    pub fn in_namespace<T: Object>(&self, namespace: &str) -> impl Iterator<Item = &Item<T>> {
        namespace_range(self.view::<T>(), namespace).map(|(_, item)| item)
    }

    /// The objects of a kind that refer to the owner with this UID, whether it controls them or not.
    pub fn owned_by<'a, T: Object>(&'a self, owner: &str) -> impl Iterator<Item = &'a Item<T>> {
        let view = self.view::<T>();
        self.owned_keys(&T::KIND, owner).iter().filter_map(|key| view.get(key))
    }

    /// The objects that index `I` finds under `value`.
    ///
    /// # Panics
    /// When the index was not registered: declare it in [`crate::Controller::watches`].
    pub fn lookup<'a, I: Index>(&'a self, value: &str) -> impl Iterator<Item = &'a Item<I::Of>> {
        let index = self.indexes.get(&TypeId::of::<I>()).expect("an index is registered before it is used");
        let view = self.view::<I::Of>();
        index.keys(value).iter().filter_map(|key| view.get(key))
    }

    /// The kinds of which all objects are seen, ordered by group and plural name.
    ///
    /// A kind that is followed from a later moment on is among them once a cut has given its objects in full: before,
    /// that an object is not seen does not mean that there is none. A kind that has ended
    /// ([`Cache::retire`]) stays among them, without objects.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.kinds.values().filter(|table| table.told).map(|table| &table.kind)
    }

    /// Whether a kind is followed of which it is not yet known what exists.
    pub fn awaits(&self) -> bool {
        self.kinds.values().any(|table| !table.told)
    }

    /// The objects of a kind, untyped.
    pub fn objects(&self, kind: &Kind) -> impl Iterator<Item = (&Key, &Stored)> {
        self.table(kind).into_iter().flat_map(|table| table.objects.iter())
    }

    /// The objects of a kind in one namespace, untyped.
    pub fn objects_in(&self, kind: &Kind, namespace: &str) -> impl Iterator<Item = (&Key, &Stored)> {
        self.table(kind).into_iter().flat_map(move |table| namespace_range(&table.objects, namespace))
    }

    /// One object, untyped.
    pub fn object(&self, kind: &Kind, key: &Key) -> Option<&Stored> {
        self.table(kind)?.objects.get(key)
    }

    /// The keys of the objects of a kind that refer to the owner with this UID.
    pub fn owned_keys(&self, kind: &Kind, owner: &str) -> &[Key] {
        self.table(kind).and_then(|table| table.by_owner.get(owner)).map_or(&[], Vec::as_slice)
    }

    fn table(&self, kind: &Kind) -> Option<&Table> {
        self.kinds.get(&place(kind))
    }

    fn view<T: Object>(&self) -> &BTreeMap<Key, Item<T>> {
        let view: &dyn Any = self
            .views
            .get(&TypeId::of::<T>())
            .unwrap_or_else(|| panic!("{} is read, but not among what the controller watches", T::KIND.kind))
            .as_any();
        &view.downcast_ref::<ViewOf<T>>().expect("a view is stored under its own type").items
    }
}

/// Where the table of a kind is kept: the version does not matter.
fn place(kind: &Kind) -> (Name, Name) {
    (kind.group.clone(), kind.plural.clone())
}

fn namespace_range<'a, V>(
    map: &'a BTreeMap<Key, V>,
    namespace: &str,
) -> impl Iterator<Item = (&'a Key, &'a V)> {
    let start = Key::new(namespace, "");
    let namespace = start.namespace.clone();
    map.range((Bound::Included(start), Bound::Unbounded))
        .take_while(move |(key, _)| key.namespace == namespace)
}
