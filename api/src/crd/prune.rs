//! Taking away what a schema does not know.

use serde_json::Value;

use super::schema::{Additional, Node};

/// The fields that every object has.
const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Takes away undeclared fields. `whole`: the value is an object of its own, whose metadata stays.
pub(crate) fn prune(node: &Node, value: &mut Value, whole: bool) {
    match value {
        Value::Object(map) => {
            map.retain(|name, value| {
                if whole && META.contains(&name.as_str()) {
                    return true;
                }
                match (node.properties.get(name), &node.additional) {
                    (Some(schema), _) => prune(schema, value, schema.embedded),
                    (None, Additional::Of(schema)) => prune(schema, value, schema.embedded),
                    (None, Additional::Any) => {}
                    _ => return node.preserve_unknown,
                }
                true
            });
        }
        Value::Array(items) => {
            if let Some(schema) = &node.items {
                items.iter_mut().for_each(|item| prune(schema, item, schema.embedded));
            }
        }
        _ => {}
    }
}

/// Takes away nulls where the schema has no place for them; what has a default got it before.
pub(crate) fn drop_nulls(node: &Node, value: &mut Value) {
    match value {
        Value::Object(map) => map.retain(|name, value| match node.child(name) {
            Some(schema) if value.is_null() => schema.nullable,
            Some(schema) => {
                drop_nulls(schema, value);
                true
            }
            None => true,
        }),
        Value::Array(items) => {
            if let Some(schema) = &node.items {
                items.iter_mut().for_each(|item| drop_nulls(schema, item));
            }
        }
        _ => {}
    }
}
