//! The pods of a Job: how they are made, and which of them go first.

use std::cmp::{Ordering, Reverse};

use orlop_core::kinds::Pod;
use orlop_core::rules::pod::{condition, is_ready};
use orlop_core::{Object, OwnerReference};
use serde_json::{Map, Value, json};

use super::failure::{FAILURES, IGNORED_FAILURES, INDEX, index_of};
use super::indexes::Indexes;
use super::view::JobView;

/// Keeps an ended pod until the Job has counted it.
pub const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// How long the prefix of a pod's name may be.
const LONGEST_PREFIX: usize = 58;

/// Whether the Job has still to count the pod.
pub(super) fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().any(|finalizer| finalizer == TRACKING)
}

/// A pod that the Job creates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewPod {
    /// Its index, in an indexed Job.
    pub index: Option<i32>,
    /// Failures of its index before it, that count and that are ignored, where the Job counts them.
    pub failures: Option<(u32, u32)>,
}

impl NewPod {
    /// The prefix of its name.
    pub fn prefix(&self, job: &JobView) -> String {
        let tail = self.index.map_or("-".to_owned(), |index| format!("-{index}-"));
        let keep = job.metadata.name.len().min(LONGEST_PREFIX.saturating_sub(tail.len()));
        format!("{}{tail}", &job.metadata.name[..keep])
    }

    /// Its host name, in an indexed Job.
    pub fn hostname(&self, job: &JobView) -> Option<String> {
        self.index.map(|index| format!("{}-{index}", job.metadata.name))
    }

    /// The pod.
    pub fn object(&self, job: &JobView, name: &str) -> Value {
        let template = &job.spec.template;
        let fields = |field: &str| template["metadata"][field].as_object().cloned().unwrap_or_default();
        let (mut labels, mut annotations) = (fields("labels"), fields("annotations"));
        let mut spec = template["spec"].clone();
        if let Some(index) = self.index {
            labels.insert(INDEX.to_owned(), index.to_string().into());
            annotations.insert(INDEX.to_owned(), index.to_string().into());
            spec["hostname"] = json!(self.hostname(job));
            ["initContainers", "containers"].iter().for_each(|list| tell_index(&mut spec[*list]));
        }
        if let Some((counted, ignored)) = self.failures {
            annotations.insert(FAILURES.to_owned(), counted.to_string().into());
            if ignored > 0 {
                annotations.insert(IGNORED_FAILURES.to_owned(), ignored.to_string().into());
            }
        }
        let mut finalizers = template["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == TRACKING) {
            finalizers.push(TRACKING.into());
        }
        let mut metadata = Map::new();
        metadata.insert("name".to_owned(), name.into());
        metadata.insert("generateName".to_owned(), self.prefix(job).into());
        metadata.insert("namespace".to_owned(), json!(job.metadata.namespace));
        metadata.insert("labels".to_owned(), labels.into());
        if !annotations.is_empty() {
            metadata.insert("annotations".to_owned(), annotations.into());
        }
        metadata.insert("finalizers".to_owned(), finalizers.into());
        let owner = OwnerReference::controller_of(&JobView::KIND, &job.metadata);
        metadata.insert("ownerReferences".to_owned(), json!([owner]));
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    }
}

/// Containers learn their index from the environment.
fn tell_index(containers: &mut Value) {
    const VARIABLE: &str = "JOB_COMPLETION_INDEX";
    for container in containers.as_array_mut().into_iter().flatten() {
        let Some(container) = container.as_object_mut() else { continue };
        let env = container.entry("env").or_insert_with(|| json!([]));
        if env.as_array().is_some_and(|env| env.iter().any(|variable| variable["name"] == VARIABLE)) {
            continue;
        }
        let field = format!("metadata.labels['{INDEX}']");
        if let Some(env) = env.as_array_mut() {
            env.push(json!({"name": VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": field}}}));
        }
    }
}

/// The order in which active pods are given up: the least advanced first.
fn compare(a: &Pod, b: &Pod) -> Ordering {
    let assigned = |pod: &Pod| !pod.spec.node_name.is_empty();
    let phase = |pod: &Pod| match pod.status.phase.as_str() {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    };
    let since = |pod: &Pod| {
        let ready = condition(pod, "Ready").filter(|ready| ready.status == "True");
        // Ready since an unknown time is as good as since now.
        Reverse(ready.map(|ready| ready.last_transition_time.map_or(i64::MAX, |at| at.nanos())))
    };
    let restarts = |pod: &Pod| pod.status.container_statuses.iter().map(|c| c.restart_count).max();
    let created = |pod: &Pod| Reverse(pod.metadata.creation_timestamp.map_or(i64::MAX, |at| at.nanos()));
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| phase(a).cmp(&phase(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| if is_ready(a) { since(a).cmp(&since(b)) } else { Ordering::Equal })
        .then_with(|| Reverse(restarts(a)).cmp(&Reverse(restarts(b))))
        .then_with(|| created(a).cmp(&created(b)))
}

/// Which active pods go, at least so many: first those without a valid index or whose index another pod has.
pub(super) fn to_remove<'a>(job: &JobView, active: &[&'a Pod], at_least: usize) -> Vec<&'a Pod> {
    let mut order: Vec<&'a Pod> = active.to_vec();
    order.sort_by(|a, b| compare(a, b));
    let mut gone: Vec<&'a Pod> = Vec::new();
    let mut left: Vec<&'a Pod> = Vec::new();
    if job.is_indexed() {
        let mut kept = Indexes::default();
        for pod in order.iter().rev().copied() {
            match index_of(pod).filter(|index| *index < job.completions() && !kept.contains(*index)) {
                Some(index) => {
                    kept.insert(index);
                    left.push(pod);
                }
                None => gone.push(pod),
            }
        }
        left.reverse();
    } else {
        left = order;
    }
    let more = at_least.saturating_sub(gone.len()).min(left.len());
    gone.extend(&left[..more]);
    gone
}
