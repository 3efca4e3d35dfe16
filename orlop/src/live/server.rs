//! Serving the API of a running cluster.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use orlop_apiserver::pki::{Authority, PkiError, write_private};
use orlop_apiserver::{Authentication, Server, ServiceAccountTokens, Shell};
use orlop_core::Timestamp;
use orlop_netplan::Mirror;
use orlop_netplan::ipam::ServiceRange;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::builder::{Builder, StartError};
use super::cluster::Served;
use crate::spec::{ClusterSpec, NodeSpec};

/// The cluster's certificate authority, and the key of its service accounts' tokens.
pub(super) struct Pki {
    pub(super) authority: Authority,
    pub(super) accounts: Arc<ServiceAccountTokens>,
}

impl Pki {
    /// What is kept beside a durable store, or all new. `host` is where others reach the API server.
    pub(super) fn open(
        dir: Option<&Path>,
        now: Timestamp,
        key: Option<&str>,
        host: &str,
    ) -> Result<Pki, StartError> {
        let authority = match dir {
            Some(dir) => Authority::load_or_generate(&dir.join("pki"), now),
            None => Authority::generate(now),
        };
        let key = match (key, dir) {
            (Some(key), _) => key.to_owned(),
            (None, None) => ServiceAccountTokens::new_key().map_err(|error| certificates(&error))?,
            (None, Some(dir)) => kept_key(&dir.join("pki").join("sa.key"))?,
        };
        let accounts = ServiceAccountTokens::from_pem(&key, host).map_err(|error| certificates(&error))?;
        let authority = authority.map_err(|error| certificates(&error))?;
        Ok(Pki { authority, accounts: Arc::new(accounts) })
    }
}

/// The key in a file, made there if there is none: tokens outlive the process.
fn kept_key(path: &Path) -> Result<String, StartError> {
    let file = |error| certificates(&PkiError::File { path: path.display().to_string(), error });
    if path.exists() {
        return std::fs::read_to_string(path).map_err(file);
    }
    let key = ServiceAccountTokens::new_key().map_err(|error| certificates(&error))?;
    write_private(path, &key).map_err(file)?;
    Ok(key)
}

fn certificates(error: &PkiError) -> StartError {
    StartError::Certificates(error.to_string())
}

/// Binds before anything else starts, so that an address in use is told at once.
pub(super) fn bind(address: Option<SocketAddr>) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = address else { return Ok(None) };
    let listen = |error| StartError::Listen { address, error };
    let listener = TcpListener::bind(address).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    Ok(Some(listener))
}

/// Whom the server's certificate names: every name and address by which the cluster knows the API.
pub(super) struct Subject {
    names: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Subject {
    pub(super) fn new(spec: &ClusterSpec, mirror: Option<&Mirror>, nodes: &[NodeSpec]) -> Subject {
        let service = "kubernetes.default.svc";
        let names = ["localhost", "kubernetes", "kubernetes.default", service];
        let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        names.push(format!("{service}.{}", spec.zone));
        let services = spec.networks.services.iter().map(|range| ServiceRange::new(*range).first());
        let planes = nodes.iter().filter(|node| node.control_plane).flat_map(|node| node.addresses.clone());
        let known: Vec<IpAddr> = services.chain(planes).collect();
        let mirrored = known.iter().filter_map(|address| mirror?.of(*address));
        let mut addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        addresses.extend(known.iter().copied().chain(mirrored));
        Subject { names, addresses }
    }
}

/// Serves until `stop`.
pub(super) fn serve(
    listener: TcpListener,
    pki: &Pki,
    subject: Subject,
    shell: &Shell,
    servers: &mut JoinSet<()>,
    stop: &watch::Sender<bool>,
) -> Result<Served, StartError> {
    let tls = |error: PkiError| certificates(&error);
    let address = listener.local_addr().map_err(|error| StartError::Certificates(error.to_string()))?;
    let Subject { names, mut addresses } = subject;
    if !address.ip().is_unspecified() && !addresses.contains(&address.ip()) {
        addresses.push(address.ip());
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let identity = pki.authority.server(&names, &addresses).map_err(tls)?;
    let config = pki.authority.tls(&identity).map_err(tls)?;
    let admin = pki.authority.client("orlop-admin", &["system:masters"]).map_err(tls)?;
    let server = Server::from_std(listener, Some(config), shell.clone())
        .map_err(|error| StartError::Listen { address, error })?;
    let mut stop = stop.subscribe();
    servers.spawn(server.run(async move {
        let _ = stop.wait_for(|stop| *stop).await;
    }));
    // An address that stands for all of the machine's is reached on loopback.
    let reached = match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        _ => address,
    };
    Ok(Served { address: reached, authority: pki.authority.certificate().to_owned(), admin })
}

impl Builder {
    pub(super) fn authentication(&self) -> Authentication {
        Authentication {
            tokens: vec![Arc::new(self.tokens.clone())],
            allow_anonymous: matches!(self.authorization, super::builder::Authorization::Rbac),
            service_accounts: None,
        }
    }
}
