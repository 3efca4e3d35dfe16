//! Typed tables and look-ups with their types erased, so that one [`World`](super::World) holds any of them.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::sync::Arc;

use super::{Index, Item};
use crate::body::Stored;
use crate::object::{Key, Kind, Name, Object};

/// What was decoded of an object. While it is held, decoding that state again costs nothing.
pub(super) type Seen = Arc<dyn Any + Send + Sync>;

/// A table of one view, with its type erased.
pub(super) trait AnyView: Send + Sync {
    fn kind(&self) -> Kind;
    fn type_id_of(&self) -> TypeId;
    /// Takes the object in, and answers with what was seen of it until now.
    fn put(&mut self, key: &Key, stored: &Stored) -> Option<Seen>;
    /// Forgets the object, and answers with what was seen of it until now.
    fn remove(&mut self, key: &Key) -> Option<Seen>;
    /// How many objects cannot be decoded.
    fn malformed(&self) -> usize;
    fn item(&self, key: &Key) -> Option<&dyn Any>;
    fn as_any(&self) -> &dyn Any;
}

pub(super) struct ViewOf<T> {
    pub(super) items: BTreeMap<Key, Item<T>>,
    malformed: BTreeSet<Key>,
}

impl<T> ViewOf<T> {
    pub(super) fn new() -> ViewOf<T> {
        ViewOf { items: BTreeMap::new(), malformed: BTreeSet::new() }
    }
}

impl<T: Object> AnyView for ViewOf<T> {
    fn kind(&self) -> Kind {
        T::KIND
    }

    fn type_id_of(&self) -> TypeId {
        TypeId::of::<T>()
    }

    fn put(&mut self, key: &Key, stored: &Stored) -> Option<Seen> {
        let before = match Item::decode(stored) {
            Ok(item) => {
                self.malformed.remove(key);
                self.items.insert(key.clone(), item)
            }
            Err(_) => {
                self.malformed.insert(key.clone());
                self.items.remove(key)
            }
        };
        before.map(|item| -> Seen { item.view })
    }

    fn remove(&mut self, key: &Key) -> Option<Seen> {
        self.malformed.remove(key);
        self.items.remove(key).map(|item| -> Seen { item.view })
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
pub(super) trait AnyIndex: Send + Sync {
    fn of(&self) -> TypeId;
    /// What an object is found by.
    fn values(&self, item: Option<&dyn Any>) -> Vec<Name>;
    /// Takes notice of an object that was found by some values, and is now by others.
    fn change(&mut self, key: &Key, before: Vec<Name>, now: Vec<Name>);
    fn keys(&self, value: &str) -> &[Key];
}

pub(super) struct IndexOf<I> {
    keys: BTreeMap<Name, Vec<Key>>,
    _of: PhantomData<fn() -> I>,
}

impl<I: Index> IndexOf<I> {
    pub(super) fn new() -> IndexOf<I> {
        IndexOf { keys: BTreeMap::new(), _of: PhantomData }
    }

    pub(super) fn put(&mut self, key: &Key, item: &Item<I::Of>) {
        self.change(key, Vec::new(), self.values(Some(item)));
    }
}

impl<I: Index> AnyIndex for IndexOf<I> {
    fn of(&self) -> TypeId {
        TypeId::of::<I::Of>()
    }

    fn values(&self, item: Option<&dyn Any>) -> Vec<Name> {
        let mut values = Vec::new();
        if let Some(item) = item.and_then(|item| item.downcast_ref::<Item<I::Of>>()) {
            I::values(item, &mut values);
        }
        values
    }

    fn change(&mut self, key: &Key, before: Vec<Name>, now: Vec<Name>) {
        if before == now {
            return;
        }
        before.iter().for_each(|value| take_out(&mut self.keys, value, key));
        now.into_iter().for_each(|value| put_in(&mut self.keys, value, key));
    }

    fn keys(&self, value: &str) -> &[Key] {
        self.keys.get(value).map_or(&[], Vec::as_slice)
    }
}

/// Adds a key to those of a value, which are in order.
pub(super) fn put_in(keys: &mut BTreeMap<Name, Vec<Key>>, value: Name, key: &Key) {
    let keys = keys.entry(value).or_default();
    if let Err(at) = keys.binary_search(key) {
        keys.insert(at, key.clone());
    }
}

/// Takes a key from those of a value.
pub(super) fn take_out(keys: &mut BTreeMap<Name, Vec<Key>>, value: &Name, key: &Key) {
    let Some(of_value) = keys.get_mut(value) else { return };
    if let Ok(at) = of_value.binary_search(key) {
        of_value.remove(at);
    }
    if of_value.is_empty() {
        keys.remove(value);
    }
}
