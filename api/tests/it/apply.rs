//! Server-side apply and managed fields: what the recorded cases do not show.

use expect_test::{Expect, expect};
use orlop_api::apply::{ApplyError, apply};
use orlop_api::managed_fields::{FieldSet, Writer, update_on_write};
use orlop_core::Timestamp;
use orlop_core::schema::{Schema, StructId};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::trees::tree;

fn deployment() -> StructId {
    Schema::builtin().by_name("io.k8s.api.apps.v1.Deployment").expect("Deployments are built in")
}

fn by<'a>(manager: &'a str, subresource: &'a str, reset: &'a [&'a str]) -> Writer<'a> {
    Writer { manager, api_version: "apps/v1", subresource, now: Timestamp::default(), reset }
}

fn web(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
}

fn applied(live: Option<&Value>, manager: &str, spec: Value, force: bool) -> Result<Value, ApplyError> {
    apply(live, &web(spec), &by(manager, "", &["status"]), force, Schema::builtin(), deployment())
}

/// Who owns what: `manager operation fields`, one line each.
fn owners(object: &Value) -> String {
    let mut lines = String::new();
    for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
        let text = |field: &str| entry[field].as_str().unwrap_or_default();
        let subresource = if text("subresource").is_empty() { "" } else { "/" };
        lines.push_str(&format!(
            "{}{subresource}{} {} {}\n",
            text("manager"),
            text("subresource"),
            text("operation"),
            entry["fieldsV1"]
        ));
    }
    lines
}

fn check(object: &Value, expected: Expect) {
    expected.assert_eq(&owners(object));
}

#[test]
fn what_an_autoscaler_owns_stays_when_the_manifest_stops_saying_it() {
    let live = applied(None, "kubectl", json!({"replicas": 3, "paused": true}), false).unwrap();
    let mut scaled = live.clone();
    scaled["spec"]["replicas"] = 5.into();
    update_on_write(Some(&live), &mut scaled, &by("hpa", "scale", &[]), Schema::builtin(), deployment());
    let error = applied(Some(&scaled), "kubectl", json!({"replicas": 3}), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"hpa\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
    let live = applied(Some(&scaled), "kubectl", json!({"minReadySeconds": 1}), false).unwrap();
    assert_eq!(live["spec"], json!({"replicas": 5, "minReadySeconds": 1}));
    check(
        &live,
        expect![[r#"
            kubectl Apply {"f:spec":{"f:minReadySeconds":{}}}
            hpa/scale Update {"f:spec":{"f:replicas":{}}}
        "#]],
    );
}

/// `kubectl apply --server-side` takes over from `kubectl apply`: what the annotation says, and what still is so, is no
/// conflict, whoever is noted as its owner; what somebody else has changed since is.
#[test]
fn kubectl_goes_over_from_the_client_to_the_server() {
    let mut live = web(json!({"replicas": 3, "paused": true}));
    let before = web(json!({"replicas": 3, "paused": false})).to_string();
    live["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": before});
    update_on_write(None, &mut live, &by("kubectl-create", "", &[]), Schema::builtin(), deployment());
    let spec = json!({"replicas": 4});
    assert!(applied(Some(&live), "helm", spec.clone(), false).is_err());
    let after = applied(Some(&live), "kubectl", spec, false).unwrap();
    assert_eq!(
        after["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"],
        "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"web\"},\"spec\":{\"replicas\":4}}\n"
    );
    let error = applied(Some(&live), "kubectl", json!({"replicas": 4, "paused": false}), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl-create\" using apps/v1: .spec.paused"
    );
}

#[test]
fn an_apply_that_says_the_same_again_changes_nothing() {
    let spec = json!({"replicas": 3, "template": {"spec": {"containers": [{"name": "a", "image": "b"}]}}});
    let live = applied(None, "kubectl", spec.clone(), false).unwrap();
    assert_eq!(applied(Some(&live), "kubectl", spec, false).unwrap(), live);
}

#[test]
fn a_status_is_nobodys_for_who_writes_the_object() {
    let before = web(json!({}));
    let mut live = before.clone();
    live["metadata"]["managedFields"] =
        applied(None, "x", json!({"paused": true}), false).unwrap()["metadata"]["managedFields"].clone();
    let mut after = live.clone();
    after["status"] = json!({"replicas": 1});
    after["spec"]["replicas"] = 2.into();
    update_on_write(Some(&live), &mut after, &by("edit", "", &["status"]), Schema::builtin(), deployment());
    check(
        &after,
        expect![[r#"
            x Apply {"f:spec":{"f:paused":{}}}
            edit Update {"f:spec":{"f:replicas":{}}}
        "#]],
    );
}

#[test]
fn a_new_object_is_owned_by_who_made_it_down_to_its_leaves() {
    let mut object = web(json!({
        "replicas": 1,
        "template": {"spec": {"containers": [{"name": "a", "image": "b"}]}},
    }));
    update_on_write(None, &mut object, &by("kubectl-create", "", &[]), Schema::builtin(), deployment());
    check(
        &object,
        expect![[r#"
            kubectl-create Update {"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"a\"}":{".":{},"f:image":{},"f:name":{}}}}}}}
        "#]],
    );
}

#[test]
fn an_object_without_notes_gets_them_with_the_first_apply() {
    let live = web(json!({"replicas": 1}));
    let mut after = live.clone();
    after["spec"]["replicas"] = 2.into();
    update_on_write(Some(&live), &mut after, &by("edit", "", &[]), Schema::builtin(), deployment());
    check(&after, expect![""]);
    let after = applied(Some(&after), "kubectl", json!({"paused": true}), false).unwrap();
    check(
        &after,
        expect![[r#"
            kubectl Apply {"f:spec":{"f:paused":{}}}
            before-first-apply Update {"f:spec":{".":{},"f:replicas":{}}}
        "#]],
    );
}

#[test]
fn no_more_than_ten_writers_are_remembered() {
    let mut live = web(json!({}));
    update_on_write(None, &mut live, &by("first", "", &[]), Schema::builtin(), deployment());
    live["metadata"]["managedFields"] =
        applied(None, "x", json!({"paused": true}), false).unwrap()["metadata"]["managedFields"].clone();
    for i in 0..15 {
        let mut after = live.clone();
        after["metadata"]["labels"][format!("l{i}")] = "v".into();
        let manager = format!("m{i:02}");
        update_on_write(Some(&live), &mut after, &by(&manager, "", &[]), Schema::builtin(), deployment());
        live = after;
    }
    assert_eq!(owners(&live).lines().filter(|line| line.contains(" Update ")).count(), 10);
    assert!(owners(&live).contains("ancient-changes Update"));
}

/// What is stored has metadata, no nulls, and no list where the schema has fields: such a one would be nothing to those
/// who come first, and fields without an owner to those who come next.
fn stored(value: Value) -> Value {
    let mut value = without_nulls(value);
    if let Some(map) = value.as_object_mut() {
        map.retain(|name, part| !matches!(name.as_str(), "spec" | "status" | "metadata") || part.is_object());
        map.entry("metadata").or_insert_with(|| json!({"name": "web"}));
    }
    value
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect()
        }
        Value::Array(items) => items.into_iter().filter(|v| !v.is_null()).map(without_nulls).collect(),
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_is_applied_again_changes_nothing(a in tree(), b in tree(), c in tree()) {
        let schema = Schema::builtin();
        let _ = apply(Some(&a), &b, &by("x", "", &[]), true, schema, deployment());
        let mut after = b.clone();
        update_on_write(Some(&a), &mut after, &by("x", "", &["status"]), schema, deployment());
        update_on_write(None, &mut after, &by("y", "", &[]), schema, deployment());
        if let Ok(object) = apply(Some(&after), &c, &by("z", "", &[]), true, schema, deployment()) {
            let _ = apply(Some(&object), &a, &by("z", "", &[]), false, schema, deployment());
            // Who says the same again changes nothing, and contradicts nobody.
            let again = apply(Some(&object), &c, &by("z", "", &[]), false, schema, deployment());
            prop_assert_eq!(again.map_err(|error| error.to_string()), Ok(object));
        }
    }

    #[test]
    fn sets_read_back_as_they_were_written(a in tree()) {
        let mut object = json!({"metadata": {}});
        object["spec"] = a;
        update_on_write(None, &mut object, &by("x", "", &[]), Schema::builtin(), deployment());
        for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
            let set = FieldSet::from_value(&entry["fieldsV1"], 64);
            prop_assert_eq!(&set.to_value(), &entry["fieldsV1"]);
        }
    }

    #[test]
    fn an_apply_twice_is_an_apply(a in tree(), b in tree()) {
        // A null is a value to those who apply it, and gone once it is taken out: it may come and go.
        prop_assume!(!b.to_string().contains("null"));
        let a = stored(a);
        let schema = Schema::builtin();
        let first = apply(Some(&a), &b, &by("x", "", &[]), true, schema, deployment());
        if let Ok(first) = first {
            let again = apply(Some(&first), &b, &by("x", "", &[]), true, schema, deployment()).unwrap();
            prop_assert_eq!(again, first);
        }
    }
}
