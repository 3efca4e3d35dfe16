//! What is ready, what is not yet, and why.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use orlop::Cluster;
use orlop::api::Status;
use orlop::base::kinds::{DaemonSet, Deployment, Job, Node, Pod, ReplicaSet, StatefulSet};
use orlop::base::{Item, Key, Object, Timestamp};
use orlop::node::MIRROR_ANNOTATION;
use serde::Serialize;

/// How often the cluster is looked at.
const EVERY: Duration = Duration::from_millis(20);

/// One workload and how far it has come.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Workload {
    pub(crate) kind: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) wanted: i32,
    pub(crate) ready: i32,
    pub(crate) done: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
}

/// How far everything has come.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Readiness {
    pub(crate) workloads: Vec<Workload>,
}

impl Readiness {
    pub(crate) fn is_ready(&self) -> bool {
        self.workloads.iter().all(|workload| workload.done)
    }

    fn counts(&self) -> (u64, u64) {
        let sum =
            |of: fn(&Workload) -> i32| self.workloads.iter().map(|w| u64::try_from(of(w)).unwrap_or(0)).sum();
        (sum(|w| w.ready.min(w.wanted)), sum(|w| w.wanted))
    }

    /// A line for each workload that is not ready.
    pub(crate) fn reasons(&self) -> Vec<String> {
        self.workloads
            .iter()
            .filter(|workload| !workload.done)
            .map(|w| {
                format!(
                    "{} {}/{}: {} of {} ready{}",
                    w.kind,
                    w.namespace,
                    w.name,
                    w.ready,
                    w.wanted,
                    w.because()
                )
            })
            .collect()
    }
}

impl Workload {
    fn because(&self) -> String {
        if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) }
    }
}

/// Waits until `count` nodes are ready, at most until `deadline`: pods that come before them would first be told that
/// there is no place for them.
pub(crate) async fn wait_for_nodes(
    cluster: &Cluster,
    count: usize,
    deadline: Timestamp,
) -> Result<(), Status> {
    let clock = cluster.clock().clone();
    loop {
        let nodes = cluster.list::<Node>("").await?;
        let is_ready = |node: &&Item<Node>| {
            let condition = node.status.conditions.iter().find(|c| c.r#type == "Ready");
            condition.is_some_and(|c| c.status == "True")
                && !node.spec.taints.iter().any(|t| t.key == NOT_READY)
        };
        if nodes.iter().filter(is_ready).count() >= count || clock.now() >= deadline {
            return Ok(());
        }
        clock.sleep_until(clock.now() + Duration::from_millis(1)).await;
    }
}

/// The taint of a node that has not been seen ready yet.
const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// Looks at every workload. Pods that stand for what runs on a node anyway are none.
pub(crate) async fn look(cluster: &Cluster) -> Result<Readiness, Status> {
    let pods = cluster.list::<Pod>("").await?;
    let mut troubles: BTreeMap<Key, String> = BTreeMap::new();
    let mut lone = Vec::new();
    let mut troubled_owners: BTreeMap<(String, String), String> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod.metadata.annotation(MIRROR_ANNOTATION).is_none()) {
        let trouble = trouble(pod);
        match pod.metadata.controller() {
            None => lone.push(pod),
            Some(owner) if !trouble.is_empty() => {
                let at = (pod.metadata.namespace.to_string(), owner.uid.to_string());
                troubled_owners.entry(at).or_insert_with(|| format!("pod {}: {trouble}", pod.metadata.name));
            }
            Some(_) => {}
        }
        troubles.insert(pod.key(), trouble);
    }
    let sets = cluster.list::<ReplicaSet>("").await?;
    // A Deployment's pods belong to its ReplicaSets.
    for set in &sets {
        let own = (set.metadata.namespace.to_string(), set.metadata.uid.to_string());
        if let (Some(owner), Some(trouble)) = (set.metadata.controller(), troubled_owners.get(&own).cloned())
        {
            troubled_owners.entry((own.0, owner.uid.to_string())).or_insert(trouble);
        }
    }
    let reason = |meta: &orlop::base::Meta| {
        let at = (meta.namespace.to_string(), meta.uid.to_string());
        troubled_owners.get(&at).cloned().unwrap_or_default()
    };
    let mut workloads = Vec::new();
    for deployment in cluster.list::<Deployment>("").await? {
        let (wanted, status) = (deployment.spec.replicas.unwrap_or(1), &deployment.status);
        let ready = status.available_replicas;
        let seen = status.observed_generation >= deployment.metadata.generation;
        let done = seen && status.updated_replicas >= wanted && ready >= wanted && status.replicas == wanted;
        workloads.push(workload(
            "Deployment",
            &deployment.metadata,
            wanted,
            ready,
            done,
            reason(&deployment.metadata),
        ));
    }
    for set in sets.iter().filter(|set| set.metadata.controller().is_none()) {
        let (wanted, ready) = (set.spec.replicas.unwrap_or(1), set.status.ready_replicas);
        let seen = set.status.observed_generation >= set.metadata.generation;
        workloads.push(workload(
            "ReplicaSet",
            &set.metadata,
            wanted,
            ready,
            seen && ready >= wanted,
            reason(&set.metadata),
        ));
    }
    for set in cluster.list::<StatefulSet>("").await? {
        let (wanted, ready) = (set.spec.replicas.unwrap_or(1), set.status.ready_replicas);
        let seen = set.status.observed_generation.max(0) >= set.metadata.generation;
        workloads.push(workload(
            "StatefulSet",
            &set.metadata,
            wanted,
            ready,
            seen && ready >= wanted,
            reason(&set.metadata),
        ));
    }
    for set in cluster.list::<DaemonSet>("").await? {
        let (wanted, ready) = (set.status.desired_number_scheduled, set.status.number_ready);
        let seen = set.status.observed_generation >= set.metadata.generation;
        workloads.push(workload(
            "DaemonSet",
            &set.metadata,
            wanted,
            ready,
            seen && ready >= wanted,
            reason(&set.metadata),
        ));
    }
    for job in cluster.list::<Job>("").await? {
        let wanted = job.spec.completions.or(job.spec.parallelism).unwrap_or(1);
        let done = job.status.conditions.iter().any(|c| c.r#type == "Complete" && c.status == "True");
        workloads.push(workload(
            "Job",
            &job.metadata,
            wanted,
            job.status.succeeded,
            done,
            reason(&job.metadata),
        ));
    }
    for pod in lone {
        let done = ready(pod) || pod.status.phase == "Succeeded";
        let trouble = troubles.remove(&pod.key()).unwrap_or_default();
        workloads.push(workload("Pod", &pod.metadata, 1, i32::from(done), done, trouble));
    }
    Ok(Readiness { workloads })
}

fn workload(
    kind: &'static str,
    meta: &orlop::base::Meta,
    wanted: i32,
    ready: i32,
    done: bool,
    reason: String,
) -> Workload {
    let (namespace, name) = (meta.namespace.to_string(), meta.name.to_string());
    Workload { kind, namespace, name, wanted, ready, done, reason: if done { String::new() } else { reason } }
}

pub(crate) fn ready(pod: &Item<Pod>) -> bool {
    pod.status.conditions.iter().any(|c| c.r#type == "Ready" && c.status == "True")
}

/// How a pod has failed: in its own words, else by the container that ended badly.
fn failure(pod: &Item<Pod>) -> String {
    let (reason, message) = (&pod.status.reason, &pod.status.message);
    match (reason.is_empty(), message.is_empty()) {
        (false, false) => return format!("failed: {reason}: {message}"),
        (true, true) => {}
        _ => return format!("failed: {reason}{message}"),
    }
    let statuses = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    let mut ended = statuses.filter_map(|status| Some((status, status.state.terminated.as_ref()?)));
    match ended.rfind(|(_, ended)| ended.exit_code != 0) {
        Some((status, ended)) => {
            format!("failed: container {} ended with exit code {}", status.name, ended.exit_code)
        }
        None => "failed".to_owned(),
    }
}

/// Why a pod is not ready, as far as that can be told.
fn trouble(pod: &Item<Pod>) -> String {
    if ready(pod) || pod.status.phase == "Succeeded" {
        return String::new();
    }
    let unscheduled =
        pod.status.conditions.iter().find(|c| c.r#type == "PodScheduled" && c.status == "False");
    if let Some(condition) = unscheduled {
        return condition.message.to_string();
    }
    let statuses = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    let waiting =
        statuses.filter_map(|status| status.state.waiting.as_ref().map(|waiting| (status, waiting)));
    for (status, waiting) in waiting {
        if !matches!(waiting.reason.as_str(), "ContainerCreating" | "PodInitializing" | "") {
            let said = if waiting.message.is_empty() { "" } else { ": " };
            return format!("container {}: {}{said}{}", status.name, waiting.reason, waiting.message);
        }
    }
    match pod.status.phase.as_str() {
        "Failed" => failure(pod),
        "Running" => "running, but not ready".to_owned(),
        _ => String::new(),
    }
}

/// Waits until everything is ready, at most until `deadline`, and shows how it goes.
pub(crate) async fn wait(cluster: &Cluster, deadline: Timestamp, show: bool) -> Result<Readiness, Status> {
    let bar = if show { ProgressBar::new(0) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{spinner} {bar:30} {pos}/{len} pods ready  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let clock = cluster.clock().clone();
    loop {
        let readiness = look(cluster).await?;
        let (ready, wanted) = readiness.counts();
        bar.set_length(wanted);
        bar.set_position(ready);
        if readiness.is_ready() || clock.now() >= deadline {
            bar.finish_and_clear();
            return Ok(readiness);
        }
        if let Some(next) = readiness.workloads.iter().find(|workload| !workload.done) {
            bar.set_message(format!("{} {}/{}{}", next.kind, next.namespace, next.name, next.because()));
        }
        bar.tick();
        clock.sleep_until(clock.now() + EVERY).await;
    }
}
