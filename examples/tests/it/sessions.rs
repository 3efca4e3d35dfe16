//! `kubectl exec`, `attach`, `port-forward`, `cp` and `logs -f` against simulated containers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use orlop::Cluster;
use orlop::base::kinds::Pod;
use orlop::base::{Key, Object};
use orlop::manifest::Manifests;

use crate::shared;

const PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
    - {name: web, image: 'web:1', ports: [{containerPort: 8080}], env: [{name: COLOUR, value: blue}]}
---
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  containers:
    - {name: talker, image: 'busybox:1', command: [sh, -c, 'while true; do echo tick; sleep 0.2; done']}
---
apiVersion: v1
kind: Pod
metadata: {name: pair}
spec:
  containers:
    - {name: one, image: 'web:1'}
    - {name: two, image: 'web:1'}
---
apiVersion: v1
kind: Pod
metadata: {name: over}
spec:
  restartPolicy: Never
  containers: [{name: over, image: 'busybox:1', command: ['true']}]
";

/// Serves a cluster with these pods while `drive` runs, on threads of its own.
pub(crate) fn with_cluster(manifests: &str, ready: &[&str], drive: impl FnOnce(&Path) + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let any = ([127, 0, 0, 1], 0).into();
        let cluster = Cluster::builder()
            .serve(any)
            .token("token-viewer", "viewer", &[])
            .start()
            .await
            .expect("a cluster");
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("config"), cluster.kubeconfig().expect("a kubeconfig"))
            .expect("a file");
        let viewer = cluster.kubeconfig_with_token("token-viewer", "default").expect("a kubeconfig");
        std::fs::write(dir.path().join("viewer"), viewer).expect("a file");
        let mut read = Manifests::default();
        read.add_text("test", manifests);
        for manifest in &read.objects {
            cluster.apply(manifest).await.expect("a manifest is applied");
        }
        for name in ready {
            let key = Key::new("default", *name);
            let is_ready = |pod: &serde_json::Value| {
                let conditions = pod["status"]["conditions"].as_array();
                conditions
                    .is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
            };
            cluster
                .wait_for(&Pod::KIND, &key, Duration::from_secs(20), is_ready)
                .await
                .expect("a pod is ready");
        }
        let path = dir.path().to_owned();
        tokio::task::spawn_blocking(move || drive(&path)).await.expect("what drives it ends well");
        cluster.shutdown().await;
    });
}

struct Kubectl {
    program: PathBuf,
    dir: PathBuf,
}

impl Kubectl {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.dir).args(arguments).env("KUBECONFIG", self.dir.join("config"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Exit code, standard output, standard error.
    fn run(&self, arguments: &[&str], input: &str) -> (i32, String, String) {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().expect("kubectl runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(input.as_bytes()).expect("input is taken");
        drop(stdin);
        told(child.wait_with_output().expect("kubectl ends"))
    }
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// A program that goes on until it is no longer needed.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn kubectl_has_sessions_in_containers() {
    let Some(program) = shared::kubectl() else { return };
    with_cluster(PODS, &["web", "talker", "pair"], move |dir| {
        let kubectl = Kubectl { program, dir: dir.to_owned() };
        exec(&kubectl);
        logs_and_attach(&kubectl);
        forward(&kubectl);
        copy(&kubectl);
    });
}

fn exec(kubectl: &Kubectl) {
    let run = |arguments: &[&str]| kubectl.run(arguments, "");
    let plain = run(&["exec", "web", "--", "sh", "-c", "echo out; echo err >&2; echo $COLOUR"]);
    assert_eq!(plain, (0, "out\nblue\n".into(), "err\n".into()));
    let (code, _, errors) = run(&["exec", "web", "--", "sh", "-c", "exit 3"]);
    assert_eq!((code, errors.contains("command terminated with exit code 3")), (3, true), "{errors}");
    let piped = kubectl.run(&["exec", "-i", "web", "--", "cat"], "one\ntwo\n");
    assert_eq!(piped, (0, "one\ntwo\n".into(), String::new()));
    let script = kubectl.run(&["exec", "-i", "web", "--", "sh"], "cd /etc\ncat hostname\nexit 5\n");
    assert_eq!((script.0, script.1.as_str()), (5, "web\n"));
    // Before v5 there was SPDY: clients of 1.30 and before know nothing else.
    let mut old = kubectl.command(&["exec", "-i", "web", "--", "wc", "-l"]);
    let mut child = old
        .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")
        .stdin(Stdio::piped())
        .spawn()
        .expect("kubectl runs");
    child.stdin.take().expect("a pipe").write_all(b"a\nb\nc\n").expect("input is taken");
    let spdy = told(child.wait_with_output().expect("kubectl ends"));
    assert_eq!(spdy, (0, "3\n".into(), String::new()));

    for (arguments, code, said) in [
        (&["exec", "nobody", "--", "ls"][..], 1, "pods \"nobody\" not found"),
        (&["exec", "pair", "-c", "three", "--", "ls"], 1, "container three"),
        (&["exec", "over", "--", "ls"], 1, "cannot exec into a container in a completed pod"),
        (&["exec", "web", "--", "nothing"], 1, "executable file not found in $PATH"),
        (&["--kubeconfig", "viewer", "exec", "web", "--", "ls"], 1, "cannot"),
    ] {
        let (seen, _, errors) = run(arguments);
        assert_eq!((seen, errors.contains(said)), (code, true), "{arguments:?}: {errors}");
    }
    let (_, names, _) = run(&["exec", "pair", "-c", "two", "--", "hostname"]);
    assert_eq!(names, "pair\n");
}

fn logs_and_attach(kubectl: &Kubectl) {
    for arguments in [&["logs", "-f", "talker"][..], &["attach", "talker"]] {
        let mut child = Running(kubectl.command(arguments).spawn().expect("kubectl runs"));
        let lines = BufReader::new(child.0.stdout.take().expect("a pipe")).lines();
        let seen: Vec<String> = lines.take(3).map(|line| line.expect("a line")).collect();
        assert_eq!(seen, ["tick", "tick", "tick"], "{arguments:?}");
    }
}

fn forward(kubectl: &Kubectl) {
    for websockets in ["true", "false"] {
        let mut command = kubectl.command(&["port-forward", "pod/web", ":8080", ":9999"]);
        let mut child = Running(
            command.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets).spawn().expect("kubectl runs"),
        );
        let mut lines = BufReader::new(child.0.stdout.take().expect("a pipe")).lines();
        let mut port_of = |target: &str| -> u16 {
            let line = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("127.0.0.1:")));
            let line = line.expect("a line").expect("a line");
            assert!(line.ends_with(target), "{line}");
            let port =
                line.split(':').nth(1).and_then(|rest| rest.split(' ').next()).and_then(|p| p.parse().ok());
            port.expect("a port")
        };
        let (web, closed) = (port_of("-> 8080"), port_of("-> 9999"));
        for turn in 0..3 {
            let body = get(web, &format!("/turn/{turn}"));
            assert!(
                body.contains(&format!("GET /turn/{turn}")) && body.contains("pod default/web"),
                "{body}"
            );
        }
        assert_eq!(get(closed, "/"), "", "nobody listens there");
        let mut errors = BufReader::new(child.0.stderr.take().expect("a pipe")).lines();
        let said = errors.find_map(|line| line.ok().filter(|line| line.contains("9999"))).expect("an error");
        assert!(said.contains("error forwarding port 9999 to pod"), "{said}");
    }
}

/// All that comes back for a request.
fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("kubectl listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n").expect("sent");
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn copy(kubectl: &Kubectl) {
    std::fs::write(kubectl.dir.join("there"), "carried\n").expect("a file");
    let (code, _, errors) = kubectl.run(&["cp", "there", "web:/tmp/here"], "");
    assert_eq!(code, 0, "{errors}");
    let (_, seen, _) = kubectl.run(&["exec", "web", "--", "cat", "/tmp/here"], "");
    assert_eq!(seen, "carried\n");
    let (code, _, errors) = kubectl.run(&["cp", "web:/tmp/here", "back"], "");
    assert_eq!(code, 0, "{errors}");
    assert_eq!(std::fs::read_to_string(kubectl.dir.join("back")).expect("a file"), "carried\n");
}
