//! How long does a cluster take to be of use, and how much memory does it hold?
//!
//! `cargo build --release && cargo run --release -p orlop-benches --bin footprint`
//!
//! Prints, and asserts nothing: from the start of the process to a ready guestbook; the resident memory of an idle
//! cluster; what 100,000 pods cost, each created through the API.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use orlop_api::local::{Config, LocalApi};
use orlop_api::{Api, Body, Options, Request, ResourceId, User, Verb};
use orlop_core::kinds::Pod;
use orlop_core::store::MemoryStore;
use orlop_core::{Entropy, Key, ManualClock, Name, Object, Timestamp};
use serde_json::json;

const PODS: usize = 100_000;

/// That of the program `orlop`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let orlop = program()?;
    let mut times: Vec<Duration> = (0..7).map(|_| guestbook(&orlop)).collect::<Result<_, _>>()?;
    times.sort();
    println!(
        "process start to guestbook ready: {:?} (median of {}; {:?} to {:?})",
        times[3],
        times.len(),
        times[0],
        times[6]
    );
    println!("resident memory of an idle cluster: {:.1} MB", idle(&orlop)?);
    pods()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn program() -> Result<PathBuf, String> {
    let here = std::env::current_exe().map_err(|e| e.to_string())?;
    let orlop = here.with_file_name("orlop");
    if orlop.exists() {
        Ok(orlop)
    } else {
        Err(format!("{} is not there: cargo build --release", orlop.display()))
    }
}

fn up(orlop: &Path) -> Command {
    let mut command = Command::new(orlop);
    let config = std::env::temp_dir().join(format!("footprint-{}.kubeconfig", std::process::id()));
    command.args(["up", "--listen", "127.0.0.1:0", "--json", "--kubeconfig"]).arg(config);
    command.stdout(Stdio::null());
    command
}

fn guestbook(orlop: &Path) -> Result<Duration, Box<dyn std::error::Error>> {
    let manifests = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/manifests/guestbook");
    let started = now();
    let status = up(orlop).args(["--once", manifests]).status()?;
    let took = now() - started;
    if status.success() { Ok(took) } else { Err("the guestbook did not become ready".into()) }
}

/// In megabytes, five seconds after the start.
fn idle(orlop: &Path) -> Result<f64, Box<dyn std::error::Error>> {
    let mut child = up(orlop).spawn()?;
    std::thread::sleep(Duration::from_secs(5));
    let held = resident(&child.id().to_string());
    child.kill()?;
    child.wait()?;
    held
}

/// In megabytes.
fn resident(process: &str) -> Result<f64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes / 1024.0)
}

fn pods() -> Result<(), Box<dyn std::error::Error>> {
    let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_767_225_600)));
    let api =
        LocalApi::new(MemoryStore::new(clock.clone()), clock.clone(), Entropy::seeded(1), Config::default());
    api.bootstrap().now_or_never().ok_or("memory does not wait")??;
    call(
        &api,
        request(
            &orlop_core::kinds::ServiceAccount::KIND,
            json!({"metadata": {"name": "default", "namespace": "default"}}),
        ),
    )?;
    let before = resident("self")?;
    let started = now();
    for n in 0..PODS {
        clock.advance(Duration::from_millis(1));
        call(&api, request(&Pod::KIND, pod(n)))?;
    }
    let took = now() - started;
    let held = resident("self")? - before;
    println!(
        "{PODS} pods stored: {held:.0} MB, {:.2} KB each; {:.0} created a second through the API in process",
        held * 1024.0 / PODS as f64,
        PODS as f64 / took.as_secs_f64()
    );
    Ok(())
}

fn request(kind: &orlop_core::Kind, object: serde_json::Value) -> Request {
    Request {
        user: User { name: "bench".into(), groups: vec!["system:masters".into()], ..User::default() },
        verb: Verb::Create,
        resource: ResourceId::from(kind),
        key: Key::new("default", ""),
        subresource: Name::default(),
        options: Options { field_manager: "bench".into(), ..Options::default() },
        body: Some(Body::Value(object)),
    }
}

fn call(api: &impl Api, request: Request) -> Result<(), Box<dyn std::error::Error>> {
    api.call(request).now_or_never().ok_or("memory does not wait")?.map_err(|status| status.message)?;
    Ok(())
}

fn pod(n: usize) -> serde_json::Value {
    json!({
        "metadata": {
            "name": format!("web-{n}"),
            "namespace": "default",
            "labels": {"app": format!("web-{}", n % 100), "pod-template-hash": "5d4f8c7b9"},
        },
        "spec": {
            "containers": [{
                "name": "web",
                "image": "registry.example.com/web:1",
                "ports": [{"name": "http", "containerPort": 8080}],
                "env": [{"name": "LOG", "value": "info"}, {"name": "REGION", "value": "here"}],
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}},
            }],
        },
    })
}
