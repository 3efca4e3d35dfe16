//! What a definition's schema may say, beyond being structural; its defaults and its rules in CEL.

use serde_json::{Value, json};

use super::rules::{self, Checked, Trouble};
use super::schema::{DEPTH_MAX, Node, flag, text, texts};
use super::{embedded, field_path, prune, ratchet, values};
use crate::validation::error::Errors;
use crate::validation::path::Path;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// One rule may cost as much at most, for all objects together that it is asked of.
const RULE_COST_MAX: u64 = 10_000_000;
/// As much may all rules of a schema cost together.
const SCHEMA_COST_MAX: u64 = 100_000_000;
/// As many rules are named where they cost too much together.
const NAMED_MAX: usize = 4;

/// What is asked of a schema. What a definition was allowed to say before it may go on saying.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) schema_required: bool,
    pub(super) valid_types: bool,
    pub(super) structural: bool,
    pub(super) pruned_defaults: bool,
    pub(super) atomic_sets: bool,
    pub(super) map_keys: bool,
    pub(super) known_review_version: bool,
    pub(super) names_immutable: bool,
    /// Single rules may cost any amount.
    pub(super) any_cost: bool,
}

/// Where in a schema it is, as far as that changes what may be said there.
#[derive(Clone)]
struct Place<'a> {
    root: bool,
    inside_meta: bool,
    /// Why there may be no defaults.
    no_defaults: Option<String>,
    /// From where on old values cannot be told from others.
    uncorrelated: Option<String>,
    /// How many values there may be at most; `Some(None)`: nobody knows. `None`: rules are not looked at.
    count: Option<Option<u64>>,
    options: &'a Options,
}

struct Judge {
    schema: Errors,
    cel: Errors,
    total: u64,
    expensive: Vec<(u64, String)>,
}

/// Complains of a schema at `validation.openAPIV3Schema`.
pub(super) fn check(e: &mut Errors, at: &Path<'_>, schema: &Value, structural: bool, options: &Options) {
    let judge = judge(at, schema, structural, options);
    e.0.extend(judge.schema.0);
    e.0.extend(judge.cel.0);
    if judge.total > SCHEMA_COST_MAX {
        for (_, path) in &judge.expensive {
            let why =
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            e.forbidden(Path::root(path), why);
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        e.forbidden(*at, &too_expensive(what, judge.total, SCHEMA_COST_MAX));
    }
}

fn judge(at: &Path<'_>, schema: &Value, structural: bool, options: &Options) -> Judge {
    let mut judge =
        Judge { schema: Errors::default(), cel: Errors::default(), total: 0, expensive: Vec::new() };
    let place = Place {
        root: true,
        inside_meta: false,
        no_defaults: None,
        uncorrelated: None,
        count: structural.then_some(Some(1)),
        options,
    };
    judge.node(at, schema, &place, 0);
    judge
}

/// What an earlier schema was allowed, by one of the options.
pub(super) fn had(schema: &Value, relevant: impl Fn(&str, &str) -> bool) -> bool {
    let all = Options {
        schema_required: true,
        valid_types: true,
        structural: true,
        pruned_defaults: true,
        atomic_sets: true,
        map_keys: true,
        known_review_version: true,
        names_immutable: false,
        any_cost: true,
    };
    let found = judge(&Path::root("schema"), schema, false, &all);
    found.schema.0.iter().any(|error| relevant(&error.field, &error.detail))
}

fn too_expensive(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// How many parts a value of the schema may have for each of itself; `None`: nobody knows.
fn parts_max(schema: &Value) -> Option<u64> {
    let limit = |field: &str| schema[field].as_i64().map(|n| u64::try_from(n).unwrap_or(0));
    match text(schema, "type") {
        "object" if !schema["additionalProperties"].is_null() => limit("maxProperties"),
        "array" => limit("maxItems"),
        _ => Some(1),
    }
}

fn times(a: u64, b: u64) -> u64 {
    a.saturating_mul(b)
}

impl Judge {
    fn node(&mut self, at: &Path<'_>, schema: &Value, place: &Place<'_>, depth: usize) {
        if depth > DEPTH_MAX || !schema.is_object() {
            return;
        }
        let before = self.schema.0.len();
        self.supported(at, schema, place);
        self.below(at, schema, place, depth);
        self.extensions(at, schema, place.options);
        self.rule_texts(at, schema);
        // What is wrong with the schema makes nonsense of what its rules say.
        if self.schema.0.len() == before
            && let Some(count) = place.count
            && !schema["x-kubernetes-validations"].is_null()
        {
            self.rules(at, schema, place, count);
        }
    }

    fn supported(&mut self, at: &Path<'_>, schema: &Value, place: &Place<'_>) {
        let e = &mut self.schema;
        let ty = text(schema, "type");
        if place.options.valid_types && !ty.is_empty() && !TYPES.contains(&ty) {
            e.unsupported(at.field("type"), &schema["type"], &TYPES);
        }
        if let Some(why) = place.no_defaults.as_ref().filter(|_| !schema["default"].is_null()) {
            e.forbidden(at.field("default"), &format!("must not be set {why}"));
        }
        for field in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
            let said = match &schema[field] {
                Value::Null => false,
                Value::String(text) => !text.is_empty(),
                Value::Object(map) if matches!(field, "patternProperties" | "definitions") => !map.is_empty(),
                _ => true,
            };
            if said {
                e.forbidden(at.field(field), &format!("{field} is not supported"));
            }
        }
        if ty == "null" {
            e.forbidden(at.field("type"), "type cannot be set to null, use nullable as an alternative");
        }
        if schema["items"].as_array().is_some_and(|items| !items.is_empty()) {
            e.forbidden(at.field("items"), "items must be a schema object and not an array");
        }
        if place.inside_meta && flag(schema, "x-kubernetes-embedded-resource") {
            let why = "must not be used inside of resource meta";
            e.forbidden(at.field("x-kubernetes-embedded-resource"), why);
        }
        if flag(schema, "uniqueItems") {
            let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            e.forbidden(at.field("uniqueItems"), why);
        }
        let has_properties = schema["properties"].as_object().is_some_and(|p| !p.is_empty());
        let additional = &schema["additionalProperties"];
        if has_properties && (additional.is_object() || *additional == false) {
            let why = "additionalProperties and properties are mutual exclusive";
            e.forbidden(at.field("additionalProperties"), why);
        }
    }

    fn below(&mut self, at: &Path<'_>, schema: &Value, place: &Place<'_>, depth: usize) {
        let inner = Place { root: false, ..place.clone() };
        let multiplied =
            |count: Option<Option<u64>>| count.map(|count| Some(times(count?, parts_max(schema)?)));
        let additional = &schema["additionalProperties"];
        if additional.is_object() {
            let mut inner = Place { count: multiplied(place.count), ..inner.clone() };
            if place.inside_meta {
                inner.no_defaults = Some("inside additionalProperties applying to object metadata".into());
            }
            self.node(&at.field("additionalProperties"), additional, &inner, depth + 1);
        }
        let list = at.field("properties");
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let mut inner = Place { count: multiplied(place.count), ..inner.clone() };
            let whole = place.root || flag(schema, "x-kubernetes-embedded-resource");
            if whole && matches!(name.as_str(), "metadata" | "kind" | "apiVersion") {
                inner.inside_meta = true;
                if place.root {
                    inner.no_defaults = Some(format!("in top-level {name}"));
                }
            }
            self.node(&list.key(name), property, &inner, depth + 1);
        }
        let unruled = Place { count: None, ..inner.clone() };
        if schema["not"].is_object() {
            self.node(&at.field("not"), &schema["not"], &unruled, depth + 1);
        }
        for field in ["allOf", "oneOf", "anyOf"] {
            let list = at.field(field);
            for (i, below) in schema[field].as_array().into_iter().flatten().enumerate() {
                self.node(&list.index(i), below, &unruled, depth + 1);
            }
        }
        let mut inner = Place { count: multiplied(place.count), ..inner };
        if text(schema, "x-kubernetes-list-type") != "map" && inner.uncorrelated.is_none() {
            inner.uncorrelated = Some(at.to_string());
        }
        match &schema["items"] {
            Value::Array(items) => {
                let list = at.field("items");
                for (i, item) in items.iter().enumerate() {
                    self.node(&list.index(i), item, &inner, depth + 1);
                }
            }
            items => self.node(&at.field("items"), items, &inner, depth + 1),
        }
    }

    fn extensions(&mut self, at: &Path<'_>, schema: &Value, options: &Options) {
        let e = &mut self.schema;
        let ty = text(schema, "type");
        let items = at.field("items");
        if schema["x-kubernetes-preserve-unknown-fields"] == false {
            e.invalid(
                at.field("x-kubernetes-preserve-unknown-fields"),
                &false.into(),
                "must be true or undefined",
            );
        }
        let mut needs_type = |field: &str, wanted: &str| {
            if schema[field].is_null() || ty == wanted {
                return true;
            }
            let why = format!("must be {wanted} if {field} is specified");
            match ty {
                "" => e.required(at.field("type"), &why),
                _ => e.invalid(at.field("type"), &schema["type"], &why),
            }
            false
        };
        needs_type("x-kubernetes-map-type", "object");
        let is_array = needs_type("x-kubernetes-list-type", "array");
        let map_type = &schema["x-kubernetes-map-type"];
        if !map_type.is_null() && !matches!(map_type.as_str(), Some("atomic" | "granular")) {
            e.unsupported(at.field("x-kubernetes-map-type"), map_type, &["atomic", "granular"]);
        }
        let list_type = &schema["x-kubernetes-list-type"];
        let item = &schema["items"];
        if is_array && options.atomic_sets && *list_type == "set" && item.is_object() {
            let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
            let (field, wrong) = match text(item, "type") {
                "array" => {
                    let ty = &item["x-kubernetes-list-type"];
                    ("x-kubernetes-list-type", !ty.is_null() && *ty != "atomic")
                }
                "object" => ("x-kubernetes-map-type", item["x-kubernetes-map-type"] != "atomic"),
                _ => ("", false),
            };
            if wrong {
                e.invalid(items.field(field), &item[field], why);
            }
        }
        if !list_type.is_null() && !matches!(list_type.as_str(), Some("atomic" | "set" | "map")) {
            e.unsupported(at.field("x-kubernetes-list-type"), list_type, &["atomic", "set", "map"]);
        }
        let keys: Vec<&str> = texts(schema, "x-kubernetes-list-map-keys").collect();
        if !keys.is_empty() && *list_type != "map" {
            let why = "must be map if x-kubernetes-list-map-keys is non-empty";
            match list_type {
                Value::Null => e.required(at.field("x-kubernetes-list-type"), why),
                other => e.invalid(at.field("x-kubernetes-list-type"), other, why),
            }
        }
        if *list_type == "map" {
            self.map_list(at, schema, &keys);
        }
        if options.map_keys && matches!(list_type.as_str(), Some("set" | "map")) && item.is_object() {
            self.key_fields(at, item, text(schema, "x-kubernetes-list-type"), &keys);
        }
    }

    fn map_list(&mut self, at: &Path<'_>, schema: &Value, keys: &[&str]) {
        let e = &mut self.schema;
        let (items, item) = (at.field("items"), &schema["items"]);
        if keys.is_empty() {
            let why = "must not be empty if x-kubernetes-list-type is map";
            e.required(at.field("x-kubernetes-list-map-keys"), why);
        }
        match item {
            Value::Null => e.required(items, "must have a schema if x-kubernetes-list-type is map"),
            Value::Object(_) => {}
            other => {
                e.invalid(items, other, "must only have a single schema if x-kubernetes-list-type is map")
            }
        }
        if !item.is_object() {
            return;
        }
        if text(item, "type") != "object" {
            let why = "must be object if parent array's x-kubernetes-list-type is map";
            e.invalid(items.field("type"), &text(item, "type").into(), why);
            return;
        }
        let properties = items.field("properties");
        for (i, key) in keys.iter().enumerate() {
            match item["properties"].get(key) {
                Some(property) if matches!(text(property, "type"), "array" | "object") => {
                    let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    e.invalid(properties.key(key).field("type"), &item["type"], why);
                }
                Some(_) => {}
                None => {
                    let why = "entries must all be names of item properties";
                    e.invalid(at.field("x-kubernetes-list-map-keys"), &json!(keys), why);
                }
            }
            if keys[..i].contains(key) {
                let why = "must not contain duplicate entries";
                e.invalid(at.field("x-kubernetes-list-map-keys"), &json!(keys), why);
            }
        }
    }

    fn key_fields(&mut self, at: &Path<'_>, item: &Value, list_type: &str, keys: &[&str]) {
        let e = &mut self.schema;
        let items = at.field("items");
        if flag(item, "nullable") {
            let why = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
            e.forbidden(items.field("nullable"), &why);
        }
        if list_type != "map" {
            return;
        }
        let properties = items.field("properties");
        for key in keys {
            let Some(property) = item["properties"].get(key) else { continue };
            if !texts(item, "required").any(|r| r == *key) && property["default"].is_null() {
                let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                e.required(properties.key(key).field("default"), why);
            }
            if flag(property, "nullable") {
                let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                e.forbidden(properties.key(key).field("nullable"), why);
            }
        }
    }

    /// What a rule's texts must be, whatever they mean.
    fn rule_texts(&mut self, at: &Path<'_>, schema: &Value) {
        const REASONS: [&str; 4] =
            ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
        let e = &mut self.schema;
        let list = at.field("x-kubernetes-validations");
        let broken = |text: &str| text.contains(['\n', '\r']);
        for (i, rule) in schema["x-kubernetes-validations"].as_array().into_iter().flatten().enumerate() {
            let at = list.index(i);
            let [source, message, expression, path] =
                ["rule", "message", "messageExpression", "fieldPath"].map(|f| text(rule, f));
            if source.trim().is_empty() {
                e.required(at.field("rule"), "rule is not specified");
            } else if !message.is_empty() && message.trim().is_empty() {
                e.invalid(at.field("message"), &rule["message"], "must be non-empty if specified");
            } else if broken(message.trim()) {
                e.invalid(at.field("message"), &rule["message"], "must not contain line breaks");
            } else if broken(source.trim()) && message.trim().is_empty() {
                e.required(at.field("message"), "message must be specified if rule contains line breaks");
            }
            if !expression.is_empty() && expression.trim().is_empty() {
                e.required(at.field("messageExpression"), "must be non-empty if specified");
            }
            if let Some(reason) = rule["reason"].as_str().filter(|r| !REASONS.contains(r)) {
                e.unsupported(at.field("reason"), &reason.into(), &REASONS);
            }
            if !path.is_empty() && path.trim().is_empty() {
                e.invalid(at.field("fieldPath"), &path.into(), "must be non-empty if specified");
            }
            if broken(path) {
                e.invalid(at.field("fieldPath"), &path.into(), "must not contain line breaks");
            }
            if !path.is_empty() && field_path::find(path, schema, true).is_err() {
                e.invalid(at.field("fieldPath"), &path.into(), "must be a valid path");
            }
        }
    }

    fn rules(&mut self, at: &Path<'_>, schema: &Value, place: &Place<'_>, count: Option<u64>) {
        let list = at.field("x-kubernetes-validations");
        let whole = place.root || flag(schema, "x-kubernetes-embedded-resource");
        for (i, checked) in rules::check(schema, whole).into_iter().enumerate() {
            let at = list.index(i);
            let rule = &schema["x-kubernetes-validations"][i];
            let Checked { cost, message_cost, most, trouble, message_trouble, uses_old_self } = checked;
            let cost = times(cost, count.unwrap_or(most));
            if !place.options.any_cost && cost > RULE_COST_MAX {
                let why = too_expensive("estimated rule cost", cost, RULE_COST_MAX);
                self.cel.forbidden(at.field("rule"), &why);
            }
            self.observe(&at.field("rule"), cost);
            let e = &mut self.cel;
            match trouble {
                Some(Trouble::Missing(why)) => e.required(at.field("rule"), &why),
                Some(Trouble::Wrong(why)) => quoted(e, at.field("rule"), rule, &why),
                None => {}
            }
            match (message_trouble, message_cost) {
                (Some(why), _) => quoted(e, at.field("messageExpression"), rule, &why),
                (None, Some(cost)) => {
                    if cost > RULE_COST_MAX {
                        let why = too_expensive("estimated messageExpression cost", cost, RULE_COST_MAX);
                        e.forbidden(at.field("messageExpression"), &why);
                    }
                    self.observe(&at.field("messageExpression"), cost);
                }
                (None, None) => {}
            }
            let e = &mut self.cel;
            if uses_old_self {
                if let Some(path) = &place.uncorrelated {
                    let why = format!(
                        "oldSelf cannot be used on the uncorrelatable portion of the schema within {path}"
                    );
                    e.invalid(at.field("rule"), &rule["rule"], &why);
                }
            } else if !rule["optionalOldSelf"].is_null() {
                let why = "may not be set if oldSelf is not used in rule";
                e.invalid(at.field("optionalOldSelf"), &rule["optionalOldSelf"], why);
            }
        }
    }

    fn observe(&mut self, at: &Path<'_>, cost: u64) {
        self.total = self.total.saturating_add(cost);
        if cost < SCHEMA_COST_MAX / 100 {
            return;
        }
        self.expensive.push((cost, at.to_string()));
        self.expensive.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        self.expensive.truncate(NAMED_MAX);
    }
}

/// Complains of a rule and shows it, by the names that its fields have inside Kubernetes.
fn quoted(e: &mut Errors, at: Path<'_>, rule: &Value, why: &str) {
    let or_empty = |field: &str| text(rule, field).to_owned();
    let shown = json!({
        "Rule": or_empty("rule"), "Message": or_empty("message"),
        "MessageExpression": or_empty("messageExpression"), "Reason": rule["reason"],
        "FieldPath": or_empty("fieldPath"), "OptionalOldSelf": rule["optionalOldSelf"],
    });
    let shown = shown.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    e.push(crate::validation::ErrorType::Invalid, at, format!("Invalid value: {shown}"), why);
}

/// Complains of defaults that their own schema would not allow.
pub(super) fn defaults(e: &mut Errors, at: &Path<'_>, schema: &Value, pruned: bool) {
    default_at(e, at, schema, true, false, pruned, 0);
}

fn default_at(
    e: &mut Errors,
    at: &Path<'_>,
    schema: &Value,
    whole: bool,
    inside_meta: bool,
    pruned: bool,
    depth: usize,
) {
    if depth > DEPTH_MAX || !schema.is_object() {
        return;
    }
    let inside_meta = inside_meta && !whole;
    if let Some(default) = schema.get("default").filter(|d| !d.is_null()) {
        default_value(e, &at.field("default"), schema, default, inside_meta, pruned);
    }
    default_at(
        e,
        &at.field("items"),
        &schema["items"],
        flag(&schema["items"], "x-kubernetes-embedded-resource"),
        inside_meta,
        pruned,
        depth + 1,
    );
    let list = at.field("properties");
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let meta = whole && matches!(name.as_str(), "metadata" | "apiVersion" | "kind");
        let embedded = flag(property, "x-kubernetes-embedded-resource");
        default_at(e, &list.key(name), property, embedded, inside_meta || meta, pruned, depth + 1);
    }
    let additional = &schema["additionalProperties"];
    let embedded = flag(additional, "x-kubernetes-embedded-resource");
    default_at(e, &at.field("additionalProperties"), additional, embedded, inside_meta, pruned, depth + 1);
}

fn default_value(
    e: &mut Errors,
    at: &Path<'_>,
    schema: &Value,
    default: &Value,
    inside_meta: bool,
    pruned: bool,
) {
    let node = Node::read(schema);
    if !inside_meta && pruned {
        let mut known = default.clone();
        prune::prune(&node, &mut known, node.embedded);
        if !ratchet::same(&known, default) {
            e.invalid(*at, default, "must not have unknown fields");
        }
    }
    let path = at.to_string();
    let mut errors = if inside_meta { Vec::new() } else { embedded::validate_whole(&node, &path, default) };
    if errors.is_empty() {
        errors = values::validate(&node, &path, default, None);
    }
    if errors.is_empty() && node.has_rules() {
        errors = rules::RuleSet::compile(schema).evaluate_at(&node, &path, default, Some(default));
    }
    e.0.extend(errors);
}
