//! What a schema declares to expressions: types, and how large values may become.
//!
//! Sizes that a schema leaves open follow from the size of a request: 3 MiB hold so many of the smallest items.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::lex::WORDS;
use super::types::{ObjectType, Type};
use super::value::{Key, List, ListKind, Value};
use crate::crd::formats;
use crate::crd::schema::{Additional, DEPTH_MAX, ListType, Node};

const REQUEST_MAX: u64 = 3 * 1024 * 1024;

/// The declaration of a value.
#[derive(Clone, Debug)]
pub(crate) struct Decl {
    pub(crate) ty: Type,
    /// Characters, items or entries at most.
    pub(crate) most: u64,
    /// Bytes that the smallest such value takes in JSON.
    pub(crate) smallest: u64,
    pub(crate) fields: BTreeMap<String, Decl>,
    pub(crate) key: Option<Box<Decl>>,
    pub(crate) element: Option<Box<Decl>>,
}

impl Decl {
    fn simple(ty: Type, most: u64, smallest: u64) -> Decl {
        Decl { ty, most, smallest, fields: BTreeMap::new(), key: None, element: None }
    }

    /// How many such values a request can hold.
    pub(crate) fn count_max(&self) -> u64 {
        REQUEST_MAX / (self.smallest + 1)
    }

    /// What a schema declares; `None` where expressions can say nothing of it. `whole`: it is an object of its own.
    pub(crate) fn of(node: &Node, whole: bool) -> Option<Decl> {
        declared(node, whole, "self", 0)
    }
}

fn limit(given: Option<i64>, otherwise: u64) -> u64 {
    given.map_or(otherwise, |n| u64::try_from(n).unwrap_or(0))
}

fn string() -> Decl {
    Decl::simple(Type::String, REQUEST_MAX - 2, 2)
}

fn declared(node: &Node, whole: bool, path: &str, depth: usize) -> Option<Decl> {
    if depth > DEPTH_MAX {
        return None;
    }
    if node.int_or_string {
        return Some(Decl::simple(Type::Dyn, REQUEST_MAX - 2, 1));
    }
    match node.ty.as_str() {
        "array" => {
            let items = node.items.as_ref()?;
            let element = declared(items, items.embedded, &format!("{path}.@idx"), depth + 1)?;
            let most = limit(node.limits.max_items, (REQUEST_MAX - 2) / (element.smallest + 1));
            let ty = Type::list(element.ty.clone());
            Some(Decl { element: Some(Box::new(element)), ..Decl::simple(ty, most, 2) })
        }
        "object" => object(node, whole, path, depth),
        "string" => Some(text(node)),
        "boolean" => Some(Decl::simple(Type::Bool, 0, 4)),
        "number" => Some(Decl::simple(Type::Double, 0, 1)),
        "integer" => Some(Decl::simple(Type::Int, 0, 1)),
        _ => None,
    }
}

fn object(node: &Node, whole: bool, path: &str, depth: usize) -> Option<Decl> {
    if let Additional::Of(values) = &node.additional {
        let element = declared(values, values.embedded, &format!("{path}.@elem"), depth + 1)?;
        let most = limit(node.limits.max_properties, (REQUEST_MAX - 2) / (element.smallest + 6));
        let ty = Type::map(Type::String, element.ty.clone());
        // No schema says how long keys may be: Kubernetes' estimates take them for empty.
        let key = Some(Box::new(Decl::simple(Type::String, 0, 2)));
        return Some(Decl { key, element: Some(Box::new(element)), ..Decl::simple(ty, most, 2) });
    }
    let mut fields = BTreeMap::new();
    let mut smallest = 2;
    for (name, property) in &node.properties {
        let Some(field) = declared(property, property.embedded, &format!("{path}.{name}"), depth + 1) else {
            continue;
        };
        if node.limits.required.contains(name) && property.default.is_none() {
            smallest += name.len() as u64 + field.smallest + 4;
        }
        if let Some(escaped) = escaped(name) {
            fields.insert(escaped, field);
        }
    }
    if whole {
        fields.insert("apiVersion".into(), string());
        fields.insert("kind".into(), string());
        let known = node.properties.get("metadata");
        let meta = ["name", "generateName"].map(|name| {
            let field = known.and_then(|m| m.properties.get(name)).map_or_else(string, text);
            (name.to_owned(), field)
        });
        let meta = meta.into_iter().collect();
        fields.insert("metadata".into(), named(format!("{path}.metadata"), meta, 2));
    }
    Some(named(path.to_owned(), fields, smallest))
}

fn named(name: String, fields: BTreeMap<String, Decl>, smallest: u64) -> Decl {
    let types = fields.iter().map(|(name, field)| (name.clone(), field.ty.clone())).collect();
    let ty = Type::Object(Arc::new(ObjectType { name, fields: types }));
    Decl { fields, ..Decl::simple(ty, 0, smallest) }
}

fn text(node: &Node) -> Decl {
    match node.format.as_str() {
        "byte" => Decl::simple(Type::Bytes, limit(node.limits.max_length, REQUEST_MAX - 2), 2),
        "duration" => Decl::simple(Type::Duration, 32, 4),
        "date" => Decl::simple(Type::Timestamp, 12, 12),
        "date-time" => Decl::simple(Type::Timestamp, 37, 22),
        _ => {
            // The longest of those that there are, were each character written with an escape.
            let longest = node.limits.values.iter().filter_map(Json::as_str).map(str::len).max();
            let open = longest.map_or(REQUEST_MAX - 2, |n| n as u64);
            Decl::simple(Type::String, limit(node.limits.max_length, open), 2)
        }
    }
}

/// A field's name as expressions write it; `None` where they cannot.
pub(crate) fn escaped(name: &str) -> Option<String> {
    if WORDS.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let start = name.chars().next()?;
    if !start.is_ascii_alphabetic() && start != '_' {
        return None;
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("__") {
            out.push_str("__underscores__");
            rest = after;
            continue;
        }
        match c {
            '.' => out.push_str("__dot__"),
            '-' => out.push_str("__dash__"),
            '/' => out.push_str("__slash__"),
            c if c.is_ascii_alphanumeric() || c == '_' => out.push(c),
            _ => return None,
        }
        rest = &rest[c.len_utf8()..];
    }
    Some(out)
}

/// A tree as expressions see it through its schema.
pub(crate) fn to_value(node: &Node, json: &Json, whole: bool) -> Value {
    if node.int_or_string {
        return Value::from_json(json);
    }
    match (node.ty.as_str(), json) {
        ("array", Json::Array(items)) => {
            let items = match &node.items {
                Some(schema) => items.iter().map(|item| to_value(schema, item, schema.embedded)).collect(),
                None => items.iter().map(Value::from_json).collect(),
            };
            let kind = match node.list_type {
                ListType::Atomic => ListKind::Plain,
                ListType::Set => ListKind::Set,
                ListType::Map => ListKind::Map(
                    node.list_map_keys.iter().map(|k| escaped(k).unwrap_or_else(|| k.clone())).collect(),
                ),
            };
            Value::List(Arc::new(List { items, kind }))
        }
        ("object", Json::Object(map)) => {
            let mut out = BTreeMap::new();
            let key = |name: &str| Key::String(Arc::from(name));
            for (name, value) in map {
                if let Some(schema) = node.properties.get(name) {
                    if whole && matches!(name.as_str(), "metadata" | "kind" | "apiVersion") {
                        continue;
                    }
                    if let Some(name) = escaped(name) {
                        out.insert(key(&name), to_value(schema, value, schema.embedded));
                    }
                } else if let Additional::Of(schema) = &node.additional {
                    out.insert(key(name), to_value(schema, value, schema.embedded));
                }
            }
            if whole {
                for name in ["kind", "apiVersion"] {
                    if let Some(value) = map.get(name) {
                        out.insert(key(name), Value::from_json(value));
                    }
                }
                let meta = map.get("metadata").and_then(Json::as_object);
                let names = ["name", "generateName"]
                    .into_iter()
                    .filter_map(|name| Some((key(name), Value::from_json(meta?.get(name)?))));
                out.insert(key("metadata"), Value::Map(Arc::new(names.collect())));
            }
            Value::Map(Arc::new(out))
        }
        ("number", Json::Number(n)) => Value::Double(n.as_f64().unwrap_or_default()),
        ("string", Json::String(text)) => match node.format.as_str() {
            "byte" => {
                use base64::Engine;
                match base64::engine::general_purpose::STANDARD.decode(text) {
                    Ok(bytes) => Value::Bytes(bytes.into()),
                    Err(_) => Value::text(text),
                }
            }
            "duration" => formats::go_duration(text).map_or_else(|| Value::text(text), Value::Duration),
            "date" | "date-time" => match formats::date_time(text) {
                Some(moment) => Value::Timestamp(i128::from(moment.nanos())),
                None => Value::text(text),
            },
            _ => Value::text(text),
        },
        (_, json) => Value::from_json(json),
    }
}
