//! Whether a patch and the changes that others have made contradict each other.

use serde_json::Value;

use super::list::{PATCH, RETAIN_KEYS, holds_objects, merge_key, same_type, sort_scalars};
use super::lookup::{At, Rule};
use super::{Object, PatchError, spelt};

pub(super) fn maps_conflict(patch: &Object, others: &Object, at: At<'_>) -> Result<bool, PatchError> {
    for (key, left) in patch {
        if key == PATCH || key == RETAIN_KEYS {
            continue;
        }
        let Some(right) = others.get(key) else { continue };
        let rule = match left {
            Value::Object(_) => Some(at.object(key)?),
            Value::Array(_) => Some(at.list(key)?),
            _ => None,
        };
        if conflict(left, right, rule, at)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn conflict(left: &Value, right: &Value, rule: Option<Rule<'_>>, at: At<'_>) -> Result<bool, PatchError> {
    let below = rule.map_or(at, |rule| rule.below);
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            if a.get(PATCH) != b.get(PATCH) {
                return Ok(true);
            }
            Ok(!rule.is_some_and(|rule| rule.replace) && maps_conflict(a, b, below)?)
        }
        (Value::Array(a), Value::Array(b)) => lists_conflict(a, b, rule, below),
        (Value::Object(_) | Value::Array(_), _) => Ok(true),
        _ => Ok(left != right || !same_type(left, right)),
    }
}

fn lists_conflict(
    left: &[Value],
    right: &[Value],
    rule: Option<Rule<'_>>,
    at: At<'_>,
) -> Result<bool, PatchError> {
    let objects = holds_objects(&[left, right])?;
    if let Some(rule) = rule.filter(|rule| rule.merge && objects) {
        for item in left.iter().chain(right) {
            merge_key(item, rule.key)?;
        }
        for item in left {
            let tag = spelt(merge_key(item, rule.key)?);
            // Of several items with one key the last counts.
            let other = right.iter().rev().find(|r| r.get(rule.key).is_some_and(|k| spelt(k) == tag));
            if let Some(other) = other
                && conflict(item, other, None, at)?
            {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    if left.len() != right.len() {
        return Ok(true);
    }
    let (mut left, mut right) = (left.to_vec(), right.to_vec());
    if !objects {
        sort_scalars(&mut left);
        sort_scalars(&mut right);
    }
    for (a, b) in left.iter().zip(&right) {
        if conflict(a, b, None, at)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A value as YAML with its keys in order, for messages.
pub(super) fn yaml(value: &Value) -> String {
    serde_yaml::to_string(&crate::tree::sorted(value)).unwrap_or_default()
}
