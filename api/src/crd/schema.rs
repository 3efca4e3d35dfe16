//! A custom resource's schema, read once and asked often.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::pattern::Pattern;

/// Deeper schemas are cut off; Kubernetes' own limits on a definition's size come first.
pub(crate) const DEPTH_MAX: usize = 100;

/// One schema, at any depth, nested value validations included.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// `object`, …; empty where the schema says nothing.
    pub(crate) ty: String,
    pub(crate) format: String,
    pub(crate) nullable: bool,
    pub(crate) int_or_string: bool,
    pub(crate) preserve_unknown: bool,
    pub(crate) embedded: bool,
    pub(crate) list_type: ListType,
    pub(crate) list_map_keys: Vec<String>,
    pub(crate) default: Option<Value>,
    pub(crate) properties: BTreeMap<String, Node>,
    pub(crate) items: Option<Box<Node>>,
    pub(crate) additional: Additional,
    pub(crate) limits: Limits,
    pub(crate) all_of: Vec<Node>,
    pub(crate) any_of: Vec<Node>,
    pub(crate) one_of: Vec<Node>,
    pub(crate) not: Option<Box<Node>>,
    /// Rules in CEL, as they are written.
    pub(crate) rules: Vec<Rule>,
}

/// What undeclared fields may be.
#[derive(Debug, Default)]
pub(crate) enum Additional {
    /// The schema does not say.
    #[default]
    Unsaid,
    /// Anything.
    Any,
    /// There are none.
    None,
    /// Values of this schema.
    Of(Box<Node>),
}

/// How a list's items are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListType {
    #[default]
    Atomic,
    Set,
    Map,
}

/// What a value is measured by.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    pub(crate) values: Vec<Value>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) max_length: Option<i64>,
    pub(crate) min_length: Option<i64>,
    pub(crate) maximum: Option<f64>,
    pub(crate) minimum: Option<f64>,
    pub(crate) exclusive_maximum: bool,
    pub(crate) exclusive_minimum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) max_items: Option<i64>,
    pub(crate) min_items: Option<i64>,
    pub(crate) max_properties: Option<i64>,
    pub(crate) min_properties: Option<i64>,
    pub(crate) required: Vec<String>,
}

/// One entry of `x-kubernetes-validations`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rule {
    pub(crate) rule: String,
    pub(crate) message: String,
    pub(crate) message_expression: String,
    pub(crate) reason: Option<String>,
    pub(crate) field_path: String,
    pub(crate) optional_old_self: Option<bool>,
}

impl Node {
    /// Reads an `openAPIV3Schema`. What is not understood is left out: validation of the definition complains of it.
    pub(crate) fn read(schema: &Value) -> Arc<Node> {
        Arc::new(node(schema, 0))
    }

    /// The schema of a property, or of undeclared ones.
    pub(crate) fn child(&self, name: &str) -> Option<&Node> {
        match (self.properties.get(name), &self.additional) {
            (Some(node), _) => Some(node),
            (None, Additional::Of(node)) => Some(node),
            _ => None,
        }
    }

    /// Whether any part of it has rules in CEL.
    pub(crate) fn has_rules(&self) -> bool {
        !self.rules.is_empty() || self.children().any(Node::has_rules)
    }

    /// The schemas of its parts.
    pub(crate) fn children(&self) -> impl Iterator<Item = &Node> {
        let additional = match &self.additional {
            Additional::Of(node) => Some(&**node),
            _ => None,
        };
        self.properties.values().chain(self.items.as_deref()).chain(additional)
    }
}

/// A part of a schema as a text; empty where it is none.
pub(crate) fn text<'a>(schema: &'a Value, field: &str) -> &'a str {
    schema[field].as_str().unwrap_or_default()
}

pub(crate) fn flag(schema: &Value, field: &str) -> bool {
    schema[field] == true
}

pub(crate) fn texts<'a>(schema: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    schema[field].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn node(schema: &Value, depth: usize) -> Node {
    if depth > DEPTH_MAX || !schema.is_object() {
        return Node { preserve_unknown: true, ..Node::default() };
    }
    let whole = |field: &str| schema[field].as_i64().or_else(|| schema[field].as_f64().map(|f| f as i64));
    let nested = |field: &str| -> Vec<Node> {
        schema[field].as_array().into_iter().flatten().map(|s| node(s, depth + 1)).collect()
    };
    Node {
        ty: text(schema, "type").into(),
        format: text(schema, "format").into(),
        nullable: flag(schema, "nullable"),
        int_or_string: flag(schema, "x-kubernetes-int-or-string"),
        preserve_unknown: flag(schema, "x-kubernetes-preserve-unknown-fields"),
        embedded: flag(schema, "x-kubernetes-embedded-resource"),
        list_type: match text(schema, "x-kubernetes-list-type") {
            "set" => ListType::Set,
            "map" => ListType::Map,
            _ => ListType::Atomic,
        },
        list_map_keys: texts(schema, "x-kubernetes-list-map-keys").map(str::to_owned).collect(),
        default: schema.get("default").cloned(),
        properties: schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, s)| (name.clone(), node(s, depth + 1)))
            .collect(),
        items: schema.get("items").filter(|s| s.is_object()).map(|s| Box::new(node(s, depth + 1))),
        additional: match &schema["additionalProperties"] {
            Value::Bool(true) => Additional::Any,
            Value::Bool(false) => Additional::None,
            of @ Value::Object(_) => Additional::Of(Box::new(node(of, depth + 1))),
            _ => Additional::Unsaid,
        },
        limits: Limits {
            values: schema["enum"].as_array().cloned().unwrap_or_default(),
            pattern: schema["pattern"].as_str().filter(|p| !p.is_empty()).map(Pattern::new),
            max_length: whole("maxLength"),
            min_length: whole("minLength"),
            maximum: schema["maximum"].as_f64(),
            minimum: schema["minimum"].as_f64(),
            exclusive_maximum: flag(schema, "exclusiveMaximum"),
            exclusive_minimum: flag(schema, "exclusiveMinimum"),
            multiple_of: schema["multipleOf"].as_f64(),
            max_items: whole("maxItems"),
            min_items: whole("minItems"),
            max_properties: whole("maxProperties"),
            min_properties: whole("minProperties"),
            required: texts(schema, "required").map(str::to_owned).collect(),
        },
        all_of: nested("allOf"),
        any_of: nested("anyOf"),
        one_of: nested("oneOf"),
        not: schema.get("not").filter(|s| s.is_object()).map(|s| Box::new(node(s, depth + 1))),
        rules: schema["x-kubernetes-validations"].as_array().into_iter().flatten().map(rule).collect(),
    }
}

fn rule(rule: &Value) -> Rule {
    Rule {
        rule: text(rule, "rule").into(),
        message: text(rule, "message").into(),
        message_expression: text(rule, "messageExpression").into(),
        reason: rule["reason"].as_str().map(str::to_owned),
        field_path: text(rule, "fieldPath").into(),
        optional_old_self: rule["optionalOldSelf"].as_bool(),
    }
}
