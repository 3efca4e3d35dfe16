//! The manners of the fake kubelet under which Kubernetes' control plane was recorded.

use expect_test::{Expect, expect};
use orlop_runtime_mock::Policy;

use crate::world::{World, config};

fn world() -> World {
    let mut world = World::new(config().recorded(), Policy::recorded());
    world.run(1.0);
    world.trace.clear();
    world
}

fn check(yaml: &str, secs: f64, expected: Expect) {
    let mut world = world();
    world.pod(yaml);
    world.run(secs);
    expected.assert_eq(&world.trace);
}

#[test]
fn a_bound_pod_runs_at_once() {
    check(
        "{name: web, initContainers: [{name: a}], containers: [{name: x, readinessProbe: {httpGet: {port: 80}}}, {name: y}]}",
        3.0,
        expect![[r#"
            1.00 web Pending
            1.16 web Running ready a=Completed(0) x=running+ y=running+
        "#]],
    );
}

#[test]
fn a_missing_image_backs_off_after_a_second() {
    check(
        "{name: web, containers: [{name: main, image: 'r.test/stuck:missing'}]}",
        5.0,
        expect![[r#"
        1.00 web Pending
        1.00 web Pending main=ErrImagePull
        2.00 web Pending main=ImagePullBackOff
    "#]],
    );
}

#[test]
fn a_task_ends_after_most_of_a_second() {
    check(
        "{name: task, restartPolicy: Never, containers: [{name: main, args: [do-it]}]}",
        5.0,
        expect![[r#"
            1.00 task Pending
            1.16 task Running ready main=running+
            1.96 task Succeeded main=Completed(0)
        "#]],
    );
    check(
        "{name: task, restartPolicy: OnFailure, containers: [{name: main, command: [sh, -c, exit 3]}]}",
        5.0,
        expect![[r#"
            1.00 task Pending
            1.16 task Running ready main=running+
            1.96 task Failed main=Error(3)
        "#]],
    );
    check(
        "{name: task, restartPolicy: Never, containers: [{name: main, command: [sleep, '99']}]}",
        5.0,
        expect![[r#"
            1.00 task Pending
            1.16 task Running ready main=running+
        "#]],
    );
}

#[test]
fn an_annotation_holds_a_pod_unready() {
    let mut world = world();
    world.pod("{name: web, annotations: {rec/ready: 'false'}}");
    world.run(1.0);
    world
        .edit("web", |pod| drop(pod["metadata"]["annotations"].as_object_mut().unwrap().remove("rec/ready")));
    world.run(1.0);
    expect![[r#"
        1.00 web Pending
        1.16 web Running main=running
        2.00 web Running ready main=running+
    "#]]
    .assert_eq(&world.trace);
}

#[test]
fn a_terminating_pod_goes_after_a_third_of_a_second() {
    for (policy, expected) in [
        (
            "Always",
            expect![[r#"
                1.00 web Pending
                1.16 web Running ready main=running+
                2.00 web Running terminating ready main=running+
                2.30 web Succeeded terminating main=Completed(0)
                2.30 web gone
            "#]],
        ),
        (
            "Never",
            expect![[r#"
                1.00 web Pending
                1.16 web Running ready main=running+
                2.00 web Running terminating ready main=running+
                2.30 web Failed terminating main=Error(143)
                2.30 web gone
            "#]],
        ),
    ] {
        let mut world = world();
        world.pod(&format!(
            "{{name: web, restartPolicy: {policy}, containers: [{{name: main, command: [sleep, '99']}}]}}"
        ));
        world.run(1.0);
        world.delete("web", 30);
        world.run(1.0);
        expected.assert_eq(&world.trace);
    }
}

#[test]
fn the_status_is_as_recorded() {
    let mut world = world();
    world.pod("{name: solo, containers: [{name: main, image: 'registry.test/solo:1'}]}");
    world.run(1.0);
    let status = serde_yaml::to_string(&world.get("solo").unwrap()["status"]).unwrap();
    expect![[r#"
        phase: Running
        qosClass: BestEffort
        observedGeneration: 1
        startTime: 2026-01-01T00:00:01Z
        hostIP: 172.18.0.2
        hostIPs:
        - ip: 172.18.0.2
        podIP: 10.244.1.2
        podIPs:
        - ip: 10.244.1.2
        conditions:
        - type: PodReadyToStartContainers
          status: 'True'
          lastProbeTime: null
          lastTransitionTime: 2026-01-01T00:00:01Z
        - type: Initialized
          status: 'True'
          lastProbeTime: null
          lastTransitionTime: 2026-01-01T00:00:01Z
        - type: Ready
          status: 'True'
          lastProbeTime: null
          lastTransitionTime: 2026-01-01T00:00:01Z
        - type: ContainersReady
          status: 'True'
          lastProbeTime: null
          lastTransitionTime: 2026-01-01T00:00:01Z
        - type: PodScheduled
          status: 'True'
          lastProbeTime: null
          lastTransitionTime: 2026-01-01T00:00:01Z
        containerStatuses:
        - name: main
          state:
            running:
              startedAt: 2026-01-01T00:00:01Z
          lastState: {}
          ready: true
          restartCount: 0
          image: registry.test/solo:1
          imageID: fake://registry.test/solo:1
          containerID: fake://main
          started: true
    "#]]
    .assert_eq(&status);
}
