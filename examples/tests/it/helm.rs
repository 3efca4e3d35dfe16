//! Helm against a cluster: a chart is installed, upgraded, rolled back and uninstalled, by server-side apply as Helm 4
//! does it, and by three-way merge patches as Helm 3 did.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::sessions::with_cluster;
use crate::shared;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/chart");

struct Helm {
    program: PathBuf,
    dir: PathBuf,
}

impl Helm {
    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(&self.program)
            .args(arguments)
            .args(["--kubeconfig", "config"])
            .current_dir(&self.dir)
            // Where it keeps what it knows of repositories and plugins.
            .env("HOME", &self.dir)
            .stdin(Stdio::null())
            .output()
            .expect("Helm runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn done(&self, arguments: &[&str]) -> String {
        self.run(arguments).unwrap_or_else(|error| panic!("helm {}: {error}", arguments.join(" ")))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.done(arguments)).expect("JSON")
    }
}

fn kubectl(program: &Path, dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(["--kubeconfig", "config"])
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .expect("kubectl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn helm_installs_upgrades_rolls_back_and_uninstalls() {
    let (Some(program), Some(ctl)) = (shared::helm(), shared::kubectl()) else { return };
    with_cluster("", &[], move |dir| {
        let helm = Helm { program, dir: dir.to_owned() };
        // Two ways of writing, each with a release of its own.
        for (release, way) in [("applied", "--server-side=true"), ("merged", "--server-side=false")] {
            course(&helm, release, way, |arguments| kubectl(&ctl, dir, arguments));
        }
    });
}

fn course(helm: &Helm, release: &str, way: &str, ask: impl Fn(&[&str]) -> String) {
    let waits = ["--wait", "--timeout=60s", way];
    let deployment = || -> Value {
        serde_json::from_str(&ask(&["get", "deployment", release, "-o", "json"])).expect("JSON")
    };
    let colour = || ask(&["get", "configmap", release, "-o", "jsonpath={.data.colour}"]);

    helm.done(&[&["install", release, CHART][..], &waits].concat());
    assert_eq!(deployment()["status"]["availableReplicas"], 1, "it waits until all is ready");
    assert_eq!(deployment()["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm");
    assert_eq!(colour(), "blue");
    let twice = helm.run(&["install", release, CHART]).expect_err("the name is taken");
    assert!(twice.contains("cannot reuse a name that is still in use"), "{twice}");

    // What others have scaled stays as the chart does not change it; what it does change, changes.
    helm.done(&[&["upgrade", release, CHART, "--set", "colour=green,replicas=2"][..], &waits].concat());
    assert_eq!((deployment()["status"]["availableReplicas"].as_i64(), colour().as_str()), (Some(2), "green"));
    let same = helm.done(&[&["upgrade", release, CHART, "--reuse-values"][..], &waits].concat());
    assert!(same.contains("has been upgraded"), "{same}");
    assert_eq!(deployment()["metadata"]["generation"], 2, "an upgrade to the same changes nothing");

    let listed = helm.json(&["list", "-o", "json"]);
    let found = listed.as_array().and_then(|all| all.iter().find(|r| r["name"] == release)).expect("listed");
    assert_eq!((&found["status"], &found["chart"]), (&"deployed".into(), &"colours-0.1.0".into()));
    assert_eq!(found["revision"].as_str().unwrap_or_default(), "3");
    let manifest = helm.done(&["get", "manifest", release]);
    assert!(manifest.contains("kind: PodDisruptionBudget"), "discovery names what there is: {manifest}");

    helm.done(&["rollback", release, "1", "--wait", "--timeout=60s"]);
    assert_eq!((deployment()["spec"]["replicas"].as_i64(), colour().as_str()), (Some(1), "blue"));
    let history = helm.json(&["history", release, "-o", "json"]);
    let statuses: Vec<_> =
        history.as_array().into_iter().flatten().filter_map(|r| r["status"].as_str()).collect();
    assert_eq!(statuses, ["superseded", "superseded", "superseded", "deployed"]);
    let kept = ask(&["get", "secrets", "-l", "owner=helm", "-o", "name"]);
    assert!(kept.contains(&format!("secret/sh.helm.release.v1.{release}.v4")), "{kept}");

    helm.done(&["uninstall", release, "--wait", "--timeout=60s"]);
    let left = ask(&[
        "get",
        "all,configmap,pdb,serviceaccount",
        "-l",
        "app.kubernetes.io/managed-by=Helm",
        "-o",
        "name",
    ]);
    assert!(!left.contains(release), "{left}");
    assert_eq!(helm.json(&["list", "-o", "json"]), Value::Array(Vec::new()));
}
