//! Objects of kinds that become known while the controllers run.

use orlop_controllers::{GarbageCollector, NamespaceController};
use orlop_core::kinds::{ConfigMap, Namespace};
use orlop_core::plan::Propagation;
use orlop_core::{Kind, Object};
use serde_json::{Value, json};

use crate::model::Model;

const WIDGET: Kind = Kind::namespaced("example.test", "v1", "Widget", "widgets");

fn world() -> Model {
    let mut model = Model::new(|runner| {
        runner.add(GarbageCollector);
        runner.add(NamespaceController);
        runner.follow(ConfigMap::KIND);
    });
    model.put(
        &Namespace::KIND,
        json!({"metadata": {"name": "shop"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}),
    );
    model.settle(&mut |_| {});
    model
}

/// An object in the namespace, owned by `owner`.
fn put(model: &mut Model, kind: &Kind, name: &str, owner: Option<(&Kind, &str)>) {
    let owners: Vec<Value> = owner
        .map(|(kind, name)| {
            let uid = model.get(kind, "shop", name).map_or("gone".into(), |o| o["metadata"]["uid"].clone());
            json!({"apiVersion": kind.api_version(), "kind": kind.kind, "name": name, "uid": uid,
                "blockOwnerDeletion": true})
        })
        .into_iter()
        .collect();
    model.put(kind, json!({"metadata": {"name": name, "namespace": "shop", "ownerReferences": owners}}));
}

/// The widgets and config maps that there are.
fn left(model: &Model) -> String {
    let names = [WIDGET, ConfigMap::KIND].map(|kind| {
        model
            .all(&kind)
            .iter()
            .map(|o| format!("{} {}", kind.kind, o["metadata"]["name"]))
            .collect::<Vec<_>>()
    });
    names.concat().join(", ").replace('"', "")
}

/// The kind becomes known, as its definition does.
fn define(model: &mut Model) {
    model.deliver();
    model.runner.follow(WIDGET);
    model.reset(&WIDGET);
}

#[test]
fn what_a_custom_object_owns_goes_with_it_and_it_with_its_owner() {
    let mut model = world();
    define(&mut model);
    put(&mut model, &ConfigMap::KIND, "root", None);
    put(&mut model, &WIDGET, "w", Some((&ConfigMap::KIND, "root")));
    put(&mut model, &ConfigMap::KIND, "leaf", Some((&WIDGET, "w")));
    put(&mut model, &WIDGET, "other", None);
    model.settle(&mut |_| {});
    assert_eq!(left(&model), "Widget other, Widget w, ConfigMap leaf, ConfigMap root");
    model.delete(&ConfigMap::KIND, "shop", "root", None);
    model.settle(&mut |_| {});
    assert_eq!(left(&model), "Widget other");
}

#[test]
fn a_namespace_ends_with_its_custom_objects() {
    let mut model = world();
    define(&mut model);
    put(&mut model, &WIDGET, "w", None);
    model.settle(&mut |_| {});
    model.edit(&Namespace::KIND, "", "shop", json!({"metadata": {"deletionTimestamp": model.now}}));
    model.settle(&mut |_| {});
    assert_eq!((left(&model).as_str(), model.all(&Namespace::KIND).len()), ("", 0));
}

/// A kind is defined, an object of it made, and what that owns, all before the kind is followed: the owner is there and
/// not seen. What is owned would have been deleted, had an owner that is not seen counted as gone.
#[test]
fn what_is_not_seen_yet_is_not_gone() {
    let mut model = world();
    put(&mut model, &WIDGET, "w", None);
    put(&mut model, &ConfigMap::KIND, "leaf", Some((&WIDGET, "w")));
    put(&mut model, &ConfigMap::KIND, "lost", Some((&WIDGET, "nobody")));
    model.deliver();
    model.runner.follow(WIDGET);
    model.act(&mut |_| {});
    assert_eq!(left(&model), "Widget w, ConfigMap leaf, ConfigMap lost");
    assert!(model.runner.world().awaits());
    model.reset(&WIDGET);
    model.settle(&mut |_| {});
    assert_eq!(left(&model), "Widget w, ConfigMap leaf");
}

/// A namespace that is deleted while a kind is about to be followed must wait for it: objects of that kind may be in it,
/// and nobody would ever look for them again.
#[test]
fn a_namespace_waits_until_all_kinds_are_seen() {
    let mut model = world();
    put(&mut model, &WIDGET, "w", None);
    model.edit(&Namespace::KIND, "", "shop", json!({"metadata": {"deletionTimestamp": model.now}}));
    model.deliver();
    model.runner.follow(WIDGET);
    for _ in 0..3 {
        model.act(&mut |_| {});
        model.now = model.now + std::time::Duration::from_secs(2);
    }
    assert_eq!(model.all(&Namespace::KIND).len(), 1);
    model.reset(&WIDGET);
    model.settle(&mut |_| {});
    assert_eq!((left(&model).as_str(), model.all(&Namespace::KIND).len()), ("", 0));
}

/// An orphaning deletion releases what is owned: also what is of a kind that is about to be followed.
#[test]
fn orphans_are_released_of_all_kinds() {
    let mut model = world();
    put(&mut model, &ConfigMap::KIND, "root", None);
    put(&mut model, &WIDGET, "w", Some((&ConfigMap::KIND, "root")));
    model.deliver();
    model.runner.follow(WIDGET);
    model.delete(&ConfigMap::KIND, "shop", "root", Some(Propagation::Orphan));
    model.act(&mut |_| {});
    model.reset(&WIDGET);
    model.settle(&mut |_| {});
    assert_eq!(left(&model), "Widget w");
}

#[test]
fn a_kind_that_ends_takes_what_its_objects_own_with_it() {
    let mut model = world();
    define(&mut model);
    put(&mut model, &WIDGET, "w", None);
    put(&mut model, &ConfigMap::KIND, "leaf", Some((&WIDGET, "w")));
    model.settle(&mut |_| {});
    model.drop_all(&WIDGET);
    model.runner.retire(&WIDGET);
    model.settle(&mut |_| {});
    assert_eq!(left(&model), "");
    // Defined anew, it is unknown until it is seen.
    put(&mut model, &WIDGET, "w", None);
    put(&mut model, &ConfigMap::KIND, "leaf", Some((&WIDGET, "w")));
    model.runner.follow(WIDGET);
    model.act(&mut |_| {});
    assert_eq!(left(&model), "Widget w, ConfigMap leaf");
}
