//! Whether an object of a custom kind may be stored.

use orlop_core::rules::names::dns_subdomain;
use serde_json::Value;

use super::schema::Node;
use super::{embedded, lists, ratchet, rules, values};
use crate::local::ScalePaths;
use crate::validation::{self, ErrorType, FieldError};

/// What one version of a custom kind asks of its objects.
#[derive(Debug)]
pub(crate) struct Requirements {
    pub(crate) node: std::sync::Arc<Node>,
    pub(crate) rules: rules::RuleSet,
}

impl Requirements {
    pub(crate) fn read(schema: &Value) -> Requirements {
        Requirements { node: Node::read(schema), rules: rules::RuleSet::compile(schema) }
    }
}

/// What is wrong with a new object.
pub(crate) fn create(ask: &Requirements, scale: Option<&ScalePaths>, value: &Value) -> Vec<FieldError> {
    let mut errors = validation::new_metadata(value, dns_subdomain);
    errors.extend(values::validate(&ask.node, "", value, None));
    errors.extend(scale.into_iter().flat_map(|scale| scale_paths(scale, value, true)));
    errors.extend(embedded::validate(&ask.node, "", value));
    errors.extend(lists::duplicates(&ask.node, "", value));
    ruled(ask, value, None, &mut errors);
    errors
}

/// What is wrong with a change; of its status alone, where `status` says so.
pub(crate) fn update(
    ask: &Requirements,
    scale: Option<&ScalePaths>,
    old: &Value,
    value: &Value,
    status: bool,
) -> Vec<FieldError> {
    let mut errors = validation::changed_metadata(old, value);
    errors.extend(values::validate(&ask.node, "", value, Some(old)));
    errors.extend(scale.into_iter().flat_map(|scale| scale_paths(scale, value, !status)));
    errors.extend(embedded::validate(&ask.node, "", value));
    // Lists that were wrong before may stay so.
    if lists::duplicates(&ask.node, "", old).is_empty() {
        errors.extend(lists::duplicates(&ask.node, "", value));
    }
    ruled(ask, value, Some(old), &mut errors);
    errors
}

/// Rules see only values of the right shape.
fn ruled(ask: &Requirements, value: &Value, old: ratchet::Old<'_>, errors: &mut Vec<FieldError>) {
    if ask.rules.is_empty() {
        return;
    }
    let blocking = |e: &FieldError| {
        matches!(
            e.error_type,
            ErrorType::NotSupported
                | ErrorType::Required
                | ErrorType::TooLong
                | ErrorType::TooMany
                | ErrorType::TypeInvalid
        )
    };
    if errors.iter().any(blocking) {
        let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
        errors.push(FieldError::invalid("<nil>".into(), &Value::Null, why));
        return;
    }
    errors.extend(ask.rules.evaluate(&ask.node, value, old));
}

/// The fields that a Scale is made from hold what a Scale can.
fn scale_paths(scale: &ScalePaths, value: &Value, whole: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut replicas = |path: &str| {
        let found = path.split('.').filter(|p| !p.is_empty()).try_fold(value, |v, field| v.get(field));
        let why = match found {
            None => return,
            Some(found) => match found.as_i64() {
                None => format!(
                    "{path} accessor error: {found} is of the type {}, expected int64",
                    go_type(found)
                ),
                Some(n) if n < 0 => "should be a non-negative integer".to_owned(),
                Some(n) if n > i64::from(i32::MAX) => format!("should be less than or equal to {}", i32::MAX),
                Some(_) => return,
            },
        };
        let shown = found.filter(|f| f.is_i64()).cloned().unwrap_or_else(|| 0.into());
        errors.push(FieldError::invalid(path.into(), &shown, &why));
    };
    if whole {
        replicas(&scale.spec_replicas);
    }
    replicas(&scale.status_replicas);
    errors
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
