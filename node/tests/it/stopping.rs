//! How a pod ends: in which order, and what is told of it meanwhile.

use expect_test::expect;

use crate::pods::run;

/// Readiness was frozen at the moment of the deletion, so that a Service went on routing to what had closed its doors
/// (KEP-1669).
#[test]
fn readiness_is_followed_while_a_pod_stops() {
    let mut world = run(
        "
name: web
annotations: {mock.orlop.dev/script: 'ready until 4s; stop 6s; liveness fail after 3s'}
containers:
- name: main
  readinessProbe: {exec: {command: ['true']}, periodSeconds: 1, failureThreshold: 1}
  livenessProbe: {exec: {command: ['true']}, periodSeconds: 1, failureThreshold: 1}
",
        2.0,
    );
    world.trace.clear();
    world.delete("web", 30);
    world.run(10.0);
    expect![[r#"
        3.00 web Running terminating ready main=running+
          Killing web/main: Stopping container main
          Unhealthy web/main: Readiness probe failed: HTTP probe failed with statuscode: 503 (warning)
        5.15 web Running terminating main=running
        9.00 web Succeeded terminating main=Completed(0)
        9.00 web gone
    "#]]
    .assert_eq(&world.trace);
}

/// All sidecars ended at once, so that the log shipper did not hear the proxy's last words (KEP-753).
#[test]
fn sidecars_end_one_after_the_other_from_the_last_to_the_first() {
    let mut world = run(
        "
name: web
annotations: {mock.orlop.dev/script: 'stop 1s'}
initContainers:
- {name: a, restartPolicy: Always}
- {name: b, restartPolicy: Always}
- {name: c, restartPolicy: Always}
",
        2.0,
    );
    world.trace.clear();
    world.delete("web", 30);
    world.run(10.0);
    expect![[r#"
        3.00 web Running terminating ready a=running+ b=running+ c=running+ main=running+
          Killing web/a: Stopping container a
          Killing web/b: Stopping container b
          Killing web/c: Stopping container c
          Killing web/main: Stopping container main
        4.00 web Running terminating a=running+ b=running+ c=running+ main=Completed(0)
        5.00 web Running terminating a=running+ b=running+ c=Completed(0) main=Completed(0)
        6.00 web Running terminating a=running+ b=Completed(0) c=Completed(0) main=Completed(0)
        7.00 web Succeeded terminating a=Completed(0) b=Completed(0) c=Completed(0) main=Completed(0)
        7.00 web gone
    "#]]
    .assert_eq(&world.trace);
}

/// The grace is one for all: when it is over, nobody waits for its turn any more. Hooks do not wait for it at all.
#[test]
fn sidecars_that_wait_for_their_turn_are_stopped_when_the_grace_is_over() {
    let mut world = run(
        "
name: web
annotations: {mock.orlop.dev/script: \"stop 1s\\nb: stop never\"}
initContainers:
- {name: a, restartPolicy: Always, lifecycle: {preStop: {sleep: {seconds: 4}}}}
- {name: b, restartPolicy: Always}
",
        2.0,
    );
    world.trace.clear();
    world.delete("web", 5);
    world.run(10.0);
    expect![[r#"
        3.00 web Running terminating ready a=running+ b=running+ main=running+
          Killing web/a: Stopping container a
          Killing web/b: Stopping container b
          Killing web/main: Stopping container main
        4.00 web Running terminating a=running+ b=running+ main=Completed(0)
        8.00 web Running terminating a=running+ b=Error(137) main=Completed(0)
        9.00 web Succeeded terminating a=Completed(0) b=Error(137) main=Completed(0)
        9.00 web gone
    "#]]
    .assert_eq(&world.trace);
}

/// `Failed` is told when nothing runs any more, as others take what the pod holds by that word; that it is not ready
/// is told at once.
#[test]
fn a_deadline_is_told_when_all_has_ended() {
    let mut world = run(
        "
name: job
restartPolicy: Never
activeDeadlineSeconds: 3
annotations: {mock.orlop.dev/script: 'stop 2s'}
containers: [{name: main, command: [sleep, 1h]}]
",
        4.0,
    );
    let status = &world.get("job").unwrap()["status"];
    let ready = status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Ready").unwrap();
    assert_eq!((&status["phase"], &status["reason"]), (&"Running".into(), &serde_json::Value::Null));
    assert_eq!((&ready["status"], &ready["reason"]), (&"False".into(), &"PodFailed".into()));
    world.run(3.0);
    let status = &world.get("job").unwrap()["status"];
    assert_eq!((&status["phase"], &status["reason"]), (&"Failed".into(), &"DeadlineExceeded".into()));
}
