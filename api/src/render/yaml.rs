//! YAML as Kubernetes writes it: keys sorted, texts quoted where YAML 1.1 would read something else.

use serde_json::{Map, Value};

/// The tree as YAML.
pub(super) fn to_yaml(value: &Value) -> String {
    // An answer is made of maps with text keys and scalars: nothing that YAML could not say.
    serde_yaml::to_string(&sorted(value)).unwrap_or_default()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<(&String, &Value)> = map.iter().collect();
            pairs.sort_by_key(|(k, _)| k.as_str());
            Value::Object(pairs.into_iter().map(|(k, v)| (k.clone(), sorted(v))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}
