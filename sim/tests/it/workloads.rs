//! StatefulSets, DaemonSets, Jobs, CronJobs and budgets in whole clusters.

use std::time::Duration;

use orlop_core::kinds::{DaemonSet, Job, Pod, PodDisruptionBudget, StatefulSet};
use orlop_core::plan::{Action, Propagation};
use orlop_core::store::Store;
use orlop_core::{Key, Kind, Object, Write};
use orlop_sim::{Options, Simulation};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);
const CRON_JOB: Kind = Kind::namespaced("batch", "v1", "CronJob", "cronjobs");

fn perform(sim: &mut Simulation, write: Write) {
    let link = sim.link();
    let done = sim.block_on(async move { link.perform(write).await }, SECOND);
    done.expect("the API answers at once").expect("the write is accepted");
}

fn all(sim: &Simulation, prefix: &str) -> Vec<Value> {
    let view = sim.control().store().view();
    let entries = view.range(prefix, "", usize::MAX);
    entries.iter().map(|entry| entry.object.decode().expect("an object")).collect()
}

fn names(sim: &Simulation, prefix: &str) -> Vec<String> {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    all(sim, prefix).iter().map(name).collect()
}

fn template(command: &str, policy: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {
            "restartPolicy": policy,
            "containers": [{"name": "c", "image": "web:v1", "command": ["sh", "-c", command]}],
        },
    })
}

fn workload(api: &str, kind: &str, spec: Value) -> Value {
    json!({"apiVersion": api, "kind": kind, "metadata": {"name": "web", "namespace": "default"}, "spec": spec})
}

const PODS: &str = "/registry/pods/default/";

#[test]
fn a_stateful_set_is_rolled_out_and_a_budget_counts_it() {
    let mut sim = Simulation::new(11, Options::nodes(2)).expect("the cluster starts");
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    let spec = json!({"replicas": 3, "serviceName": "web", "selector": {"matchLabels": {"app": "web"}},
        "template": template("sleep 1000000", "Always"), "volumeClaimTemplates": [claim]});
    perform(&mut sim, Write::create(StatefulSet::KIND, workload("apps/v1", "StatefulSet", spec)));
    let budget = json!({"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}});
    let budget = workload("policy/v1", "PodDisruptionBudget", budget);
    perform(&mut sim, Write::create(PodDisruptionBudget::KIND, budget));
    sim.run_for(60 * SECOND).expect("nothing is violated");
    assert_eq!(names(&sim, PODS), ["web-0", "web-1", "web-2"]);
    assert_eq!(names(&sim, "/registry/controllerrevisions/default/").len(), 1);
    let budgets = all(&sim, "/registry/poddisruptionbudgets/default/");
    assert_eq!(budgets[0]["status"]["expectedPods"], 3);

    let patch = json!({"spec": {"template": template("sleep 2000000", "Always")}});
    perform(&mut sim, Write::merge(StatefulSet::KIND, Key::new("default", "web"), patch));
    sim.run_for(300 * SECOND).expect("nothing is violated");
    assert_eq!(names(&sim, "/registry/controllerrevisions/default/").len(), 2, "one for each template");
    let pods = all(&sim, PODS);
    assert!(pods.iter().all(|pod| pod["spec"]["containers"][0]["command"][2] == "sleep 2000000"));
    let sets = all(&sim, "/registry/statefulsets/default/");
    assert_eq!(sets[0]["status"]["currentRevision"], sets[0]["status"]["updateRevision"]);

    // Who has come to rest writes no more.
    let at_rest = sim.control().store().view().range(PODS, "", usize::MAX).len();
    let before = all(&sim, "/registry/statefulsets/default/");
    sim.run_for(60 * SECOND).expect("nothing is violated");
    assert_eq!(all(&sim, "/registry/statefulsets/default/"), before);
    assert_eq!(names(&sim, PODS).len(), at_rest);
}

#[test]
fn a_daemon_set_has_a_pod_on_every_node() {
    let mut sim = Simulation::new(12, Options::nodes(3)).expect("the cluster starts");
    let spec =
        json!({"selector": {"matchLabels": {"app": "web"}}, "template": template("sleep 1000000", "Always")});
    perform(&mut sim, Write::create(DaemonSet::KIND, workload("apps/v1", "DaemonSet", spec)));
    sim.run_for(20 * SECOND).expect("nothing is violated");
    let nodes = |sim: &Simulation| {
        let mut nodes: Vec<Value> =
            all(sim, PODS).iter().map(|pod| pod["spec"]["nodeName"].clone()).collect();
        nodes.sort_by_key(Value::to_string);
        nodes.dedup();
        nodes.len()
    };
    assert_eq!(nodes(&sim), 3);
    let patch = json!({"spec": {"template": template("sleep 2000000", "Always")}});
    perform(&mut sim, Write::merge(DaemonSet::KIND, Key::new("default", "web"), patch));
    sim.run_for(300 * SECOND).expect("nothing is violated");
    assert_eq!(nodes(&sim), 3);
    let set = &all(&sim, "/registry/daemonsets/default/")[0]["status"];
    assert_eq!((&set["numberReady"], &set["updatedNumberScheduled"]), (&json!(3), &json!(3)), "{set}");
}

#[test]
fn a_job_completes_and_leaves_nothing_behind() {
    let mut sim = Simulation::new(13, Options::nodes(2)).expect("the cluster starts");
    let spec = json!({"completions": 4, "parallelism": 2, "completionMode": "Indexed",
        "template": template("sleep 2", "Never")});
    perform(&mut sim, Write::create(Job::KIND, workload("batch/v1", "Job", spec)));
    sim.run_for(60 * SECOND).expect("nothing is violated");
    let job = &all(&sim, "/registry/jobs/default/")[0];
    assert_eq!(job["status"]["succeeded"], 4, "{job}");
    assert_eq!(job["status"]["completedIndexes"], "0-3");
    let conditions = job["status"]["conditions"].as_array().expect("conditions");
    assert!(conditions.iter().any(|c| c["type"] == "Complete" && c["status"] == "True"));
    // Unless asked otherwise, a Job's pods outlive it.
    let mut write = Write::delete(Job::KIND, Key::new("default", "web"));
    write.action = Action::Delete { grace: None, propagation: Some(Propagation::Background) };
    perform(&mut sim, write);
    sim.run_for(60 * SECOND).expect("nothing is violated");
    assert_eq!((all(&sim, PODS).len(), all(&sim, "/registry/jobs/default/").len()), (0, 0));
}

#[test]
fn a_cron_job_begins_a_job_a_minute() {
    let mut sim = Simulation::new(14, Options::nodes(1)).expect("the cluster starts");
    let spec = json!({"schedule": "* * * * *", "successfulJobsHistoryLimit": 2,
        "jobTemplate": {"spec": {"template": template("sleep 1", "Never")}}});
    perform(&mut sim, Write::create(CRON_JOB, workload("batch/v1", "CronJob", spec)));
    sim.run_for(330 * SECOND).expect("nothing is violated");
    assert!((2..=3).contains(&all(&sim, "/registry/jobs/default/").len()));
    let cron = &all(&sim, "/registry/cronjobs/default/")[0];
    assert!(cron["status"]["lastSuccessfulTime"].is_string(), "{cron}");
    let pods: Vec<Pod> =
        all(&sim, PODS).into_iter().map(|pod| serde_json::from_value(pod).expect("a pod")).collect();
    assert!(pods.iter().all(|pod| pod.metadata.name.starts_with("web-")));
}
