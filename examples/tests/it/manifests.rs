//! Manifests that other people wrote: Orlop answers to `kubectl apply`, of either kind, what Kubernetes answers.
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
#[serde(rename_all = "camelCase")]
struct Expected {
    apply: Outcome,
    apply_server_side: Outcome,
}

/// What a kubectl said, by line, and how it ended.
#[derive(Deserialize)]
struct Outcome {
    exit: i32,
    stdout: Vec<String>,
    stderr: Vec<String>,
}

impl Outcome {
    /// # Errors
    /// Where the two disagree. The order of lines is left out: kubectl says them as answers come.
    fn agrees(&self, expected: &Outcome) -> Result<(), String> {
        if self.exit != expected.exit {
            return Err(format!("exit status {}, not {}: {:?}", self.exit, expected.exit, self.stderr));
        }
        for (said, other) in [(&self.stdout, &expected.stdout), (&self.stderr, &expected.stderr)] {
            if sorted(said) != sorted(other) {
                return Err(format!("said {said:?}, not {other:?}"));
            }
        }
        Ok(())
    }
}

const APPLY: &[&str] = &["apply", "-f"];
const APPLY_SERVER_SIDE: &[&str] = &["apply", "--server-side", "-f"];
const DELETE: &[&str] = &["delete", "--ignore-not-found", "--wait=true", "--timeout=40s", "-f"];

/// A cluster that has some definitions, and kubectl for it.
struct Bench {
    cluster: Cluster,
    home: tempfile::TempDir,
    kubectl: PathBuf,
    root: PathBuf,
    definitions: Vec<String>,
}

impl Bench {
    async fn new(root: &Path, kubectl: &Path, definitions: &[String]) -> Bench {
        let cluster = Cluster::builder().serve(([127, 0, 0, 1], 0).into()).start().await.expect("a cluster");
        let home = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(home.path().join("config"), cluster.kubeconfig().expect("a served cluster"))
            .expect("a file");
        let (kubectl, root, definitions) = (kubectl.to_owned(), root.to_owned(), definitions.to_vec());
        let bench = Bench { cluster, home, kubectl, root, definitions };
        for name in &bench.definitions {
            bench.run(APPLY, name).await;
        }
        bench
    }

    /// Deletes what a file made. What does not go stays behind with its cluster.
    async fn clear(&mut self, file: &str) {
        if self.run(DELETE, file).await.exit != 0 {
            let next = Bench::new(&self.root, &self.kubectl, &self.definitions).await;
            std::mem::replace(self, next).cluster.shutdown().await;
        }
    }

    /// `file` is named as the recording named it: from the manifests' folder.
    async fn run(&self, arguments: &[&str], file: &str) -> Outcome {
        let output = Command::new(&self.kubectl)
            .args(arguments)
            .arg(file)
            .current_dir(&self.root)
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.home.path().join("config"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect();
        match tokio::time::timeout(Duration::from_secs(90), output).await {
            Ok(output) => {
                let output = output.expect("kubectl runs");
                let exit = output.status.code().unwrap_or(-1);
                Outcome { exit, stdout: lines(&output.stdout), stderr: lines(&output.stderr) }
            }
            Err(_) => Outcome { exit: -1, stdout: Vec::new(), stderr: lines(b"kubectl does not end") },
        }
    }

    /// Applies one file in each way, as the recording did; answers with what is wrong.
    async fn check(&mut self, file: &str, expected: &Expected) -> Result<Vec<String>, String> {
        let client_side = self.client_side(file, &expected.apply).await;
        self.clear(file).await;
        let server_side = self.run(APPLY_SERVER_SIDE, file).await;
        self.clear(file).await;
        let lines = client_side?;
        server_side.agrees(&expected.apply_server_side).map_err(|why| format!("server-side: {why}"))?;
        Ok(lines)
    }

    /// Applies, waits for what can become ready, and applies again: there is nothing to change then.
    async fn client_side(&self, file: &str, expected: &Outcome) -> Result<Vec<String>, String> {
        let applied = self.run(APPLY, file).await;
        applied.agrees(expected)?;
        let mut lines = applied.stdout;
        if applied.exit != 0 {
            lines.extend(applied.stderr);
            return Ok(lines);
        }
        if is_plain(&lines) {
            match lacks(&self.root.join(file)) {
                // It would not become ready elsewhere either.
                Some(what) => lines.push(format!("(waits for {what})")),
                None => self.becomes_ready().await?,
            }
        }
        self.again(file).await.map_err(|why| format!("the second time: {why}"))?;
        Ok(lines)
    }

    /// Applies once more. kubectl says "unchanged"; or it sends what it sends of such a manifest each time, because the
    /// server fills something in where a list is one whole, or writes an amount in another way. Then that changes
    /// nothing.
    async fn again(&self, file: &str) -> Result<(), String> {
        let second = self.run(APPLY, file).await;
        if second.exit != 0 {
            return Err(format!("exit status {}: {:?}", second.exit, second.stderr));
        }
        let vanishes = vanishes(&self.root.join(file));
        let changed =
            |line: &&String| !(line.ends_with(" unchanged") || vanishes && line.ends_with(" created"));
        let changed: Vec<&String> = second.stdout.iter().filter(changed).collect();
        if let Some(line) = changed.iter().find(|line| !line.ends_with(" configured")) {
            return Err(format!("said {line:?}"));
        }
        if changed.is_empty() || vanishes {
            return Ok(());
        }
        let before = self.stored(file).await?;
        self.run(APPLY, file).await.agrees(&second)?;
        let after = self.stored(file).await?;
        if before == after { Ok(()) } else { Err(format!("{before} became {after}")) }
    }

    /// What of a file's objects applying could change.
    async fn stored(&self, file: &str) -> Result<Value, String> {
        let got = self.run(&["get", "--output=json", "-f"], file).await;
        let mut tree: Value = serde_json::from_str(&got.stdout.join("\n"))
            .map_err(|error| format!("{error}: {:?}", got.stderr))?;
        let forget = |object: &mut Value| {
            if let Some(map) = object.as_object_mut() {
                map.shift_remove("status");
            }
            if let Some(meta) = object["metadata"].as_object_mut() {
                meta.retain(|field, _| field != "resourceVersion" && field != "managedFields");
            }
        };
        match tree["items"].as_array_mut() {
            Some(items) => items.iter_mut().for_each(forget),
            None => forget(&mut tree),
        }
        Ok(tree)
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

/// Whether a file has what the cluster removes by itself: pods on a node that is not there, jobs that go when done.
fn vanishes(file: &Path) -> bool {
    let mut manifests = Manifests::default();
    manifests.add_text("file", &std::fs::read_to_string(file).unwrap_or_default());
    let has = |kind: &str, field: &str| {
        manifests.objects.iter().any(|m| m.value["kind"] == kind && !m.value["spec"][field].is_null())
    };
    has("Pod", "nodeName") || has("Job", "ttlSecondsAfterFinished")
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
    // Some files beside the definitions use what these define.
    let defines = |name: &str| {
        let text = std::fs::read_to_string(root.join(name)).unwrap_or_default();
        name.starts_with("crds/") && text.lines().any(|line| line.trim() == "kind: CustomResourceDefinition")
    };
    let (definitions, files): (Vec<_>, Vec<_>) = expected.into_iter().partition(|(name, _)| defines(name));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (agreed, all) = runtime.block_on(run_all(&root, &kubectl, definitions, files));
    println!("{agreed} of {all} agreed");
    assert_eq!(agreed, all, "what Kubernetes answers, Orlop answers");
}

fn verdict(name: &str, result: Result<Vec<String>, String>) -> usize {
    match &result {
        Ok(lines) => println!("{name}: {}", lines.join("; ")),
        Err(why) => println!("{name}: NOT as expected: {why}"),
    }
    usize::from(result.is_ok())
}

async fn run_all(
    root: &Path,
    kubectl: &Path,
    definitions: Vec<(String, Expected)>,
    files: Vec<(String, Expected)>,
) -> (usize, usize) {
    let all = definitions.len() + files.len();
    let names: Vec<String> = definitions.iter().map(|(name, _)| name.clone()).collect();
    let mut agreed = 0;
    // The definitions come one after another and stay, once for each way of applying.
    let (client_side, server_side) =
        (Bench::new(root, kubectl, &[]).await, Bench::new(root, kubectl, &[]).await);
    for (name, expected) in &definitions {
        let first = client_side.client_side(name, &expected.apply).await;
        let second = server_side.run(APPLY_SERVER_SIDE, name).await.agrees(&expected.apply_server_side);
        agreed += verdict(name, first.and_then(|lines| second.map(|()| lines)));
    }
    client_side.cluster.shutdown().await;
    server_side.cluster.shutdown().await;
    // Each other file is alone in its cluster while it is there; a few clusters work side by side.
    let queue = Arc::new(Mutex::new(files.into_iter()));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (queue, root, kubectl, names) =
            (queue.clone(), root.to_owned(), kubectl.to_owned(), names.clone());
        workers.spawn(async move {
            let mut bench = Bench::new(&root, &kubectl, &names).await;
            let mut agreed = 0;
            loop {
                let Some((name, expected)) = queue.lock().await.next() else { break };
                agreed += verdict(&name, bench.check(&name, &expected).await);
            }
            bench.cluster.shutdown().await;
            agreed
        });
    }
    agreed += workers.join_all().await.into_iter().sum::<usize>();
    (agreed, all)
}
