//! How probes are answered.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use orlop_core::Timestamp;
use orlop_core::runtime::{Check, ContainerId, Probe, ProbeAnswer, Protocol, Reply};

use super::{MockMachine, Outcome, not_running};
use crate::container::Container;
use crate::script::Health;

impl MockMachine {
    pub(super) fn probe(&self, now: Timestamp, id: &ContainerId, probe: &Probe) -> Outcome {
        let container = match self.container(id) {
            Ok(container) => container,
            Err(error) => return Outcome::Now(Err(error)),
        };
        let Some(since) = container.running_since() else { return Outcome::Now(Err(not_running(id))) };
        let answer = match container.script.answer(probe.purpose, now.since(since)) {
            Some(Health::Good) => ProbeAnswer::Success,
            Some(Health::Bad(seen)) => ProbeAnswer::Failure(seen.clone()),
            Some(Health::Silent) => {
                let seen = format!("no answer within {:?}", probe.timeout);
                return Outcome::After(probe.timeout, Ok(Reply::Probe(ProbeAnswer::Failure(seen))));
            }
            None => match &probe.check {
                Check::Exec(command) => match self.exec(id, command) {
                    Ok((_, 0)) => ProbeAnswer::Success,
                    Ok((output, _)) => ProbeAnswer::Failure(output),
                    Err(error) => return Outcome::Now(Err(error)),
                },
                Check::Http { host, port, tls, path, .. }
                    if host.is_empty() && self.refuses(container, *port) =>
                {
                    let (scheme, at) = (if *tls { "https" } else { "http" }, self.socket(container, *port));
                    ProbeAnswer::Failure(format!("Get \"{scheme}://{at}{path}\": {}", refused(at)))
                }
                Check::Tcp { host, port } if host.is_empty() && self.refuses(container, *port) => {
                    ProbeAnswer::Failure(refused(self.socket(container, *port)))
                }
                Check::Grpc { port, .. } if self.refuses(container, *port) => {
                    let at = self.socket(container, *port);
                    let seen =
                        format!("timeout: failed to connect service \"{at}\" within {:?}", probe.timeout);
                    return Outcome::After(probe.timeout, Ok(Reply::Probe(ProbeAnswer::Failure(seen))));
                }
                Check::Http { .. } | Check::Tcp { .. } | Check::Grpc { .. } => ProbeAnswer::Success,
            },
        };
        Outcome::Now(Ok(Reply::Probe(answer)))
    }

    /// Whether nobody in the pod listens there. Ports need not be declared to be listened on, but a pod that declares
    /// some is taken at its word.
    fn refuses(&self, container: &Container, port: u16) -> bool {
        let Ok(sandbox) = self.sandbox(&container.sandbox) else { return false };
        let others = sandbox.containers.values().filter_map(|id| self.containers.get(id));
        let mut declared =
            sandbox.spec.ports.iter().chain(others.flat_map(|other| &other.spec.ports)).peekable();
        declared.peek().is_some()
            && declared.all(|listens| listens.protocol != Protocol::Tcp || listens.container != port)
    }

    /// A port at the pod's address.
    fn socket(&self, container: &Container, port: u16) -> SocketAddr {
        let address = self.sandbox(&container.sandbox).ok().and_then(|s| s.spec.addresses.first().copied());
        SocketAddr::new(address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), port)
    }
}

fn refused(at: SocketAddr) -> String {
    format!("dial tcp {at}: connect: connection refused")
}
