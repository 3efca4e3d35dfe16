//! The pods that manifests ask for.

use std::collections::BTreeMap;

use orlop::api::defaults;
use orlop::base::kinds::Pod;
use orlop::base::{Key, Name, Object};
use orlop::manifest::{Manifest, Manifests};
use orlop::scheduler::PodFacts;
use serde_json::{Value, json};

/// A pod, or pods that are made from one template.
pub(super) struct Wanted {
    /// What it is called, for people.
    pub(super) title: String,
    /// The pod.
    pub(super) pod: Value,
    /// How many of it.
    replicas: usize,
}

/// Reads pods and what makes pods; other objects are passed over.
///
/// # Errors
/// Everything that is wrong, or that there is no pod.
pub(super) fn read(files: &[String]) -> Result<Vec<Wanted>, Vec<String>> {
    let manifests = Manifests::read(files);
    if !manifests.problems.is_empty() {
        return Err(manifests.problems.iter().map(ToString::to_string).collect());
    }
    let wanted: Vec<Wanted> = manifests.objects.iter().filter_map(pods_of).collect();
    if wanted.is_empty() {
        let files = files.join(", ");
        let daemons = manifests.objects.iter().find(|manifest| manifest.value["kind"] == "DaemonSet");
        return Err(vec![match daemons {
            Some(set) => format!(
                "{files}: {}: a DaemonSet's pods are made for every node that takes them; ask for a Pod of its template",
                set.title()
            ),
            None => format!("{files}: no pod, and nothing that makes pods"),
        }]);
    }
    Ok(wanted)
}

fn pods_of(manifest: &Manifest) -> Option<Wanted> {
    let value = &manifest.value;
    let kind = value["kind"].as_str().unwrap_or_default();
    let spec = &value["spec"];
    let count = |field: &Value| field.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(1);
    let (template, replicas) = match kind {
        "Pod" => (value, 1),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "ReplicationController" => {
            (&spec["template"], count(&spec["replicas"]))
        }
        "Job" => (&spec["template"], count(&spec["parallelism"])),
        "CronJob" => {
            let job = &spec["jobTemplate"]["spec"];
            (&job["template"], count(&job["parallelism"]))
        }
        _ => return None,
    };
    let meta = &value["metadata"];
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": template["metadata"].as_object().cloned().unwrap_or_default(),
        "spec": template["spec"],
    });
    pod["metadata"]["name"] = meta["name"].clone();
    pod["metadata"]["namespace"] = meta["namespace"].clone();
    if kind != "Pod" {
        pod["metadata"]["ownerReferences"] = json!([{
            "apiVersion": value["apiVersion"], "kind": kind, "name": meta["name"], "uid": "", "controller": true,
        }]);
    }
    defaults::apply(&Pod::KIND, &mut pod);
    Some(Wanted { title: manifest.title(), pod, replicas })
}

/// The priority that the API server would give.
pub(super) fn prioritise(pod: &mut Value, priorities: &BTreeMap<String, i64>) {
    let class = pod["spec"]["priorityClassName"].as_str().unwrap_or_default();
    if pod["spec"]["priority"].is_null()
        && let Some(priority) = priorities.get(class)
    {
        pod["spec"]["priority"] = (*priority).into();
    }
}

impl Wanted {
    /// Puts the pods where the manifest does not say so.
    pub(super) fn default_namespace(&mut self, namespace: &str) {
        let field = &mut self.pod["metadata"]["namespace"];
        if field.as_str().unwrap_or_default().is_empty() {
            *field = namespace.into();
        }
    }

    /// One of the pods.
    ///
    /// # Errors
    /// When it is not of a pod's form.
    pub(super) fn facts(&self) -> Result<PodFacts, String> {
        PodFacts::from_json(&self.pod).map_err(|error| format!("{}: {error}", self.title))
    }

    /// All of them.
    pub(super) fn copies(&self, pod: &PodFacts) -> Vec<PodFacts> {
        let copy = |number: usize| {
            let mut copy = pod.clone();
            copy.key = Key::new(pod.key.namespace.clone(), format!("{}-{number}", pod.key.name));
            copy.uid = Name::from(format!("{}-{number}", pod.key));
            copy
        };
        (1..=self.replicas).map(copy).collect()
    }
}
