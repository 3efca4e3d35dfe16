//! Whether a schema is structural: every field has one type, stated outside of combinations.
//!
//! See "Specifying a structural schema" in Kubernetes' documentation of CustomResourceDefinitions.

use orlop_core::schema::PROPERTIES_MAX;
use serde_json::Value;

use super::pattern;
use super::schema::{DEPTH_MAX, flag, text};
use crate::validation::error::Errors;
use crate::validation::path::Path;

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Field,
    Item,
}

/// Why a schema cannot even be read as a structural one; such are not looked at further.
pub(super) fn unreadable(schema: &Value) -> Option<String> {
    fn walk(schema: &Value, depth: usize) -> Option<String> {
        if depth > DEPTH_MAX {
            return Some("schema is too deep".into());
        }
        let map = schema.as_object()?;
        for field in
            ["id", "$schema", "$ref", "additionalItems", "patternProperties", "definitions", "dependencies"]
        {
            if map
                .get(field)
                .is_some_and(|v| !v.is_null() && v != "" && v.as_object().is_none_or(|m| !m.is_empty()))
            {
                let name = field.trim_start_matches('$');
                return Some(format!("OpenAPIV3Schema '{name}' is not supported"));
            }
        }
        if map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
            let field = "x-kubernetes-preserve-unknown-fields";
            return Some(format!("internal error: '{field}' must be true or undefined"));
        }
        if map.get("items").is_some_and(Value::is_array) {
            return Some("OpenAPIV3Schema 'items' must be a schema object and not an array".into());
        }
        let listed = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|f| map.get(f)?.as_array()).flatten();
        let named = map.get("properties").and_then(Value::as_object).into_iter().flat_map(|m| m.values());
        let single = ["items", "additionalProperties", "not"].into_iter().filter_map(|f| map.get(f));
        listed.chain(named).chain(single).find_map(|below| walk(below, depth + 1))
    }
    walk(schema, 0)
}

/// Complains of what is not structural.
pub(super) fn check(e: &mut Errors, at: &Path<'_>, schema: &Value) {
    invariants(e, at, schema, Level::Root, 0);
    completeness(e, at, schema, 0);
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

fn schema_at<'a>(schema: &'a Value, field: &str) -> Option<&'a Value> {
    schema.get(field).filter(|s| s.is_object())
}

fn listed<'a>(schema: &'a Value, field: &str) -> &'a [Value] {
    schema[field].as_array().map_or(&[], Vec::as_slice)
}

/// `anyOf` of an integer and a string and nothing else, which int-or-string may have.
fn int_or_string_any_of(schemas: &[Value]) -> bool {
    let is = |schema: &Value, ty: &str| {
        schema.as_object().is_some_and(|m| m.len() == 1) && text(schema, "type") == ty
    };
    matches!(schemas, [a, b] if is(a, "integer") && is(b, "string"))
}

fn invariants(e: &mut Errors, at: &Path<'_>, schema: &Value, level: Level, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    let ty = text(schema, "type");
    let items = schema_at(schema, "items");
    if ty == "array" && items.is_none() {
        e.required(at.field("items"), "must be specified");
    }
    if let Some(items) = items {
        invariants(e, &at.field("items"), items, Level::Item, depth + 1);
    }
    let list = at.field("properties");
    let count = properties(schema).count();
    if count > PROPERTIES_MAX {
        e.too_many(list, count, PROPERTIES_MAX);
        return;
    }
    for (name, property) in properties(schema) {
        invariants(e, &list.key(name), property, Level::Field, depth + 1);
    }
    let additional = &schema["additionalProperties"];
    if !additional.is_null() && level == Level::Root {
        e.forbidden(at.field("additionalProperties"), "must not be used at the root");
    }
    if additional.is_object() {
        invariants(e, &at.field("additionalProperties"), additional, Level::Field, depth + 1);
    }
    let (embedded, preserves) = (
        flag(schema, "x-kubernetes-embedded-resource"),
        flag(schema, "x-kubernetes-preserve-unknown-fields"),
    );
    let int_or_string = flag(schema, "x-kubernetes-int-or-string");
    if int_or_string {
        for (field, set) in [
            ("x-kubernetes-preserve-unknown-fields", preserves),
            ("x-kubernetes-embedded-resource", embedded),
        ] {
            if set {
                e.invalid(
                    at.field(field),
                    &true.into(),
                    "must be false if x-kubernetes-int-or-string is true",
                );
            }
        }
    }
    let skip_any = int_or_string && int_or_string_any_of(listed(schema, "anyOf"));
    let skip_first_all = int_or_string
        && listed(schema, "allOf").first().is_some_and(|first| int_or_string_any_of(listed(first, "anyOf")));
    limits(e, at, schema, skip_any, skip_first_all, depth);
    if embedded && ty != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        match ty {
            "" => e.required(at.field("type"), why),
            _ => e.invalid(at.field("type"), &schema["type"], why),
        }
    } else if ty.is_empty() && !int_or_string && !preserves {
        let why = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        e.required(at.field("type"), why);
    }
    if embedded && !additional.is_null() {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        e.forbidden(at.field("additionalProperties"), why);
    }
    if level == Level::Root && !ty.is_empty() && ty != "object" {
        e.invalid(at.field("type"), &schema["type"], "must be object at the root");
    }
    let whole = level == Level::Root || embedded;
    for name in ["kind", "apiVersion"] {
        let Some(property) = schema_at(&schema["properties"], name).filter(|_| whole) else { continue };
        if text(property, "type") != "string" {
            e.invalid(list.key(name).field("type"), &text(property, "type").into(), "must be string");
        }
    }
    if let Some(metadata) = schema_at(&schema["properties"], "metadata") {
        check_metadata(e, &list.key("metadata"), metadata, whole, level);
    }
    if embedded && !preserves && properties(schema).next().is_none() {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        e.required(at.field("properties"), why);
    }
}

/// Metadata is known; only its names may be restricted.
fn check_metadata(e: &mut Errors, at: &Path<'_>, schema: &Value, whole: bool, level: Level) {
    if whole && text(schema, "type") != "object" {
        e.invalid(at.field("type"), &text(schema, "type").into(), "must be object");
    }
    if level != Level::Root {
        return;
    }
    let names_only = properties(schema).all(|(name, _)| matches!(name.as_str(), "name" | "generateName"));
    let said = |(field, value): (&String, &Value)| match field.as_str() {
        "type" | "default" => false,
        "properties" => !names_only,
        _ => !matches!(value, Value::Null | Value::Bool(false)) && value != "",
    };
    if schema.as_object().is_some_and(|map| map.iter().any(said)) {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        e.forbidden(*at, why);
    }
}

/// Limits of values and combinations of them.
fn limits(e: &mut Errors, at: &Path<'_>, schema: &Value, skip_any: bool, skip_first_all: bool, depth: usize) {
    if !skip_any {
        let list = at.field("anyOf");
        for (i, below) in listed(schema, "anyOf").iter().enumerate() {
            nested(e, &list.index(i), below, false, depth + 1);
        }
    }
    let list = at.field("allOf");
    for (i, below) in listed(schema, "allOf").iter().enumerate() {
        nested(e, &list.index(i), below, skip_first_all && i == 0, depth + 1);
    }
    let list = at.field("oneOf");
    for (i, below) in listed(schema, "oneOf").iter().enumerate() {
        nested(e, &list.index(i), below, false, depth + 1);
    }
    if let Some(not) = schema_at(schema, "not") {
        nested(e, &at.field("not"), not, false, depth + 1);
    }
    let pattern = text(schema, "pattern");
    if let Err(why) = pattern::compile(pattern) {
        let why = format!("must be a valid regular expression, but isn't: error parsing regexp: {why}");
        e.invalid(at.field("pattern"), &pattern.into(), &why);
    }
}

/// What stands in a combination limits values; it does not say what there is.
fn nested(e: &mut Errors, at: &Path<'_>, schema: &Value, skip_any: bool, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    limits(e, at, schema, skip_any, false, depth);
    if let Some(items) = schema_at(schema, "items") {
        nested(e, &at.field("items"), items, false, depth + 1);
    }
    let list = at.field("properties");
    for (name, property) in properties(schema) {
        nested(e, &list.key(name), property, false, depth + 1);
    }
    for (field, why) in [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        ("x-kubernetes-embedded-resource", "must be false to be structural"),
        ("x-kubernetes-int-or-string", "must be false to be structural"),
        ("x-kubernetes-list-map-keys", "must be empty to be structural"),
        ("x-kubernetes-list-type", "must be undefined to be structural"),
        ("x-kubernetes-map-type", "must be undefined to be structural"),
        ("x-kubernetes-validations", "must be empty to be structural"),
    ] {
        let said = match &schema[field] {
            Value::Null | Value::Bool(false) if field != "additionalProperties" => false,
            Value::Null => false,
            Value::Array(items) => !items.is_empty(),
            Value::String(text) => !text.is_empty() || field.ends_with("-type"),
            _ => true,
        };
        if said {
            e.forbidden(at.field(field), why);
        }
    }
    if schema_at(&schema["properties"], "metadata").is_some() {
        e.forbidden(list.key("metadata"), "must not be specified in a nested context");
    }
}

/// What combinations limit must exist outside of them.
fn completeness(e: &mut Errors, at: &Path<'_>, schema: &Value, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    combined(e, at, schema, schema, at, depth);
    if let Some(items) = schema_at(schema, "items") {
        completeness(e, &at.field("items"), items, depth + 1);
    }
    let list = at.field("properties");
    for (name, property) in properties(schema) {
        completeness(e, &list.key(name), property, depth + 1);
    }
    if let Some(additional) = schema_at(schema, "additionalProperties") {
        completeness(e, &at.field("additionalProperties"), additional, depth + 1);
    }
}

/// The combinations of `limits`, which stand at `there`, against the schema at `at`.
fn combined(e: &mut Errors, at: &Path<'_>, schema: &Value, limits: &Value, there: &Path<'_>, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    for field in ["allOf", "anyOf", "oneOf"] {
        let list = there.field(field);
        for (i, below) in listed(limits, field).iter().enumerate() {
            stated(e, at, Some(schema), below, &list.index(i), depth + 1);
        }
    }
    if let Some(not) = schema_at(limits, "not") {
        stated(e, at, Some(schema), not, &there.field("not"), depth + 1);
    }
}

fn stated(
    e: &mut Errors,
    at: &Path<'_>,
    schema: Option<&Value>,
    limits: &Value,
    there: &Path<'_>,
    depth: usize,
) {
    let Some(schema) = schema else {
        e.required(*at, &format!("because it is defined in {there}"));
        return;
    };
    if depth > DEPTH_MAX {
        return;
    }
    combined(e, at, schema, limits, there, depth);
    if let Some(items) = schema_at(limits, "items") {
        stated(e, &at.field("items"), schema_at(schema, "items"), items, &there.field("items"), depth + 1);
    }
    let (here, list) = (at.field("properties"), there.field("properties"));
    for (name, property) in properties(limits) {
        let known = schema_at(&schema["properties"], name);
        stated(e, &here.key(name), known, property, &list.key(name), depth + 1);
    }
}
