//! Patches: what the recorded cases do not show.

use orlop_api::patch::{self, DEPTH_MAX, PatchError};
use orlop_core::schema::{Schema, StructId};
use proptest::prelude::*;
use serde_json::{Value, json};

fn pod() -> StructId {
    Schema::builtin().by_name("io.k8s.api.core.v1.Pod").expect("pods are built in")
}

fn strategic(target: Value, patch: Value) -> Result<Value, PatchError> {
    patch::strategic(target, patch, Schema::builtin(), pod())
}

#[test]
fn a_copy_into_itself_cannot_grow_without_end() {
    let copy = json!({"op": "copy", "from": "/a", "path": "/a/b"});
    let patch = Value::Array(vec![copy; 2 * DEPTH_MAX]);
    let error = patch::json(json!({"a": {}}), &patch).unwrap_err();
    assert!(matches!(error, PatchError::Unprocessable(_)), "{error}");
}

#[test]
fn deep_trees_are_refused() {
    let mut deep = json!({});
    for _ in 0..=DEPTH_MAX {
        deep = json!({"a": deep});
    }
    assert!(patch::merge(json!({}), deep.clone()).is_err());
    assert!(strategic(json!({}), deep.clone()).is_err());
    assert!(patch::json(deep, &json!([])).is_err());
}

#[test]
fn a_failed_operation_says_where() {
    let error = patch::json(json!({"a": 1}), &json!([{"op": "remove", "path": "/b"}])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "error in remove for path: '/b': Unable to remove nonexistent key: b: missing value"
    );
}

/// JSON with the names that patches care about.
fn tree() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "spec",
        "metadata",
        "containers",
        "volumes",
        "finalizers",
        "name",
        "env",
        "ports",
        "a",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$setElementOrder/finalizers",
        "$deleteFromPrimitiveList/finalizers",
        "labels",
        "args",
    ]);
    let text = prop::sample::select(vec!["a", "b", "delete", "replace", "merge", ""]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3i64).prop_map(Value::from),
        Just(json!(1.5)),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((name.clone(), inner), 0..5)
                .prop_map(|entries| entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

fn operation() -> impl Strategy<Value = Value> {
    let op = prop::sample::select(vec!["add", "remove", "replace", "move", "copy", "test", "x"]);
    let path = prop::sample::select(vec![
        "",
        "/",
        "/spec",
        "/spec/0",
        "/spec/-",
        "/spec/containers/-1",
        "/metadata/a/b",
        "a",
        "/~1~0",
        "/spec/+1",
    ]);
    (op, path.clone(), path, tree())
        .prop_map(|(op, from, path, value)| json!({"op": op, "from": from, "path": path, "value": value}))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_panics(a in tree(), b in tree(), c in tree(), ops in prop::collection::vec(operation(), 0..6)) {
        let schema = Schema::builtin();
        let _ = patch::json(a.clone(), &Value::Array(ops));
        let _ = patch::json(a.clone(), &b);
        let _ = patch::merge(a.clone(), b.clone());
        let _ = strategic(a.clone(), b.clone());
        let _ = patch::two_way(&a, &b, schema, pod());
        let _ = patch::three_way(&a, &b, &c, false, schema, pod());
        let _ = patch::three_way_merge(&a, &b, &c);
    }

    #[test]
    fn a_merge_patch_from_one_to_the_other_makes_the_other(a in tree(), b in tree()) {
        fn without_nulls(value: Value) -> Value {
            match value {
                Value::Object(map) => map
                    .into_iter()
                    .filter(|(_, v)| !v.is_null())
                    .map(|(k, v)| (k, without_nulls(v)))
                    .collect(),
                Value::Array(items) => items.into_iter().map(without_nulls).collect(),
                other => other,
            }
        }
        let (a, b) = (without_nulls(a), without_nulls(b));
        if a.is_object() && b.is_object() {
            let patch = patch::create_merge(&a, &b).unwrap();
            prop_assert_eq!(patch::merge(a, patch).unwrap(), b);
        }
    }
}
