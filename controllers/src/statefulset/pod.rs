//! The pods of a StatefulSet: who they are, and how they are made.

use orlop_core::kinds::Pod;
use orlop_core::{Object, OwnerReference};
use serde_json::{Map, Value, json};

use super::claims::volumes;
use super::view::StatefulSetView;
use crate::history::POD_REVISION;

/// The label with the pod's own name, by which a Service can select a single pod.
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
/// The label with the pod's number.
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The pod with a number, after a template.
pub(super) fn new_pod(set: &StatefulSetView, ordinal: i32, revision: &str, template: &Value) -> Value {
    let name = format!("{}-{ordinal}", set.metadata.name);
    let mut labels = template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.insert(POD_INDEX.to_owned(), ordinal.to_string().into());
    labels.insert(POD_REVISION.to_owned(), revision.into());
    labels.insert(POD_NAME.to_owned(), name.as_str().into());
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(name));
    metadata.insert("generateName".to_owned(), json!(format!("{}-", set.metadata.name)));
    metadata.insert("namespace".to_owned(), json!(set.metadata.namespace));
    metadata.insert("labels".to_owned(), labels.into());
    for field in ["annotations", "finalizers"] {
        if let Some(value) = template["metadata"].get(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let owner = OwnerReference::controller_of(&StatefulSetView::KIND, &set.metadata);
    metadata.insert("ownerReferences".to_owned(), json!([owner]));
    let mut spec = template["spec"].clone();
    if !spec.is_object() {
        spec = json!({});
    }
    spec["hostname"] = name.into();
    if !set.spec.service_name.is_empty() {
        spec["subdomain"] = json!(set.spec.service_name);
    }
    let volumes = volumes(set, ordinal, &template["spec"]["volumes"]);
    if !volumes.is_empty() {
        spec["volumes"] = volumes.into();
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

/// What a pod's labels must be changed to so that they tell who it is.
pub(super) fn identity_patch(ordinal: i32, pod: &Pod) -> Option<Value> {
    let index = ordinal.to_string();
    let matches = pod.metadata.label(POD_NAME) == Some(&pod.metadata.name)
        && pod.metadata.label(POD_INDEX) == Some(&index);
    (!matches).then(|| json!({"metadata": {"labels": {POD_NAME: pod.metadata.name, POD_INDEX: index}}}))
}
