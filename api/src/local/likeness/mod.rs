//! A creation like the last one: what came of that, with what is the new object's own.
//!
//! Bursts of creations are alike. ReplicaSets, Jobs and load tests create one body again and again, under another name
//! or with the same `generateName`. What comes of a creation follows from what was asked, from what the decision read
//! in the store, and from time and chance. So where the same is asked, all that was read would be read again, and it is
//! known where the name, the moment and what chance gave stand in the object that was made, the decision is known
//! without being made: a [`Likeness`].
//!
//! # Guarantees
//! The short way answers what the long way would answer, to the byte, errors included, and draws the same from chance.
//! Nothing is kept where more is not known for sure: where policies, webhooks or an embedder's own admission look on;
//! where something is charged, warned of or noted for the audit log; for kinds whose name means more than itself
//! ([`Strategy::name_alone`]). Who may create is asked each time, and that there is no such object yet is a condition of
//! the commit each time.

mod asked;
mod made;
mod reads;
mod text;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use orlop_core::Name;
use parking_lot::RwLock;
use rustc_hash::FxHashMap;

pub(crate) use made::Drawn;

use super::admit::{Admitted, Call};
use crate::request::Body;
use crate::status::Status;
use crate::strategy::Strategy;
use asked::{Asked, Named};
use made::Likeness;
use reads::Watched;

/// As many creations of each kind and namespace are looked back upon for one that is alike.
const HEARD_MAX: usize = 32;
/// So many kinds and namespaces are remembered; beyond that, all are forgotten.
const PLACES_MAX: usize = 512;
/// What all likenesses may take, in bytes; beyond that, all are forgotten.
const BYTES_MAX: usize = 16 << 20;

/// What is known of recent creations. Belongs to what is served, and goes with it.
#[derive(Default)]
pub(crate) struct Likenesses {
    known: RwLock<Known>,
    /// Counts uses, to tell which likeness was not used for the longest.
    uses: AtomicU64,
}

#[derive(Default)]
struct Known {
    places: FxHashMap<Place, Recent>,
    bytes: usize,
}

/// A kind in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    group: Name,
    plural: Name,
    namespace: Name,
}

#[derive(Default)]
struct Recent {
    kept: Vec<Arc<Likeness>>,
    /// Fingerprints of what was asked lately, and came once so far.
    heard: VecDeque<u64>,
}

/// Creates an object: like one before, or by the long way, `decide`.
pub(super) fn create(
    call: &mut Call<'_>,
    body: Option<&Body>,
    decide: fn(&mut Call<'_>, Option<&Body>) -> Result<Admitted, Status>,
) -> Result<Admitted, Status> {
    let limit = call.config.alike;
    let Some(asked) = asked(call, body) else { return decide(call, body) };
    let known = &call.served.likenesses;
    let place = Place {
        group: call.resource.kind.group.clone(),
        plural: call.resource.kind.plural.clone(),
        namespace: call.key.namespace.clone(),
    };
    let found = known.find(&place, &asked);
    match &found {
        Some((likeness, named)) if likeness.holds(call.view) => {
            likeness.used.store(known.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
            return likeness.again(call, *named).unwrap_or_else(|| decide(call, body));
        }
        Some(_) => {}
        None if known.heard(&place, asked.fingerprint()) => {}
        None => return decide(call, body),
    }
    let view = Watched::new(call.view);
    let before = call.entropy.clone();
    let mut watched = call.on(&view);
    let decided = decide(&mut watched, body);
    let made = decided.as_ref().ok().and_then(|admitted| Likeness::of(&asked, &watched, admitted, before));
    let noticed = watched.end();
    call.take_over(noticed);
    let made = made.and_then(|made| Some(made.reading(view.reads()?)));
    known.replace(place, found.map(|(old, _)| old), made, limit);
    decided
}

/// What is asked, if the like of it may be known.
fn asked<'a>(call: &Call<'a>, body: Option<&'a Body>) -> Option<Asked<'a>> {
    let plain = call.config.alike > 0
        && call.config.admission.is_empty()
        && !call.options.dry_run
        && call.subresource.is_empty()
        && call.resource.kind == call.resource.stored_as
        && Strategy::of(call.resource).name_alone;
    if plain { Asked::new(call, body?) } else { None }
}

impl Likenesses {
    /// The likeness of what is asked, and the name that is asked for.
    fn find<'a>(&self, place: &Place, asked: &Asked<'a>) -> Option<(Arc<Likeness>, Named<'a>)> {
        let known = self.known.read();
        known
            .places
            .get(place)?
            .kept
            .iter()
            .find_map(|one| one.is_of(asked).map(|named| (one.clone(), named)))
    }

    /// Whether the same was asked lately; from now on it was.
    fn heard(&self, place: &Place, fingerprint: u64) -> bool {
        let mut known = self.known.write();
        if known.places.len() >= PLACES_MAX && !known.places.contains_key(place) {
            *known = Known::default();
        }
        let heard = &mut known.places.entry(place.clone()).or_default().heard;
        if let Some(at) = heard.iter().position(|other| *other == fingerprint) {
            heard.remove(at);
            return true;
        }
        if heard.len() >= HEARD_MAX {
            heard.pop_front();
        }
        heard.push_back(fingerprint);
        false
    }

    /// Keeps `made`, if anything, in the place of `old` and of what was not used for the longest.
    fn replace(&self, place: Place, old: Option<Arc<Likeness>>, made: Option<Likeness>, limit: usize) {
        let mut known = self.known.write();
        let known = &mut *known;
        let kept = &mut known.places.entry(place).or_default().kept;
        if let Some(at) = old.and_then(|old| kept.iter().position(|other| Arc::ptr_eq(other, &old))) {
            known.bytes -= kept.swap_remove(at).size();
        }
        let Some(made) = made else { return };
        while kept.len() >= limit {
            let oldest = kept.iter().enumerate().min_by_key(|(_, one)| one.used.load(Ordering::Relaxed));
            let Some((at, _)) = oldest else { break };
            known.bytes -= kept.swap_remove(at).size();
        }
        made.used.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        known.bytes += made.size();
        kept.push(Arc::new(made));
        if known.bytes > BYTES_MAX {
            *known = Known::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use orlop_core::codec::protobuf;
    use orlop_core::store::MemoryStore;
    use orlop_core::{Entropy, Key, ManualClock, Timestamp};
    use serde_json::{Value, json};

    use super::super::{Config, LocalApi};
    use super::*;
    use crate::{Api, MediaType, Options, Request, ResourceId, User, Verb};

    /// How often the short way was taken, or made ready, for creations of these bodies.
    fn uses(plural: &str, bodies: impl IntoIterator<Item = Body>) -> u64 {
        let clock = ManualClock::at(Timestamp::from_secs(1_767_225_600));
        let store = MemoryStore::new(Arc::new(clock.clone()));
        let api = LocalApi::new(store, Arc::new(clock), Entropy::seeded(1), Config::default());
        api.bootstrap().now_or_never().expect("at once").expect("a new cluster");
        let account = json!({"metadata": {"name": "default"}});
        let account = ("serviceaccounts", Body::Value(account));
        for (plural, body) in [account].into_iter().chain(bodies.into_iter().map(|body| (plural, body))) {
            let request = Request {
                user: User { name: "ada".into(), ..User::default() },
                verb: Verb::Create,
                resource: ResourceId { group: "".into(), version: "v1".into(), plural: plural.into() },
                key: Key::new("default", ""),
                subresource: "".into(),
                options: Options::default(),
                body: Some(body),
            };
            api.call(request).now_or_never().expect("at once").expect("is created");
        }
        api.served().likenesses.uses.load(Ordering::Relaxed)
    }

    fn pod(meta: Value) -> Value {
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": meta,
            "spec": {"containers": [{"name": "c", "image": "nginx"}]}})
    }

    fn json_text(object: &Value) -> Body {
        Body::Bytes(MediaType::Json, object.to_string().into())
    }

    #[test]
    fn from_the_third_on_creations_are_short() {
        let named = |n: usize| pod(json!({"name": format!("p{n}")}));
        assert_eq!(uses("pods", (0..10).map(|n| Body::Value(named(n)))), 9);
        assert_eq!(uses("pods", (0..11).map(|n| json_text(&named(n)))), 10);
        let drawn = pod(json!({"generateName": "p-"}));
        assert_eq!(uses("pods", (0..10).map(|_| Body::Value(drawn.clone()))), 9);
        let bytes = |n: usize| {
            let schema = orlop_core::schema::Schema::builtin();
            let ty = schema.by_kind("", "v1", "Pod").expect("a kind");
            let named = named(n);
            let raw = protobuf::encode(schema, ty, &named).expect("a message");
            Body::Bytes(MediaType::Protobuf, protobuf::encode_body("v1", "Pod", &raw).into())
        };
        assert_eq!(uses("pods", (0..10).map(bytes)), 9);
        let other = |n: usize| json!({"metadata": {"name": format!("c{n}")}, "data": {"n": n.to_string()}});
        assert_eq!(uses("configmaps", (0..10).map(|n| Body::Value(other(n)))), 0);
        assert_eq!(
            uses(
                "services",
                (0..3).map(|n| {
                    let name = format!("s{n}");
                    Body::Value(json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}}))
                })
            ),
            0
        );
    }
}
