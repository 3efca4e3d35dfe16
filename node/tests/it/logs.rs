//! Which run a log is of, as a pod's status tells it.

use orlop_core::kinds::PodStatus;
use orlop_core::runtime::{Call, Reply};
use orlop_node::Run;
use orlop_runtime_mock::Output;

use crate::pods::run;
use crate::world::World;

/// The run that is shown, among those that the runtime has.
fn shown(world: &mut World, previous: bool) -> Result<u32, String> {
    let status = world.get("web").unwrap()["status"].clone();
    let status: PodStatus = serde_json::from_value(status).unwrap();
    let run = Run::of("web", &status, "main", previous)?;
    let asked = world.machine.call(world.now, Call::List);
    let list = world.machine.poll(world.now).into_iter().find_map(|output| match output {
        Output::Reply(ticket, Ok(Reply::List(list))) if ticket == asked => Some(list),
        _ => None,
    });
    let list = list.expect("the runtime answers");
    let found = run.among(list.iter().flat_map(|sandbox| &sandbox.containers));
    Ok(found.expect("the runtime still has it").attempt)
}

/// `kubectl logs -p` skipped the run that had just crashed, and with one run kept it found none.
#[test]
fn the_previous_run_of_what_waits_is_the_one_that_has_just_ended() {
    let mut world = run("{name: web, containers: [{name: main, command: [sh, -c, sleep 1; exit 1]}]}", 0.5);
    let none = "previous terminated container \"main\" in pod \"web\" not found".to_owned();
    assert_eq!((shown(&mut world, false), shown(&mut world, true)), (Ok(0), Err(none)));
    // The first restart is at once; the second one is waited for.
    world.run(1.0);
    assert_eq!((shown(&mut world, false), shown(&mut world, true)), (Ok(1), Ok(0)));
    world.run(4.0);
    assert!(world.trace.ends_with("main=CrashLoopBackOff#1<Error(1)\n"), "{}", world.trace);
    assert_eq!((shown(&mut world, false), shown(&mut world, true)), (Ok(1), Ok(1)));
    world.run(7.2);
    assert!(world.trace.ends_with("main=running+#2<Error(1)\n"), "{}", world.trace);
    assert_eq!((shown(&mut world, false), shown(&mut world, true)), (Ok(2), Ok(1)));
}

/// Whatever kept a container from starting, its log told of `ContainerCreating`.
#[test]
fn a_container_that_has_not_started_says_why() {
    let waiting = |yaml: &str, secs: f64| shown(&mut run(yaml, secs), false).unwrap_err();
    let missing = "{name: web, containers: [{name: main, image: 'web:missing'}]}";
    let of = |what: &str| format!("container \"main\" in pod \"web\" is waiting to start: {what}");
    assert_eq!(waiting(missing, 0.5), of("image can't be pulled"));
    assert_eq!(waiting(missing, 5.0), of("trying and failing to pull image"));
    assert_eq!(waiting("{name: web}", 0.0), of("ContainerCreating"));
    assert_eq!(
        waiting("{name: web, initContainers: [{name: a, command: [sleep, '9']}]}", 1.0),
        of("PodInitializing")
    );
    let status = PodStatus::default();
    assert_eq!(
        Run::of("web", &status, "main", false),
        Err("container \"main\" in pod \"web\" is not available".into())
    );
}
