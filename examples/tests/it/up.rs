//! The program `orlop`, as a person runs it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const GUESTBOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/guestbook");

fn orlop(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orlop"));
    command.current_dir(dir).stdin(Stdio::null());
    command
}

/// `orlop up` that ends by itself, on any free port.
fn up(dir: &Path, arguments: &[&str]) -> Output {
    orlop(dir)
        .args(["up", "--once", "--listen", "127.0.0.1:0"])
        .args(arguments)
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Writes a manifest, runs `up` on it, and wants it refused with all of `said`.
fn refused(manifest: &str, said: &[&str]) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join("app.yaml"), manifest).expect("a file");
    let output = up(dir.path(), &["app.yaml"]);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    for part in said {
        assert!(errors.contains(part), "{part:?} is not said in:\n{errors}");
    }
}

#[test]
fn the_main_job_ends_ready() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let output = up(dir.path(), &["--json", GUESTBOOK]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(result["ready"], true);
    assert_eq!(result["pods"].as_array().map(Vec::len), Some(6));
    let addresses = result["addresses"].to_string();
    for reached in [
        "Service guestbook/frontend:http",
        "NodePort guestbook/frontend:http on worker-1",
        "Ingress guestbook.example.com/",
        "DNS (UDP)",
    ] {
        assert!(addresses.contains(reached), "{reached} is not in {addresses}");
    }
    let kubeconfig = dir.path().join("orlop.kubeconfig");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(kubeconfig).expect("a kubeconfig").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn mistakes_in_manifests_are_told_with_their_place() {
    refused("kind: [\n", &["app.yaml: document 1, line"]);
    refused(
        "kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec: {containers: 3}\n",
        &["line 4, column 8", "spec.containers", "a list is expected"],
    );
    refused(
        "apiVersion: apps/v1\nkind: Deploymint\nmetadata: {name: a}\n",
        &["line 2", "Deployment of apps/v1"],
    );
    refused(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndate: {a: b}\n",
        &["line 4, column 1", "date is unknown to ConfigMap"],
    );
    refused(
        "apiVersion: v1\nkind: Pod\nmetadata:\nname: web\nspec:\ncontainers:\n- name: web\nimage: web\n",
        &["indentation"],
    );
    refused(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: Web}\nspec: {containers: [{name: a, image: b}]}\n",
        &["line 3", "metadata.name"],
    );
}

#[test]
fn missing_files_are_named() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let output = up(dir.path(), &["nowhere.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("nowhere.yaml: no such file or folder"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn what_is_not_ready_in_time_is_told_with_the_reason() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: big}\nspec: {containers: [{name: a, image: b, resources: {requests: {cpu: 100}}}]}\n";
    std::fs::write(dir.path().join("big.yaml"), pod).expect("a file");
    let output = up(dir.path(), &["--timeout", "1s", "big.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(
        errors.contains("Pod default/big: 0 of 1 ready") && errors.contains("Insufficient cpu"),
        "{errors}"
    );
}

/// Whoever interrupted the start got a panic, and nothing was shut down.
#[test]
fn an_interrupted_start_ends_cleanly() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: big}\nspec: {containers: [{name: a, image: b, resources: {requests: {cpu: 100}}}]}\n";
    std::fs::write(dir.path().join("big.yaml"), pod).expect("a file");
    let mut child = orlop(dir.path())
        .args(["up", "--listen", "127.0.0.1:0", "big.yaml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let started = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("API server")));
    assert!(started.is_some(), "it does not start");
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(status.success());
    lines.for_each(drop);
    let output = child.wait_with_output().expect("a child");
    assert!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
}

#[test]
fn addresses_and_files_that_cannot_be_had() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let output =
        orlop(dir.path()).args(["up", "--once", "--listen", &address]).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(errors.contains(&address) && errors.contains("--listen ADDR"), "{errors}");

    let output = up(dir.path(), &["--kubeconfig", "no/such/folder/config"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--kubeconfig PATH"), "{}", text(&output.stderr));

    let output = up(dir.path(), &["--store", "floppy"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("redb=DIR"), "{}", text(&output.stderr));
}

/// A cluster that runs until it is told to end.
struct Running {
    child: std::process::Child,
}

impl Running {
    fn start(dir: &Path, arguments: &[&str]) -> Running {
        let mut child = orlop(dir)
            .args(["up", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        for line in lines.map_while(Result::ok) {
            if line.contains("Ctrl-C") {
                return Running { child };
            }
        }
        let mut errors = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            let _ = std::io::Read::read_to_string(&mut stderr, &mut errors);
        }
        let _ = child.wait();
        panic!("ended before it was ready: {errors}");
    }

    /// Ctrl-C.
    fn interrupt(mut self) {
        let status =
            Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(status.success());
        assert!(self.child.wait().expect("a child").success(), "Ctrl-C ends cleanly");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_durable_cluster_comes_back_and_keeps_others_out() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let store = format!("redb={}", dir.path().join("data").display());
    let running = Running::start(dir.path(), &["--store", &store, GUESTBOOK]);
    let second = up(dir.path(), &["--store", &store, "--kubeconfig", "second"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("in use"), "{}", text(&second.stderr));
    running.interrupt();

    let again = up(dir.path(), &["--store", &store, "--json"]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    let result: Value = serde_json::from_slice(&again.stdout).expect("JSON");
    assert_eq!(result["pods"].as_array().map(Vec::len), Some(6), "{result:#}");

    // A node that is new goes around those that are there.
    let more = up(dir.path(), &["--store", &store, "--control-planes", "2", "--json"]);
    assert!(more.status.success(), "{}", text(&more.stderr));

    let file = dir.path().join("data").join("store.redb");
    std::fs::write(&file, b"this is no store").expect("a file");
    let damaged = up(dir.path(), &["--store", &store]);
    assert_eq!(damaged.status.code(), Some(1));
    assert!(text(&damaged.stderr).contains("store.redb"), "{}", text(&damaged.stderr));
}

/// Ranges went by a node's place in the list, so a new node was given what another had had since an earlier run.
#[test]
fn no_node_is_given_what_another_has() {
    use orlop::base::kinds::{Node, NodeAddress};
    let spec = orlop::ClusterSpec { nodes: orlop::spec::default_nodes(1, 3), ..Default::default() };
    let first = orlop::assembly::number_nodes(&spec, &[]).expect("there are enough");
    let stored: Vec<Node> = first[1..]
        .iter()
        .map(|node| {
            let mut known = Node::default();
            known.metadata.name = node.name.clone();
            known.spec.pod_cid_rs = node.pod_cidrs.iter().map(|range| range.to_string().into()).collect();
            let address = |ip: &std::net::IpAddr| NodeAddress {
                r#type: "InternalIP".into(),
                address: ip.to_string().into(),
            };
            known.status.addresses = node.addresses.iter().map(address).collect();
            known
        })
        .collect();
    let spec = orlop::ClusterSpec { nodes: orlop::spec::default_nodes(2, 2), ..Default::default() };
    let second = orlop::assembly::number_nodes(&spec, &stored).expect("there are enough");
    let of = |nodes: &[orlop::NodeSpec], name: &str| {
        let node = nodes.iter().find(|node| node.name == name).expect("a node");
        (node.addresses.clone(), node.pod_cidrs.clone())
    };
    assert_eq!(of(&first, "worker-1"), of(&second, "worker-1"));
    assert_eq!(of(&first, "worker-2"), of(&second, "worker-2"));
    // The third worker is away, but its pods may still be looked for.
    let taken = of(&first, "worker-3");
    for node in &second {
        let others = second.iter().filter(|other| other.name != node.name);
        for (addresses, ranges) in
            others.map(|n| (n.addresses.clone(), n.pod_cidrs.clone())).chain([taken.clone()])
        {
            assert!(node.addresses.iter().all(|address| !addresses.contains(address)), "{second:?}");
            assert!(node.pod_cidrs.iter().all(|range| !ranges.contains(range)), "{second:?}");
        }
    }
}

#[test]
fn two_clusters_live_side_by_side() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let first = Running::start(dir.path(), &["--kubeconfig", "first", GUESTBOOK]);
    let second = Running::start(dir.path(), &["--kubeconfig", "second", GUESTBOOK]);
    second.interrupt();
    first.interrupt();
}

/// Runs `orlop`, wants it to succeed, and answers with what it prints.
fn ask(dir: &Path, arguments: &[&str]) -> String {
    let output = orlop(dir).args(arguments).output().expect("the program runs");
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_running_cluster_answers_why_and_what_if() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("a file");
    write(
        "app.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: 3\n  \
         selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    \
         spec: {containers: [{name: web, image: 'web:1', resources: {requests: {cpu: 1}}}]}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {name: big}\nspec: {containers: [{name: a, image: b, resources: \
         {requests: {cpu: 3500m}}}], nodeSelector: {disk: ssd}}\n",
    );
    write(
        "packing.yaml",
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles:\n- pluginConfig:\n  \
         - name: NodeResourcesFit\n    args: {scoringStrategy: {type: MostAllocated}}\n  plugins:\n    score:\n      \
         disabled: [{name: PodTopologySpread}, {name: NodeResourcesBalancedAllocation}]\n",
    );
    let arguments =
        ["--data-plane", "none", "--timeout", "2s", "--scheduler-config", "packing.yaml", "app.yaml"];
    let running = Running::start(dir.path(), &arguments);

    let why = ask(dir.path(), &["why", "big"]);
    for part in [
        "default/big Unschedulable: 0/4 nodes are available:",
        "TaintToleration: node(s) had untolerated taint(s)",
        "the node must have disk=ssd (it has no label disk)",
    ] {
        assert!(why.contains(part), "{part} is not in\n{why}");
    }
    let why: Value = serde_json::from_str(&ask(dir.path(), &["why", "big", "--json"])).expect("JSON");
    assert_eq!(why["now"]["refused"].as_array().map(Vec::len), Some(4), "{why:#}");

    let fit = ask(dir.path(), &["fit", "app.yaml", "--scheduler-config", "packing.yaml"]);
    assert!(fit.contains("Deployment web: 3 of 3 would be placed, 6 more would fit"), "{fit}");
    assert!(fit.contains("Pod big: 0 of 1 would be placed, 0 more would fit"), "{fit}");
    assert!(fit.contains("LIMITED BY"), "{fit}");

    // Packed, all three stand on one node; the next is as good for them.
    let pods: Value =
        serde_json::from_str(&ask(dir.path(), &["what-if", "drain", "worker-1", "--json"])).expect("JSON");
    let drained: Vec<Value> = (1..=3)
        .map(|n| {
            let node = format!("worker-{n}");
            serde_json::from_str(&ask(dir.path(), &["what-if", "drain", &node, "--json"])).expect("JSON")
        })
        .collect();
    let moving = |drain: &Value| {
        drain["pods"].as_array().into_iter().flatten().filter(|pod| pod["outcome"] == "moves").count()
    };
    assert_eq!(drained.iter().map(moving).max(), Some(3), "{pods:#}");
    assert_eq!(drained.iter().map(moving).sum::<usize>(), 3);
    let told = ask(dir.path(), &["what-if", "drain", "worker-1"]);
    assert!(told.starts_with("draining worker-1: "), "{told}");

    let lost = orlop(dir.path()).args(["why", "nobody"]).output().expect("the program runs");
    assert_eq!(lost.status.code(), Some(1));
    assert!(text(&lost.stderr).contains("there is no pod default/nobody"), "{}", text(&lost.stderr));
    running.interrupt();
    let gone = orlop(dir.path()).args(["why", "big"]).output().expect("the program runs");
    assert!(text(&gone.stderr).contains("does the cluster run?"), "{}", text(&gone.stderr));
}

#[test]
fn mistakes_in_a_scheduler_configuration_are_told_with_their_place() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles:\n- plugins:\n    \
                  filter:\n      enabled: [{name: NoSuchPlugin}]\n";
    std::fs::write(dir.path().join("config.yaml"), config).expect("a file");
    let output = up(dir.path(), &["--scheduler-config", "config.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    for part in [
        "config.yaml: document 1, line 6, column",
        "profiles[0].plugins.filter.enabled[0].name: Unsupported value: \"NoSuchPlugin\"",
    ] {
        assert!(errors.contains(part), "{part} is not in {errors}");
    }
}

#[test]
fn manifests_come_from_standard_input_too() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut child = orlop(dir.path())
        .args(["up", "--once", "--json", "--listen", "127.0.0.1:0", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin
        .write_all(
            b"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: b}]}\n",
        )
        .expect("a pipe");
    drop(stdin);
    let output = child.wait_with_output().expect("the program runs");
    let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((result["ready"].as_bool(), result["pods"][0]["name"].as_str()), (Some(true), Some("a")));
}

#[test]
fn preflight_says_why_and_what_mends_it() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let output = orlop(dir.path()).args(["preflight", "--json"]).output().expect("the program runs");
    let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let checks = result["checks"].as_array().expect("checks");
    assert!(checks.len() >= 7);
    for check in checks.iter().filter(|check| check["level"] == "fails") {
        assert!(check["why"].as_str().is_some_and(|why| !why.is_empty()), "{check}");
        assert!(check["mend"].as_array().is_some_and(|mend| !mend.is_empty()), "{check}");
    }
    assert_eq!(output.status.success(), result["fit"] == true);
}
