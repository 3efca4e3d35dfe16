//! Hooks after the start, and probes that are slow to answer.

use expect_test::expect;

use crate::pods::{check, run};

/// `sleep` after the start did nothing, and nobody waited for the hook of the container before.
#[test]
fn the_next_container_starts_when_the_hook_of_the_one_before_has_ended() {
    check(
        "
name: web
containers:
- {name: x, lifecycle: {postStart: {sleep: {seconds: 2}}}}
- {name: y}
",
        5.0,
        expect![[r#"
            1.00 web Pending
            1.00 web Pending x=ContainerCreating y=ContainerCreating
              Pulling web/x: Pulling image "web:1"
              Pulled web/x: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
              Created web/x: Container created
              Started web/x: Container started
            1.15 web Pending x=running y=ContainerCreating
            3.15 web Pending x=running+ y=ContainerCreating
              Pulled web/y: Container image "web:1" already present on machine
              Created web/y: Container created
              Started web/y: Container started
            3.30 web Running ready x=running+ y=running+
        "#]],
    );
}

/// A container that cannot be started holds up none of those behind it.
#[test]
fn a_container_that_fails_to_start_holds_up_nobody() {
    let world = run(
        "
name: web
containers:
- {name: x, image: 'web:missing', lifecycle: {postStart: {sleep: {seconds: 2}}}}
- {name: y}
",
        3.0,
    );
    assert_eq!(world.machine.running().count(), 1, "{}", world.trace);
}

/// A hook that cannot be carried out fails, and its container with it: `tcpSocket` is kept in the API alone.
#[test]
fn a_hook_of_a_kind_that_is_not_carried_out_fails() {
    check(
        "{name: web, restartPolicy: Never, containers: [{name: x, lifecycle: {postStart: {tcpSocket: {port: 80}}}}]}",
        3.0,
        expect![[r#"
            1.00 web Pending
            1.00 web Pending x=ContainerCreating
              Pulling web/x: Pulling image "web:1"
              Pulled web/x: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
              Created web/x: Container created
              Started web/x: Container started
            1.15 web Running x=running
              FailedPostStartHook web/x: PostStartHook failed (warning)
            1.25 web Succeeded x=Completed(0)
        "#]],
    );
}

/// While a probe was out that took longer than its period, the agent woke every millisecond.
#[test]
fn a_slow_probe_wakes_nobody() {
    let mut world = run(
        "
name: web
annotations: {mock.orlop.dev/script: 'readiness silent'}
containers: [{name: main, readinessProbe: {exec: {command: [x]}, periodSeconds: 1, timeoutSeconds: 8}}]
",
        2.0,
    );
    let before = world.wakes;
    world.run(40.0);
    assert!(world.wakes - before < 40, "{} wakes in 40 s", world.wakes - before);
    let unhealthy = world.trace.matches("Readiness probe failed").count();
    assert!(unhealthy >= 1, "{}", world.trace);
}
