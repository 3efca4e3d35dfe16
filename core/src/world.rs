//! What is seen of the store: [`Cache`] takes changes in, [`World`] answers questions.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, Deref};

use rustc_hash::{FxHashMap, FxHashSet};

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

/// Takes changes in and keeps the views, indexes and owner look-ups of a [`World`].
#[derive(Default)]
pub struct Cache {
    world: World,
    followed: Vec<Kind>,
    /// Whether a cut was taken in.
    begun: bool,
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

    /// How many objects a view cannot decode as they are now. Such an object is absent from that view alone; one that
    /// two views cannot decode counts twice.
    pub fn malformed(&self) -> usize {
        self.world.views.values().map(|view| view.malformed()).sum()
    }

    /// Follows a kind, for untyped reading. One that is followed already is known by this version from now on.
    ///
    /// After the first cut this changes [`Cache::followed`], and the kind is not among [`World::kinds`] until a cut
    /// resets it.
    pub fn follow(&mut self, kind: Kind) {
        if let Some(known) = self.followed.iter_mut().find(|k| k.same_resource(&kind)) {
            if let Some(table) = self.world.kinds.get_mut(&place(&kind)) {
                table.kind = kind.clone();
            }
            *known = kind;
            return;
        }
        // One that has ended does not stand for another that has taken its name over.
        let followed = &self.followed;
        self.world.kinds.retain(|_, table| {
            let ended = table.told && !followed.iter().any(|k| k.same_resource(&table.kind));
            !ended || table.kind.kind != kind.kind || table.kind.group != kind.group
        });
        let table = self.world.kinds.entry(place(&kind)).or_insert_with(|| Table {
            kind: kind.clone(),
            told: false,
            objects: BTreeMap::new(),
            by_owner: BTreeMap::new(),
        });
        table.kind = kind.clone();
        table.told = !self.begun;
        self.followed.push(kind);
    }

    /// Follows a kind no longer, for it cannot be followed now. What was seen of it stays, but no longer counts as all
    /// that there is.
    pub fn unfollow(&mut self, kind: &Kind) {
        self.followed.retain(|k| !k.same_resource(kind));
        if let Some(table) = self.world.kinds.get_mut(&place(kind)) {
            table.told = false;
        }
    }

    /// Follows a kind no longer, for it has ended, and its objects with it. Calls `seen` as [`Cache::apply`] does.
    pub fn retire(&mut self, kind: &Kind, mut seen: impl FnMut(&Change, Option<&Change>, &World)) {
        self.followed.retain(|k| !k.same_resource(kind));
        let Some(table) = self.world.kinds.get_mut(&place(kind)) else { return };
        table.told = true;
        let keys: Vec<Key> = table.objects.keys().cloned().collect();
        for key in keys {
            self.change(Change { kind: kind.clone(), key, object: None }, &mut seen);
        }
    }

    /// Follows a kind through the view `T`.
    pub fn register<T: Object>(&mut self) {
        self.follow(T::KIND);
        if self.world.views.contains_key(&TypeId::of::<T>()) {
            return;
        }
        let mut view = ViewOf::<T> { items: BTreeMap::new(), malformed: BTreeSet::new() };
        for (key, stored) in self.world.objects(&T::KIND) {
            view.put(key, stored);
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
        self.begun = true;
        if !cut.reset.is_empty() {
            let kept: FxHashSet<(&str, &str, &Key)> =
                cut.changes.iter().map(|c| (c.kind.group.as_str(), c.kind.plural.as_str(), &c.key)).collect();
            for kind in &cut.reset {
                if let Some(table) = self.world.kinds.get_mut(&place(kind)) {
                    table.told = true;
                }
                let is_kept = |key: &Key| kept.contains(&(kind.group.as_str(), kind.plural.as_str(), key));
                let gone: Vec<Key> = self
                    .world
                    .objects(kind)
                    .map(|(key, _)| key)
                    .filter(|key| !is_kept(key))
                    .cloned()
                    .collect();
                for key in gone {
                    self.change(Change { kind: kind.clone(), key, object: None }, &mut seen);
                }
            }
        }
        for change in cut.changes {
            self.change(change, &mut seen);
        }
        self.world.revision = self.world.revision.max(cut.revision);
    }

    fn change(&mut self, change: Change, seen: &mut impl FnMut(&Change, Option<&Change>, &World)) {
        let Change { kind, key, object } = &change;
        let Some(table) = self.world.kinds.get_mut(&place(kind)) else { return };
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
            match object {
                Some(stored) => view.put(key, stored),
                None => view.remove(key),
            }
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
    fn put(&mut self, key: &Key, stored: &Stored);
    fn remove(&mut self, key: &Key);
    /// How many objects cannot be decoded.
    fn malformed(&self) -> usize;
    fn item(&self, key: &Key) -> Option<&dyn Any>;
    fn as_any(&self) -> &dyn Any;
}

struct ViewOf<T> {
    items: BTreeMap<Key, Item<T>>,
    malformed: BTreeSet<Key>,
}

impl<T: Object> AnyView for ViewOf<T> {
    fn kind(&self) -> Kind {
        T::KIND
    }

    fn type_id_of(&self) -> TypeId {
        TypeId::of::<T>()
    }

    fn put(&mut self, key: &Key, stored: &Stored) {
        match Item::decode(stored) {
            Ok(item) => {
                self.malformed.remove(key);
                self.items.insert(key.clone(), item);
            }
            Err(_) => {
                self.items.remove(key);
                self.malformed.insert(key.clone());
            }
        }
    }

    fn remove(&mut self, key: &Key) {
        self.items.remove(key);
        self.malformed.remove(key);
    }

    fn malformed(&self) -> usize {
        self.malformed.len()
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
