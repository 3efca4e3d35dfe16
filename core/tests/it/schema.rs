//! The tables of built-in types and resources, and types of custom resources.

use orlop_core::codec;
use orlop_core::schema::{ListKind, PROPERTIES_MAX, Schema, Type};
use orlop_core::scheme::Scheme;
use orlop_core::{Key, Kind};
use serde_json::{Value, json};

#[test]
fn tables_know_how_lists_merge() {
    let schema = Schema::builtin();
    let spec = &schema[schema.by_name("io.k8s.api.core.v1.ServiceSpec").unwrap()];
    let ports = spec.field("ports").unwrap();
    let Type::List(list) = &ports.ty else { panic!("a list") };
    assert_eq!(list.kind, ListKind::Map(["port".into(), "protocol".into()].into()));
    assert_eq!(ports.patch_merge_key.as_deref(), Some("port"));
    assert!(ports.patch.merge);
    let strategy = &schema[schema.by_kind("apps", "v1", "Deployment").unwrap()];
    assert_eq!(
        strategy.in_order().map(|f| f.name.as_str()).collect::<Vec<_>>(),
        ["kind", "apiVersion", "metadata", "spec", "status"]
    );
}

/// Every storable resource finds its way to a storage key and back.
#[test]
fn storage_keys_lead_back() {
    let scheme = Scheme::builtin();
    for resource in scheme.resources().filter(|r| r.is_stored()) {
        let key = match resource.kind.scope {
            orlop_core::Scope::Namespaced => Key::new("ns", "x"),
            orlop_core::Scope::Cluster => Key::cluster("x"),
        };
        let at = scheme.storage_key(&resource.kind, &key).unwrap();
        let (found, back) = scheme.by_storage_key(&at).unwrap_or_else(|| panic!("{at}"));
        assert_eq!(found.kind, resource.stored_as, "{at}");
        assert_eq!(back, key);
    }
    let at = |kind: Kind, key: Key| scheme.storage_key(&kind, &key).unwrap();
    assert_eq!(at(Kind::cluster("", "v1", "Node", "nodes"), Key::cluster("a")), "/registry/minions/a");
    assert_eq!(
        at(Kind::namespaced("", "v1", "Service", "services"), Key::new("default", "a")),
        "/registry/services/specs/default/a"
    );
    assert_eq!(
        at(Kind::namespaced("events.k8s.io", "v1", "Event", "events"), Key::new("default", "a")),
        "/registry/events/default/a"
    );
    let hpa = Kind::namespaced("autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers");
    assert_eq!(scheme.storage(&hpa).unwrap().kind.version, "v2");
    assert!(scheme.by_storage_key("/registry/pods/x").is_none());
    assert!(scheme.by_storage_key("/registry/pods/a/b/c").is_none());
}

#[test]
fn kinds_without_a_resource_have_types() {
    let scheme = Scheme::builtin();
    for (group, version, kind) in [
        ("autoscaling", "v1", "Scale"),
        ("", "v1", "Status"),
        ("apps", "v1", "DeleteOptions"),
        ("policy", "v1", "Eviction"),
        ("authentication.k8s.io", "v1", "TokenRequest"),
        ("authorization.k8s.io", "v1", "SubjectAccessReview"),
    ] {
        assert!(scheme.type_of(group, version, kind).is_some(), "{kind}");
    }
    for resource in scheme.resources().filter(|r| r.allows("list")) {
        assert!(resource.list_type().is_some(), "{}", resource.kind);
    }
}

#[test]
fn custom_resources_come_and_go() {
    let mut scheme = Scheme::builtin();
    let (schema, ty) = Schema::from_crd(&json!({
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "ports": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["name"],
                        "items": {"type": "object", "properties": {"name": {"type": "string"}}},
                    },
                    "size": {"x-kubernetes-int-or-string": true},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                },
            },
        },
    }));
    assert!(schema[ty].field("metadata").is_some());
    let pods = scheme.resource("", "v1", "pods").unwrap().as_ref().clone();
    let kind = Kind::namespaced("example.com", "v1", "Widget", "widgets");
    scheme.insert(orlop_core::scheme::Resource {
        stored_as: kind.clone(),
        kind: kind.clone(),
        singular: "widget".into(),
        list_kind: "WidgetList".into(),
        storage_prefix: "example.com/widgets".into(),
        schema: schema.into(),
        ty,
        custom: true,
        ..pods
    });
    let at = scheme.storage_key(&kind, &Key::new("default", "w")).unwrap();
    assert_eq!(at, "/registry/example.com/widgets/default/w");
    assert_eq!(scheme.by_storage_key(&at).unwrap().1, Key::new("default", "w"));
    assert!(scheme.remove("example.com", "v1", "widgets"));
    assert!(scheme.storage_key(&kind, &Key::new("default", "w")).is_none());
    assert!(Scheme::builtin().resource("", "v1", "pods").is_some());
}

/// Nothing that a definition may contain makes the reader of schemas stumble.
#[test]
fn odd_schemas_still_make_types() {
    for odd in [
        json!(null),
        json!({}),
        json!({"type": "object", "properties": []}),
        json!({"type": "object", "properties": {"a": null, "b": {"type": "array"}, "c": {"type": 5}}}),
        json!({"type": "object", "additionalProperties": false}),
    ] {
        let (schema, ty) = Schema::from_crd(&odd);
        assert!(schema[ty].field("metadata").is_some(), "{odd}");
    }
    let mut deep: Value = json!({"type": "string"});
    for _ in 0..150 {
        deep = json!({"type": "object", "properties": {"a": deep}});
    }
    Schema::from_crd(&deep);
}

/// Such a definition once took the server down, and again at every start.
#[test]
fn more_properties_than_there_are_places_are_free_form() {
    let named = |n: usize| (0..n).map(|n| (format!("p{n}"), json!({"type": "string"}))).collect();
    for (count, kept) in [(PROPERTIES_MAX, false), (65_535, true), (65_536, true)] {
        let properties = Value::Object(named(count));
        let spec = json!({"type": "object", "properties": properties, "required": ["p0"]});
        let (schema, ty) = Schema::from_crd(&json!({"type": "object", "properties": {"spec": spec}}));
        let mut object = json!({"metadata": {"name": "a"}, "spec": {"p1": "x", "q": 1}});
        codec::conform(&schema, ty, &mut object, &[]).unwrap();
        assert_eq!(object["spec"].get("q").is_some(), kept, "{count}");
    }
}
