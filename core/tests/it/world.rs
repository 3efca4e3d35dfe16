//! The cache: what it keeps of objects, and by what it finds them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use orlop_core::store::Revision;
use orlop_core::world::Index;
use orlop_core::{Body, Cache, Change, Cut, Item, Key, Kind, Meta, Name, Object, Stored};
use proptest::prelude::*;
use serde::{Deserialize, Deserializer};
use serde_json::json;

/// A view that knows how often it was decoded.
struct Counted {
    metadata: Meta,
}

static DECODED: AtomicUsize = AtomicUsize::new(0);

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Counted, D::Error> {
        #[derive(Deserialize)]
        struct Plain {
            metadata: Meta,
        }
        DECODED.fetch_add(1, Ordering::Relaxed);
        Plain::deserialize(deserializer).map(|plain| Counted { metadata: plain.metadata })
    }
}

impl Object for Counted {
    const KIND: Kind = Kind::namespaced("test", "v1", "Counted", "counteds");

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[derive(Deserialize)]
struct Plain {
    metadata: Meta,
}

impl Object for Plain {
    const KIND: Kind = Kind::namespaced("test", "v1", "Plain", "plains");

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// Objects by the values of their labels.
struct ByLabel;

impl Index for ByLabel {
    type Of = Plain;

    fn values(object: &Plain, out: &mut Vec<Name>) {
        out.extend(object.metadata.labels.values().cloned());
    }
}

fn change(kind: Kind, name: &str, revision: u64, metadata: Option<serde_json::Value>) -> Change {
    let object = metadata.map(|mut metadata| {
        metadata["name"] = name.into();
        let body = Body::parse(json!({ "metadata": metadata }).to_string().into()).unwrap();
        Stored { body: Arc::new(body), revision: Revision(revision) }
    });
    Change { kind, key: Key::new("default", name), object }
}

fn cut(change: Change, revision: u64) -> Cut {
    Cut { revision: Revision(revision), reset: Vec::new(), changes: vec![change] }
}

/// Who is told of a change looks at the state before as well, each for itself: it was decoded again each time, for the
/// cache had let go of what it had made of it.
#[test]
fn each_state_is_decoded_once() {
    let mut cache = Cache::new();
    cache.register::<Counted>();
    for revision in 1..=3 {
        let change = change(Counted::KIND, "a", revision, Some(json!({"generation": revision})));
        cache.apply(cut(change, revision), |now, before, _| {
            for _ in 0..2 {
                for stored in [Some(now), before].into_iter().flatten().filter_map(|c| c.object.as_ref()) {
                    Item::<Counted>::decode(stored).unwrap();
                }
            }
        });
    }
    assert_eq!(DECODED.load(Ordering::Relaxed), 3);
}

/// Owners and labels of an object, by number.
type Having = (BTreeSet<u8>, BTreeSet<u8>);

/// What an object is to have; `None`: it goes.
type State = Option<Having>;

fn state() -> impl Strategy<Value = State> {
    let few = || prop::collection::btree_set(0..4u8, 0..3);
    prop::option::weighted(0.8, (few(), few()))
}

proptest! {
    /// However objects change, they are found by what they are, in order, and by nothing else.
    #[test]
    fn objects_are_found_by_what_they_are(changes in prop::collection::vec((0..6u8, state()), 1..40)) {
        let mut cache = Cache::new();
        cache.register_index::<ByLabel>();
        let mut model: BTreeMap<String, State> = BTreeMap::new();
        for (revision, (object, state)) in (1..).zip(changes) {
            let name = format!("o{object}");
            let metadata = state.as_ref().map(|(owners, labels)| {
                let owners: Vec<_> = owners
                    .iter()
                    .map(|o| json!({"apiVersion": "v1", "kind": "X", "name": "x", "uid": format!("u{o}")}))
                    .collect();
                let labels: BTreeMap<String, String> =
                    labels.iter().map(|l| (format!("k{l}"), format!("v{l}"))).collect();
                json!({"ownerReferences": owners, "labels": labels})
            });
            cache.apply(cut(change(Plain::KIND, &name, revision, metadata), revision), |_, _, _| {});
            model.insert(name, state);
            let world = cache.world();
            for n in 0..4u8 {
                let names = |has: &dyn Fn(&Having) -> bool| -> Vec<&str> {
                    model
                        .iter()
                        .filter(|(_, state)| state.as_ref().is_some_and(has))
                        .map(|(name, _)| name.as_str())
                        .collect()
                };
                let owned: Vec<&str> = world
                    .owned_keys(&Plain::KIND, &format!("u{n}"))
                    .iter()
                    .map(|key| key.name.as_str())
                    .collect();
                prop_assert_eq!(owned, names(&|(owners, _)| owners.contains(&n)));
                let found: Vec<&str> =
                    world.lookup::<ByLabel>(&format!("v{n}")).map(|item| item.metadata.name.as_str()).collect();
                prop_assert_eq!(found, names(&|(_, labels)| labels.contains(&n)));
            }
        }
    }
}
