//! Random JSON with the names that the rules care about.

use proptest::prelude::*;
use serde_json::{Value, json};

pub(crate) fn tree() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "spec",
        "status",
        "metadata",
        "template",
        "containers",
        "volumes",
        "finalizers",
        "name",
        "image",
        "env",
        "ports",
        "containerPort",
        "protocol",
        "selector",
        "matchLabels",
        "labels",
        "replicas",
        "args",
        "resources",
        "limits",
        "type",
        "managedFields",
    ]);
    let text = prop::sample::select(vec!["a", "b", "", "TCP", "100m", "a/b", "-1%", "latest"]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1..3i64).prop_map(Value::from),
        Just(json!(1.5)),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(7, 60, 5, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            3 => prop::collection::vec((name.clone(), inner), 0..6)
                .prop_map(|entries| entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}
