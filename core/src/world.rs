//! What is seen of the store: [`Cache`] takes changes in, [`World`] answers questions.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::ops::{Bound, Deref};

use rustc_hash::FxHashMap;

use crate::body::{Malformed, Stored};
use crate::object::{Key, Kind, Name, Object};
use crate::store::Revision;

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
#[derive(Clone, Debug)]
pub struct Item<T> {
    view: T,
    stored: Stored,
}

impl<T: Object> Item<T> {
    /// Decodes the view.
    ///
    /// # Errors
    /// When a field that the view declares is not of the declared type.
    pub fn decode(stored: &Stored) -> Result<Item<T>, Malformed> {
        Ok(Item { view: stored.decode()?, stored: stored.clone() })
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
        &self.view
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

#[derive(Default)]
struct Table {
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
    pub fn all<T: Object>(&self) -> impl Iterator<Item = &Item<T>> {
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
        self.kinds.get(&(kind.group.clone(), kind.plural.clone()))
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

fn namespace_range<'a, V>(
    map: &'a BTreeMap<Key, V>,
    namespace: &str,
) -> impl Iterator<Item = (&'a Key, &'a V)> {
    let start = Key::new(namespace, "");
    let namespace = start.namespace.clone();
    map.range((Bound::Included(start), Bound::Unbounded))
        .take_while(move |(key, _)| key.namespace == namespace)
}

/// Takes changes in and keeps the views, indexes and owner look-ups of a [`World`].
#[derive(Default)]
pub struct Cache {
    world: World,
    followed: Vec<Kind>,
    malformed: u64,
}

impl Cache {
    /// A cache that follows nothing yet.
    pub fn new() -> Cache {
        Cache::default()
    }

    /// What is seen.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The kinds that this cache wants to be told of.
    pub fn followed(&self) -> &[Kind] {
        &self.followed
    }

    /// Objects that a view could not decode, since the start. Such objects are absent from that view alone.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Follows a kind, for untyped reading.
    pub fn follow(&mut self, kind: Kind) {
        self.world.kinds.entry((kind.group.clone(), kind.plural.clone())).or_default();
        if !self.followed.iter().any(|k| k.same_resource(&kind)) {
            self.followed.push(kind);
        }
    }

    /// Follows a kind through the view `T`.
    pub fn register<T: Object>(&mut self) {
        self.follow(T::KIND);
        if self.world.views.contains_key(&TypeId::of::<T>()) {
            return;
        }
        let mut view = ViewOf::<T> { items: BTreeMap::new() };
        for (key, stored) in self.world.objects(&T::KIND) {
            if !view.put(key, stored) {
                self.malformed += 1;
            }
        }
        self.world.views.insert(TypeId::of::<T>(), Box::new(view));
    }

    /// Keeps the index `I`.
    pub fn register_index<I: Index>(&mut self) {
        self.register::<I::Of>();
        let mut index = IndexOf::<I> { keys: BTreeMap::new(), _of: std::marker::PhantomData };
        for (key, item) in self.world.view::<I::Of>() {
            index.put(key, item);
        }
        self.world.indexes.insert(TypeId::of::<I>(), Box::new(index));
    }

    /// Moves to the state that `cut` describes. Calls `seen` for each change, after it was applied, with the state
    /// before.
    pub fn apply(&mut self, cut: Cut, mut seen: impl FnMut(&Change, Option<&Change>, &World)) {
        for kind in &cut.reset {
            let kept: std::collections::BTreeSet<&Key> =
                cut.changes.iter().filter(|c| c.kind.same_resource(kind)).map(|c| &c.key).collect();
            let gone: Vec<Key> = self
                .world
                .objects(kind)
                .map(|(key, _)| key)
                .filter(|key| !kept.contains(key))
                .cloned()
                .collect();
            for key in gone {
                self.change(Change { kind: kind.clone(), key, object: None }, &mut seen);
            }
        }
        for change in cut.changes {
            self.change(change, &mut seen);
        }
        self.world.revision = self.world.revision.max(cut.revision);
    }

    fn change(&mut self, change: Change, seen: &mut impl FnMut(&Change, Option<&Change>, &World)) {
        let Change { kind, key, object } = &change;
        let Some(table) = self.world.kinds.get_mut(&(kind.group.clone(), kind.plural.clone())) else {
            return;
        };
        let before = match object {
            Some(stored) => table.objects.insert(key.clone(), stored.clone()),
            None => table.objects.remove(key),
        };
        let unchanged = match (&before, object) {
            (Some(before), Some(now)) => before.revision == now.revision,
            (None, None) => true,
            _ => false,
        };
        if unchanged {
            return;
        }
        for owner in before.iter().flat_map(|b| b.body.header().owners.iter()) {
            if let Some(keys) = table.by_owner.get_mut(&owner.uid) {
                keys.retain(|k| k != key);
                if keys.is_empty() {
                    table.by_owner.remove(&owner.uid);
                }
            }
        }
        for owner in object.iter().flat_map(|o| o.body.header().owners.iter()) {
            let keys = table.by_owner.entry(owner.uid.clone()).or_default();
            if let Err(at) = keys.binary_search(key) {
                keys.insert(at, key.clone());
            }
        }
        let World { views, indexes, .. } = &mut self.world;
        for view in views.values_mut().filter(|view| view.kind().same_resource(kind)) {
            for index in indexes.values_mut().filter(|index| index.of() == view.type_id_of()) {
                index.remove(key, view.item(key));
            }
            let decoded = match object {
                Some(stored) => view.put(key, stored),
                None => view.remove(key),
            };
            self.malformed += u64::from(!decoded);
            for index in indexes.values_mut().filter(|index| index.of() == view.type_id_of()) {
                index.add(key, view.item(key));
            }
        }
        let before =
            before.map(|stored| Change { kind: kind.clone(), key: key.clone(), object: Some(stored) });
        seen(&change, before.as_ref(), &self.world);
    }
}

/// A table of one view, with its type erased.
trait AnyView: Send + Sync {
    fn kind(&self) -> Kind;
    fn type_id_of(&self) -> TypeId;
    /// Answers whether the object could be decoded.
    fn put(&mut self, key: &Key, stored: &Stored) -> bool;
    fn remove(&mut self, key: &Key) -> bool;
    fn item(&self, key: &Key) -> Option<&dyn Any>;
    fn as_any(&self) -> &dyn Any;
}

struct ViewOf<T> {
    items: BTreeMap<Key, Item<T>>,
}

impl<T: Object> AnyView for ViewOf<T> {
    fn kind(&self) -> Kind {
        T::KIND
    }

    fn type_id_of(&self) -> TypeId {
        TypeId::of::<T>()
    }

    fn put(&mut self, key: &Key, stored: &Stored) -> bool {
        match Item::decode(stored) {
            Ok(item) => {
                self.items.insert(key.clone(), item);
                true
            }
            Err(_) => {
                self.items.remove(key);
                false
            }
        }
    }

    fn remove(&mut self, key: &Key) -> bool {
        self.items.remove(key);
        true
    }

    fn item(&self, key: &Key) -> Option<&dyn Any> {
        self.items.get(key).map(|item| item as &dyn Any)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// An index, with its types erased.
trait AnyIndex: Send + Sync {
    fn of(&self) -> TypeId;
    fn add(&mut self, key: &Key, item: Option<&dyn Any>);
    fn remove(&mut self, key: &Key, item: Option<&dyn Any>);
    fn keys(&self, value: &str) -> &[Key];
}

struct IndexOf<I> {
    keys: BTreeMap<Name, Vec<Key>>,
    _of: std::marker::PhantomData<fn() -> I>,
}

impl<I: Index> IndexOf<I> {
    fn values(item: Option<&dyn Any>) -> Vec<Name> {
        let mut values = Vec::new();
        if let Some(item) = item.and_then(|item| item.downcast_ref::<Item<I::Of>>()) {
            I::values(item, &mut values);
        }
        values
    }

    fn put(&mut self, key: &Key, item: &Item<I::Of>) {
        self.add(key, Some(item));
    }
}

impl<I: Index> AnyIndex for IndexOf<I> {
    fn of(&self) -> TypeId {
        TypeId::of::<I::Of>()
    }

    fn add(&mut self, key: &Key, item: Option<&dyn Any>) {
        for value in Self::values(item) {
            let keys = self.keys.entry(value).or_default();
            if let Err(at) = keys.binary_search(key) {
                keys.insert(at, key.clone());
            }
        }
    }

    fn remove(&mut self, key: &Key, item: Option<&dyn Any>) {
        for value in Self::values(item) {
            if let Some(keys) = self.keys.get_mut(&value) {
                keys.retain(|k| k != key);
                if keys.is_empty() {
                    self.keys.remove(&value);
                }
            }
        }
    }

    fn keys(&self, value: &str) -> &[Key] {
        self.keys.get(value).map_or(&[], Vec::as_slice)
    }
}
