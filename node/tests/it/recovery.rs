//! Restarts and faults.

use expect_test::expect;
use orlop_core::runtime::{ContainerId, RuntimeError};
use orlop_runtime_mock::{Fault, Policy};

use crate::world::{World, config, summary};

fn running(yaml: &str) -> World {
    let mut world = World::new(config(), Policy::default());
    world.pod(yaml);
    world.run(5.0);
    world.trace.clear();
    world
}

fn container(world: &World) -> ContainerId {
    world.machine.running().next().expect("something runs").0.clone()
}

#[test]
fn a_restarted_agent_takes_over_what_runs() {
    let mut world = running("{name: web, initContainers: [{name: a, command: ['true']}]}");
    let (id, writes) = (container(&world), world.writes);
    world.start_agent();
    world.run(30.0);
    assert_eq!(container(&world), id);
    assert_eq!(world.writes, writes + 1, "the node's heartbeat, and nothing for the pod\n{}", world.trace);
    world.delete("web", 30);
    world.run(3.0);
    assert_eq!(world.machine.running().count(), 0);
    assert!(world.get("web").is_none());
}

#[test]
fn what_has_lost_its_pod_while_nobody_looked_is_removed() {
    let mut world = running("name: web");
    world.agent = orlop_node::Agent::new(config());
    world.remove(&crate::world::pods(), &orlop_core::Key::new("default", "web"));
    world.start_agent();
    world.run(3.0);
    assert_eq!(world.machine.running().count(), 0);
}

#[test]
fn an_end_that_was_not_told_is_found() {
    let mut world = running("name: web");
    let id = container(&world);
    world.machine.inject(world.now, Fault::LoseEvents(1));
    world.machine.inject(world.now, Fault::KillContainer(id));
    world.run(15.0);
    expect![[r#"
        10.00 web Running main=Error(137)
          Pulled web/main: Container image "web:1" already present on machine
        10.15 web Running ready main=running+#1<Error(137)
    "#]]
    .assert_eq(&world.trace);
}

#[test]
fn a_lost_sandbox_is_made_anew() {
    let mut world = running("{name: web, initContainers: [{name: a, command: ['true']}]}");
    world.machine.inject(world.now, Fault::Reboot);
    world.run(15.0);
    expect![[r#"
        10.00 web Running a=PodInitializing#1<Completed(0) main=Error(137)
          SandboxChanged web: Pod sandbox changed, it will be killed and re-created.
          Pulled web/a: Container image "web:1" already present on machine
        10.15 web Running a=Completed(0)#1<Completed(0) main=Error(137)
        10.30 web Running ready a=Completed(0)#1<Completed(0) main=running+#1<Error(137)
    "#]]
    .assert_eq(&world.trace);
    assert_eq!(world.machine.running().count(), 1);
}

#[test]
fn a_sandbox_that_dies_is_noticed_at_once() {
    let mut world = running("name: web");
    let listed = world.machine.call(world.now, orlop_core::runtime::Call::List);
    let found = world.machine.poll(world.now).into_iter().find_map(|output| match output {
        orlop_runtime_mock::Output::Reply(ticket, Ok(orlop_core::runtime::Reply::List(list)))
            if ticket == listed =>
        {
            list.into_iter().next()
        }
        _ => None,
    });
    let id = found.expect("a sandbox").id;
    world.machine.inject(world.now, Fault::LoseSandbox(id));
    world.run(2.0);
    assert_eq!(summary(world.get("web").unwrap()), "Running ready main=running+#1<Error(137)");
}

#[test]
fn unanswered_calls_do_not_run_anything_twice() {
    for call in ["create_sandbox", "create_container", "start_container"] {
        let mut world = World::new(config(), Policy::default());
        world.run(1.0);
        let away = RuntimeError::Unavailable("away".into());
        world.machine.inject(world.now, Fault::FailCalls { count: 2, call: call.into(), error: away });
        world.pod("name: web");
        world.run(20.0);
        assert_eq!(
            summary(world.get("web").unwrap()),
            "Running ready main=running+",
            "{call}\n{}",
            world.trace
        );
        assert_eq!(world.machine.running().count(), 1);
    }
    let mut world = World::new(config(), Policy::default());
    world.run(1.0);
    world.machine.inject(world.now, Fault::LoseReplies(3));
    world.pod("name: web");
    world.run(20.0);
    assert_eq!(summary(world.get("web").unwrap()), "Running ready main=running+", "{}", world.trace);
}

#[test]
fn addresses_rest_before_they_are_given_again() {
    let mut world = running("name: web");
    let ip = world.get("web").unwrap()["status"]["podIP"].clone();
    world.delete("web", 1);
    world.run(2.0);
    world.pod("name: web");
    world.run(2.0);
    assert_ne!(world.get("web").unwrap()["status"]["podIP"], ip);
}

/// A mock runtime forgets everything when its process ends, the store does not: the cluster comes back as it was.
#[test]
fn a_pod_keeps_its_address_when_the_runtime_has_forgotten_it() {
    let mut world = running("name: web");
    let ip = world.get("web").unwrap()["status"]["podIP"].clone();
    world.machine = orlop_runtime_mock::MockMachine::new(Policy::default());
    world.start_agent();
    world.pod("name: other");
    world.run(3.0);
    let pod = world.get("web").unwrap();
    assert_eq!((summary(pod), &pod["status"]["podIP"]), ("Running ready main=running+#1".to_owned(), &ip));
    assert_ne!(world.get("other").unwrap()["status"]["podIP"], ip);
}
