//! Containers whose own process prints what it finds, and reads what it is sent.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use orlop_core::runtime::{
    AttachSpec, ContainerId, ContainerSpec, ExecFrame, ExecOutput, ExecSpec, ImagePull, LogOptions, RunState,
    Runtime, SandboxId, SandboxSpec,
};
use orlop_core::{ManualClock, Timestamp};
use orlop_runtime_mock::{MockRuntime, Policy, SCRIPT_ANNOTATION};

use crate::world::{pass, words};

struct World {
    clock: ManualClock,
    runtime: MockRuntime,
    sandbox: SandboxId,
    container: ContainerId,
}

impl World {
    async fn start(annotation: &str, spec: ContainerSpec) -> World {
        let clock = ManualClock::at(Timestamp::from_secs(1_767_225_600));
        let runtime = MockRuntime::new(Policy::default(), Arc::new(clock.clone()));
        let mut sandbox = SandboxSpec {
            uid: "u1".into(),
            name: "shell".into(),
            hostname: "shell".into(),
            ..SandboxSpec::default()
        };
        sandbox.annotations.insert(SCRIPT_ANNOTATION.into(), annotation.into());
        let sandbox = runtime.create_sandbox(&sandbox).await.expect("a sandbox");
        let image = ImagePull { image: "busybox".into(), ..ImagePull::default() };
        pass(&clock, runtime.pull_image(&image)).await.expect("an image");
        let spec = ContainerSpec { name: "main".into(), image: "busybox".into(), ..spec };
        let container = runtime.create_container(&sandbox, &spec).await.expect("a container");
        pass(&clock, runtime.start_container(&container)).await.expect("it starts");
        World { clock, runtime, sandbox, container }
    }

    async fn end(&self) -> Option<i32> {
        // A list tells what was when it was asked for: any call before it moves the runtime on.
        self.runtime.info().await.expect("it is there");
        let list = self.runtime.list().await.expect("a list");
        let all = list.into_iter().filter(|s| s.id == self.sandbox).flat_map(|s| s.containers);
        all.into_iter().find(|c| c.id == self.container).and_then(|c| match c.state {
            RunState::Exited(exit) => Some(exit.code),
            _ => None,
        })
    }

    async fn log(&self) -> String {
        let logs = self.runtime.logs(&self.container, &LogOptions::default()).await.expect("a log");
        let lines: Vec<_> = logs.collect().await;
        lines
            .into_iter()
            .map(|line| String::from_utf8_lossy(&line.expect("a line").text).into_owned())
            .collect()
    }

    /// What somebody sees who attaches and types `keys`, until the container has ended.
    async fn attach(&self, keys: &str, close: bool) -> String {
        let spec = AttachSpec { stdin: true, tty: true };
        let session = self.runtime.attach(&self.container, &spec).await.expect("a session");
        let mut input = session.input.expect("a way in");
        let feed = async {
            let _ = input.send(ExecFrame::Stdin(keys.to_owned().into())).await;
            if close {
                let _ = input.send(ExecFrame::Close).await;
            }
        };
        let output = pass(&self.clock, session.output.collect::<Vec<_>>());
        let ((), items) = futures_util::future::join(feed, output).await;
        let mut seen = String::new();
        for item in items {
            match item.expect("output") {
                ExecOutput::Stdout(bytes) | ExecOutput::Stderr(bytes) => {
                    seen.push_str(&String::from_utf8_lossy(&bytes));
                }
                ExecOutput::Exit(_) => {}
            }
        }
        seen
    }
}

/// What a container has printed, and its end, after a minute.
async fn ran(spec: ContainerSpec) -> (String, Option<i32>) {
    let world = World::start("", spec).await;
    world.clock.advance(Duration::from_secs(60));
    (world.log().await, world.end().await)
}

/// `kubectl run l2 --image=alpine --restart=Never -- sh -c 'echo hello; exit 4'` printed nothing and ended well: what
/// was said as arguments was taken for the image's, though such an image has no entry point.
#[tokio::test]
async fn arguments_that_name_a_program_are_a_command() {
    let args =
        |args: &[&str]| ContainerSpec { args: words(args), one_shot: true, ..ContainerSpec::default() };
    for (given, log, code) in [
        (&["sh", "-c", "echo hello; exit 4"][..], "hello\n", Some(4)),
        (&["echo", "hi"], "hi\n", Some(0)),
        (&["/bin/sleep", "5"], "", Some(0)),
        (&["sleep", "3600"], "", None),
        (&["false"], "", Some(1)),
        (&["hostname"], "shell\n", Some(0)),
        (&["cat", "/nothing"], "cat: /nothing: No such file or directory\n", Some(1)),
        (&["date"], "2026-01-01T00:00:00Z\n", Some(0)),
        // The image's own entry point takes these.
        (&["--replicaof", "leader"], "", Some(0)),
        (&["server", "start"], "", Some(0)),
        (&["test"], "", Some(0)),
        (&["exit", "3"], "", Some(0)),
    ] {
        assert_eq!(ran(args(given)).await, (log.to_owned(), code), "{given:?}");
    }
    let serves = ContainerSpec { args: words(&["--replicaof", "leader"]), ..ContainerSpec::default() };
    assert_eq!(ran(serves).await, (String::new(), None));
}

/// `kubectl run -it sh2 --image=busybox -- sh` said goodbye before there was a prompt.
#[tokio::test]
async fn a_shell_lives_as_long_as_somebody_talks_to_it() {
    for (command, args) in [(&["sh"][..], &[][..]), (&[], &["sh"]), (&[], &[]), (&["/bin/bash", "-i"], &[])] {
        let spec = ContainerSpec {
            command: words(command),
            args: words(args),
            stdin: true,
            tty: true,
            one_shot: true,
            ..ContainerSpec::default()
        };
        let world = World::start("", spec).await;
        world.clock.advance(Duration::from_secs(600));
        assert_eq!(world.end().await, None, "{command:?} {args:?}");
        let seen = world.attach("echo $HOSTNAME\rcd /etc\rexit 7\r", false).await;
        let expected = "/ # echo $HOSTNAME\r\nshell\r\n/ # cd /etc\r\n/etc # exit 7\r\n";
        assert_eq!(seen, expected, "{command:?} {args:?}");
        assert_eq!(world.end().await, Some(7));
        assert_eq!(world.log().await, expected);
    }
}

/// `echo 'echo hi' | kubectl run -i s3 --image=busybox -- sh` printed nothing.
#[tokio::test]
async fn the_end_of_the_input_is_the_end_of_a_shell() {
    let spec =
        ContainerSpec { command: words(&["sh"]), stdin: true, one_shot: true, ..ContainerSpec::default() };
    let world = World::start("", spec).await;
    assert_eq!(world.attach("echo hi\nsleep 3\nfalse\n", true).await, "hi\n");
    assert_eq!(world.end().await, Some(1));
}

/// More than waits in any buffer comes through, in order.
#[tokio::test]
async fn what_is_sent_comes_through_whole() {
    let spec =
        ContainerSpec { command: words(&["cat"]), stdin: true, one_shot: true, ..ContainerSpec::default() };
    let world = World::start("", spec).await;
    let lines: String = (0..9_000).map(|line| format!("{line:0>200}\n")).collect();
    assert!(world.attach(&lines, true).await == lines, "what went in comes out");
    assert_eq!(world.end().await, Some(0));
}

#[tokio::test]
async fn what_a_process_writes_its_container_has() {
    let spec = ContainerSpec { command: words(&["sh"]), stdin: true, tty: true, ..ContainerSpec::default() };
    let world = World::start("", spec).await;
    let session = world.runtime.attach(&world.container, &AttachSpec { stdin: true, tty: true }).await;
    let mut input = session.expect("a session").input.expect("a way in");
    input.send(ExecFrame::Stdin("echo mine > /tmp/file\n".into())).await.expect("it is read");
    let spec = ExecSpec { command: words(&["cat", "/tmp/file"]), stdin: false, tty: false };
    let cat = world.runtime.exec(&world.container, &spec).await.expect("cat");
    let output: Vec<_> = pass(&world.clock, cat.output.collect()).await;
    assert_eq!(output[0], Ok(ExecOutput::Stdout("mine\n".into())));
}

/// A container whose pod says how it ends does so, whatever its command is.
#[tokio::test]
async fn a_script_stands_above_the_process() {
    let shell = || ContainerSpec { command: words(&["sh"]), stdin: true, ..ContainerSpec::default() };
    let world = World::start("exit 5 after 2s", shell()).await;
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(world.end().await, Some(5));
    let date = ContainerSpec { command: words(&["date"]), ..ContainerSpec::default() };
    let world = World::start("run", date).await;
    world.clock.advance(Duration::from_secs(600));
    assert_eq!(world.end().await, None);
}

#[tokio::test]
async fn a_shell_is_stopped_as_anything_is() {
    let spec = ContainerSpec { command: words(&["sh"]), stdin: true, tty: true, ..ContainerSpec::default() };
    let world = World::start("", spec).await;
    world.runtime.stop_container(&world.container, Duration::from_secs(30)).await.expect("it is told");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.end().await, Some(143));
}
