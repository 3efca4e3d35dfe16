//! Objects within objects: what every object must have, they must have, too.

use orlop_core::rules::names::dns_1035_label;
use serde_json::Value;

use super::schema::{Additional, Node};
use crate::validation::{self, FieldError};

/// What is wrong with the objects that an object holds; itself it is checked elsewhere.
pub(crate) fn validate(node: &Node, path: &str, value: &Value) -> Vec<FieldError> {
    let mut out = Vec::new();
    walk(node, path, value, false, &mut out);
    out
}

/// [`validate`], of a value that is an embedded object itself.
pub(crate) fn validate_whole(node: &Node, path: &str, value: &Value) -> Vec<FieldError> {
    let mut out = Vec::new();
    walk(node, path, value, node.embedded, &mut out);
    out
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn walk(node: &Node, path: &str, value: &Value, whole: bool, out: &mut Vec<FieldError>) {
    match value {
        Value::Object(map) => {
            if whole {
                object(path, map, out);
            }
            for (name, value) in map {
                let (schema, path) = match (node.properties.get(name), &node.additional) {
                    (Some(schema), _) => (schema, below(path, name)),
                    (None, Additional::Of(schema)) => (&**schema, format!("{path}[{name}]")),
                    _ => continue,
                };
                walk(schema, &path, value, schema.embedded, out);
            }
        }
        Value::Array(items) => {
            let Some(schema) = &node.items else { return };
            for (at, item) in items.iter().enumerate() {
                walk(schema, &format!("{path}[{at}]"), item, schema.embedded, out);
            }
        }
        _ => {}
    }
}

fn object(path: &str, map: &serde_json::Map<String, Value>, out: &mut Vec<FieldError>) {
    for name in ["apiVersion", "kind"] {
        let at = below(path, name);
        match map.get(name) {
            None => out.push(FieldError::required(at)),
            Some(Value::String(text)) if text.is_empty() => {
                out.push(FieldError::invalid(at, &text.as_str().into(), "must not be empty"));
            }
            Some(Value::String(text)) if name == "apiVersion" => {
                if text.matches('/').count() > 1 {
                    let why = format!("unexpected GroupVersion string: {text}");
                    out.push(FieldError::invalid(at, &text.as_str().into(), &why));
                }
            }
            Some(Value::String(text)) => {
                let wrong = dns_1035_label(&text.to_lowercase());
                if !wrong.is_empty() {
                    let why = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
                    out.push(FieldError::invalid(at, &text.as_str().into(), &why));
                }
            }
            Some(other) => out.push(FieldError::invalid(at, other, "must be a string")),
        }
    }
    if let Some(metadata @ Value::Object(_)) = map.get("metadata") {
        out.extend(validation::embedded_metadata(metadata, &below(path, "metadata")));
    }
}
