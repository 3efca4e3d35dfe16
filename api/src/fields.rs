//! Which fields of a kind field selectors may name, and what they hold.

use orlop_core::rules::FieldSelector;
use orlop_core::{Key, Kind, Stored};
use serde_json::Value;

use crate::status::Status;

/// A selectable field's name, its path, and what an absent one counts as.
type Selectable = (&'static str, &'static [&'static str], &'static str);

const POD: &[Selectable] = &[
    ("spec.nodeName", &["spec", "nodeName"], ""),
    ("spec.restartPolicy", &["spec", "restartPolicy"], ""),
    ("spec.schedulerName", &["spec", "schedulerName"], ""),
    ("spec.serviceAccountName", &["spec", "serviceAccountName"], ""),
    ("spec.hostNetwork", &["spec", "hostNetwork"], "false"),
    ("status.phase", &["status", "phase"], ""),
    ("status.podIP", &["status", "podIP"], ""),
    ("status.podIPs", &["status", "podIP"], ""),
    ("status.nominatedNodeName", &["status", "nominatedNodeName"], ""),
];

const EVENT: &[Selectable] = &[
    ("involvedObject.kind", &["involvedObject", "kind"], ""),
    ("involvedObject.namespace", &["involvedObject", "namespace"], ""),
    ("involvedObject.name", &["involvedObject", "name"], ""),
    ("involvedObject.uid", &["involvedObject", "uid"], ""),
    ("involvedObject.apiVersion", &["involvedObject", "apiVersion"], ""),
    ("involvedObject.resourceVersion", &["involvedObject", "resourceVersion"], ""),
    ("involvedObject.fieldPath", &["involvedObject", "fieldPath"], ""),
    ("reason", &["reason"], ""),
    ("reportingComponent", &["reportingComponent"], ""),
    ("source", &["source", "component"], ""),
    ("type", &["type"], ""),
];

const EVENT_NEW: &[Selectable] = &[
    ("regarding.kind", &["involvedObject", "kind"], ""),
    ("regarding.namespace", &["involvedObject", "namespace"], ""),
    ("regarding.name", &["involvedObject", "name"], ""),
    ("regarding.uid", &["involvedObject", "uid"], ""),
    ("regarding.apiVersion", &["involvedObject", "apiVersion"], ""),
    ("regarding.resourceVersion", &["involvedObject", "resourceVersion"], ""),
    ("regarding.fieldPath", &["involvedObject", "fieldPath"], ""),
    ("reason", &["reason"], ""),
    ("reportingController", &["reportingComponent"], ""),
    ("type", &["type"], ""),
];

/// The selectable fields of a kind besides its name and namespace.
fn selectable(kind: &Kind) -> &'static [Selectable] {
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "pods") => POD,
        ("", "nodes") => &[("spec.unschedulable", &["spec", "unschedulable"], "false")],
        ("", "namespaces") => &[("status.phase", &["status", "phase"], "")],
        ("", "secrets") => &[("type", &["type"], "")],
        ("", "services") => {
            &[("spec.clusterIP", &["spec", "clusterIP"], ""), ("spec.type", &["spec", "type"], "")]
        }
        ("", "events") => EVENT,
        ("events.k8s.io", "events") => EVENT_NEW,
        ("", "replicationcontrollers") => &[("status.replicas", &["status", "replicas"], "0")],
        ("apps", "replicasets") => &[("status.replicas", &["status", "replicas"], "0")],
        ("batch", "jobs") => &[("status.successful", &["status", "succeeded"], "0")],
        ("certificates.k8s.io", "certificatesigningrequests") => {
            &[("spec.signerName", &["spec", "signerName"], "")]
        }
        ("resource.k8s.io", "resourceslices") => {
            &[("spec.driver", &["spec", "driver"], ""), ("spec.nodeName", &["spec", "nodeName"], "")]
        }
        _ => &[],
    }
}

/// Some kinds that are in no namespace say themselves what they can be selected by.
fn knows_namespace(kind: &Kind) -> bool {
    !matches!(
        (kind.group.as_str(), kind.plural.as_str()),
        ("", "namespaces" | "nodes")
            | ("certificates.k8s.io", "certificatesigningrequests")
            | ("resource.k8s.io", "resourceslices")
    )
}

/// A field selector that was checked against a kind, ready to match stored objects.
#[derive(Clone, Debug, Default)]
pub struct FieldFilter {
    selector: FieldSelector,
    /// Whether the object's name and namespace decide alone.
    by_key: bool,
    /// What a custom kind's version declares as selectable, by name and JSON path.
    custom: Vec<(String, crate::render::JsonPath)>,
    fields: &'static [Selectable],
}

impl FieldFilter {
    /// Checks that `kind` knows every field of `selector`. `custom` are the fields that a definition declares.
    ///
    /// # Errors
    /// 400, in Kubernetes' words, for a field that cannot be selected by.
    pub fn new(
        kind: &Kind,
        selector: FieldSelector,
        custom: Vec<(String, crate::render::JsonPath)>,
    ) -> Result<FieldFilter, Status> {
        let fields = selectable(kind);
        let mut by_key = true;
        for requirement in selector.requirements() {
            let field = requirement.field.as_str();
            let key = field == "metadata.name" || field == "metadata.namespace" && knows_namespace(kind);
            let known = key
                || fields.iter().any(|(name, ..)| *name == field)
                || custom.iter().any(|(name, _)| name == field);
            if !known {
                return Err(Status::bad_request(unknown(kind, field)));
            }
            by_key &= key;
        }
        Ok(FieldFilter { selector, by_key, custom, fields })
    }

    /// Whether everything is selected.
    pub fn is_everything(&self) -> bool {
        self.selector.is_everything()
    }

    /// The only value that a field may have.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.selector.exact(field)
    }

    /// Whether an object is selected.
    pub fn matches(&self, key: &Key, stored: &Stored) -> bool {
        let by_key = |field: &str| match field {
            "metadata.name" => Some(key.name.as_str()),
            "metadata.namespace" => Some(key.namespace.as_str()),
            _ => None,
        };
        if self.by_key {
            return self.selector.is_everything() || self.selector.matches(by_key);
        }
        let tree: Value = serde_json::from_slice(stored.body.bytes()).unwrap_or_default();
        let values: Vec<(&str, String)> = self
            .selector
            .requirements()
            .iter()
            .map(|r| {
                (
                    r.field.as_str(),
                    by_key(&r.field).map_or_else(|| self.value(&tree, &r.field), str::to_owned),
                )
            })
            .collect();
        self.selector.matches(|field| values.iter().find(|(name, _)| *name == field).map(|(_, v)| v.as_str()))
    }

    fn value(&self, tree: &Value, field: &str) -> String {
        let found = match self.fields.iter().find(|(name, ..)| *name == field) {
            Some((_, path, absent)) => match crate::tree::at(tree, path) {
                Some(value) => value,
                None => return (*absent).to_owned(),
            },
            None => {
                let path = self.custom.iter().find(|(name, _)| name == field).map(|(_, path)| path);
                match path.and_then(|path| path.find(tree).into_iter().next()) {
                    Some(value) => value,
                    None => return String::new(),
                }
            }
        };
        match found {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        }
    }
}

/// Kinds with fields of their own say so in other words than those without.
fn unknown(kind: &Kind, field: &str) -> String {
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("batch", "jobs") => format!("field label \"{field}\" not supported for Job"),
        ("resource.k8s.io", "resourceslices") => {
            format!("field label not supported for {}, Kind={}: {field}", kind.api_version(), kind.kind)
        }
        ("apps", "replicasets") => format!("field label not supported for apps/v1.ReplicaSet: {field}"),
        ("certificates.k8s.io", _) => format!("field label not supported: {field}"),
        ("", _) | ("events.k8s.io", _) if !selectable(kind).is_empty() => {
            format!("field label not supported: {field}")
        }
        // A custom kind: its definition knows no more.
        (group, _) if group.contains('.') && !group.ends_with(".k8s.io") => {
            format!("field label not supported: {field}")
        }
        _ => format!(
            "\"{field}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        ),
    }
}
