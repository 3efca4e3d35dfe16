//! Containers that somebody adds to a pod that is there already, to look into it.

use expect_test::expect;
use orlop_runtime_mock::Policy;
use serde_json::{Value, json};

use crate::world::{World, config};

fn debugged(pod: &str, container: Value) -> World {
    let mut world = World::new(config(), Policy::default());
    world.run(1.0);
    world.pod(pod);
    world.run(2.0);
    world.trace.clear();
    world.edit("web", |pod| pod["spec"]["ephemeralContainers"] = json!([container]));
    world
}

/// `kubectl debug` added one, and waited for ever for it to start.
#[test]
fn one_runs_once_beside_the_others() {
    let command = ["sh", "-c", "echo here; sleep 5; exit 3"];
    let mut world = debugged("name: web", json!({"name": "debug", "image": "busybox", "command": command}));
    world.run(10.0);
    expect![[r#"
        3.00 web Running ready main=running+ debug=ContainerCreating
          Pulling web/debug: Pulling image "busybox"
          Pulled web/debug: Successfully pulled image "busybox" in 0ms (0ms including waiting). Image size: 1048576 bytes.
          Created web/debug: Container created
          Started web/debug: Container started
        3.15 web Running ready main=running+ debug=running
        8.15 web Running ready main=running+ debug=Error(3)
    "#]]
    .assert_eq(&world.trace);
    let status = &world.get("web").expect("the pod")["status"]["ephemeralContainerStatuses"][0];
    assert_eq!(status["ready"], false);
    assert_eq!(status["restartCount"], 0);
    assert!(status.get("started").is_none(), "{status}");
}

#[test]
fn one_starts_while_the_pod_is_still_prepared() {
    let pod = "{name: web, initContainers: [{name: wait, command: [sleep, '60']}]}";
    let mut world = debugged(pod, json!({"name": "debug", "image": "busybox", "stdin": true, "tty": true}));
    world.run(3.0);
    let told = world.trace.lines().last().expect("something");
    assert_eq!(told, "3.15 web Pending wait=running main=PodInitializing debug=running");
}

#[test]
fn one_does_not_keep_a_pod_from_its_end() {
    let pod = "{name: web, restartPolicy: Never, containers: [{name: main, command: [sleep, '10']}]}";
    let command = ["sleep", "1000"];
    let mut world = debugged(pod, json!({"name": "debug", "image": "busybox", "command": command}));
    world.run(60.0);
    let told = world.trace.lines().last().expect("something").to_owned();
    assert!(told.contains("web Succeeded main=Completed(0) debug=Error(143)"), "{}", world.trace);
}

/// Where its image does not come, the pod is as well as before.
#[test]
fn one_that_cannot_start_harms_nobody() {
    let mut world = debugged("name: web", json!({"name": "debug", "image": "busybox:missing"}));
    world.run(3.0);
    assert!(
        world.trace.contains("web Running ready main=running+ debug=ImagePullBackOff"),
        "{}",
        world.trace
    );
    world.delete("web", 5);
    world.run(10.0);
    assert!(world.get("web").is_none(), "{}", world.trace);
}

/// A new agent finds it as it finds all others.
#[test]
fn one_outlives_the_agent() {
    let command = ["sleep", "1000"];
    let mut world = debugged("name: web", json!({"name": "debug", "image": "busybox", "command": command}));
    world.run(3.0);
    world.trace.clear();
    world.start_agent();
    world.run(20.0);
    assert_eq!(world.trace, "  Starting n1: Starting kubelet.\n", "nothing else is new");
    assert_eq!(world.machine.running().count(), 2);
}
