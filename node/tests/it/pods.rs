//! The pod machine, seen from outside: what a watcher of the API sees when.

use expect_test::{Expect, expect};
use orlop_core::{Kind, Revision};
use orlop_runtime_mock::Policy;
use serde_json::json;

use crate::world::{World, config};

pub(crate) fn run(yaml: &str, secs: f64) -> World {
    let mut world = World::new(config(), Policy::default());
    world.run(1.0);
    world.trace.clear();
    world.pod(yaml);
    world.run(secs);
    world
}

pub(crate) fn check(yaml: &str, secs: f64, expected: Expect) {
    expected.assert_eq(&run(yaml, secs).trace);
}

#[test]
fn a_server_starts() {
    check(
        "name: web",
        5.0,
        expect![[r#"
            1.00 web Pending
            1.00 web Pending main=ContainerCreating
              Pulling web/main: Pulling image "web:1"
              Pulled web/main: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
              Created web/main: Container created
              Started web/main: Container started
            1.15 web Running ready main=running+
        "#]],
    );
}

#[test]
fn containers_start_together_after_init_containers_in_order() {
    check(
        "
name: web
initContainers:
- {name: a, command: [sleep, '1']}
- {name: proxy, restartPolicy: Always}
- {name: b, command: ['true']}
containers:
- {name: x}
- {name: y}
",
        5.0,
        expect![[r#"
            1.00 web Pending
            1.00 web Pending a=PodInitializing proxy=PodInitializing b=PodInitializing x=PodInitializing y=PodInitializing
              Pulling web/a: Pulling image "web:1"
              Pulled web/a: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
              Created web/a: Container created
              Started web/a: Container started
            1.15 web Pending a=running proxy=PodInitializing b=PodInitializing x=PodInitializing y=PodInitializing
            2.15 web Pending a=Completed(0) proxy=PodInitializing b=PodInitializing x=PodInitializing y=PodInitializing
              Pulled web/proxy: Container image "web:1" already present on machine
              Created web/proxy: Container created
              Started web/proxy: Container started
            2.30 web Pending a=Completed(0) proxy=running+ b=PodInitializing x=PodInitializing y=PodInitializing
              Pulled web/b: Container image "web:1" already present on machine
              Created web/b: Container created
              Started web/b: Container started
            2.45 web Pending a=Completed(0) proxy=running+ b=Completed(0) x=PodInitializing y=PodInitializing
              Pulled web/x: Container image "web:1" already present on machine
              Pulled web/y: Container image "web:1" already present on machine
              Created web/x: Container created
              Created web/y: Container created
              Started web/x: Container started
              Started web/y: Container started
            2.60 web Running ready a=Completed(0) proxy=running+ b=Completed(0) x=running+ y=running+
        "#]],
    );
}

#[test]
fn a_job_ends_well_and_its_sidecar_with_it() {
    check(
        "
name: job
restartPolicy: Never
initContainers:
- {name: side, restartPolicy: Always}
containers:
- {name: main, command: [sh, -c, 'sleep 2; exit 0']}
",
        6.0,
        expect![[r#"
            1.00 job Pending
            1.00 job Pending side=PodInitializing main=PodInitializing
              Pulling job/side: Pulling image "web:1"
              Pulled job/side: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
              Created job/side: Container created
              Started job/side: Container started
            1.15 job Pending side=running+ main=PodInitializing
              Pulled job/main: Container image "web:1" already present on machine
              Created job/main: Container created
              Started job/main: Container started
            1.30 job Running ready side=running+ main=running+
            3.30 job Running side=running+ main=Completed(0)
              Killing job/side: Stopping container side
            3.40 job Succeeded side=Completed(0) main=Completed(0)
        "#]],
    );
}

#[test]
fn a_job_fails() {
    check(
        "{name: job, restartPolicy: Never, containers: [{name: main, command: [sh, -c, exit 3]}]}",
        3.0,
        expect![[r#"
        1.00 job Pending
        1.00 job Pending main=ContainerCreating
          Pulling job/main: Pulling image "web:1"
          Pulled job/main: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
          Created job/main: Container created
          Started job/main: Container started
        1.15 job Failed main=Error(3)
    "#]],
    );
}

#[test]
fn a_failed_init_container_fails_a_pod_that_never_restarts() {
    check(
        "{name: job, restartPolicy: Never, initContainers: [{name: a, command: ['false']}]}",
        3.0,
        expect![[r#"
            1.00 job Pending
            1.00 job Pending a=PodInitializing main=PodInitializing
              Pulling job/a: Pulling image "web:1"
              Pulled job/a: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
              Created job/a: Container created
              Started job/a: Container started
            1.15 job Failed a=Error(1) main=PodInitializing
        "#]],
    );
}

#[test]
fn a_crash_loop_waits_longer_and_longer() {
    check(
        "{name: web, containers: [{name: main, command: [sh, -c, sleep 1; exit 1]}]}",
        75.0,
        expect![[r#"
        1.00 web Pending
        1.00 web Pending main=ContainerCreating
          Pulling web/main: Pulling image "web:1"
          Pulled web/main: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
          Created web/main: Container created
          Started web/main: Container started
        1.15 web Running ready main=running+
        2.15 web Running main=Error(1)
          Pulled web/main: Container image "web:1" already present on machine
        2.30 web Running ready main=running+#1<Error(1)
        3.30 web Running main=Error(1)#1<Error(1)
          BackOff web/main: Back-off restarting failed container main in pod web_default(uid-4) (warning)
        4.30 web Running main=CrashLoopBackOff#1<Error(1)
        13.45 web Running ready main=running+#2<Error(1)
        14.45 web Running main=Error(1)#2<Error(1)
        15.45 web Running main=CrashLoopBackOff#2<Error(1)
        34.60 web Running ready main=running+#3<Error(1)
        35.60 web Running main=Error(1)#3<Error(1)
        36.60 web Running main=CrashLoopBackOff#3<Error(1)
        75.75 web Running ready main=running+#4<Error(1)
    "#]],
    );
}

#[test]
fn on_failure_restarts_until_it_works() {
    check(
        "
name: job
restartPolicy: OnFailure
annotations: {mock.orlop.dev/script: 'exit 0 after 1s; exit 1 after 1s for 1 start'}
",
        5.0,
        expect![[r#"
            1.00 job Pending
            1.00 job Pending main=ContainerCreating
              Pulling job/main: Pulling image "web:1"
              Pulled job/main: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
              Created job/main: Container created
              Started job/main: Container started
            1.15 job Running ready main=running+
            2.15 job Running main=Error(1)
              Pulled job/main: Container image "web:1" already present on machine
            2.30 job Running ready main=running+#1<Error(1)
            3.30 job Succeeded main=Completed(0)#1<Error(1)
        "#]],
    );
}

#[test]
fn a_missing_image_is_tried_again() {
    check(
        "{name: web, containers: [{name: main, image: 'web:missing'}]}",
        12.0,
        expect![[r#"
        1.00 web Pending
        1.00 web Pending main=ContainerCreating
          Pulling web/main: Pulling image "web:missing"
          Failed web/main: Failed to pull image "web:missing": failed to pull image "web:missing": not found (warning)
          Failed web/main: Error: ErrImagePull (warning)
        1.00 web Pending main=ErrImagePull
        2.00 web Pending main=ImagePullBackOff
          BackOff web/main: Back-off pulling image "web:missing"
          Failed web/main: Error: ImagePullBackOff (warning)
        11.00 web Pending main=ErrImagePull
        12.00 web Pending main=ImagePullBackOff
    "#]],
    );
}

#[test]
fn readiness_follows_its_probe() {
    check(
        "
name: web
annotations: {mock.orlop.dev/script: 'ready after 3s'}
containers:
- {name: main, readinessProbe: {httpGet: {port: 80}, periodSeconds: 2}}
",
        8.0,
        expect![[r#"
            1.00 web Pending
            1.00 web Pending main=ContainerCreating
              Pulling web/main: Pulling image "web:1"
              Pulled web/main: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
              Created web/main: Container created
              Started web/main: Container started
            1.15 web Running main=running
              Unhealthy web/main: Readiness probe failed: HTTP probe failed with statuscode: 503 (warning)
            5.15 web Running ready main=running+
        "#]],
    );
}

#[test]
fn a_container_that_is_not_alive_is_restarted() {
    check(
        "
name: web
annotations: {mock.orlop.dev/script: 'liveness fail after 4s'}
containers:
- {name: main, livenessProbe: {tcpSocket: {port: 80}, periodSeconds: 1, failureThreshold: 2}}
",
        9.0,
        expect![[r#"
            1.00 web Pending
            1.00 web Pending main=ContainerCreating
              Pulling web/main: Pulling image "web:1"
              Pulled web/main: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
              Created web/main: Container created
              Started web/main: Container started
            1.15 web Running ready main=running+
              Unhealthy web/main: Liveness probe failed: HTTP probe failed with statuscode: 503 (warning)
              Killing web/main: Container main failed liveness probe, will be restarted
            6.25 web Running main=Completed(0)
              Pulled web/main: Container image "web:1" already present on machine
            6.40 web Running ready main=running+#1<Completed(0)
        "#]],
    );
}

#[test]
fn nothing_else_is_probed_before_the_start_is_over() {
    check(
        "
name: web
annotations: {mock.orlop.dev/script: 'startup fail; startup ok after 3s'}
containers:
- name: main
  startupProbe: {exec: {command: ['true']}, periodSeconds: 1, failureThreshold: 30}
  readinessProbe: {exec: {command: ['true']}, periodSeconds: 1}
",
        6.0,
        expect![[r#"
            1.00 web Pending
            1.00 web Pending main=ContainerCreating
              Pulling web/main: Pulling image "web:1"
              Pulled web/main: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
              Created web/main: Container created
              Started web/main: Container started
            1.15 web Running main=running
              Unhealthy web/main: Startup probe failed: HTTP probe failed with statuscode: 503 (warning)
            4.15 web Running ready main=running+
        "#]],
    );
}

#[test]
fn a_readiness_gate_holds_a_pod_back() {
    let mut world = run("{name: web, readinessGates: [{conditionType: lb}]}", 2.0);
    world.edit("web", |pod| {
        let conditions = pod["status"]["conditions"].as_array_mut().unwrap();
        conditions.push(json!({"type": "lb", "status": "True"}));
    });
    world.run(1.0);
    expect![[r#"
        1.00 web Pending
        1.00 web Pending main=ContainerCreating
          Pulling web/main: Pulling image "web:1"
          Pulled web/main: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
          Created web/main: Container created
          Started web/main: Container started
        1.15 web Running main=running+
        3.00 web Running ready main=running+
    "#]].assert_eq(&world.trace);
    let conditions = world.get("web").unwrap()["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|c| c["type"] == "lb"), "others' conditions stay");
}

#[test]
fn a_deleted_pod_ends_and_goes() {
    let mut world = run("name: web", 2.0);
    world.delete("web", 30);
    world.run(5.0);
    expect![[r#"
        1.00 web Pending
        1.00 web Pending main=ContainerCreating
          Pulling web/main: Pulling image "web:1"
          Pulled web/main: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
          Created web/main: Container created
          Started web/main: Container started
        1.15 web Running ready main=running+
        3.00 web Running terminating ready main=running+
          Killing web/main: Stopping container main
        3.10 web Succeeded terminating main=Completed(0)
        3.10 web gone
    "#]].assert_eq(&world.trace);
    assert_eq!(world.agent.pods(), 0);
}

#[test]
fn what_ignores_the_stop_is_killed_when_the_grace_is_over() {
    let mut world = run("{name: web, annotations: {mock.orlop.dev/script: stop never}}", 2.0);
    world.delete("web", 5);
    world.run(10.0);
    expect![[r#"
        1.00 web Pending
        1.00 web Pending main=ContainerCreating
          Pulling web/main: Pulling image "web:1"
          Pulled web/main: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
          Created web/main: Container created
          Started web/main: Container started
        1.15 web Running ready main=running+
        3.00 web Running terminating ready main=running+
          Killing web/main: Stopping container main
        8.00 web Failed terminating main=Error(137)
        8.00 web gone
    "#]].assert_eq(&world.trace);
}

#[test]
fn a_hook_before_the_stop_takes_its_time_from_the_grace() {
    let mut world =
        run("{name: web, containers: [{name: main, lifecycle: {preStop: {sleep: {seconds: 3}}}}]}", 2.0);
    world.delete("web", 30);
    world.run(5.0);
    expect![[r#"
        1.00 web Pending
        1.00 web Pending main=ContainerCreating
          Pulling web/main: Pulling image "web:1"
          Pulled web/main: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
          Created web/main: Container created
          Started web/main: Container started
        1.15 web Running ready main=running+
        3.00 web Running terminating ready main=running+
          Killing web/main: Stopping container main
        6.10 web Succeeded terminating main=Completed(0)
        6.10 web gone
    "#]].assert_eq(&world.trace);
}

/// A container that is told to stop before the data planes have forgotten its pod refuses requests that are still on
/// their way to it.
#[test]
fn nothing_is_stopped_before_the_planes_have_unrouted_it() {
    let mut world = run("name: web", 2.0);
    let before = world.revision();
    world.agent.on_planes(Some(before));
    world.delete("web", 30);
    world.run(2.0);
    world.agent.on_planes(Some(Revision(before.0 + 1)));
    world.run(2.0);
    expect![[r#"
        1.00 web Pending
        1.00 web Pending main=ContainerCreating
          Pulling web/main: Pulling image "web:1"
          Pulled web/main: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
          Created web/main: Container created
          Started web/main: Container started
        1.15 web Running ready main=running+
        3.00 web Running terminating ready main=running+
          Killing web/main: Stopping container main
        5.10 web Succeeded terminating main=Completed(0)
        5.10 web gone
    "#]].assert_eq(&world.trace);
}

#[test]
fn a_shorter_grace_replaces_an_earlier_one() {
    let mut world = run("{name: web, annotations: {mock.orlop.dev/script: stop never}}", 2.0);
    world.delete("web", 600);
    world.run(5.0);
    world.delete("web", 6);
    world.run(5.0);
    expect![[r#"
        1.00 web Pending
        1.00 web Pending main=ContainerCreating
          Pulling web/main: Pulling image "web:1"
          Pulled web/main: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
          Created web/main: Container created
          Started web/main: Container started
        1.15 web Running ready main=running+
        3.00 web Running terminating ready main=running+
          Killing web/main: Stopping container main
        10.00 web Failed terminating main=Error(137)
        10.00 web gone
    "#]].assert_eq(&world.trace);
}

#[test]
fn a_pod_that_vanishes_from_the_api_ends_all_the_same() {
    let mut world = run("name: web", 2.0);
    world.remove(&crate::world::pods(), &orlop_core::Key::new("default", "web"));
    world.run(5.0);
    assert_eq!((world.agent.pods(), world.machine.running().count()), (0, 0));
}

#[test]
fn a_pod_that_runs_too_long_fails() {
    check(
        "{name: job, restartPolicy: Never, activeDeadlineSeconds: 3, containers: [{name: main, command: [sleep, 1h]}]}",
        6.0,
        expect![[r#"
            1.00 job Pending
            1.00 job Pending main=ContainerCreating
              Pulling job/main: Pulling image "web:1"
              Pulled job/main: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
              Created job/main: Container created
              Started job/main: Container started
            1.15 job Running ready main=running+
            4.00 job Running main=running+
              DeadlineExceeded job: Pod was active on the node longer than the specified deadline
              Killing job/main: Stopping container main
            4.10 job Failed DeadlineExceeded main=Error(143)
        "#]],
    );
}

#[test]
fn a_missing_object_is_waited_for() {
    let mut world = run(
        "
name: web
volumes: [{name: v, configMap: {name: settings}}]
containers:
- name: main
  env: [{name: A, valueFrom: {configMapKeyRef: {name: settings, key: a}}}]
",
        2.0,
    );
    let kind = Kind::namespaced("", "v1", "ConfigMap", "configmaps");
    world.put(&kind, json!({"metadata": {"name": "settings", "namespace": "default"}, "data": {"b": "1"}}));
    world.run(2.0);
    world.put(&kind, json!({"metadata": {"name": "settings", "namespace": "default"}, "data": {"a": "1"}}));
    world.run(2.0);
    expect![[r#"
        1.00 web Pending
        1.00 web Pending main=ContainerCreating
          FailedMount web: MountVolume.SetUp failed for volume "v" : configmap "settings" not found (warning)
          Pulling web/main: Pulling image "web:1"
          Pulled web/main: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
          Failed web/main: Error: couldn't find key a in ConfigMap default/settings (warning)
        3.00 web Pending main=CreateContainerConfigError
          Pulled web/main: Container image "web:1" already present on machine
          Created web/main: Container created
          Started web/main: Container started
        5.15 web Running ready main=running+
    "#]].assert_eq(&world.trace);
}

#[test]
fn a_pod_without_room_is_refused() {
    let mut world = run("{name: big, containers: [{name: main, resources: {requests: {cpu: 3}}}]}", 1.0);
    world.pod("{name: second, containers: [{name: main, resources: {requests: {cpu: 1500m}}}]}");
    world.run(1.0);
    expect![[r#"
        1.00 big Pending
        1.00 big Pending main=ContainerCreating
          Pulling big/main: Pulling image "web:1"
          Pulled big/main: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
          Created big/main: Container created
          Started big/main: Container started
        1.15 big Running ready main=running+
        2.00 second Pending
        2.00 second Failed OutOfcpu
          OutOfcpu second: Node didn't have enough resource: cpu, requested: 1500, used: 3000, capacity: 4000 (warning)
    "#]].assert_eq(&world.trace);
    let message = world.get("second").unwrap()["status"]["message"].as_str().unwrap();
    assert_eq!(
        message,
        "Pod was rejected: Node didn't have enough resource: cpu, requested: 1500, used: 3000, capacity: 4000"
    );
}

#[test]
fn another_image_restarts_the_container() {
    let mut world = run("name: web", 2.0);
    world.edit("web", |pod| pod["spec"]["containers"][0]["image"] = "web:2".into());
    world.run(3.0);
    expect![[r#"
        1.00 web Pending
        1.00 web Pending main=ContainerCreating
          Pulling web/main: Pulling image "web:1"
          Pulled web/main: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
          Created web/main: Container created
          Started web/main: Container started
        1.15 web Running ready main=running+
          Killing web/main: Container main definition changed, will be restarted
        3.10 web Running main=Completed(0)
          Pulling web/main: Pulling image "web:2"
          Pulled web/main: Successfully pulled image "web:2" in 0ms (0ms including waiting). Image size: 1048576 bytes.
        3.25 web Running ready main=running+#1<Completed(0)
    "#]].assert_eq(&world.trace);
}

#[test]
fn a_status_has_all_that_kubernetes_tells() {
    let world =
        run("{name: web, containers: [{name: main, image: 'nginx:1', ports: [{containerPort: 80}]}]}", 2.0);
    let status = serde_yaml::to_string(&world.get("web").unwrap()["status"]).unwrap();
    expect![[r#"
        phase: Running
        qosClass: BestEffort
        observedGeneration: 1
        startTime: 2026-01-01T00:00:01Z
        hostIP: 172.18.0.2
        hostIPs:
        - ip: 172.18.0.2
        conditions:
        - type: PodReadyToStartContainers
          status: 'True'
          lastProbeTime: null
          lastTransitionTime: 2026-01-01T00:00:01Z
          observedGeneration: 1
        - type: Initialized
          status: 'True'
          lastProbeTime: null
          lastTransitionTime: 2026-01-01T00:00:01Z
          observedGeneration: 1
        - type: Ready
          status: 'True'
          lastProbeTime: null
          lastTransitionTime: 2026-01-01T00:00:01Z
          observedGeneration: 1
        - type: ContainersReady
          status: 'True'
          lastProbeTime: null
          lastTransitionTime: 2026-01-01T00:00:01Z
          observedGeneration: 1
        - type: PodScheduled
          status: 'True'
          lastProbeTime: null
          lastTransitionTime: 2026-01-01T00:00:01Z
          observedGeneration: 1
        containerStatuses:
        - name: main
          state:
            running:
              startedAt: 2026-01-01T00:00:01Z
          lastState: {}
          ready: true
          restartCount: 0
          image: nginx:1
          imageID: nginx:1@mock
          containerID: mock://web-main-0-9
          started: true
        podIP: 10.244.1.2
        podIPs:
        - ip: 10.244.1.2
    "#]]
    .assert_eq(&status);
}

/// A pod became unreadable to the agent, which took it for gone, and ended it.
#[test]
fn a_pod_that_cannot_be_read_runs_on() {
    let mut world = run("name: web", 5.0);
    let spec = world.get("web").expect("the pod exists")["spec"].clone();
    world.edit("web", |pod| pod["spec"]["containers"] = "none".into());
    world.run(60.0);
    assert_eq!((world.agent.malformed(), world.agent.pods()), (1, 1));
    world.edit("web", |pod| pod["spec"] = spec.clone());
    world.run(10.0);
    let status = &world.get("web").expect("the pod exists")["status"];
    assert_eq!(world.agent.malformed(), 0);
    assert_eq!(
        (&status["phase"], &status["containerStatuses"][0]["restartCount"]),
        (&"Running".into(), &0.into())
    );
}

/// Its end overtook the answer to its start, and `kubectl describe` showed `Created`, but never `Started`.
#[test]
fn what_ends_at_once_has_started_before() {
    for events_first in [false, true] {
        let mut world = World::new(config(), Policy::default());
        world.events_first = events_first;
        world.run(1.0);
        world.pod(
            "
name: task
restartPolicy: Never
initContainers: [{name: init, command: ['true']}]
containers: [{name: main, command: [sh, -c, exit 4]}]
",
        );
        world.run(3.0);
        for container in ["init", "main"] {
            let started = format!("Started task/{container}: Container started");
            assert_eq!(world.trace.matches(&started).count(), 1, "{events_first}: {}", world.trace);
        }
        assert!(world.trace.contains("task Failed init=Completed(0) main=Error(4)"), "{}", world.trace);
    }
}
