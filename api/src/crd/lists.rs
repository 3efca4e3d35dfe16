//! Lists that are sets or maps: no item twice.

use serde_json::{Map, Value};

use super::ratchet::same;
use super::schema::{Additional, ListType, Node};
use crate::validation::{ErrorType, FieldError};

/// The items that have occurred before in their list.
pub(crate) fn duplicates(node: &Node, path: &str, value: &Value) -> Vec<FieldError> {
    let mut out = Vec::new();
    walk(node, path, value, &mut out);
    out
}

fn walk(node: &Node, path: &str, value: &Value, out: &mut Vec<FieldError>) {
    match value {
        Value::Array(items) => {
            let keys: Vec<Value> = match node.list_type {
                ListType::Atomic => Vec::new(),
                ListType::Set => items.clone(),
                ListType::Map => items.iter().map(|item| key(node, item)).collect(),
            };
            for (at, key) in keys.iter().enumerate() {
                // One that comes a third time is told once more, the first time never.
                if keys[..at].iter().any(|earlier| same(earlier, key)) {
                    let start = format!("Duplicate value: {key}");
                    out.push(FieldError::new(ErrorType::Duplicate, format!("{path}[{at}]"), start, ""));
                }
            }
            if let Some(schema) = &node.items {
                for (at, item) in items.iter().enumerate() {
                    walk(schema, &format!("{path}[{at}]"), item, out);
                }
            }
        }
        Value::Object(map) => {
            for (name, value) in map {
                let schema = match (node.properties.get(name), &node.additional) {
                    (Some(schema), _) => Some((schema, false)),
                    (None, Additional::Of(schema)) => Some((&**schema, true)),
                    _ => None,
                };
                if let Some((schema, is_key)) = schema {
                    let path = match (path, is_key) {
                        (path, true) => format!("{path}[{name}]"),
                        ("", false) => name.clone(),
                        (path, false) => format!("{path}.{name}"),
                    };
                    walk(schema, &path, value, out);
                }
            }
        }
        _ => {}
    }
}

fn key(node: &Node, item: &Value) -> Value {
    let mut key = Map::new();
    for name in &node.list_map_keys {
        if let Some(value) = item.get(name) {
            key.insert(name.clone(), value.clone());
        }
    }
    key.sort_keys();
    key.into()
}
