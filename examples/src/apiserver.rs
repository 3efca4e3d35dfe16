//! `orlop apiserver`: the API server alone.

use std::net::SocketAddr;
use std::process::ExitCode;

use orlop::{Authorization, Cluster};

use crate::options::{Apiserver, AuthorizationMode, StoreChoice};
use crate::up::interrupted;

/// Runs the command.
pub(crate) async fn run(options: Apiserver) -> ExitCode {
    match serve(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: &Apiserver) -> Result<(), String> {
    let mut builder = Cluster::builder()
        .api_alone()
        .services(options.service_cluster_ip_range)
        .authorization(match options.authorization_mode {
            AuthorizationMode::AlwaysAllow => Authorization::AlwaysAllow,
            AuthorizationMode::Rbac => Authorization::Rbac,
        })
        .serve(SocketAddr::new(options.bind_address, options.secure_port));
    if let Some(path) = &options.token_auth_file {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        builder = builder.token_file(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    builder = options.guard.set_up(builder)?;
    if let StoreChoice::Redb(dir) = &options.store {
        builder = builder.redb(dir);
    }
    let cluster = builder
        .start()
        .await
        .map_err(|error| crate::up::refused(&error, "--bind-address IP and --secure-port PORT"))?;
    if let Some(path) = &options.kubeconfig {
        let kubeconfig = cluster.kubeconfig().unwrap_or_default();
        orlop::apiserver::pki::write_private(path, &kubeconfig)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if let Some(address) = cluster.address() {
        say!("serving on https://{address}");
    }
    interrupted().await;
    cluster.shutdown().await;
    Ok(())
}
