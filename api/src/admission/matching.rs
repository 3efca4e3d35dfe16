//! Which writes a policy or a webhook is about.

use orlop_core::rules::LabelSelector;
use orlop_core::scheme::Resource;
use orlop_core::{Labels, Name};
use serde::Deserialize;
use serde_json::Value;

use super::{Review, expressions};

fn labels(object: &Value) -> Labels {
    Labels::deserialize(&object["metadata"]["labels"]).unwrap_or_default()
}

fn selects(selector: &Value, labels: &Labels) -> bool {
    if selector.is_null() {
        return true;
    }
    let selector = LabelSelector::deserialize(selector).ok().and_then(|s| s.to_selector().ok());
    selector.is_some_and(|s| s.matches(labels))
}

/// Whether selectors of namespaces and objects pick the write.
pub(crate) fn selected(review: &Review<'_>, of: &Value) -> bool {
    let selector = &of["objectSelector"];
    let object = || {
        [Some(&*review.object), review.old]
            .into_iter()
            .flatten()
            .filter(|object| !object.is_null())
            .any(|object| selects(selector, &labels(object)))
    };
    if !is_everything(selector) && !object() {
        return false;
    }
    let selector = &of["namespaceSelector"];
    if is_everything(selector) {
        return true;
    }
    match expressions::namespace(review) {
        Some(namespace) => selects(selector, &labels(&namespace)),
        // What is in no namespace is picked by any selector of namespaces.
        None => review.key.namespace.is_empty(),
    }
}

fn is_everything(selector: &Value) -> bool {
    selector.as_object().is_none_or(|map| {
        map.values().all(|v| {
            v.as_object().is_some_and(|m| m.is_empty()) || v.as_array().is_some_and(|a| a.is_empty())
        })
    })
}

/// The versions of a kind, in any group, of which all are the same objects.
fn siblings<'a>(review: &'a Review<'_>) -> impl Iterator<Item = &'a Resource> {
    let kind = review.kind;
    let stored = review.scheme.resource(&kind.group, &kind.version, &kind.plural).map(|r| &r.stored_as);
    review.scheme.by_kind_name(&kind.kind).map(|r| &**r).filter(move |r| Some(&r.stored_as) == stored)
}

/// Whether a rule is about the write. `equivalent`: also by another version of the same kind.
pub(crate) fn ruled(review: &Review<'_>, rule: &Value, equivalent: bool) -> bool {
    let has = |field: &str, wanted: &str| {
        let listed = rule[field].as_array().into_iter().flatten().filter_map(Value::as_str);
        listed.into_iter().any(|value| value == "*" || value == wanted)
    };
    let names = rule["resourceNames"].as_array().map_or(&[][..], Vec::as_slice);
    let namespaced = !review.key.namespace.is_empty();
    let scope = match rule["scope"].as_str() {
        Some("Namespaced") => namespaced,
        Some("Cluster") => !namespaced,
        _ => true,
    };
    let resources = || {
        let wanted = (review.kind.plural.as_str(), review.subresource);
        rule["resources"].as_array().into_iter().flatten().filter_map(Value::as_str).any(|text| {
            let (resource, sub) = text.split_once('/').unwrap_or((text, ""));
            (resource == "*" || resource == wanted.0) && (sub == "*" || sub == wanted.1)
        })
    };
    let versions = || {
        let own = (&review.kind.group, &review.kind.version);
        let fits = |(group, version): (&Name, &Name)| has("apiGroups", group) && has("apiVersions", version);
        fits(own)
            || equivalent
                && siblings(review).any(|resource| fits((&resource.kind.group, &resource.kind.version)))
    };
    scope
        && has("operations", expressions::operation(review.operation))
        && (names.is_empty() || names.iter().any(|name| name.as_str() == Some(&review.key.name)))
        && resources()
        && versions()
}

/// Whether a policy's constraints, or its binding's, are about the write.
pub(crate) fn constrained(review: &Review<'_>, of: &Value) -> bool {
    let equivalent = of["matchPolicy"] != "Exact";
    let any =
        |field: &str| of[field].as_array().into_iter().flatten().any(|rule| ruled(review, rule, equivalent));
    let limited = of["resourceRules"].as_array().is_some_and(|rules| !rules.is_empty());
    selected(review, of) && !any("excludeResourceRules") && (!limited || any("resourceRules"))
}

/// Whether a selector picks an object by its labels.
pub(crate) fn labelled(selector: &Value, object: &Value) -> bool {
    selects(selector, &labels(object))
}
