//! `orlop up`: a cluster, the manifests on it, and the addresses that work.

use std::process::ExitCode;

use orlop::manifest::Manifests;
use orlop::spec::default_nodes;
use orlop::{Applied, Builder, Cluster, StartError};

use crate::options::{PlaneChoice, RuntimeChoice, StoreChoice, Up};
use crate::{progress, scheduling, summary};

/// Runs the command.
pub(crate) async fn run(up: Up) -> ExitCode {
    match start(&up).await {
        Ok(code) => code,
        Err(errors) => {
            report(&up, &errors);
            ExitCode::FAILURE
        }
    }
}

fn report(up: &Up, errors: &[String]) {
    if up.json {
        say!("{}", serde_json::json!({"ready": false, "problems": errors}));
    } else {
        for error in errors {
            eprintln!("error: {error}");
        }
    }
}

async fn start(up: &Up) -> Result<ExitCode, Vec<String>> {
    // What is wrong with the files is said before anything is started.
    let mut manifests = Manifests::read(&up.manifests);
    manifests.sort();
    let mut problems: Vec<String> = manifests.problems.iter().map(ToString::to_string).collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let scheduler = scheduling::configuration(up.scheduler_config.as_deref())?;
    let builder = up.guard.set_up(builder(up).scheduler(scheduler)).map_err(|error| vec![error])?;
    let cluster = builder.start().await.map_err(|error| vec![refused(&error, "--listen ADDR")])?;
    let kubeconfig = cluster.kubeconfig().unwrap_or_default();
    if let Err(error) = orlop::apiserver::pki::write_private(&up.kubeconfig, &kubeconfig) {
        let path = up.kubeconfig.display();
        cluster.shutdown().await;
        return Err(vec![format!(
            "{path}: the kubeconfig cannot be written: {error}; choose another place with --kubeconfig PATH"
        )]);
    }
    let interrupted = interrupted();
    tokio::pin!(interrupted);
    let outcome = tokio::select! {
        biased;
        () = &mut interrupted => None,
        outcome = bring_up(up, &cluster, &manifests, &mut problems) => Some(outcome),
    };
    let early = outcome.is_none();
    let ready = match outcome {
        None => false,
        Some(Err(error)) => {
            cluster.shutdown().await;
            return Err(vec![error]);
        }
        Some(Ok(ready)) => ready,
    };
    if !up.once && !early {
        if !up.json {
            say!("Ctrl-C ends the cluster.");
        }
        interrupted.await;
        if !up.json {
            say!("");
        }
    }
    cluster.shutdown().await;
    Ok(if ready || !up.once { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Why a cluster did not start, with the option that chooses where it listens if that is why.
pub(crate) fn refused(error: &StartError, option: &str) -> String {
    match error {
        StartError::Listen { .. } => format!("{error} ({option})"),
        _ => error.to_string(),
    }
}

/// Applies, waits, and shows what came of it; answers whether everything is ready.
async fn bring_up(
    up: &Up,
    cluster: &Cluster,
    manifests: &Manifests,
    problems: &mut Vec<String>,
) -> Result<bool, String> {
    let server = cluster.address().map(|address| format!("https://{address}"));
    if !up.json {
        say!(
            "API server {}, kubeconfig {}",
            server.as_deref().unwrap_or("not served"),
            up.kubeconfig.display()
        );
    }
    let deadline = cluster.clock().now() + up.timeout;
    let nodes = up.nodes + up.control_planes;
    progress::wait_for_nodes(cluster, nodes, deadline).await.map_err(|status| status.message)?;
    let mut counts = [0; 3];
    for manifest in &manifests.objects {
        match cluster.apply(manifest).await {
            Ok(applied) => counts[applied as usize] += 1,
            Err(problem) => problems.push(problem.to_string()),
        }
    }
    if !up.json {
        for problem in problems.iter() {
            eprintln!("error: {problem}");
        }
        if manifests.objects.is_empty() && !up.manifests.is_empty() {
            eprintln!("warning: there is no object in {}", up.manifests.join(", "));
        }
        if !manifests.objects.is_empty() {
            let [created, configured, unchanged] = counts;
            say!("{created} objects created, {configured} configured, {unchanged} unchanged");
            debug_assert_eq!(Applied::Unchanged as usize, 2);
        }
    }
    let readiness = progress::wait(cluster, deadline, !up.json).await.map_err(|status| status.message)?;
    let summary = summary::summarise(cluster).await.map_err(|status| status.message)?;
    if up.json {
        say!("{:#}", summary.json(&readiness, problems, server));
    } else {
        say!("\n{}", summary.text());
        for reason in readiness.reasons() {
            eprintln!("not ready within {:?}: {reason}", up.timeout);
        }
        if !up.once {
            say!("kubectl --kubeconfig {} get pods -A -o wide", up.kubeconfig.display());
        }
    }
    Ok(readiness.is_ready() && problems.is_empty())
}

fn builder(up: &Up) -> Builder {
    let mut builder = Cluster::builder().nodes(default_nodes(up.control_planes, up.nodes)).serve(up.listen);
    if let Some(seed) = up.seed {
        builder = builder.seed(seed);
    }
    if let StoreChoice::Redb(dir) = &up.store {
        builder = builder.redb(dir);
    }
    if up.data_plane == PlaneChoice::Loopback {
        builder = builder.loopback();
    }
    match up.runtime {
        RuntimeChoice::Mock => builder,
    }
}

/// Completes when the process is asked to end, by Ctrl-C or by its supervisor.
pub(crate) async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
