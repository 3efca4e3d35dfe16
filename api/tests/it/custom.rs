//! Custom resources: what a schema asks of objects.

use serde_json::{Value, json};

use crate::world::{World, world};

const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

/// A cluster with a kind whose `spec` has these properties, besides what else its schema says.
fn with(spec: Value, more: Value) -> World {
    let world = world();
    let mut schema = json!({"type": "object", "properties": {"spec": spec}});
    if let (Some(schema), Value::Object(more)) = (schema.as_object_mut(), more) {
        schema.extend(more);
    }
    let version =
        json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    let definition = json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com",
        "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"}, "versions": [version]}});
    world.ok("create /apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition);
    world
}

fn widget(spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec})
}

impl World {
    /// What a widget with this spec is refused for; empty where it is let in.
    fn why(&self, spec: Value) -> String {
        match self.call(&format!("create {WIDGETS}?dryRun"), widget(spec)) {
            Ok(_) => String::new(),
            Err(status) => {
                status.message.trim_start_matches("Widget.example.com \"w\" is invalid: ").to_owned()
            }
        }
    }
}

#[test]
fn values_fit_their_types_and_limits() {
    let properties = json!({
        "n": {"type": "integer", "minimum": 1, "maximum": 10},
        "f": {"type": "number", "exclusiveMaximum": true, "maximum": 1},
        "s": {"type": "string", "maxLength": 3, "minLength": 2, "pattern": "^[a-z]+$"},
        "e": {"type": "string", "enum": ["On", "Off"]},
        "l": {"type": "array", "maxItems": 2, "items": {"type": "string"}},
        "m": {"type": "object", "additionalProperties": {"type": "boolean"}},
        "d": {"type": "string", "format": "date-time"},
        "x": {"x-kubernetes-int-or-string": true},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "by": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}}},
    });
    let world = with(json!({"type": "object", "required": ["n"], "properties": properties}), Value::Null);
    let why = |spec| world.why(spec);
    assert_eq!(why(json!({"n": 5})), "");
    assert_eq!(why(json!({})), "spec.n: Required value");
    assert_eq!(
        why(json!({"n": 0})),
        "spec.n: Invalid value: 0: spec.n in body should be greater than or equal to 1"
    );
    assert_eq!(
        why(json!({"n": "five"})),
        "spec.n: Invalid value: \"string\": spec.n in body must be of type integer: \"string\""
    );
    assert_eq!(
        why(json!({"n": 1, "f": 1})),
        "spec.f: Invalid value: 1: spec.f in body should be less than 1"
    );
    assert_eq!(why(json!({"n": 1, "s": "abcd"})), "spec.s: Too long: may not be more than 3 bytes");
    assert_eq!(
        why(json!({"n": 1, "s": "A1"})),
        "spec.s: Invalid value: \"A1\": spec.s in body should match '^[a-z]+$'"
    );
    assert_eq!(
        why(json!({"n": 1, "e": "Odd"})),
        "spec.e: Unsupported value: \"Odd\": supported values: \"On\", \"Off\""
    );
    assert_eq!(why(json!({"n": 1, "l": ["a", "b", "c"]})), "spec.l: Too many: 3: must have at most 2 items");
    assert_eq!(
        why(json!({"n": 1, "l": ["a", 5]})),
        "spec.l[1]: Invalid value: \"integer\": spec.l[1] in body must be of type string: \"integer\""
    );
    assert_eq!(
        why(json!({"n": 1, "m": {"k": "yes"}})),
        "spec.m.k: Invalid value: \"string\": spec.m.k in body must be of type boolean: \"string\""
    );
    assert_eq!(
        why(json!({"n": 1, "d": "noon"})),
        "spec.d: Invalid value: \"noon\": spec.d in body must be of type date-time: \"noon\""
    );
    assert_eq!(why(json!({"n": 1, "x": "1"})), "");
    assert_eq!(
        why(json!({"n": 1, "x": true})),
        "spec.x: Invalid value: \"boolean\": spec.x in body must be of type integer,string: \"boolean\""
    );
    assert_eq!(why(json!({"n": 1, "set": ["a", "a"]})), "spec.set[1]: Duplicate value: \"a\"");
    assert_eq!(
        why(json!({"n": 1, "by": [{"k": "a"}, {"k": "a"}]})),
        "spec.by[1]: Duplicate value: {\"k\":\"a\"}"
    );
    // Null is nothing where the schema has no place for it.
    assert_eq!(why(json!({"n": 1, "s": null})), "");
}

#[test]
fn alternatives_are_told_as_one() {
    let one = |name: &str| json!({"required": [name]});
    let spec = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "oneOf": [one("a"), one("b")]});
    let world = with(spec, Value::Null);
    assert_eq!(world.why(json!({"a": "1"})), "");
    let none = world.why(json!({}));
    assert!(none.contains(
        "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found none valid"
    ));
    assert!(none.contains("spec.a: Required value"));
    let both = world.why(json!({"a": "1", "b": "2"}));
    assert!(both.contains("Found 2 valid alternatives"));
}

#[test]
fn rules_are_asked_of_every_value_that_they_stand_at() {
    let spec = json!({"type": "object", "properties": {
            "min": {"type": "integer"}, "max": {"type": "integer"},
            "name": {"type": "string", "maxLength": 20, "x-kubernetes-validations": [
                {"rule": "self == oldSelf", "message": "is fixed"}]},
            "ports": {"type": "array", "maxItems": 5, "items": {"type": "integer",
                "x-kubernetes-validations": [{"rule": "self > 0", "message": "is no port"}]}},
            "tag": {"type": "string", "maxLength": 20, "x-kubernetes-validations": [
                {"rule": "self.startsWith('v')", "messageExpression": "self + ' is no tag'"}]}},
        "x-kubernetes-validations": [
            {"rule": "!has(self.max) || self.min <= self.max", "message": "min is above max", "fieldPath": ".min"}]});
    let world = with(spec, Value::Null);
    assert_eq!(world.why(json!({"min": 1, "max": 2, "ports": [80]})), "");
    assert_eq!(
        world.why(json!({"min": 3, "max": 2})),
        "spec.min: Invalid value: \"object\": min is above max"
    );
    assert_eq!(
        world.why(json!({"ports": [80, -1]})),
        "spec.ports[1]: Invalid value: \"integer\": is no port"
    );
    assert_eq!(world.why(json!({"tag": "x1"})), "spec.tag: Invalid value: \"string\": x1 is no tag");
    // What cannot be read is not judged further.
    let mixed = world.why(json!({"min": "x", "max": 1}));
    assert!(mixed.contains("some validation rules were not checked because the object was invalid"));
    // A transition rule has nothing to say of what is new.
    world.ok(&format!("create {WIDGETS}"), widget(json!({"name": "a"})));
    let refused = world.refused(&format!("merge {WIDGETS}/w"), json!({"spec": {"name": "b"}}));
    assert!(refused.ends_with("spec.name: Invalid value: \"string\": is fixed"), "{refused}");
    world.ok(&format!("merge {WIDGETS}/w"), json!({"spec": {"min": 1}}));
}

/// KEP-4008: a schema may become stricter while objects live on; what has not changed is not held against a change.
#[test]
fn what_was_let_in_once_may_stay() {
    let spec = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}});
    let world = with(spec, Value::Null);
    world.ok(&format!("create {WIDGETS}"), widget(json!({"a": "long enough", "b": "x"})));
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com";
    let stricter = json!([{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/a/maxLength",
        "value": 3}]);
    world.ok(&format!("json {path}"), stricter);
    world.ok(&format!("merge {WIDGETS}/w"), json!({"spec": {"b": "y"}}));
    let refused = world.refused(&format!("merge {WIDGETS}/w"), json!({"spec": {"a": "other"}}));
    assert!(refused.ends_with("spec.a: Too long: may not be more than 3 bytes"), "{refused}");
}

#[test]
fn definitions_are_judged_with_their_rules() {
    let world = world();
    let refused = |schema: Value| {
        let version =
            json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
        let definition = json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com",
            "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"}, "versions": [version]}});
        world.refused("create /apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
    };
    let at = "spec.validation.openAPIV3Schema.properties[a]";
    let property = |a: Value| json!({"type": "object", "properties": {"a": a}});
    let refusal =
        refused(property(json!({"type": "string", "x-kubernetes-validations": [{"rule": "self > 5"}]})));
    assert!(
        refusal.contains(&format!("{at}.x-kubernetes-validations[0].rule: Invalid value: ")),
        "{refusal}"
    );
    assert!(refusal.contains("compilation failed: ERROR: <input>:1:6: found no matching overload for '_>_'"));
    let refusal = refused(property(json!({"type": "array", "items": {"type": "string"},
        "x-kubernetes-validations": [{"rule": "self.all(x, self.all(y, x == y))"}]})));
    assert!(refusal.contains("estimated rule cost exceeds budget by factor of more than 100x"), "{refusal}");
    let refusal = refused(property(json!({"type": "integer", "maximum": 3, "default": 7})));
    assert!(
        refusal
            .contains(&format!("{at}.default: Invalid value: 7:  in body should be less than or equal to 3"))
    );
}
