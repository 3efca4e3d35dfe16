//! What holds whatever happens.

use std::collections::BTreeMap;

use orlop_core::runtime::RuntimeError;
use orlop_runtime_mock::{Fault, Policy};
use proptest::prelude::*;
use serde_json::Value;

use crate::world::{World, config};

#[derive(Clone, Debug)]
enum Step {
    Create(usize, usize),
    Delete(usize, u64),
    Vanish(usize),
    Wait(u32),
    Fail(&'static str, u32),
    Kill(usize),
    LoseEvents(u32),
    LoseReplies(u32),
    RefuseWrites(u32),
    RestartAgent,
}

const PODS: [&str; 7] = [
    "{}",
    "{containers: [{name: main, command: [sh, -c, sleep 1; exit 1]}, {name: b}]}",
    "{restartPolicy: Never, containers: [{name: main, command: [sleep, '2']}]}",
    "{restartPolicy: OnFailure, initContainers: [{name: a, command: [sleep, '1']}, {name: s, restartPolicy: Always}], containers: [{name: main, command: ['false']}]}",
    "{annotations: {mock.orlop.dev/script: 'stop never; liveness fail after 3s'}, containers: [{name: main, livenessProbe: {exec: {command: [x]}, periodSeconds: 1}, lifecycle: {preStop: {sleep: {seconds: 1}}}}]}",
    "{restartPolicy: Never, initContainers: [{name: a, command: ['true']}, {name: s, restartPolicy: Always}, {name: t, restartPolicy: Always, lifecycle: {postStart: {sleep: {seconds: 1}}}}], containers: [{name: main, command: [sh, -c, sleep 2; exit 42], restartPolicy: Never, restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [42]}}]}]}",
    "{annotations: {mock.orlop.dev/script: 'stop 3s; ready until 2s'}, initContainers: [{name: s, restartPolicy: Always}, {name: t, restartPolicy: Always}], containers: [{name: main, readinessProbe: {exec: {command: [x]}, periodSeconds: 1}, lifecycle: {postStart: {exec: {command: ['true']}}}}, {name: b, restartPolicy: Never, command: [sleep, '1']}]}",
];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..4, 0..PODS.len()).prop_map(|(name, kind)| Step::Create(name, kind)),
        3 => (0usize..4, 1u64..6).prop_map(|(name, grace)| Step::Delete(name, grace)),
        1 => (0usize..4).prop_map(Step::Vanish),
        6 => (1u32..4000).prop_map(Step::Wait),
        2 => (prop::sample::select(vec!["", "create_sandbox", "create_container", "start_container", "stop_container", "list"]), 1u32..4)
            .prop_map(|(call, count)| Step::Fail(call, count)),
        2 => (0usize..4).prop_map(Step::Kill),
        1 => (1u32..4).prop_map(Step::LoseEvents),
        1 => (1u32..4).prop_map(Step::LoseReplies),
        1 => (1u32..4).prop_map(Step::RefuseWrites),
        1 => Just(Step::RestartAgent),
    ]
}

/// Moves on in small steps, and checks what must always hold.
fn watch(
    world: &mut World,
    millis: u32,
    counts: &mut BTreeMap<(String, String), i64>,
) -> Result<(), TestCaseError> {
    let mut left = millis;
    while left > 0 {
        let now = left.min(250);
        world.run(f64::from(now) / 1000.0);
        left -= now;
        let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
        for (_, spec, sandbox) in world.machine.running() {
            *seen.entry((sandbox.uid.to_string(), spec.name.to_string())).or_default() += 1;
        }
        for (who, count) in seen {
            prop_assert!(count <= 1, "{who:?} runs {count} times\n{}", world.trace);
        }
        for name in ["p0", "p1", "p2", "p3"] {
            let Some(pod) = world.get(name) else { continue };
            let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            for status in pod["status"]["containerStatuses"].as_array().into_iter().flatten() {
                let count = status["restartCount"].as_i64().unwrap_or(0);
                let who = (uid.clone(), status["name"].to_string());
                let before = counts.insert(who.clone(), count).unwrap_or(0);
                prop_assert!(count >= before, "the restart count of {who:?} fell\n{}", world.trace);
            }
        }
    }
    Ok(())
}

fn template(name: usize, kind: usize) -> Value {
    let mut yaml: Value = serde_yaml::from_str(PODS[kind]).unwrap();
    yaml["name"] = format!("p{name}").into();
    crate::world::pod(&yaml.to_string())
}

/// Few, unless `PROPTEST_CASES` says how many.
fn cases() -> ProptestConfig {
    let default = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default,
        None => ProptestConfig { cases: 60, ..default },
    }
}

proptest! {
    #![proptest_config(cases())]

    /// Whatever happens in between: nothing runs twice, restart counts do not fall, every terminating pod is gone by
    /// the end of its grace and some slack, and in the end the agent comes to rest.
    #[test]
    fn pods_are_safe_and_end(steps in prop::collection::vec(step(), 1..25)) {
        let mut world = World::new(config(), Policy::default());
        let mut counts = BTreeMap::new();
        for step in steps {
            match step {
                Step::Create(name, kind) => {
                    if world.get(&format!("p{name}")).is_none() {
                        world.put(&crate::world::pods(), template(name, kind));
                    }
                }
                Step::Delete(name, grace) => {
                    let name = format!("p{name}");
                    if world.get(&name).is_some_and(|pod| pod["metadata"]["deletionTimestamp"].is_null()) {
                        world.delete(&name, grace);
                    }
                }
                Step::Vanish(name) => {
                    let name = format!("p{name}");
                    if world.get(&name).is_some() {
                        world.remove(&crate::world::pods(), &orlop_core::Key::new("default", name));
                    }
                }
                Step::Wait(millis) => watch(&mut world, millis, &mut counts)?,
                Step::Fail(call, count) => world.machine.inject(world.now, Fault::FailCalls {
                    count,
                    call: call.into(),
                    error: RuntimeError::Unavailable("away".into()),
                }),
                Step::Kill(n) => {
                    let id = world.machine.running().nth(n).map(|(id, ..)| id.clone());
                    if let Some(id) = id {
                        world.machine.inject(world.now, Fault::KillContainer(id));
                    }
                }
                Step::LoseEvents(n) => world.machine.inject(world.now, Fault::LoseEvents(n)),
                Step::LoseReplies(n) => world.machine.inject(world.now, Fault::LoseReplies(n)),
                Step::RefuseWrites(n) => world.refuse_writes = n,
                Step::RestartAgent => world.start_agent(),
            }
        }
        // The faults that are still to come happen while all is deleted.
        for name in ["p0", "p1", "p2", "p3"] {
            if world.get(name).is_some_and(|pod| pod["metadata"]["deletionTimestamp"].is_null()) {
                world.delete(name, 5);
            }
        }
        watch(&mut world, 60_000, &mut counts)?;
        prop_assert_eq!(world.machine.running().count(), 0, "something still runs\n{}", world.trace);
        for name in ["p0", "p1", "p2", "p3"] {
            prop_assert!(world.get(name).is_none(), "{} is still there\n{}", name, world.trace);
        }
        prop_assert_eq!(world.agent.pods(), 0);
    }

    /// Whatever a pod is doing: when it is deleted it is gone by the end of its grace and the slack of a kill.
    #[test]
    fn a_deleted_pod_is_gone_in_time(kind in 0..PODS.len(), lived in 0u32..20_000, grace in 1u64..40) {
        let mut world = World::new(config(), Policy::default());
        world.put(&crate::world::pods(), template(0, kind));
        world.run(f64::from(lived) / 1000.0);
        world.delete("p0", grace);
        world.run(grace as f64 + 3.2);
        prop_assert!(world.get("p0").is_none(), "{}", world.trace);
        prop_assert_eq!(world.machine.running().count(), 0);
    }

    /// After all has come to rest nothing more is written.
    #[test]
    fn a_pod_at_rest_causes_no_writes(kind in prop::sample::select(vec![0usize, 2]), secs in 1u32..40) {
        let mut world = World::new(config(), Policy::default());
        world.put(&crate::world::pods(), template(0, kind));
        world.run(10.0);
        let writes = world.writes;
        world.run(f64::from(secs));
        world.start_agent();
        world.run(5.0);
        prop_assert!(world.writes <= writes + 1, "more than the new agent's heartbeat: {}\n{}", world.writes - writes, world.trace);
    }
}
