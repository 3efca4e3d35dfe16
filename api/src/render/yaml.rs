//! YAML as Kubernetes writes it: keys sorted, texts quoted where YAML 1.1 would read something else.

use serde_json::Value;

/// The tree as YAML.
pub(super) fn to_yaml(value: &Value) -> String {
    // An answer is made of maps with text keys and scalars: nothing that YAML could not say.
    serde_yaml::to_string(&crate::tree::sorted(value)).unwrap_or_default()
}
