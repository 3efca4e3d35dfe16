//! Patches: what a client may send instead of a whole object, and what kubectl computes to send it.
//!
//! `apply(target, patch) -> patched` for each of the three forms, as pure functions over JSON trees: [`json`]
//! (RFC 6902), [`merge`] (RFC 7386) and [`strategic`] (Kubernetes' own, which knows from the schema how lists merge).
//! The other direction, [`two_way`], [`three_way`] and [`three_way_merge`], computes a patch as `kubectl apply` does.
//!
//! All of them agree with Kubernetes 1.36 where that departs from the standards, in the order of lists too.

mod conflict;
mod diff;
mod json;
mod list;
mod lookup;
mod merge;
mod order;
mod strategic;

use std::fmt::Write as _;

use serde_json::Value;

pub use diff::{three_way, two_way};
pub use json::json;
pub use merge::{create as create_merge, merge, three_way as three_way_merge};
pub use strategic::strategic;

/// Trees that are nested deeper than this are refused, so that no patch can exhaust the stack, or make what cannot be
/// stored.
pub const DEPTH_MAX: usize = orlop_core::codec::DEPTH_MAX;

/// Why a patch was not applied; the variants are what a client is told, the text is Kubernetes' own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// It is no patch: 400, `BadRequest`.
    #[error("{0}")]
    BadRequest(String),
    /// It does not fit this object: 422, `Invalid`.
    #[error("{0}")]
    Unprocessable(String),
    /// It does too much: 413, `RequestEntityTooLarge`.
    #[error("{0}")]
    TooLarge(String),
    /// It contradicts what others have changed (three-way patches only): 409, `Conflict`.
    #[error("{0}")]
    Conflict(String),
    /// What Kubernetes answers with 500, `InternalError`, although the patch is at fault.
    #[error("{0}")]
    Internal(String),
}

type Object = serde_json::Map<String, Value>;

/// Whether the tree is nested deeper than `max`.
pub(crate) fn deeper_than(value: &Value, max: usize) -> bool {
    match value {
        Value::Array(items) => max == 0 || items.iter().any(|v| deeper_than(v, max - 1)),
        Value::Object(map) => max == 0 || map.values().any(|v| deeper_than(v, max - 1)),
        _ => false,
    }
}

fn check_depth(values: &[&Value]) -> Result<(), PatchError> {
    match values.iter().any(|v| deeper_than(v, DEPTH_MAX)) {
        true => Err(PatchError::BadRequest(format!("exceeded max depth of {DEPTH_MAX}"))),
        false => Ok(()),
    }
}

fn into_object(value: Value) -> Result<Object, PatchError> {
    match value {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Object::new()),
        _ => Err(PatchError::BadRequest("invalid JSON document".into())),
    }
}

/// A value as error messages spell it: `map[name:web ports:[80 443]]`.
pub(crate) fn spelt(value: &Value) -> String {
    let mut text = String::new();
    spell(value, &mut text);
    text
}

/// A type error of JSON in the words of a strategic merge patch, whose result Kubernetes restores from maps instead of
/// decoding text.
pub(crate) fn restored(message: &str) -> String {
    let parts = message.strip_prefix("json: cannot unmarshal ").and_then(|rest| {
        let (found, rest) = rest.split_once(" into Go ")?;
        Some((found, rest.rsplit_once("of type ")?.1))
    });
    let Some((found, wanted)) = parts else { return message.to_owned() };
    let found = match found {
        "object" => "map",
        "array" => "slice",
        "number" => "int64",
        other => other,
    };
    match wanted {
        wanted if wanted.starts_with("[]") => format!("cannot restore slice from {found}"),
        wanted if wanted.starts_with("map[") => format!("cannot restore map from {found}"),
        "bool" | "string" | "int32" | "int64" | "float64" => format!("unrecognized type: {wanted}"),
        _ => format!("cannot restore struct from: {found}"),
    }
}

fn spell(value: &Value, text: &mut String) {
    match value {
        Value::Null => text.push_str("<nil>"),
        Value::String(s) => text.push_str(s),
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(' ');
                }
                spell(item, text);
            }
            text.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort_unstable();
            text.push_str("map[");
            for (i, key) in keys.into_iter().enumerate() {
                if i > 0 {
                    text.push(' ');
                }
                let _ = write!(text, "{key}:");
                spell(&map[key], text);
            }
            text.push(']');
        }
        Value::Bool(_) | Value::Number(_) => {
            let _ = write!(text, "{value}");
        }
    }
}
