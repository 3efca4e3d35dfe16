//! AppArmor profiles of new pods: what an annotation of old says and what the field says are brought together
//! (KEP-24, version skew).

use serde_json::{Value, json};

use crate::tree::{at, object, text};
use crate::validation::APP_ARMOR;

/// Takes over into containers what annotations say of them. Answers with the warnings that this is worth.
pub(super) fn settle(pod: &mut Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let Some(annotations) = at(pod, &["metadata", "annotations"]).and_then(Value::as_object).cloned() else {
        return warnings;
    };
    if !annotations.keys().any(|key| key.starts_with(APP_ARMOR))
        || text(pod, &["spec", "os", "name"]) == "windows"
    {
        return warnings;
    }
    let whole = at(pod, &["spec", "securityContext", "appArmorProfile"]).cloned();
    let spec = object(pod, "spec");
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let key = format!("{APP_ARMOR}{}", text(container, &["name"]));
            let Some(said) = annotations.get(&key).and_then(Value::as_str) else { continue };
            if at(container, &["securityContext", "appArmorProfile"]).is_some_and(|own| !own.is_null()) {
                continue;
            }
            let profile = profile(said);
            // What the pod says of all its containers needs no saying, and no warning.
            let news = profile != whole;
            if let Some(profile) = profile.clone().filter(|_| news) {
                object(container, "securityContext").insert("appArmorProfile".into(), profile);
            }
            if news || profile.is_none() {
                warnings.push(format!(
                    "metadata.annotations[{key}]: deprecated since v1.30; use the \"appArmorProfile\" field instead"
                ));
            }
        }
    }
    warnings
}

/// The profile that an annotation's value means, if it is one that a container may have.
fn profile(said: &str) -> Option<Value> {
    match said {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        _ => {
            let name = said.strip_prefix("localhost/")?;
            let fits = !name.is_empty() && name.trim() == name && name.len() <= 4095;
            fits.then(|| json!({"type": "Localhost", "localhostProfile": name}))
        }
    }
}
