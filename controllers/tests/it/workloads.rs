//! The controllers of StatefulSets, DaemonSets, Jobs, CronJobs and ReplicationControllers in the small model of a
//! cluster.

use std::time::Duration;

use orlop_controllers::{
    CronJobController, DaemonSetController, JobController, ReplicationManager, StatefulSetController,
    TtlAfterFinishedController,
};
use orlop_core::kinds::{ControllerRevision, DaemonSet, Job, Node, PersistentVolumeClaim, Pod, StatefulSet};
use orlop_core::{Kind, Object};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::model::Model;

const CRON_JOB: Kind = Kind::namespaced("batch", "v1", "CronJob", "cronjobs");
const REPLICATION_CONTROLLER: Kind =
    Kind::namespaced("", "v1", "ReplicationController", "replicationcontrollers");

fn world() -> Model {
    Model::new(|runner| {
        runner.add(StatefulSetController::default());
        runner.add(DaemonSetController);
        runner.add(JobController);
        runner.add(TtlAfterFinishedController);
        runner.add(CronJobController);
        runner.add(ReplicationManager::default());
    })
}

fn template(version: u32) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": format!("web:{version}")}]},
    })
}

fn workload(kind: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    spec["template"] = template(1);
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web", "namespace": "default"}, "spec": spec})
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    pod["metadata"]["deletionTimestamp"].is_null()
        && conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

fn names(model: &Model, kind: &Kind) -> Vec<String> {
    model.all(kind).iter().map(|o| o["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
}

fn images(model: &Model) -> Vec<&Value> {
    model.all(&Pod::KIND).iter().map(|pod| &pod["spec"]["containers"][0]["image"]).collect()
}

/// A pod comes when all before it are ready; a claim is its own, and outlives it.
#[test]
fn a_stateful_set_grows_one_by_one_and_keeps_its_claims() {
    let mut model = world();
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}});
    let spec = json!({"replicas": 3, "serviceName": "web", "volumeClaimTemplates": [claim],
        "updateStrategy": {"type": "RollingUpdate"}});
    model.put(&StatefulSet::KIND, workload("StatefulSet", spec));
    let mut in_order = |model: &Model| {
        let pods = model.all(&Pod::KIND);
        assert!(pods.iter().filter(|pod| !is_ready(pod)).count() <= 1, "one at a time");
    };
    model.settle(&mut in_order);
    assert_eq!(names(&model, &Pod::KIND), ["web-0", "web-1", "web-2"]);
    assert_eq!(names(&model, &PersistentVolumeClaim::KIND), ["data-web-0", "data-web-1", "data-web-2"]);
    let pod = model.get(&Pod::KIND, "default", "web-1").expect("a pod");
    assert_eq!(pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], "data-web-1");
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("web-1"), &json!("web")));

    model.edit(
        &StatefulSet::KIND,
        "default",
        "web",
        json!({"spec": {"replicas": 1, "template": template(2)}}),
    );
    model.settle(&mut in_order);
    assert_eq!(names(&model, &Pod::KIND), ["web-0"]);
    assert_eq!(images(&model), ["web:2"]);
    assert_eq!(model.all(&PersistentVolumeClaim::KIND).len(), 3, "what was stored stays");
    let status = &model.get(&StatefulSet::KIND, "default", "web").expect("the set")["status"];
    assert_eq!(status["currentRevision"], status["updateRevision"]);
    assert_eq!(model.all(&ControllerRevision::KIND).len(), 2);
}

/// Pods below the partition keep the former template, also when they are made anew.
#[test]
fn a_partition_holds_a_rollout_back() {
    let mut model = world();
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}});
    let spec = json!({"replicas": 3, "serviceName": "web", "updateStrategy": strategy});
    model.put(&StatefulSet::KIND, workload("StatefulSet", spec));
    model.settle(&mut |_| {});
    model.edit(&StatefulSet::KIND, "default", "web", json!({"spec": {"template": template(2)}}));
    model.settle(&mut |_| {});
    assert_eq!(images(&model), ["web:1", "web:1", "web:2"]);
    model.delete(&Pod::KIND, "default", "web-0", None);
    model.settle(&mut |_| {});
    assert_eq!(images(&model), ["web:1", "web:1", "web:2"]);
}

#[test]
fn a_replication_controller_keeps_its_number() {
    let mut model = world();
    let mut controller = workload("ReplicationController", json!({"replicas": 3}));
    controller["apiVersion"] = "v1".into();
    controller["spec"]["selector"] = json!({"app": "web"});
    model.put(&REPLICATION_CONTROLLER, controller);
    model.settle(&mut |_| {});
    assert_eq!(model.all(&Pod::KIND).len(), 3);
    model.edit(&REPLICATION_CONTROLLER, "default", "web", json!({"spec": {"replicas": 1}}));
    model.settle(&mut |_| {});
    assert_eq!(model.all(&Pod::KIND).len(), 1);
    let status = &model.get(&REPLICATION_CONTROLLER, "default", "web").expect("it")["status"];
    assert_eq!(status["readyReplicas"], 1);
}

/// Lets every running pod end as `phase` says.
fn end(model: &mut Model, phase: &str) {
    let running: Vec<String> = model
        .all(&Pod::KIND)
        .iter()
        .filter(|pod| pod["status"]["phase"] == "Running")
        .map(|pod| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    for name in running {
        let code = i32::from(phase == "Failed");
        let state = json!({"terminated": {"exitCode": code, "finishedAt": model.now}});
        let patch = json!({"status": {"phase": phase, "conditions": null,
            "containerStatuses": [{"name": "c", "state": state}]}});
        model.edit(&Pod::KIND, "default", &name, patch);
    }
}

/// Has the model's kubelet start one of the pods that it has not started; answers whether there was one.
fn start(model: &mut Model) -> bool {
    let waiting = |pod: &&&Value| {
        !pod["metadata"]["deletionTimestamp"].is_null() || pod["status"]["phase"] != "Running"
    };
    let pods = model.all(&Pod::KIND);
    let new = pods.iter().filter(waiting).position(|pod| pod["status"]["phase"].is_null());
    new.is_some_and(|at| model.kubelet(at))
}

/// Lets a Job go its way for a long time, with pods that all end as `phase` says.
fn run_job(model: &mut Model, phase: &str) {
    for _ in 0..200 {
        while model.act(&mut |_| {}) {}
        while start(model) {}
        end(model, phase);
        model.now = model.now + Duration::from_secs(30);
    }
    while model.act(&mut |_| {}) {}
}

fn condition<'a>(job: &'a Value, r#type: &str) -> Option<&'a Value> {
    job["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == r#type)
}

#[test]
fn an_indexed_job_runs_each_index_once() {
    let mut model = world();
    let spec = json!({"completions": 5, "parallelism": 2, "completionMode": "Indexed", "backoffLimit": 6});
    model.put(&Job::KIND, workload("Job", spec));
    run_job(&mut model, "Succeeded");
    let job = model.get(&Job::KIND, "default", "web").expect("the job");
    assert_eq!(job["status"]["completedIndexes"], "0-4");
    assert_eq!(job["status"]["succeeded"], 5);
    assert!(condition(job, "Complete").is_some(), "{job}");
    let pods = model.all(&Pod::KIND);
    assert_eq!(pods.len(), 5, "none is run twice");
    assert!(pods.iter().all(|pod| pod["metadata"]["finalizers"].is_null()), "all are counted");
}

#[test]
fn a_job_fails_after_its_last_try() {
    let mut model = world();
    model.put(&Job::KIND, workload("Job", json!({"completions": 1, "parallelism": 1, "backoffLimit": 2})));
    run_job(&mut model, "Failed");
    let job = model.get(&Job::KIND, "default", "web").expect("the job");
    assert_eq!(job["status"]["failed"], 3);
    assert_eq!(condition(job, "Failed").expect("it has failed")["reason"], "BackoffLimitExceeded");
    assert_eq!(model.all(&Pod::KIND).len(), 3);
}

/// Each failure doubles the wait for the next pod: that of a pod that has been counted, too.
#[test]
fn failures_delay_the_next_pod() {
    let mut model = world();
    model.put(&Job::KIND, workload("Job", json!({"completions": 1, "parallelism": 1, "backoffLimit": 6})));
    let mut waits = Vec::new();
    for _ in 0..3 {
        while model.act(&mut |_| {}) {}
        assert!(start(&mut model), "there is a new pod");
        end(&mut model, "Failed");
        let (count, ended) = (model.all(&Pod::KIND).len(), model.now);
        while model.all(&Pod::KIND).len() == count {
            while model.act(&mut |_| {}) {}
            model.now = model.now + Duration::from_secs(1);
        }
        waits.push(model.now.since(ended).as_secs() - 1);
    }
    assert_eq!(waits, [10, 20, 40]);
}

#[test]
fn a_finished_job_is_kept_for_its_time() {
    let mut model = world();
    let spec =
        json!({"completions": 1, "parallelism": 1, "backoffLimit": 6, "ttlSecondsAfterFinished": 86_400});
    model.put(&Job::KIND, workload("Job", spec));
    run_job(&mut model, "Succeeded");
    model.now = model.now + Duration::from_secs(80_000);
    while model.act(&mut |_| {}) {}
    assert!(model.get(&Job::KIND, "default", "web").is_some());
    model.now = model.now + Duration::from_secs(6_400);
    while model.act(&mut |_| {}) {}
    let job = model.get(&Job::KIND, "default", "web");
    assert!(job.is_none_or(|job| !job["metadata"]["deletionTimestamp"].is_null()));
}

fn nodes(model: &mut Model, count: usize) {
    for at in 0..count {
        let name = format!("n{at}");
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}});
        model.put(&Node::KIND, node);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However a DaemonSet's rolling update and the kubelet interleave, no more nodes than allowed are without a ready
    /// pod, and in the end every node has one of the last template.
    #[test]
    fn a_daemon_set_updates_within_its_bounds(
        count in 1..6usize,
        unavailable in 1..3usize,
        steps in prop::collection::vec((0..3u8, any::<prop::sample::Index>()), 0..60),
    ) {
        let mut model = world();
        nodes(&mut model, count);
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": 0}});
        model.put(&DaemonSet::KIND, workload("DaemonSet", json!({"updateStrategy": strategy})));
        model.settle(&mut |_| {});
        prop_assert_eq!(model.all(&Pod::KIND).len(), count);
        model.edit(&DaemonSet::KIND, "default", "web", json!({"spec": {"template": template(2)}}));
        let mut check = |model: &Model| {
            let ready = model.all(&Pod::KIND).iter().filter(|pod| is_ready(pod)).count();
            assert!(ready + unavailable >= count, "{ready} of {count} ready, {unavailable} may be missing");
        };
        for (step, pick) in steps {
            match step {
                0 => {
                    model.kubelet(pick.index(64));
                }
                _ => {
                    model.act(&mut check);
                }
            }
        }
        model.settle(&mut check);
        prop_assert!(images(&model).iter().all(|image| **image == "web:2"));
        prop_assert_eq!(model.all(&Pod::KIND).len(), count);
    }
}

#[test]
fn a_cron_job_begins_a_job_a_minute_and_forgets_old_ones() {
    let mut model = world();
    let cron = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "tick", "namespace": "default"},
        "spec": {
            "schedule": "* * * * *", "concurrencyPolicy": "Forbid", "successfulJobsHistoryLimit": 2,
            "jobTemplate": {"spec": {"completions": 1, "parallelism": 1, "backoffLimit": 0,
                "selector": {"matchLabels": {"app": "web"}}, "template": template(1)}},
        },
    });
    model.put(&CRON_JOB, cron);
    model.now = model.now + Duration::from_secs(61);
    while model.act(&mut |_| {}) {}
    assert_eq!(model.all(&Job::KIND).len(), 1, "the minute is due");
    for _ in 0..3 {
        model.now = model.now + Duration::from_secs(60);
        while model.act(&mut |_| {}) {}
    }
    assert_eq!(model.all(&Job::KIND).len(), 1, "the first is still running");
    let active = &model.get(&CRON_JOB, "default", "tick").expect("it")["status"]["active"];
    assert_eq!(active.as_array().map(Vec::len), Some(1));
    // A run ends long before the next minute.
    run_job(&mut model, "Succeeded");
    let ended = model.all(&Job::KIND).iter().filter(|job| condition(job, "Complete").is_some()).count();
    assert!((1..=2).contains(&ended), "{ended} are kept, of the many that ran");
    assert!(model.get(&CRON_JOB, "default", "tick").expect("it")["status"]["lastSuccessfulTime"].is_string());
}
