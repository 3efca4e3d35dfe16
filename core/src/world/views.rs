//! Typed tables and look-ups with their types erased, so that one [`World`](super::World) holds any of them.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use super::{Index, Item};
use crate::body::Stored;
use crate::object::{Key, Kind, Name, Object};

/// A table of one view, with its type erased.
pub(super) trait AnyView: Send + Sync {
    fn kind(&self) -> Kind;
    fn type_id_of(&self) -> TypeId;
    fn put(&mut self, key: &Key, stored: &Stored);
    fn remove(&mut self, key: &Key);
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
pub(super) trait AnyIndex: Send + Sync {
    fn of(&self) -> TypeId;
    fn add(&mut self, key: &Key, item: Option<&dyn Any>);
    fn remove(&mut self, key: &Key, item: Option<&dyn Any>);
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

    fn values(item: Option<&dyn Any>) -> Vec<Name> {
        let mut values = Vec::new();
        if let Some(item) = item.and_then(|item| item.downcast_ref::<Item<I::Of>>()) {
            I::values(item, &mut values);
        }
        values
    }

    pub(super) fn put(&mut self, key: &Key, item: &Item<I::Of>) {
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
