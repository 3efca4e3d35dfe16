//! Values against a schema: types, limits and combinations, in the words of Kubernetes' validator.

use serde_json::{Number, Value};

use super::formats;
use super::ratchet::{self, Old, same};
use super::schema::{Additional, Limits, Node};
use crate::validation::{ErrorType, FieldError};

/// What is wrong with a value, and how much was looked at: of failed alternatives the most looked at is told.
#[derive(Default)]
struct Outcome {
    errors: Vec<FieldError>,
    checks: usize,
}

impl Outcome {
    fn merge(&mut self, other: Outcome) {
        self.errors.extend(other.errors);
        self.checks += other.checks;
    }

    fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }
}

/// What is wrong with a value, given its former state. `at` leads its path: empty for an object itself, or the path
/// of a default in its definition.
pub(crate) fn validate(node: &Node, at: &str, value: &Value, old: Old<'_>) -> Vec<FieldError> {
    let walk = Walk { at };
    walk.value(node, "", value, old).errors
}

struct Walk<'a> {
    at: &'a str,
}

/// `a.b`, or `b` where there is no `a`.
fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl Walk<'_> {
    /// A path as complaints name it.
    fn field(&self, path: &str) -> String {
        match (self.at, path) {
            ("", "") => "<nil>".into(),
            (at, "") => at.into(),
            ("", path) => path.into(),
            (at, path) => format!("{at}.{path}"),
        }
    }

    /// What concerns several alternatives has no field of its own.
    fn composite(&self, why: String) -> FieldError {
        FieldError::invalid(self.field(""), &"".into(), &why)
    }

    fn invalid(&self, path: &str, value: &Value, why: &str) -> FieldError {
        FieldError::invalid(self.field(path), value, &format!("{path} in body {why}"))
    }

    fn mistyped(&self, path: &str, wanted: &str, found: &str) -> FieldError {
        let detail = format!("{path} in body must be of type {wanted}: {found:?}");
        let start = format!("Invalid value: {}", Value::from(found));
        FieldError::new(ErrorType::TypeInvalid, self.field(path), start, &detail)
    }

    fn value(&self, node: &Node, path: &str, value: &Value, old: Old<'_>) -> Outcome {
        let mut out = Outcome::default();
        self.check_type(node, path, value, &mut out);
        if value.is_null() {
            self.check_enum(&node.limits, path, value, &mut out);
        } else {
            self.combinations(node, path, value, old, &mut out);
            match value {
                Value::String(text) => self.text(node, path, text, &mut out),
                Value::Number(number) => self.number(node, path, number, &mut out),
                Value::Array(items) => self.list(node, path, items, old, &mut out),
                Value::Object(map) => self.object(node, path, map, old, &mut out),
                _ => {}
            }
            self.check_enum(&node.limits, path, value, &mut out);
        }
        if !out.is_valid() && ratchet::unchanged(old, value) {
            out.errors.clear();
        }
        out
    }

    fn check_type(&self, node: &Node, path: &str, value: &Value, out: &mut Outcome) {
        let wanted = if node.int_or_string { "integer,string" } else { node.ty.as_str() };
        if wanted.is_empty() {
            return;
        }
        out.checks += 1;
        let found = match value {
            Value::Null if node.nullable => return,
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(n) if n.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let whole = value.as_f64().is_some_and(|f| f.fract() == 0.0);
        let fits = wanted.split(',').any(|wanted| {
            wanted == found
                || wanted == "number" && found == "integer"
                || wanted == "integer" && found == "number" && whole
        });
        // The format of a text is looked at instead of its type, unless a number is wanted.
        let text_like = matches!(value, Value::String(_) | Value::Array(_));
        let number = wanted.contains("number") || wanted.contains("integer");
        let by_format = text_like && !node.format.is_empty() && !number;
        if !fits && !by_format {
            out.errors.push(self.mistyped(path, wanted, found));
        }
    }

    fn check_enum(&self, limits: &Limits, path: &str, value: &Value, out: &mut Outcome) {
        out.checks += 1;
        if limits.values.is_empty() || limits.values.iter().any(|allowed| same(allowed, value)) {
            return;
        }
        let shown = |v: &Value| match v {
            Value::String(text) => format!("{text:?}"),
            other => format!("{:?}", other.to_string()),
        };
        let supported: Vec<String> = limits.values.iter().map(shown).collect();
        out.errors.push(FieldError::new(
            ErrorType::NotSupported,
            self.field(path),
            format!("Unsupported value: {value}"),
            &format!("supported values: {}", supported.join(", ")),
        ));
    }

    fn text(&self, node: &Node, path: &str, text: &str, out: &mut Outcome) {
        out.checks += 1;
        let limits = &node.limits;
        let value = Value::from(text);
        let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        if let Some(most) = limits.max_length.filter(|most| length > *most) {
            let detail = if most == 1 {
                "may not be more than 1 byte".to_owned()
            } else {
                format!("may not be more than {most} bytes")
            };
            out.errors.push(FieldError::new(
                ErrorType::TooLong,
                self.field(path),
                "Too long".into(),
                &detail,
            ));
        }
        if let Some(least) = limits.min_length.filter(|least| length < *least) {
            out.errors.push(self.invalid(path, &value, &format!("should be at least {least} chars long")));
        }
        if let Some(pattern) = limits.pattern.as_ref().filter(|p| !p.is_match(text)) {
            out.errors.push(self.invalid(path, &value, &format!("should match '{}'", pattern.source())));
        }
        if !node.format.is_empty() && formats::is_known(&node.format) {
            out.checks += 1;
            if !formats::is(&node.format, text) {
                out.errors.push(self.mistyped(path, &node.format, text));
            }
        }
    }

    fn number(&self, node: &Node, path: &str, number: &Number, out: &mut Outcome) {
        out.checks += 1;
        let limits = &node.limits;
        let value = Value::Number(number.clone());
        let given = number.as_f64().unwrap_or_default();
        if node.ty == "integer"
            && node.format == "int32"
            && !(-2_147_483_648.0..=2_147_483_647.0).contains(&given)
        {
            let why = format!("Checked value must be of type integer with format int32 in {path}");
            out.errors.push(self.composite(why));
        }
        if let Some(factor) = limits.multiple_of.filter(|f| *f > 0.0) {
            let times = if factor < 1.0 { 1.0 / factor * given } else { given / factor };
            if (times - times.round()).abs() > 1e-9 * times.abs().max(1.0) {
                out.errors.push(self.invalid(
                    path,
                    &value,
                    &format!("should be a multiple of {}", plain(factor)),
                ));
            }
        }
        if let Some(most) = limits.maximum {
            let (broken, word) = if limits.exclusive_maximum {
                (given >= most, "should be less than")
            } else {
                (given > most, "should be less than or equal to")
            };
            if broken {
                out.errors.push(self.invalid(path, &value, &format!("{word} {}", plain(most))));
            }
        }
        if let Some(least) = limits.minimum {
            let (broken, word) = if limits.exclusive_minimum {
                (given <= least, "should be greater than")
            } else {
                (given < least, "should be greater than or equal to")
            };
            if broken {
                out.errors.push(self.invalid(path, &value, &format!("{word} {}", plain(least))));
            }
        }
    }

    fn too_many(&self, path: &str, count: i64, most: i64) -> FieldError {
        let noun = if most == 1 { "item" } else { "items" };
        let detail = format!("must have at most {most} {noun}");
        FieldError::new(ErrorType::TooMany, self.field(path), format!("Too many: {count}"), &detail)
    }

    fn list(&self, node: &Node, path: &str, items: &[Value], old: Old<'_>, out: &mut Outcome) {
        out.checks += 1;
        if let Some(schema) = &node.items {
            for (at, item) in items.iter().enumerate() {
                let was = ratchet::item(node, old, item);
                out.merge(self.value(schema, &format!("{path}[{at}]"), item, was));
            }
        }
        let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
        if let Some(least) = node.limits.min_items.filter(|least| count < *least) {
            out.errors.push(self.invalid(
                path,
                &count.into(),
                &format!("should have at least {least} items"),
            ));
        }
        if let Some(most) = node.limits.max_items.filter(|most| count > *most) {
            out.errors.push(self.too_many(path, count, most));
        }
    }

    fn object(
        &self,
        node: &Node,
        path: &str,
        map: &serde_json::Map<String, Value>,
        old: Old<'_>,
        out: &mut Outcome,
    ) {
        out.checks += 1;
        let count = i64::try_from(map.len()).unwrap_or(i64::MAX);
        if let Some(least) = node.limits.min_properties.filter(|least| count < *least) {
            out.errors.push(self.invalid(
                path,
                &count.into(),
                &format!("should have at least {least} properties"),
            ));
        }
        if let Some(most) = node.limits.max_properties.filter(|most| count > *most) {
            out.errors.push(self.too_many(path, count, most));
        }
        for name in node.limits.required.iter().filter(|name| !map.contains_key(*name)) {
            out.errors.push(FieldError::required(self.field(&below(path, name))));
        }
        for (name, value) in map {
            let schema = match (node.properties.get(name), &node.additional) {
                (Some(schema), _) => schema,
                (None, Additional::Of(schema)) => schema,
                (None, Additional::None) => {
                    let why = format!("{} in body is a forbidden property", below(path, name));
                    out.errors.push(FieldError::invalid(self.field(path), &name.as_str().into(), &why));
                    continue;
                }
                _ => continue,
            };
            out.merge(self.value(schema, &below(path, name), value, ratchet::field(old, name)));
        }
    }

    fn combinations(&self, node: &Node, path: &str, value: &Value, old: Old<'_>, out: &mut Outcome) {
        out.checks += 1;
        let alternatives = |nodes: &[Node]| -> (usize, Option<Outcome>) {
            let mut valid = 0;
            let mut best: Option<Outcome> = None;
            for alternative in nodes {
                let outcome = self.value(alternative, path, value, old);
                if outcome.is_valid() {
                    valid += 1;
                } else if best.as_ref().is_none_or(|best| outcome.checks > best.checks) {
                    best = Some(outcome);
                }
            }
            (valid, best)
        };
        if !node.any_of.is_empty() {
            let (valid, best) = alternatives(&node.any_of);
            if valid == 0 {
                out.errors
                    .push(self.composite(format!("{path:?} must validate at least one schema (anyOf)")));
                out.merge(best.unwrap_or_default());
            }
        }
        if !node.one_of.is_empty() {
            let (valid, best) = alternatives(&node.one_of);
            if valid != 1 {
                let found = if valid == 0 {
                    "Found none valid".to_owned()
                } else {
                    format!("Found {valid} valid alternatives")
                };
                let why = format!("{path:?} must validate one and only one schema (oneOf). {found}");
                out.errors.push(self.composite(why));
                if valid == 0 {
                    out.merge(best.unwrap_or_default());
                }
            }
        }
        if !node.all_of.is_empty() {
            let mut valid = 0;
            for part in &node.all_of {
                let outcome = self.value(part, path, value, old);
                valid += usize::from(outcome.is_valid());
                out.merge(outcome);
            }
            if valid != node.all_of.len() {
                let none = if valid == 0 { ". None validated" } else { "" };
                out.errors
                    .push(self.composite(format!("{path:?} must validate all the schemas (allOf){none}")));
            }
        }
        if let Some(not) = &node.not
            && self.value(not, path, value, None).is_valid()
        {
            out.errors.push(self.composite(format!("{path:?} must not validate the schema (not)")));
        }
    }
}

/// A number as Go prints it: whole ones without a fraction, very large and small ones with an exponent.
fn plain(number: f64) -> String {
    let magnitude = number.abs();
    if number == 0.0 || (1e-4..1e21).contains(&magnitude) {
        return format!("{number}");
    }
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}
