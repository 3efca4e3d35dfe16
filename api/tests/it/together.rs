//! Requests that are given together are answered as if each had come alone.

use std::sync::Arc;

use orlop_api::auth::{Attributes, Authorizer, Decision, Rules};
use orlop_api::{Api, Config, Status, User};
use orlop_core::store::{Op, Store, Txn, View};
use orlop_core::{Body, Revision};
use serde_json::{Value, json};

use crate::world::{World, now, request, tree, world, world_with};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

/// `201`, or the code and the reason of a refusal; and by how much the store's revision was more than at first.
fn all(world: &World, lines: &[(&str, Value)]) -> Vec<String> {
    let base = world.api.store().view().revision();
    let requests: Vec<_> = lines.iter().map(|(line, body)| request(line, body.clone())).collect();
    now(world.api.call_all(&requests))
        .into_iter()
        .map(|answer| match answer {
            Ok(response) => {
                let at = response.committed.map_or(0, |Revision(at)| at - base.0);
                format!("{} +{at}", response.code)
            }
            Err(Status { code, reason, .. }) => format!("{code} {reason}"),
        })
        .collect()
}

#[test]
fn each_has_a_revision_and_an_answer_of_its_own() {
    let world = world();
    world.ok(&format!("create {MAPS}"), map("there"));
    let seen = all(
        &world,
        &[
            (&format!("create {MAPS}"), map("a")),
            (&format!("create {MAPS}"), map("there")),
            (&format!("create {MAPS}?dryRun"), map("b")),
            (&format!("create {MAPS}"), map("not a name")),
            (&format!("merge {MAPS}/there"), json!({"data": {"k": "v"}})),
            (&format!("merge {MAPS}/there"), json!({"data": {"k": "v"}})),
            ("create /apis/nowhere/v1/things", map("c")),
            (&format!("create {MAPS}"), map("d")),
        ],
    );
    // What is refused, or takes more than a decision, is looked at when the rest is committed; and the second patch
    // finds that nothing is left to change.
    assert_eq!(
        seen,
        [
            "201 +1",
            "409 AlreadyExists",
            "201 +0",
            "422 Invalid",
            "200 +2",
            "200 +0",
            "404 NotFound",
            "201 +3"
        ]
    );
    assert_eq!(world.get(&format!("{MAPS}/there"))["data"], json!({"k": "v"}));
}

/// Of two that want the same thing one gets it, and the other is decided anew.
#[test]
fn who_comes_too_late_is_told_so() {
    let world = world();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    world.ok(&format!("create {PODS}"), pod);
    let binding = |node: &str| json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}});
    let seen = all(
        &world,
        &[
            (&format!("create {PODS}/p/binding"), binding("one")),
            (&format!("create {PODS}/p/binding"), binding("two")),
            (&format!("create {MAPS}"), map("a")),
            (&format!("create {MAPS}"), map("a")),
        ],
    );
    assert_eq!(seen, ["201 +1", "409 Conflict", "201 +2", "409 AlreadyExists"]);
    assert_eq!(world.get(&format!("{PODS}/p"))["spec"]["nodeName"], "one");
}

/// Requests that are not independent after all still see those before them, as soon as they would be refused without.
#[test]
fn what_needs_another_finds_it() {
    let world = world();
    let seen = all(
        &world,
        &[
            ("create /api/v1/namespaces", map("new")),
            ("create /api/v1/namespaces/new/configmaps", map("a")),
            (&format!("create {MAPS}"), map("b")),
        ],
    );
    assert_eq!(seen, ["201 +1", "201 +3", "201 +2"]);
}

/// Given together or one by one: the same objects, but for the order of revisions.
#[test]
fn many_are_as_many_alone() {
    let lines: Vec<String> =
        (0..200).map(|n| format!("create {MAPS}?{}", ["", "dryRun"][n % 7 / 6])).collect();
    let bodies: Vec<Value> = (0..200).map(|n| map(&format!("m-{}", n % 150))).collect();
    let (one, other) = (world(), world());
    let requests: Vec<_> =
        lines.iter().zip(&bodies).map(|(line, body)| request(line, body.clone())).collect();
    let together = now(one.api.call_all(&requests));
    for (request, answer) in requests.into_iter().zip(together) {
        let alone = now(other.api.call(request));
        let code = |answer: &Result<_, Status>| answer.as_ref().map_or_else(|status| status.code, |_| 201);
        assert_eq!(
            code(&answer.map(|response| tree(&response))),
            code(&alone.map(|response| tree(&response)))
        );
    }
    let names = |world: &World| -> Vec<Value> {
        let list = world.ok(&format!("list {MAPS}"), Value::Null);
        list["items"].as_array().into_iter().flatten().map(|item| item["metadata"]["name"].clone()).collect()
    };
    assert_eq!(names(&one), names(&other));
}

/// A dry run once told of a commit: the one at which the pod was seen.
#[test]
fn what_is_not_written_was_not_committed() {
    let world = world();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    world.ok(&format!("create {PODS}"), pod);
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "one"}});
    let answer = now(world.api.call(request(&format!("create {PODS}/p/binding?dryRun"), binding))).unwrap();
    assert_eq!((answer.code, answer.committed), (201, None));
}

/// What others put into a store need not be written as this API writes.
#[test]
fn a_pod_in_a_form_of_its_own_is_bound() {
    let world = world();
    let text = r#"{ "kind": "Pod", "apiVersion": "v1", "metadata": { "name": "p", "namespace": "default", "uid": "u",
        "labels": { "a": "b" } }, "status": null, "spec": { "containers": [ { "name": "c", "image": "x" } ] } }"#;
    let body = Body::parse(text.into()).expect("an object");
    let put = Op::Put("/registry/pods/default/p".into(), body.into());
    now(world.api.store().commit(Txn { ops: vec![put], ..Txn::default() })).expect("a commit");
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "one"}});
    world.ok(&format!("create {PODS}/p/binding"), binding);
    let pod = world.get(&format!("{PODS}/p"));
    assert_eq!((&pod["spec"]["nodeName"], &pod["metadata"]["labels"]["a"]), (&json!("one"), &json!("b")));
}

/// Says one thing too much about whom it knows.
struct Talkative;

impl Authorizer for Talkative {
    fn authorize(&self, user: &User, _: &Attributes, _: &dyn View) -> Decision {
        Decision { allowed: user.name != "guest", ..Decision::default() }
    }

    fn rules(&self, _: &User, _: &str, _: &dyn View) -> Rules {
        Rules::default()
    }

    fn authorize_each(&self, user: &User, attributes: &[Attributes], view: &dyn View) -> Vec<Decision> {
        let allowed = Decision { allowed: true, ..Decision::default() };
        match user.name.as_str() {
            "admin" => vec![allowed; attributes.len() + 1],
            _ => attributes.iter().map(|asked| self.authorize(user, asked, view)).collect(),
        }
    }
}

#[test]
fn nobody_gets_the_answer_to_somebody_else() {
    let world = world_with(Config { authorizer: Arc::new(Talkative), ..Config::default() });
    let mut requests: Vec<_> =
        ["a", "b", "c", "d"].map(|name| request(&format!("create {MAPS}"), map(name))).into();
    for request in &mut requests[2..] {
        request.user = User { name: "guest".into(), ..User::default() };
    }
    let codes: Vec<_> = now(world.api.call_all(&requests))
        .into_iter()
        .map(|answer| answer.map_or_else(|status| status.code, |response| response.code))
        .collect();
    assert_eq!(codes, [201, 201, 403, 403]);
}
