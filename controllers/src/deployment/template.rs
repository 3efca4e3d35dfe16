//! Telling pod templates apart.

use serde_json::{Map, Value};

use super::TEMPLATE_HASH;

/// Whether two templates say the same, apart from the hash label. Absent and empty are the same.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    normal(a) == normal(b)
}

fn normal(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(TEMPLATE_HASH);
    }
    sorted(&template).unwrap_or_default()
}

/// With sorted fields, and without those that say nothing.
fn sorted(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(fields) => {
            let mut kept: Vec<(&String, Value)> =
                fields.iter().filter_map(|(name, value)| Some((name, sorted(value)?))).collect();
            kept.sort_by(|a, b| a.0.cmp(b.0));
            let kept: Map<String, Value> =
                kept.into_iter().map(|(name, value)| (name.clone(), value)).collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        // An empty element of a list is an element.
        Value::Array(items) if items.is_empty() => None,
        Value::Array(items) => {
            Some(items.iter().map(|item| sorted(item).unwrap_or_else(|| Value::Object(Map::new()))).collect())
        }
        other => Some(other.clone()),
    }
}

/// A short name for a template: the same for equal templates, and another for each `collisions`.
///
/// FNV-1a over the canonical form, in letters that spell no words.
pub fn template_hash(template: &Value, collisions: Option<i32>) -> String {
    let canonical = normal(template).to_string();
    let mut hash = 0x811c_9dc5_u32;
    let count = collisions.map(|count| u64::try_from(count).unwrap_or(0).to_le_bytes());
    for byte in canonical.bytes().chain(count.into_iter().flatten()) {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    crate::history::safe_letters(hash)
}
