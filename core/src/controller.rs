//! Who decides: [`Controller`].

use crate::body::Stored;
use crate::entropy::Entropy;
use crate::object::{Key, Kind, Name, Object};
use crate::plan::{Failure, Plan};
use crate::time::Timestamp;
use crate::world::{Cache, Change, Index, Item, World};

/// A pure function from the world to a [`Plan`], for one key at a time.
///
/// A key is only a name: the controller compares what should be with what is, and never remembers what it did. The
/// runner calls it again until it has nothing to say, and holds a key back until the world shows the last commit of
/// its previous plan, so a controller never acts twice on one view.
pub trait Controller: Send + 'static {
    /// What it asks of the outside; [`std::convert::Infallible`] if nothing.
    type Effect: Send + 'static;

    /// The name in events, metrics and managed fields, `replicaset-controller`.
    fn name(&self) -> &'static str;

    /// What it reads, and whom an event concerns.
    fn watches(&self, watches: &mut Watches<'_>);

    /// What should change for `key`.
    fn reconcile(&self, key: &Key, world: &World, ctx: &mut Context<'_>) -> Plan<Self::Effect>;
}

/// Time and chance for one call of [`Controller::reconcile`].
pub struct Context<'a> {
    /// The present moment.
    pub now: Timestamp,
    /// The controller's own generator.
    pub entropy: &'a mut Entropy,
    /// Why this key's last plan failed; `None` if it did not.
    pub failure: Option<&'a Failure>,
}

impl<'a> Context<'a> {
    /// Time and chance, for a key whose last plan did not fail.
    pub fn new(now: Timestamp, entropy: &'a mut Entropy) -> Context<'a> {
        Context { now, entropy, failure: None }
    }

    /// `prefix` with five random letters, cut so that it stays a valid name.
    pub fn new_name(&mut self, prefix: &str) -> Name {
        let mut keep = prefix.len().min(58);
        while !prefix.is_char_boundary(keep) {
            keep -= 1;
        }
        smol_str::format_smolstr!("{}{}", &prefix[..keep], self.entropy.suffix(5))
    }
}

/// Collects what a controller reads, and whom an event concerns.
pub struct Watches<'a> {
    pub(crate) cache: &'a mut Cache,
    pub(crate) routes: Vec<Route>,
}

/// Whom a change concerns, given the state before and the world after it.
pub(crate) type Concerns = Box<dyn Fn(&Change, Option<&Change>, &World, &mut Vec<Key>) + Send>;

/// Whom a change of one kind, or of any, concerns.
pub(crate) struct Route {
    /// `None`: whatever is followed.
    pub(crate) kind: Option<Kind>,
    pub(crate) keys: Concerns,
}

impl Route {
    pub(crate) fn heeds(&self, kind: &Kind) -> bool {
        self.kind.as_ref().is_none_or(|own| own.same_resource(kind))
    }
}

impl Watches<'_> {
    /// A `T` concerns itself.
    pub fn each<T: Object>(&mut self) -> &mut Self {
        self.cache.register::<T>();
        self.each_of(T::KIND)
    }

    /// An object of `kind`, read untyped, concerns itself.
    pub fn each_of(&mut self, kind: Kind) -> &mut Self {
        self.route(kind, |change, _, _, keys| keys.push(change.key.clone()))
    }

    /// A `T` concerns the `Owner` that controls it.
    pub fn owned<T: Object, Owner: Object>(&mut self) -> &mut Self {
        self.cache.register::<T>();
        self.route(T::KIND, |change, before, _, keys| {
            for object in [Some(change), before].into_iter().flatten().filter_map(|c| c.object.as_ref()) {
                for owner in
                    object.body.header().owners.iter().filter(|o| o.controller && o.kind == Owner::KIND.kind)
                {
                    keys.push(Key { namespace: change.key.namespace.clone(), name: owner.name.clone() });
                }
            }
        })
    }

    /// A `T` concerns the keys that `map` finds, both for the state before and for the state after a change.
    pub fn mapped<T: Object>(
        &mut self,
        map: impl Fn(&Item<T>, &World) -> Vec<Key> + Send + 'static,
    ) -> &mut Self {
        self.cache.register::<T>();
        self.route(T::KIND, move |change, before, world, keys| {
            for stored in [Some(change), before].into_iter().flatten().filter_map(|c| c.object.as_ref()) {
                if let Ok(item) = Item::<T>::decode(stored) {
                    keys.extend(map(&item, world));
                }
            }
        })
    }

    /// An object of `kind`, read untyped, concerns the keys that `map` finds, both for the state before and for the
    /// state after a change. The world is already the one after it: an object that is gone is not in it.
    pub fn mapped_of(
        &mut self,
        kind: Kind,
        map: impl Fn(&Key, &Stored, &World) -> Vec<Key> + Send + 'static,
    ) -> &mut Self {
        self.route(kind, move |change, before, world, keys| {
            for stored in [Some(change), before].into_iter().flatten().filter_map(|c| c.object.as_ref()) {
                keys.extend(map(&change.key, stored, world));
            }
        })
    }

    /// An object of any kind that is followed, now or later, concerns the keys that `map` finds; as
    /// [`Watches::mapped_of`]. Such a controller reads [`World::kinds`], and makes nothing followed by itself: what is
    /// followed beyond what controllers name is for [`Runner::follow`](crate::Runner::follow).
    pub fn every(
        &mut self,
        map: impl Fn(&Kind, &Key, &Stored, &World) -> Vec<Key> + Send + 'static,
    ) -> &mut Self {
        let keys: Concerns = Box::new(move |change, before, world, keys| {
            for stored in [Some(change), before].into_iter().flatten().filter_map(|c| c.object.as_ref()) {
                keys.extend(map(&change.kind, &change.key, stored, world));
            }
        });
        self.routes.push(Route { kind: None, keys });
        self
    }

    /// `T` is read, but its changes concern nobody.
    pub fn reads<T: Object>(&mut self) -> &mut Self {
        self.cache.register::<T>();
        self
    }

    /// The index `I` is kept, for [`World::lookup`].
    pub fn index<I: Index>(&mut self) -> &mut Self {
        self.cache.register_index::<I>();
        self
    }

    fn route(
        &mut self,
        kind: Kind,
        keys: impl Fn(&Change, Option<&Change>, &World, &mut Vec<Key>) + Send + 'static,
    ) -> &mut Self {
        self.cache.follow(kind.clone());
        self.routes.push(Route { kind: Some(kind), keys: Box::new(keys) });
        self
    }
}
