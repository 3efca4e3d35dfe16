//! What runs again after its end: a container's own policy, its rules, and all of a pod at once.

use expect_test::expect;
use serde_json::Value;

use crate::pods::{check, run};

/// Only the pod's policy was asked: a container that must never restart came back with its pod's others.
#[test]
fn a_container_has_a_policy_of_its_own() {
    check(
        "
name: web
containers:
- {name: main}
- {name: once, restartPolicy: Never, command: [sh, -c, exit 3]}
- {name: task, restartPolicy: OnFailure, command: ['true']}
",
        20.0,
        expect![[r#"
            1.00 web Pending
            1.00 web Pending main=ContainerCreating once=ContainerCreating task=ContainerCreating
              Pulling web/main: Pulling image "web:1"
              Pulling web/once: Pulling image "web:1"
              Pulling web/task: Pulling image "web:1"
              Pulled web/main: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
              Pulled web/once: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
              Pulled web/task: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
              Created web/main: Container created
              Created web/once: Container created
              Created web/task: Container created
              Started web/main: Container started
              Started web/once: Container started
              Started web/task: Container started
            1.15 web Running main=running+ once=Error(3) task=Completed(0)
        "#]],
    );
}

#[test]
fn a_pod_ends_when_each_container_has_ended_by_its_own_policy() {
    check(
        "
name: job
containers:
- {name: once, restartPolicy: Never, command: [sh, -c, exit 3]}
- {name: task, restartPolicy: OnFailure, command: [sleep, '2']}
",
        5.0,
        expect![[r#"
            1.00 job Pending
            1.00 job Pending once=ContainerCreating task=ContainerCreating
              Pulling job/once: Pulling image "web:1"
              Pulling job/task: Pulling image "web:1"
              Pulled job/once: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
              Pulled job/task: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
              Created job/once: Container created
              Created job/task: Container created
              Started job/once: Container started
              Started job/task: Container started
            1.15 job Running once=Error(3) task=running+
            3.15 job Failed once=Error(3) task=Completed(0)
        "#]],
    );
}

#[test]
fn an_init_container_has_a_policy_of_its_own() {
    check(
        "
name: web
annotations: {mock.orlop.dev/script: 'exit 0 after 1s; exit 1 after 1s for 1 start'}
restartPolicy: Never
initContainers: [{name: a, restartPolicy: OnFailure}]
",
        8.0,
        expect![[r#"
            1.00 web Pending
            1.00 web Pending a=PodInitializing main=PodInitializing
              Pulling web/a: Pulling image "web:1"
              Pulled web/a: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
              Created web/a: Container created
              Started web/a: Container started
            1.15 web Pending a=running main=PodInitializing
            2.15 web Pending a=Error(1) main=PodInitializing
              Pulled web/a: Container image "web:1" already present on machine
            2.30 web Pending a=running#1<Error(1) main=PodInitializing
            3.30 web Pending a=Completed(0)#1<Error(1) main=PodInitializing
              Pulled web/main: Container image "web:1" already present on machine
              Created web/main: Container created
              Started web/main: Container started
            3.45 web Running ready a=Completed(0)#1<Error(1) main=running+
            4.45 web Failed a=Completed(0)#1<Error(1) main=Error(1)
        "#]],
    );
    check(
        "{name: web, initContainers: [{name: a, restartPolicy: Never, command: ['false']}]}",
        5.0,
        expect![[r#"
        1.00 web Pending
        1.00 web Pending a=PodInitializing main=PodInitializing
          Pulling web/a: Pulling image "web:1"
          Pulled web/a: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
          Created web/a: Container created
          Started web/a: Container started
        1.15 web Failed a=Error(1) main=PodInitializing
    "#]],
    );
}

/// KEP-5307: a code that asks for another try is no failure, though the pod is never restarted.
#[test]
fn a_rule_restarts_for_its_exit_codes_alone() {
    for (operator, values, again) in
        [("In", "[42]", true), ("In", "[1, 2]", false), ("NotIn", "[1, 2]", true), ("NotIn", "[42]", false)]
    {
        let mut world = run(
            &format!(
                "
name: job
restartPolicy: Never
annotations: {{mock.orlop.dev/script: 'run; exit 42 after 1s for 1 start'}}
containers:
- name: main
  restartPolicy: Never
  restartPolicyRules: [{{action: Restart, exitCodes: {{operator: {operator}, values: {values}}}}}]
"
            ),
            1.0,
        );
        world.run(3.0);
        let status = &world.get("job").unwrap()["status"];
        let phase = if again { "Running" } else { "Failed" };
        assert_eq!(
            (&status["phase"], &status["containerStatuses"][0]["restartCount"]),
            (&phase.into(), &i32::from(again).into()),
            "{operator} {values}\n{}",
            world.trace
        );
    }
}

fn restarting(pod: &Value) -> Value {
    let conditions = pod["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|c| c["type"] == "AllContainersRestarting").cloned().unwrap_or_default()
}

/// KEP-5532: the sandbox and its address stay, everything else begins anew, without hooks and graces.
#[test]
fn all_containers_run_anew_if_a_rule_says_so() {
    let mut world = run(
        "
name: job
restartPolicy: Never
annotations: {mock.orlop.dev/script: \"main: run; stop 1s\\nside: exit 88 after 3s for 1 start\"}
initContainers:
- {name: a, command: ['true']}
- name: side
  restartPolicy: Always
  restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [88]}}]
containers:
- {name: main, lifecycle: {preStop: {sleep: {seconds: 20}}}}
- {name: done, command: ['true']}
",
        2.5,
    );
    let before = world.get("job").unwrap()["status"]["podIP"].clone();
    assert_eq!(restarting(world.get("job").unwrap())["status"], "False");
    world.run(1.3);
    let condition = restarting(world.get("job").unwrap());
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&"True".into(), &"RestartAllContainersStarted".into())
    );
    world.run(5.0);
    expect![[r#"
        1.00 job Pending
        1.00 job Pending a=PodInitializing side=PodInitializing main=PodInitializing done=PodInitializing
          Pulling job/a: Pulling image "web:1"
          Pulled job/a: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
          Created job/a: Container created
          Started job/a: Container started
        1.15 job Pending a=Completed(0) side=PodInitializing main=PodInitializing done=PodInitializing
          Pulled job/side: Container image "web:1" already present on machine
          Created job/side: Container created
          Started job/side: Container started
        1.30 job Pending a=Completed(0) side=running+ main=PodInitializing done=PodInitializing
          Pulled job/main: Container image "web:1" already present on machine
          Pulled job/done: Container image "web:1" already present on machine
          Created job/main: Container created
          Created job/done: Container created
          Started job/main: Container started
          Started job/done: Container started
        1.45 job Running a=Completed(0) side=running+ main=running+ done=Completed(0)
        4.30 job Running a=Completed(0) side=Error(88) main=running+ done=Completed(0)
          Killing job/main: Stopping container main
        5.30 job Running a=PodInitializing#1<Completed(0) side=PodInitializing#1<Error(88) main=PodInitializing#1<Completed(0) done=PodInitializing#1<Completed(0)
          Pulled job/a: Container image "web:1" already present on machine
        5.45 job Running a=Completed(0)#1<Completed(0) side=PodInitializing#1<Error(88) main=PodInitializing#1<Completed(0) done=PodInitializing#1<Completed(0)
        5.60 job Running a=Completed(0)#1<Completed(0) side=running+#1<Error(88) main=PodInitializing#1<Completed(0) done=PodInitializing#1<Completed(0)
        5.75 job Running a=Completed(0)#1<Completed(0) side=running+#1<Error(88) main=running+#1<Completed(0) done=Completed(0)#1<Completed(0)
    "#]].assert_eq(&world.trace);
    assert_eq!(restarting(world.get("job").unwrap())["status"], "False");
    assert_eq!(world.get("job").unwrap()["status"]["podIP"], before);
    // A new agent does not take the run that asked for it for a new one.
    world.start_agent();
    world.run(3.0);
    assert_eq!(world.get("job").unwrap()["status"]["containerStatuses"][0]["restartCount"], 1);
}

/// A pod whose rule asks for it again and again waits in between as a crash loop does.
#[test]
fn running_anew_again_and_again_is_held_back() {
    let world = run(
        "
name: job
restartPolicy: Never
containers:
- name: main
  command: [sh, -c, exit 42]
  restartPolicy: Never
  restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [42]}}]
",
        25.0,
    );
    expect![[r#"
        1.00 job Pending
        1.00 job Pending main=ContainerCreating
          Pulling job/main: Pulling image "web:1"
          Pulled job/main: Successfully pulled image "web:1" in 0ms (0ms including waiting). Image size: 1048576 bytes.
          Created job/main: Container created
          Started job/main: Container started
        1.15 job Running main=ContainerCreating#1<Error(42)
          Pulled job/main: Container image "web:1" already present on machine
        1.30 job Running main=Error(42)#1<Error(42)
          BackOff job/main: Back-off restarting failed container main in pod job_default(uid-4) (warning)
        2.30 job Running main=CrashLoopBackOff#1<Error(42)
        11.30 job Running main=ContainerCreating#2<Error(42)
        11.45 job Running main=Error(42)#2<Error(42)
        12.45 job Running main=CrashLoopBackOff#2<Error(42)
    "#]].assert_eq(&world.trace);
}

/// A sidecar that crashed again and again kept its finished Job from ending: it was waited for until it ran.
#[test]
fn a_sidecar_that_waits_for_its_next_try_keeps_no_job_from_ending() {
    check(
        "
name: job
restartPolicy: Never
annotations: {mock.orlop.dev/script: 'side: exit 1 after 1s'}
initContainers: [{name: side, restartPolicy: Always}]
containers: [{name: main, command: [sleep, '4']}]
",
        8.0,
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
            2.15 job Running side=Error(1) main=running+
              Pulled job/side: Container image "web:1" already present on machine
            2.30 job Running ready side=running+#1<Error(1) main=running+
            3.30 job Running side=Error(1)#1<Error(1) main=running+
              BackOff job/side: Back-off restarting failed container side in pod job_default(uid-4) (warning)
            4.30 job Running side=CrashLoopBackOff#1<Error(1) main=running+
            5.30 job Running side=CrashLoopBackOff#1<Error(1) main=Completed(0)
            5.30 job Succeeded side=Error(1)#1<Error(1) main=Completed(0)
        "#]],
    );
}

/// A container whose image was changed ended, and stayed so where its pod is never restarted.
#[test]
fn another_image_restarts_whatever_the_policy() {
    let mut world =
        run("{name: job, restartPolicy: Never, containers: [{name: main, command: [sleep, 1h]}]}", 2.0);
    world.edit("job", |pod| pod["spec"]["containers"][0]["image"] = "web:2".into());
    world.run(3.0);
    let status = &world.get("job").unwrap()["status"];
    assert_eq!(
        (
            &status["phase"],
            &status["containerStatuses"][0]["image"],
            &status["containerStatuses"][0]["restartCount"]
        ),
        (&"Running".into(), &"web:2".into(), &1.into()),
        "{}",
        world.trace
    );
}
