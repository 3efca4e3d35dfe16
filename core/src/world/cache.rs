//! Takes changes in: [`Cache`].

use std::any::TypeId;
use std::collections::BTreeMap;

use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use super::views::{AnyIndex, AnyView, IndexOf, Seen, ViewOf, put_in, take_out};
use super::{Change, Cut, Index, Table, World, place};
use crate::body::Stored;
use crate::object::{Key, Kind, Name, Object};

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
        let mut view = ViewOf::<T>::new();
        for (key, stored) in self.world.objects(&T::KIND) {
            view.put(key, stored);
        }
        self.world.views.insert(TypeId::of::<T>(), Box::new(view));
    }

    /// Keeps the index `I`.
    pub fn register_index<I: Index>(&mut self) {
        self.register::<I::Of>();
        let mut index = IndexOf::<I>::new();
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
        let owners = |object: Option<&Stored>| -> SmallVec<[Name; 2]> {
            object.iter().flat_map(|o| o.body.header().owners.iter()).map(|owner| owner.uid.clone()).collect()
        };
        let (were, are) = (owners(before.as_ref()), owners(object.as_ref()));
        if were != are {
            were.iter().for_each(|owner| take_out(&mut table.by_owner, owner, key));
            are.into_iter().for_each(|owner| put_in(&mut table.by_owner, owner, key));
        }
        let World { views, indexes, .. } = &mut self.world;
        // What was decoded of the state before is kept for those who are told of it.
        let mut held: SmallVec<[Seen; 4]> = SmallVec::new();
        for view in views.values_mut().filter(|view| view.kind().same_resource(kind)) {
            let of_view = |index: &&mut Box<dyn AnyIndex>| index.of() == view.type_id_of();
            let values: SmallVec<[Vec<Name>; 4]> =
                indexes.values_mut().filter(of_view).map(|index| index.values(view.item(key))).collect();
            held.extend(match object {
                Some(stored) => view.put(key, stored),
                None => view.remove(key),
            });
            let of_view = indexes.values_mut().filter(|index| index.of() == view.type_id_of());
            for (index, before) in of_view.zip(values) {
                let now = index.values(view.item(key));
                index.change(key, before, now);
            }
        }
        let before =
            before.map(|stored| Change { kind: kind.clone(), key: key.clone(), object: Some(stored) });
        seen(&change, before.as_ref(), &self.world);
    }
}
