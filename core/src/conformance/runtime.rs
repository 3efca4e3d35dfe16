//! What every [`Runtime`] guarantees, as a suite that each of them runs.
//!
//! Give it a [`Fixture`] and call [`suite`] from a test; it panics with a sentence at the first broken promise.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::{Either, select};

use crate::object::Name;
use crate::runtime::{
    Check, ContainerId, ContainerSpec, ContainerStatus, ExecFrame, ExecOutput, ExecSpec, ExitReason,
    ImagePull, LogOptions, Probe, ProbeAnswer, ProbePurpose, RunState, Runtime, RuntimeError, RuntimeEvent,
    SandboxId, SandboxSpec,
};

/// How the suite gets at the runtime under test, and what it may expect of the images there.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// A runtime in which nothing runs.
    fn runtime(&self) -> Arc<dyn Runtime>;

    /// Lets a little time pass: a sleep, or a step of a manual clock. Called while the suite waits.
    async fn tick(&self);

    /// An image that can be pulled and has a shell.
    fn image(&self) -> Name;

    /// An image that no registry has.
    fn missing_image(&self) -> Name;

    /// The longest that the suite waits for anything, counted in ticks.
    fn patience(&self) -> usize {
        2_000
    }
}

/// Runs every check.
///
/// # Panics
/// At the first promise that is not kept.
pub async fn suite(fixture: &dyn Fixture) {
    let case = Case { fixture, runtime: fixture.runtime() };
    case.describes_itself().await;
    case.pulls_images().await;
    case.creates_each_container_once().await;
    case.tells_how_a_container_ended().await;
    case.stops_within_grace().await;
    case.kills_at_once().await;
    case.answers_probes_while_it_runs().await;
    case.keeps_logs_until_removal().await;
    case.runs_commands_in_what_runs().await;
    case.removes_a_sandbox_with_all_in_it().await;
    case.takes_repeated_removal_calmly().await;
}

struct Case<'a> {
    fixture: &'a dyn Fixture,
    runtime: Arc<dyn Runtime>,
}

impl Case<'_> {
    /// Waits for `future` while time passes.
    async fn wait<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        for _ in 0..self.fixture.patience() {
            // The future is asked first, so an answer that needs no time costs none.
            match select(future.as_mut(), pin!(std::future::ready(()))).await {
                Either::Left((value, _)) => return value,
                Either::Right(_) => self.fixture.tick().await,
            }
        }
        panic!("{what}: no answer");
    }

    async fn sandbox(&self, uid: &str) -> SandboxId {
        let spec = SandboxSpec {
            uid: uid.into(),
            namespace: "conformance".into(),
            name: uid.into(),
            node: "node".into(),
            hostname: uid.into(),
            addresses: vec![IpAddr::V4(Ipv4Addr::new(10, 244, 9, 9))],
            ..SandboxSpec::default()
        };
        self.wait("create_sandbox", self.runtime.create_sandbox(&spec)).await.expect("a sandbox is created")
    }

    fn spec(&self, name: &str, shell: &str) -> ContainerSpec {
        ContainerSpec {
            name: name.into(),
            image: self.fixture.image(),
            command: ["sh", "-c", shell].map(Name::from).to_vec(),
            ..ContainerSpec::default()
        }
    }

    async fn running(&self, sandbox: &SandboxId, name: &str, shell: &str) -> ContainerId {
        let spec = self.spec(name, shell);
        let id = self
            .wait("create_container", self.runtime.create_container(sandbox, &spec))
            .await
            .expect("a container is created");
        self.wait("start_container", self.runtime.start_container(&id)).await.expect("a container starts");
        id
    }

    async fn status(&self, id: &ContainerId) -> Option<ContainerStatus> {
        let all = self.wait("list", self.runtime.list()).await.expect("a runtime lists");
        all.into_iter().flat_map(|sandbox| sandbox.containers).find(|container| container.id == *id)
    }

    async fn exited(&self, id: &ContainerId) -> crate::runtime::Exit {
        for _ in 0..self.fixture.patience() {
            match self.status(id).await.expect("an ended container stays listed").state {
                RunState::Exited(exit) => return exit,
                _ => self.fixture.tick().await,
            }
        }
        panic!("container {id} does not end");
    }

    async fn remove(&self, sandbox: &SandboxId) {
        self.wait("remove_sandbox", self.runtime.remove_sandbox(sandbox))
            .await
            .expect("a sandbox is removed");
    }

    async fn describes_itself(&self) {
        let info = self.wait("info", self.runtime.info()).await.expect("a runtime describes itself");
        assert!(!info.name.is_empty() && !info.version.is_empty(), "name and version are told");
    }

    async fn pulls_images(&self) {
        let image = self.fixture.image();
        let pull = ImagePull { image: image.clone(), ..ImagePull::default() };
        let pulled = self.wait("pull", self.runtime.pull_image(&pull)).await.expect("the image is pulled");
        let present = self.wait("image", self.runtime.image(&image)).await.expect("images are looked up");
        assert_eq!(present.map(|i| i.id), Some(pulled.id), "a pulled image is present, under one identifier");

        let missing = self.fixture.missing_image();
        let pull = ImagePull { image: missing.clone(), ..ImagePull::default() };
        let refused = self.wait("pull", self.runtime.pull_image(&pull)).await;
        assert!(
            matches!(refused, Err(RuntimeError::ImagePull { .. } | RuntimeError::Unauthorized { .. })),
            "an image that no registry has is refused as such: {refused:?}"
        );
        let present = self.wait("image", self.runtime.image(&missing)).await.expect("images are looked up");
        assert_eq!(present, None);

        let sandbox = self.sandbox("absent").await;
        let spec = ContainerSpec { image: missing, ..self.spec("main", "exit 0") };
        let refused = self.wait("create", self.runtime.create_container(&sandbox, &spec)).await;
        assert!(matches!(refused, Err(RuntimeError::ImageAbsent(_))), "no image, no container: {refused:?}");
        self.remove(&sandbox).await;
    }

    async fn creates_each_container_once(&self) {
        let sandbox = self.sandbox("once").await;
        let spec = self.spec("main", "sleep 60");
        let first = self.wait("create", self.runtime.create_container(&sandbox, &spec)).await;
        let id = first.expect("a container is created");
        let again = self.wait("create", self.runtime.create_container(&sandbox, &spec)).await;
        assert!(matches!(again, Err(RuntimeError::AlreadyExists(_))), "created twice: {again:?}");
        let next = ContainerSpec { attempt: 1, ..spec };
        let next = self.wait("create", self.runtime.create_container(&sandbox, &next)).await;
        assert_ne!(next.expect("the next attempt is another container"), id);

        let listed = self.wait("list", self.runtime.list()).await.expect("a runtime lists");
        let found = listed.iter().find(|s| s.id == sandbox).expect("the sandbox is listed");
        assert_eq!(
            (found.uid.as_str(), found.namespace.as_str(), found.ready),
            ("once", "conformance", true)
        );
        let names: Vec<_> = found.containers.iter().map(|c| (c.name.as_str(), c.attempt)).collect();
        assert_eq!(names, [("main", 0), ("main", 1)], "what finds a container again is listed, in order");
        self.remove(&sandbox).await;
        let gone =
            self.wait("create", self.runtime.create_container(&sandbox, &self.spec("x", "exit 0"))).await;
        assert!(matches!(gone, Err(RuntimeError::NotFound(_))), "no sandbox, no container: {gone:?}");
    }

    async fn tells_how_a_container_ended(&self) {
        let sandbox = self.sandbox("ended").await;
        let mut events = self.runtime.events();
        let good = self.running(&sandbox, "good", "exit 0").await;
        let bad = self.running(&sandbox, "bad", "sleep 1; exit 7").await;
        for (id, code, reason) in [(&good, 0, ExitReason::Completed), (&bad, 7, ExitReason::Error)] {
            let exit = self.exited(id).await;
            assert_eq!((exit.code, exit.reason), (code, reason));
            assert!(exit.started.is_some_and(|started| started <= exit.finished), "{exit:?}");
        }
        let mut ended = Vec::new();
        while ended.len() < 2 {
            match self.wait("events", events.next()).await.expect("events go on") {
                RuntimeEvent::Exited { uid, container, exit } => {
                    assert_eq!(uid, "ended");
                    ended.push((container, exit.code));
                }
                RuntimeEvent::Lost => panic!("a reader that keeps up loses nothing"),
                _ => {}
            }
        }
        assert_eq!(ended, [(good, 0), (bad, 7)], "each end is told once, in order");
        self.remove(&sandbox).await;
    }

    async fn stops_within_grace(&self) {
        let sandbox = self.sandbox("stop").await;
        let id = self.running(&sandbox, "main", "sleep 3600").await;
        let stop = self.runtime.stop_container(&id, Duration::from_secs(1));
        self.wait("stop", stop).await.expect("a container is told to stop");
        let exit = self.exited(&id).await;
        assert!(exit.finished >= exit.started.expect("it ran"), "{exit:?}");
        self.remove(&sandbox).await;
    }

    async fn kills_at_once(&self) {
        let sandbox = self.sandbox("kill").await;
        let id = self.running(&sandbox, "main", "sleep 3600").await;
        self.wait("kill", self.runtime.kill_container(&id)).await.expect("a container is killed");
        let exit = self.exited(&id).await;
        assert_eq!((exit.code, exit.reason), (137, ExitReason::Error));
        self.remove(&sandbox).await;
    }

    async fn answers_probes_while_it_runs(&self) {
        let sandbox = self.sandbox("probe").await;
        let id = self.running(&sandbox, "main", "sleep 3600").await;
        let exec = |word: &str| Probe {
            purpose: ProbePurpose::Liveness,
            check: Check::Exec(vec![word.into()]),
            timeout: Duration::from_secs(1),
        };
        let (yes, no) = (exec("true"), exec("false"));
        let answer = self.wait("probe", self.runtime.probe(&id, &yes)).await;
        assert_eq!(answer, Ok(ProbeAnswer::Success));
        let answer = self.wait("probe", self.runtime.probe(&id, &no)).await;
        assert!(matches!(answer, Ok(ProbeAnswer::Failure(_))), "{answer:?}");
        self.wait("kill", self.runtime.kill_container(&id)).await.expect("a container is killed");
        self.exited(&id).await;
        let answer = self.wait("probe", self.runtime.probe(&id, &yes)).await;
        assert!(
            matches!(answer, Err(RuntimeError::NotRunning(_))),
            "what has ended is not probed: {answer:?}"
        );
        self.remove(&sandbox).await;
    }

    async fn runs_commands_in_what_runs(&self) {
        let sandbox = self.sandbox("exec").await;
        let id = self.running(&sandbox, "main", "sleep 3600").await;
        let words = |words: &[&str]| words.iter().map(|word| Name::from(*word)).collect::<Vec<_>>();
        let plain = ExecSpec { command: words(&["sh", "-c", "echo out; exit 3"]), ..ExecSpec::default() };
        let session = match self.wait("exec", self.runtime.exec(&id, &plain)).await {
            // A runtime without commands says so; then there is nothing more to promise.
            Err(RuntimeError::Unsupported(_)) => return self.remove(&sandbox).await,
            session => session.expect("a command is run"),
        };
        assert!(session.input.is_none(), "no input was asked for");
        let ended = self.wait("a command's end", session.output.collect::<Vec<_>>()).await;
        assert_eq!(outcome(ended), ("out\n".to_owned(), 3));

        let reading = ExecSpec { command: words(&["cat"]), stdin: true, tty: false };
        let session = self.wait("exec", self.runtime.exec(&id, &reading)).await.expect("a command is run");
        let mut input = session.input.expect("input was asked for");
        for frame in [ExecFrame::Stdin("one\n".into()), ExecFrame::Stdin("two".into()), ExecFrame::Close] {
            self.wait("input", input.send(frame)).await.expect("input is taken while the command runs");
        }
        let ended = self.wait("a command's end", session.output.collect::<Vec<_>>()).await;
        assert_eq!(outcome(ended), ("one\ntwo".to_owned(), 0), "a command reads to the end of its input");

        self.wait("kill", self.runtime.kill_container(&id)).await.expect("a container is killed");
        self.exited(&id).await;
        let answer = self.wait("exec", self.runtime.exec(&id, &plain)).await.map(drop);
        assert!(matches!(answer, Err(RuntimeError::NotRunning(_))), "what has ended runs no commands");
        self.remove(&sandbox).await;
        let answer = self.wait("exec", self.runtime.exec(&id, &plain)).await.map(drop);
        assert!(matches!(answer, Err(RuntimeError::NotFound(_))), "what is gone runs no commands");
    }

    async fn keeps_logs_until_removal(&self) {
        let sandbox = self.sandbox("logs").await;
        let id = self.running(&sandbox, "main", "echo one; echo two; sleep 1; echo three").await;
        let follow = LogOptions { follow: true, ..LogOptions::default() };
        let logs = self.wait("logs", self.runtime.logs(&id, &follow)).await.expect("logs are read");
        let lines = self.wait("followed logs", logs.collect::<Vec<_>>()).await;
        assert_eq!(texts(lines), ["one\n", "two\n", "three\n"], "following ends with the container");
        self.exited(&id).await;
        let stop = self.runtime.stop_sandbox(&sandbox);
        self.wait("stop_sandbox", stop).await.expect("a sandbox is stopped");
        let tail = LogOptions { tail: Some(2), limit_bytes: Some(6), ..LogOptions::default() };
        let logs =
            self.wait("logs", self.runtime.logs(&id, &tail)).await.expect("logs outlive their container");
        let lines = self.wait("logs", logs.collect::<Vec<_>>()).await;
        assert_eq!(texts(lines), ["two\n", "th"], "the last two lines, six bytes of them");
        self.remove(&sandbox).await;
        let gone = self.wait("logs", self.runtime.logs(&id, &tail)).await;
        assert!(matches!(gone, Err(RuntimeError::NotFound(_))));
    }

    async fn removes_a_sandbox_with_all_in_it(&self) {
        let sandbox = self.sandbox("all").await;
        let id = self.running(&sandbox, "main", "sleep 3600").await;
        self.remove(&sandbox).await;
        assert_eq!(self.status(&id).await, None, "containers go with their sandbox");
        let listed = self.wait("list", self.runtime.list()).await.expect("a runtime lists");
        assert!(listed.iter().all(|s| s.id != sandbox), "a removed sandbox is not listed");
    }

    async fn takes_repeated_removal_calmly(&self) {
        let sandbox = self.sandbox("calm").await;
        let id = self.running(&sandbox, "main", "exit 0").await;
        self.exited(&id).await;
        let grace = Duration::from_secs(1);
        for _ in 0..2 {
            self.wait("stop", self.runtime.stop_container(&id, grace))
                .await
                .expect("stopping what has ended");
            self.wait("kill", self.runtime.kill_container(&id)).await.expect("killing what has ended");
        }
        for _ in 0..2 {
            self.wait("remove", self.runtime.remove_container(&id)).await.expect("removing what is gone");
        }
        for _ in 0..2 {
            self.remove(&sandbox).await;
        }
    }
}

/// What a command has printed, and its code.
fn outcome(items: Vec<Result<ExecOutput, RuntimeError>>) -> (String, i32) {
    let (mut text, mut code) = (String::new(), None);
    for item in items {
        assert!(code.is_none(), "nothing comes after a command's end");
        match item.expect("a command's output") {
            ExecOutput::Stdout(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
            ExecOutput::Stderr(bytes) => panic!("on standard error: {}", String::from_utf8_lossy(&bytes)),
            ExecOutput::Exit(exit) => code = Some(exit),
        }
    }
    (text, code.expect("a command ends with a code"))
}

fn texts(lines: Vec<Result<crate::runtime::LogLine, RuntimeError>>) -> Vec<String> {
    lines
        .into_iter()
        .map(|line| String::from_utf8_lossy(&line.expect("a log is readable").text).into_owned())
        .collect()
}
