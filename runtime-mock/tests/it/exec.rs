//! What people run in simulated containers.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use orlop_core::runtime::{
    ContainerId, ContainerSpec, ExecFrame, ExecOutput, ExecSpec, ImagePull, Mount, MountSource, Port,
    Runtime, RuntimeError, SandboxId, SandboxSpec,
};
use orlop_core::{ManualClock, Name, Timestamp};
use orlop_runtime_mock::{MockRuntime, Policy};
use proptest::prelude::*;

use crate::world::{pass, words as words_of};

/// A container that runs.
struct World {
    clock: ManualClock,
    runtime: MockRuntime,
    #[cfg_attr(not(feature = "serve"), expect(dead_code, reason = "only ports are asked for it"))]
    sandbox: SandboxId,
    container: ContainerId,
}

fn mount(path: &str, source: MountSource, read_only: bool) -> Mount {
    Mount { volume: "volume".into(), path: path.into(), source, read_only }
}

impl World {
    async fn new() -> World {
        let clock = ManualClock::at(Timestamp::from_secs(1_767_225_600));
        let runtime = MockRuntime::new(Policy::default(), Arc::new(clock.clone()));
        let spec = SandboxSpec {
            uid: "u1".into(),
            name: "web".into(),
            namespace: "default".into(),
            hostname: "web".into(),
            ..SandboxSpec::default()
        };
        let sandbox = runtime.create_sandbox(&spec).await.expect("a sandbox");
        let image = ImagePull { image: "web:1".into(), ..ImagePull::default() };
        let files =
            vec![("colour".into(), Bytes::from_static(b"blue")), ("size".into(), Bytes::from_static(b"9\n"))];
        let spec = ContainerSpec {
            name: "main".into(),
            image: "web:1".into(),
            env: vec![("GREETING".into(), "good day".into())],
            mounts: vec![
                mount("/etc/config", MountSource::Files(files), true),
                mount(
                    "/etc/one.conf",
                    MountSource::Files(vec![("".into(), Bytes::from_static(b"1\n"))]),
                    true,
                ),
                mount("/work/empty", MountSource::Empty, false),
            ],
            ports: vec![Port { container: 80, bind: 8080, ..Port::default() }],
            ..ContainerSpec::default()
        };
        pass(&clock, runtime.pull_image(&image)).await.expect("an image");
        let container = runtime.create_container(&sandbox, &spec).await.expect("a container");
        pass(&clock, runtime.start_container(&container)).await.expect("a container is started");
        World { clock, runtime, sandbox, container }
    }

    async fn exec(&self, words: &[&str], stdin: Option<&str>, tty: bool) -> Result<String, RuntimeError> {
        let command = words_of(words);
        let spec = ExecSpec { command, stdin: stdin.is_some(), tty };
        let session = self.runtime.exec(&self.container, &spec).await?;
        let feed = async {
            let (Some(mut input), Some(text)) = (session.input, stdin) else { return };
            let _ = input.send(ExecFrame::Stdin(text.to_owned().into())).await;
            let _ = input.send(ExecFrame::Close).await;
        };
        let output = pass(&self.clock, session.output.collect::<Vec<_>>());
        let ((), items) = futures_util::future::join(feed, output).await;
        let mut shown = String::new();
        for item in items {
            match item? {
                ExecOutput::Stdout(bytes) => shown.push_str(&String::from_utf8_lossy(&bytes)),
                ExecOutput::Stderr(bytes) => shown.push_str(&format!("!{}", String::from_utf8_lossy(&bytes))),
                ExecOutput::Exit(code) => shown.push_str(&format!("={code}")),
            }
        }
        Ok(shown)
    }

    async fn sh(&self, script: &str) -> String {
        self.exec(&["sh", "-c", script], None, false).await.expect("a shell")
    }
}

#[tokio::test]
async fn a_shell_with_the_usual_tools() {
    let world = World::new().await;
    for (script, expected) in [
        ("echo hi; exit 3", "hi\n=3"),
        ("echo no >&2; false", "!no\n=1"),
        ("echo no 2>/dev/null >&2; nothing 2>/dev/null", "=127"),
        ("nothing", "!sh: 1: nothing: not found\n=127"),
        ("X=1; Y=$X$X; echo \"$Y ${Z:-z}\" '$Y'", "11 z $Y\n=0"),
        ("echo $GREETING | wc -w", "2\n=0"),
        ("cat /etc/hostname /etc/config/colour", "web\nblue=0"),
        ("cat /nothing", "!cat: /nothing: No such file or directory\n=1"),
        ("ls /etc/config; [ -d /etc ] && echo yes", "colour\nsize\nyes\n=0"),
        (
            "echo x > /etc/config/colour",
            "!sh: 1: cannot create /etc/config/colour: Read-only file system\n=2",
        ),
        ("for i in 1 2 3; do echo -n $i,; [ $i = 2 ] && break; done; echo", "1,2,\n=0"),
        ("i=0; while [ $i -lt 3 ]; do echo $i; i=$(seq 9 | head -n $i | wc -l); i=3; done", "0\n=0"),
        ("printf '%s-%s\\n' a b c d", "a-b\nc-d\n=0"),
        ("printf 'b\\na\\nb\\n' | sort | uniq | tr a-z A-Z", "A\nB\n=0"),
        ("echo $(cat /etc/hostname) is $(whoami)", "web is root\n=0"),
        ("if grep -q green /etc/config/colour; then echo g; else echo other; fi", "other\n=0"),
        ("cd /etc; pwd; cd config && ls | grep -n si", "/etc\n2:size\n=0"),
        ("sh -c 'exit 4'; echo $?", "4\n=0"),
        ("(exit 5)", "=5"),
        // A mount is there although nothing is in it, and one of a single file is that file.
        (
            "ls / /work; cd /work/empty && echo x > y && cat y",
            "bin\netc\nhome\nproc\nroot\ntmp\nvar\nwork\nempty\nx\n=0",
        ),
        ("cat /etc/one.conf; ls /etc/one.conf", "1\n/etc/one.conf\n=0"),
        ("date +%s", ""),
        ("echo a=b=c | cut -d = -f 2", "b\n=0"),
        ("while true; do :; done", "=124"),
        ("echo one; sleep 2; echo two", "one\ntwo\n=0"),
    ] {
        let shown = world.sh(script).await;
        if script.starts_with("date") {
            // The clock of these tests goes on while they wait.
            assert!(shown.starts_with("1767225") && shown.ends_with("\n=0"), "{shown}");
        } else {
            assert_eq!(shown, expected, "{script}");
        }
    }
}

#[tokio::test]
async fn what_is_written_stays_with_the_container() {
    let world = World::new().await;
    assert_eq!(world.sh("mkdir -p /data/a && echo one > /data/a/f && echo two >> /data/a/f").await, "=0");
    assert_eq!(
        world.sh("cat /data/a/f; cp /data/a/f /tmp; rm -r /data; ls /tmp; ls /data").await,
        "one\ntwo\nf\n!ls: /data: No such file or directory\n=1"
    );
    let fill = "X=0123456789; for i in 1 2 3 4 5 6; do X=$X$X$X$X; done; for i in $(seq 100); do echo $X >> /tmp/x || exit 9; done";
    assert!(world.sh(fill).await.contains("No space left on device"));
}

#[tokio::test]
async fn commands_read_their_input() {
    let world = World::new().await;
    let run =
        async |words: &[&str], input: &str| world.exec(words, Some(input), false).await.expect("a command");
    assert_eq!(run(&["cat"], "one\ntwo").await, "one\ntwo=0");
    assert_eq!(run(&["wc", "-l"], "one\ntwo\n").await, "2\n=0");
    assert_eq!(run(&["sh"], "echo a\nfalse\n").await, "a\n=1");
    assert_eq!(run(&["sh"], "X=5\necho $X; exit 7\necho never\n").await, "5\n=7");
    assert_eq!(
        run(&["sh", "-c", "while read line; do echo \"<$line>\"; done"], "a b\nc\n").await,
        "<a b>\n<c>\n=0"
    );
    let large = "x".repeat(3 << 20);
    assert_eq!(run(&["sh", "-c", "wc -c"], &large).await, format!("{}\n=0", large.len()));
    let terminal = world.exec(&["sh"], Some("echo hi\rexit 2\r"), true).await;
    assert_eq!(terminal.expect("a terminal"), "/ # echo hi\r\nhi\r\n/ # exit 2\r\n=2");
}

#[tokio::test]
async fn archives_go_in_and_out() {
    let world = World::new().await;
    let spec = |words: &[&str], stdin| ExecSpec {
        command: words.iter().map(|word| Name::from(*word)).collect(),
        stdin,
        tty: false,
    };
    world.sh("mkdir -p /data; echo one > /data/a; echo two > /data/b").await;
    let session =
        world.runtime.exec(&world.container, &spec(&["tar", "cf", "-", "/data"], false)).await.expect("tar");
    let items: Vec<_> = session.output.collect().await;
    let archive: Vec<u8> = items
        .into_iter()
        .filter_map(|item| match item.expect("output") {
            ExecOutput::Stdout(bytes) => Some(bytes),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(archive.len() % 512, 0);
    let session = world
        .runtime
        .exec(&world.container, &spec(&["tar", "-xmf", "-", "-C", "/tmp"], true))
        .await
        .expect("tar");
    let mut input = session.input.expect("input");
    input.send(ExecFrame::Stdin(archive.into())).await.expect("room");
    input.send(ExecFrame::Close).await.expect("open");
    assert_eq!(session.output.collect::<Vec<_>>().await, [Ok(ExecOutput::Exit(0))]);
    assert_eq!(world.sh("cd /tmp/data && cat a b").await, "one\ntwo\n=0");
}

#[tokio::test]
async fn a_command_ends_with_its_container() {
    let world = World::new().await;
    let spec = ExecSpec { command: vec!["sleep".into(), "infinity".into()], ..ExecSpec::default() };
    let session = world.runtime.exec(&world.container, &spec).await.expect("a command");
    let output = session.output.collect::<Vec<_>>();
    let kill = async {
        tokio::task::yield_now().await;
        world.runtime.kill_container(&world.container).await.expect("a container is killed");
    };
    let (items, ()) = futures_util::future::join(pass(&world.clock, output), kill).await;
    assert_eq!(items, [Ok(ExecOutput::Exit(137))]);
}

#[tokio::test]
async fn there_is_no_program_that_nobody_has() {
    let world = World::new().await;
    let refused = world.exec(&["/usr/bin/nothing"], None, false).await;
    let why = "exec: \"/usr/bin/nothing\": executable file not found in $PATH";
    assert_eq!(refused, Err(RuntimeError::StartFailed(why.to_owned())));
}

#[cfg(feature = "serve")]
#[tokio::test]
async fn ports_are_reached_without_sockets() {
    let world = World::new().await;
    let refused = world.runtime.connect(&world.sandbox, 81).await.map(drop);
    assert!(matches!(&refused, Err(RuntimeError::NotRunning(why)) if why.contains("refused")), "{refused:?}");
    let mut connection = world.runtime.connect(&world.sandbox, 80).await.expect("a connection");
    let request = "GET /hello HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";
    connection.input.send(request.into()).await.expect("sent");
    connection.input.finish().await;
    let mut text = Vec::new();
    while let Some(part) = connection.output.next().await {
        text.extend_from_slice(&part.expect("a part"));
    }
    let text = String::from_utf8_lossy(&text);
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.contains("GET /hello"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No script is too much: each ends, or waits for input, or sleeps.
    #[test]
    fn any_script_is_run_with_an_end(script in "[a-c$(){}'\"\\\\|&;<>\\n =0-9ifwhledonthszu/-]{0,60}") {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let world = World::new().await;
            let spec = ExecSpec { command: vec!["sh".into(), "-c".into(), script.as_str().into()], ..ExecSpec::default() };
            let mut session = world.runtime.exec(&world.container, &spec).await.expect("a shell");
            let first = session.output.next();
            let wait = async {
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                _ = first => {}
                () = wait => {}
            }
        });
    }
}

/// A script that runs itself, and words that stand for others, thousands of times over: each level took a part of the
/// thread's stack, and enough of them ended the whole process.
#[tokio::test]
async fn what_never_stops_calling_itself_ends_with_an_error() {
    let world = World::new().await;
    let again = world.sh("printf 'sh /tmp/again.sh' > /tmp/again.sh && sh /tmp/again.sh").await;
    assert!(again.contains("too many shells") && again.ends_with("=2"), "{again}");
    for word in ["env", "nohup", "exec", "busybox"] {
        let answer = world.sh(&format!("{}true", format!("{word} ").repeat(5000))).await;
        assert!(answer.contains("too many shells") && answer.ends_with("=2"), "{word}: {answer}");
    }
    let words = std::iter::repeat_n("env", 20_000).chain(["true"]).collect::<Vec<_>>();
    let answer = world.exec(&words, None, false).await.expect("a command");
    assert!(answer.contains("too many shells"), "{answer}");
    // Denial is counted, not nested: an even number of times is no denial.
    for (times, code) in [(9_998, 0), (9_999, 1)] {
        let script = format!("test {}-n word; echo $?", "! ".repeat(times));
        assert_eq!(world.sh(&script).await, format!("{code}\n=0"), "{times}");
    }
}
