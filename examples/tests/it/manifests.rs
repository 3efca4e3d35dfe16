//! Manifests that other people wrote: what a real control plane accepts, Orlop accepts.
//!
//! `cargo test -p orlop-examples --test it manifests -- --nocapture`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use orlop::Cluster;
use orlop::base::kinds::Deployment;
use orlop::manifest::Manifests;
use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::shared;

#[derive(Deserialize)]
struct Expected {
    apply: Outcome,
}

#[derive(Deserialize)]
struct Outcome {
    exit: i32,
    stdout: Vec<String>,
}

/// A cluster that knows the custom kinds, and kubectl for it.
struct Bench {
    cluster: Cluster,
    home: tempfile::TempDir,
    kubectl: PathBuf,
}

impl Bench {
    async fn new(kubectl: &Path, definitions: &[PathBuf]) -> Bench {
        let cluster = Cluster::builder().serve(([127, 0, 0, 1], 0).into()).start().await.expect("a cluster");
        let home = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(home.path().join("config"), cluster.kubeconfig().expect("a served cluster"))
            .expect("a file");
        let bench = Bench { cluster, home, kubectl: kubectl.to_owned() };
        for definition in definitions {
            bench.run(&["apply", "-f"], definition).await;
        }
        bench
    }

    async fn run(&self, arguments: &[&str], file: &Path) -> (i32, Vec<String>, String) {
        let output = Command::new(&self.kubectl)
            .args(arguments)
            .arg(file)
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.home.path().join("config"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        match tokio::time::timeout(Duration::from_secs(60), output).await {
            Ok(output) => {
                let output = output.expect("kubectl runs");
                let lines = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
                let errors = String::from_utf8_lossy(&output.stderr).into_owned();
                (output.status.code().unwrap_or(-1), lines, errors)
            }
            Err(_) => (-1, Vec::new(), "kubectl does not end".to_owned()),
        }
    }

    /// Applies one file, waits for what can become ready, deletes it again; answers with what is wrong.
    async fn check(&self, file: &Path, expected: &Outcome) -> Result<Vec<String>, String> {
        let (exit, lines, errors) = self.run(&["apply", "-f"], file).await;
        let outcome = if exit != expected.exit {
            Err(format!("exit status {exit}: {}", errors.trim()))
        } else if sorted(&lines) != sorted(&expected.stdout) {
            Err(format!("said {lines:?}, not {:?}", expected.stdout))
        } else if exit == 0 && is_plain(&lines) {
            match lacks(file) {
                // It would not become ready elsewhere either.
                Some(what) => Ok([lines, vec![format!("(waits for {what})")]].concat()),
                None => self.becomes_ready().await.map(|()| lines),
            }
        } else {
            Ok(lines)
        };
        self.run(&["delete", "--ignore-not-found", "--wait=true", "--timeout=20s", "-f"], file).await;
        outcome
    }

    async fn becomes_ready(&self) -> Result<(), String> {
        let clock = self.cluster.clock().clone();
        // Some probes begin only after 20 s.
        let deadline = clock.now() + Duration::from_secs(45);
        loop {
            let deployments = self.cluster.list::<Deployment>("").await.map_err(|status| status.message)?;
            let waiting: Vec<_> = deployments
                .iter()
                .filter(|d| d.status.available_replicas < d.spec.replicas.unwrap_or(1))
                .map(|d| d.metadata.name.to_string())
                .collect();
            if waiting.is_empty() {
                return Ok(());
            }
            if clock.now() > deadline {
                return Err(format!("not ready: {}", waiting.join(", ")));
            }
            clock.sleep_until(clock.now() + Duration::from_millis(20)).await;
        }
    }
}

fn sorted(lines: &[String]) -> Vec<&str> {
    let mut lines: Vec<_> = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines
}

/// Whether a file is made of nothing but Deployments and Services, and what needs no controller.
fn is_plain(lines: &[String]) -> bool {
    let known = [
        "deployment.apps/",
        "service/",
        "configmap/",
        "namespace/",
        "serviceaccount/",
        "ingress.networking.k8s.io/",
    ];
    lines.iter().any(|line| line.starts_with("deployment.apps/"))
        && lines.iter().all(|line| known.iter().any(|kind| line.starts_with(kind)))
}

/// What pods of this file need that neither the file nor the cluster has: configuration, or devices.
fn lacks(file: &Path) -> Option<String> {
    let mut manifests = Manifests::default();
    manifests.add_text("file", &std::fs::read_to_string(file).unwrap_or_default());
    let has = |kind: &str, name: &str| {
        manifests.objects.iter().any(|m| m.value["kind"] == kind && m.value["metadata"]["name"] == name)
    };
    let mut open: Vec<&Value> =
        manifests.objects.iter().map(|m| &m.value["spec"]["template"]["spec"]).collect();
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(fields) => {
                for (field, inner) in fields {
                    let (kind, name) = match field.as_str() {
                        "configMap" | "configMapRef" | "configMapKeyRef" => ("ConfigMap", &inner["name"]),
                        "secretRef" | "secretKeyRef" => ("Secret", &inner["name"]),
                        "secret" => ("Secret", &inner["secretName"]),
                        "nvidia.com/gpu" => return Some("a GPU".to_owned()),
                        _ => ("", &Value::Null),
                    };
                    match name.as_str() {
                        Some(name) if inner["optional"] != true && !has(kind, name) => {
                            return Some(format!("{kind} {name}"));
                        }
                        _ => open.push(inner),
                    }
                }
            }
            _ => {}
        }
    }
    None
}

#[test]
fn manifests() {
    let (Some(index), Some(kubectl)) = (shared::file("manifests/expected.json"), shared::kubectl()) else {
        return;
    };
    let expected: BTreeMap<String, Expected> =
        serde_json::from_slice(&std::fs::read(&index).expect("a readable file")).expect("expectations");
    let root = index.parent().expect("a folder").to_owned();
    let (definitions, files): (Vec<_>, Vec<_>) = expected
        .into_iter()
        .filter(|(_, e)| e.apply.exit == 0)
        .partition(|(name, _)| name.starts_with("crds/"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (agreed, all) = runtime.block_on(run_all(root, kubectl, definitions, files));
    println!("{agreed} of {all} agreed");
    assert_eq!(agreed, all, "every file that Kubernetes accepts must be accepted");
}

async fn run_all(
    root: PathBuf,
    kubectl: PathBuf,
    definitions: Vec<(String, Expected)>,
    files: Vec<(String, Expected)>,
) -> (usize, usize) {
    let paths: Vec<PathBuf> = definitions.iter().map(|(name, _)| root.join(name)).collect();
    let all = definitions.len() + files.len();
    let mut agreed = 0;
    let first = Bench::new(&kubectl, &[]).await;
    for ((name, expected), path) in definitions.iter().zip(&paths) {
        let (exit, lines, errors) = first.run(&["apply", "-f"], path).await;
        let right = exit == 0 && sorted(&lines) == sorted(&expected.apply.stdout);
        agreed += usize::from(right);
        println!(
            "{name}: {}",
            if right { lines.join("; ") } else { format!("NOT accepted: {lines:?} {errors}") }
        );
    }
    first.cluster.shutdown().await;
    // Each file is alone in its cluster while it is there; a few clusters work side by side.
    let queue = Arc::new(Mutex::new(files.into_iter()));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (queue, root, kubectl, paths) = (queue.clone(), root.clone(), kubectl.clone(), paths.clone());
        workers.spawn(async move {
            let bench = Bench::new(&kubectl, &paths).await;
            let mut agreed = 0;
            loop {
                let Some((name, expected)) = queue.lock().await.next() else { break };
                match bench.check(&root.join(&name), &expected.apply).await {
                    Ok(lines) => {
                        agreed += 1;
                        println!("{name}: {}", lines.join("; "));
                    }
                    Err(why) => println!("{name}: NOT as expected: {why}"),
                }
            }
            bench.cluster.shutdown().await;
            agreed
        });
    }
    agreed += workers.join_all().await.into_iter().sum::<usize>();
    (agreed, all)
}
