//! Reading and following: lists in parts, watches, and that they tell the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use orlop_api::{Api, Config, LocalApi, WatchFrame};
use orlop_core::store::{MemoryStore, Store};
use orlop_core::{Entropy, Kind, ManualClock, Revision, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{admin, now, request, seen, world};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CONFIG_MAP: Kind = Kind::namespaced("", "v1", "ConfigMap", "configmaps");

fn map(name: &str, app: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": app}}})
}

#[test]
fn a_list_in_parts_is_of_one_moment() {
    let world = world();
    for name in ["a", "b", "c", "d", "e"] {
        world.ok(&format!("create {MAPS}"), map(name, "x"));
    }
    let first = world.ok(&format!("list {MAPS}?limit=2"), Value::Null);
    assert_eq!((&first["remaining"], first["items"].as_array().map(Vec::len)), (&json!(3), Some(2)));
    world.ok(&format!("delete {MAPS}/c"), Value::Null);
    let token = first["continue"].as_str().unwrap();
    let rest = world.ok(&format!("list {MAPS}?continue={token}"), Value::Null);
    let names: Vec<&str> =
        rest["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!((names, &rest["revision"]), (vec!["c", "d", "e"], &first["revision"]));
}

#[test]
fn an_expired_token_names_another() {
    let world = world();
    for name in ["a", "b", "c"] {
        world.ok(&format!("create {MAPS}"), map(name, "x"));
    }
    let first = world.ok(&format!("list {MAPS}?limit=1"), Value::Null);
    world.ok(&format!("create {MAPS}"), map("d", "x"));
    now(world.api.store().compact(world.api.store().view().revision())).unwrap();
    let token = first["continue"].as_str().unwrap();
    let mut status = world.call(&format!("list {MAPS}?limit=5&continue={token}"), Value::Null).unwrap_err();
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    let rest = world
        .ok(&format!("list {MAPS}?limit=5&continue={}", status.beside_mut().continue_token), Value::Null);
    assert_eq!(rest["items"].as_array().map(Vec::len), Some(3));
}

#[test]
fn watches_begin_where_they_are_asked_to() {
    let world = world();
    let at = world.ok(&format!("create {MAPS}"), map("a", "x"))["metadata"]["resourceVersion"].clone();
    let at = at.as_str().unwrap();
    world.ok(&format!("create {MAPS}"), map("b", "y"));
    assert_eq!(seen(&mut world.watch(&format!("watch {MAPS}"))), "+a +b");
    assert_eq!(seen(&mut world.watch(&format!("watch {MAPS}?rv={at}"))), "+b");
    let streaming = format!("watch {MAPS}?initial&match=NotOlderThan&bookmarks&labels=app%3Dx");
    assert_eq!(seen(&mut world.watch(&streaming)), "+a initial-end");
    now(world.api.store().compact(world.api.store().view().revision())).unwrap();
    assert_eq!(seen(&mut world.watch(&format!("watch {MAPS}?rv={at}"))), "error 410 Expired end");
}

#[test]
fn a_selector_turns_changes_into_comings_and_goings() {
    let world = world();
    let mut watch = world.watch(&format!("watch {MAPS}?labels=app%3Dx"));
    world.ok(&format!("create {MAPS}"), map("a", "x"));
    world.ok(&format!("create {MAPS}"), map("b", "y"));
    world.ok(&format!("merge {MAPS}/a"), json!({"data": {"k": "v"}}));
    world.ok(&format!("merge {MAPS}/a"), json!({"metadata": {"labels": {"app": "y"}}}));
    world.ok(&format!("merge {MAPS}/b"), json!({"metadata": {"labels": {"app": "x"}}}));
    world.ok(&format!("delete {MAPS}/b"), Value::Null);
    world.ok(&format!("delete {MAPS}/a"), Value::Null);
    assert_eq!(seen(&mut watch), "+a ~a -a +b -b");
}

#[test]
fn a_watch_tells_its_progress_and_ends_in_time() {
    let world = world();
    let mut watch = world.watch(&format!("watch {MAPS}?bookmarks&timeout=150"));
    assert_eq!(seen(&mut watch), "");
    world.advance(60);
    assert_eq!(seen(&mut watch), "bookmark");
    world.advance(59);
    assert_eq!(seen(&mut watch), "");
    world.advance(31);
    assert_eq!(seen(&mut watch), "end");
}

#[test]
fn followers_get_cuts_and_start_anew_when_they_fall_behind() {
    let world = world();
    world.ok(&format!("create {MAPS}"), map("a", "x"));
    let mut cuts = now(world.api.follow(&admin(), &[CONFIG_MAP])).unwrap();
    let mut next = || cuts.next().now_or_never().flatten();
    let first = next().unwrap();
    assert_eq!((first.reset.len(), first.changes.len()), (1, 1));
    assert!(next().is_none());
    world.ok(&format!("create {MAPS}"), map("b", "x"));
    world.ok("create /api/v1/namespaces/default/secrets", json!({"metadata": {"name": "s"}}));
    world.ok(&format!("delete {MAPS}/a"), Value::Null);
    let cut = next().unwrap();
    assert_eq!((cut.reset.len(), cut.changes.len()), (0, 2));
    assert_eq!(cut.revision, world.api.store().view().revision());
    world.ok(&format!("create {MAPS}"), map("c", "x"));
    now(world.api.store().compact(world.api.store().view().revision())).unwrap();
    let anew = next().unwrap();
    assert_eq!((anew.reset.len(), anew.changes.len()), (1, 2));
}

fn fresh() -> LocalApi<MemoryStore> {
    let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_767_225_600)));
    let api = LocalApi::new(MemoryStore::new(clock.clone()), clock, Entropy::seeded(3), Config::default());
    let namespace = request("create /api/v1/namespaces", json!({"metadata": {"name": "default"}}));
    now(api.call(namespace)).unwrap();
    api
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What a list shows at a revision, and what a watch tells from there on, is what the store holds at the end.
    #[test]
    fn list_and_watch_add_up(steps in prop::collection::vec((0..6u8, 0..4u8, 0..2u8), 1..40), cut in 0..40usize) {
        let api = fresh();
        let mut known: BTreeMap<String, Revision> = BTreeMap::new();
        let mut watch = None;
        for (at, (what, name, app)) in steps.iter().enumerate() {
            if at == cut.min(steps.len() - 1) {
                let list = now(api.call(request(&format!("list {MAPS}?labels=app%3Dx"), Value::Null))).unwrap();
                let orlop_api::request::Payload::List(_, list) = list.payload else { unreachable!() };
                for item in &list.items {
                    let name = item.to_value()["metadata"]["name"].as_str().unwrap().to_owned();
                    known.insert(name, item.revision);
                }
                let line = format!("watch {MAPS}?labels=app%3Dx&rv={}", list.revision);
                watch = Some(now(api.watch(request(&line, Value::Null))).unwrap());
            }
            let (name, app) = (format!("m{name}"), if *app == 0 { "x" } else { "y" });
            let (line, body) = match what {
                0 | 1 => (format!("create {MAPS}"), map(&name, app)),
                2 => (format!("delete {MAPS}/{name}"), Value::Null),
                3 => (format!("merge {MAPS}/{name}"), json!({"metadata": {"labels": {"app": app}}})),
                4 => (format!("merge {MAPS}/{name}"), json!({"data": {"at": at.to_string()}})),
                _ => (format!("update {MAPS}/{name}"), map(&name, app)),
            };
            let _ = now(api.call(request(&line, body)));
        }
        let mut watch = watch.unwrap();
        while let Some(Some(frame)) = watch.next().now_or_never() {
            match frame {
                WatchFrame::Added(_, o) | WatchFrame::Modified(_, o) => {
                    let name = o.to_value()["metadata"]["name"].as_str().unwrap().to_owned();
                    known.insert(name, o.revision);
                }
                WatchFrame::Deleted(_, o) => {
                    known.remove(o.to_value()["metadata"]["name"].as_str().unwrap());
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
        let held: BTreeMap<String, Revision> = api
            .store()
            .view()
            .range("/registry/configmaps/", "", usize::MAX)
            .into_iter()
            .filter(|e| e.object.body.label("app") == Some("x"))
            .map(|e| (e.key.rsplit('/').next().unwrap().to_owned(), e.object.revision))
            .collect();
        prop_assert_eq!(known, held);
    }
}

/// Patches that do not name a revision never lose one another, however they interleave.
#[test]
fn concurrent_patches_lose_nothing() {
    let api = fresh();
    now(api.call(request(&format!("create {MAPS}"), map("m", "x")))).unwrap();
    const WRITERS: usize = 4;
    const EACH: usize = 50;
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let api = api.clone();
            scope.spawn(move || {
                for n in 0..EACH {
                    let patch = json!({"data": {format!("w{writer}-{n}"): "1"}});
                    now(api.call(request(&format!("merge {MAPS}/m"), patch))).expect("no conflict is told");
                }
            });
        }
    });
    let stored = now(api.call(request(&format!("get {MAPS}/m"), Value::Null))).unwrap();
    let data = crate::world::tree(&stored)["data"].as_object().map(|d| d.len());
    assert_eq!(data, Some(WRITERS * EACH));
}
