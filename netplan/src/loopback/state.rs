//! What is served now, and how it becomes what a plan says.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use orlop_core::Key;

use super::backend::{Backend, Target};
use super::dns::DnsServer;
use super::fronts::{Entrance, FrontId, fronts};
use super::{Shared, Task, bind, http, tcp, udp};
use crate::plan::{NetPlan, PortPlan, Protocol, ServicePlan};
use crate::plane::{Published, PublishedAddress, What};

/// The ports of Services by what identifies them: no two of one Service have protocol and number in common.
#[derive(Default)]
pub(super) struct Backends(RwLock<BTreeMap<Key, BTreeMap<PortId, Arc<Backend>>>>);

type PortId = (Protocol, u16);

fn id(port: &PortPlan) -> PortId {
    (port.protocol, port.port)
}

impl Backends {
    pub(super) fn get(&self, service: &Key, port: &PortPlan) -> Option<Arc<Backend>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(service)?.get(&id(port)).cloned()
    }
}

pub(super) struct State {
    shared: Arc<Shared>,
    backends: Arc<Backends>,
    plan: Arc<NetPlan>,
    fronts: BTreeMap<Key, BTreeMap<FrontId, Front>>,
    /// Endpoints that no Service has any more but clients still use.
    leaving: Vec<Arc<Target>>,
    dns: Option<Result<DnsServer, String>>,
    ingress: Option<Result<(SocketAddr, Task), String>>,
    /// Whether a front could not be bound that may be later.
    retry: bool,
    /// Whether there is something to bind, or to publish.
    changed: bool,
    /// Listeners that are no longer wanted. What they are bound to is free once they have ended.
    ending: Vec<Task>,
}

/// One place at which something is reached.
struct Front {
    what: What,
    entrance: Entrance,
    backend: Arc<Backend>,
    at: Served,
}

enum Served {
    At(SocketAddr, Task),
    /// Not yet tried, or failed for a reason that may pass.
    No(String),
    /// Can never be.
    Never(String),
}

impl State {
    pub(super) fn new(shared: Arc<Shared>) -> State {
        State {
            shared,
            backends: Arc::default(),
            plan: Arc::default(),
            fronts: BTreeMap::new(),
            leaving: Vec::new(),
            dns: None,
            ingress: None,
            retry: false,
            changed: false,
            ending: Vec::new(),
        }
    }

    /// Gives every Service what `plan` says, and ends the listeners that it does not want. New ones are bound by
    /// [`State::serve`].
    pub(super) async fn take(&mut self, plan: &Arc<NetPlan>) {
        let diff = plan.diff(&self.plan);
        let first = self.dns.is_none() && self.ingress.is_none();
        for key in &diff.removed {
            self.remove(key);
        }
        // Endpoints come first: once a plan is applied, nobody may get to what it does not offer.
        // A node that came or moved to another zone concerns every Service.
        let all: Vec<_>;
        let concerned = if diff.nodes {
            all = plan.services.values().cloned().collect();
            &all
        } else {
            &diff.changed
        };
        for service in concerned {
            self.update(service);
        }
        self.changed |= first || self.unserved() || !diff.removed.is_empty();
        for service in concerned {
            self.changed |= self.arrange(plan, service);
        }
        self.plan = Arc::clone(plan);
        self.dismiss();
        while let Some(task) = self.ending.last_mut() {
            task.ended().await;
            self.ending.pop();
        }
    }

    /// Binds what is not bound. Answers with the addresses if they are not what they were.
    pub(super) fn serve(&mut self) -> Option<Published> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        self.serve_dns();
        self.serve_fronts();
        self.serve_ingress();
        Some(self.published())
    }

    fn end(&mut self, fronts: BTreeMap<FrontId, Front>) {
        self.ending.extend(fronts.into_values().filter_map(|front| match front.at {
            Served::At(_, task) => Some(task),
            Served::No(_) | Served::Never(_) => None,
        }));
    }

    fn remove(&mut self, key: &Key) {
        let fronts = self.fronts.remove(key).unwrap_or_default();
        self.end(fronts);
        let gone = self.backends.0.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        for backend in gone.into_iter().flat_map(BTreeMap::into_values) {
            self.leaving.extend(backend.close());
        }
    }

    /// Gives the Service's backends their endpoints.
    fn update(&mut self, service: &ServicePlan) {
        let mut all = self.backends.0.write().unwrap_or_else(PoisonError::into_inner);
        let backends = all.entry(service.key.clone()).or_default();
        let ids: Vec<PortId> = service.ports.iter().map(id).collect();
        backends.retain(|id, backend| {
            let stays = ids.contains(id);
            if !stays {
                self.leaving.extend(backend.close());
            }
            stays
        });
        for port in &service.ports {
            let new = || Arc::new(Backend::new(&self.shared));
            let backend = backends.entry(id(port)).or_insert_with(new);
            self.leaving.extend(backend.update(service, port));
        }
    }

    /// Brings the Service's fronts into the plan's shape, without binding any. Answers whether that changed some.
    fn arrange(&mut self, plan: &NetPlan, service: &ServicePlan) -> bool {
        let mut before = self.fronts.remove(&service.key).unwrap_or_default();
        let mut now = BTreeMap::new();
        let mut changed = false;
        for port in &service.ports {
            let Some(backend) = self.backends.get(&service.key, port) else { continue };
            for (id, what, entrance) in fronts(plan, service, port) {
                let Entry::Vacant(place) = now.entry(id) else { continue };
                let stays =
                    |front: &Front| Arc::ptr_eq(&front.backend, &backend) && front.entrance == entrance;
                let kept = if before.get(&id).is_some_and(stays) { before.remove(&id) } else { None };
                changed |= kept.as_ref().is_none_or(|front| front.what != what);
                let at = kept.map_or_else(|| self.prospect(id), |front| front.at);
                place.insert(Front { what, entrance, backend: Arc::clone(&backend), at });
            }
        }
        changed |= !before.is_empty();
        self.end(before);
        if !now.is_empty() {
            self.fronts.insert(service.key.clone(), now);
        }
        changed
    }

    /// Whether something that could be served is not, and is worth another try.
    fn unserved(&self) -> bool {
        self.retry || matches!(self.dns, Some(Err(_))) || matches!(self.ingress, Some(Err(_)))
    }

    /// What is known of a place before it is tried.
    fn prospect(&self, id: FrontId) -> Served {
        let wanted = id.wanted;
        if self.shared.options.cluster_dns == Some(wanted.ip()) && wanted.port() == 53 {
            return Served::Never("the cluster's DNS is served there".to_owned());
        }
        if id.protocol == Protocol::Sctp {
            return Served::Never("SCTP is not served on loopback".to_owned());
        }
        if wanted.is_ipv6() {
            return Served::Never("IPv6 has no block of loopback addresses".to_owned());
        }
        match self.shared.options.mirror.of(wanted.ip()) {
            Some(_) => Served::No(String::new()),
            None => Served::Never(format!("{} is in none of the cluster's ranges", wanted.ip())),
        }
    }

    /// Ends connections to pods that are gone, and forgets endpoints that nobody uses.
    fn dismiss(&mut self) {
        let plan = &self.plan;
        self.leaving.retain(|target| {
            let gone = target.is_gone(plan);
            if gone {
                target.end();
            }
            !gone && !target.is_idle()
        });
    }

    /// Binds what is not bound yet: first all that can be where it should be, then the rest elsewhere, so that nothing
    /// that moves takes another's place.
    fn serve_fronts(&mut self) {
        let shared = &self.shared;
        self.retry = false;
        for moving in [false, true] {
            for (id, front) in self.fronts.values_mut().flatten() {
                let Served::No(_) = front.at else { continue };
                let Some(ip) = shared.options.mirror.of(id.wanted.ip()) else { continue };
                let wanted = SocketAddr::new(ip, id.wanted.port());
                match open(shared, *id, front, wanted, moving) {
                    Ok(served) => front.at = served,
                    Err(e) => {
                        let again = !moving && bind::is_movable(&e);
                        self.retry |= !again;
                        front.at = Served::No(e.to_string());
                    }
                }
            }
        }
    }

    fn serve_dns(&mut self) {
        let Some(address) = self.shared.options.cluster_dns else { return };
        if matches!(self.dns, Some(Ok(_))) {
            return;
        }
        let Some(ip) = self.shared.options.mirror.of(address) else {
            self.dns = Some(Err(format!("{address} is in none of the cluster's ranges")));
            return;
        };
        // UDP and TCP must be at one port.
        let both = bind::bind(SocketAddr::new(ip, 53), true, |at| Ok((at, bind::udp(at)?, bind::tcp(at)?)));
        self.dns = Some(match both {
            Ok((at, udp, tcp)) => Ok(DnsServer::start(&self.shared, udp, tcp, at)),
            Err(e) => Err(e.to_string()),
        });
    }

    fn serve_ingress(&mut self) {
        let Some(ip) = self.shared.options.ingress else { return };
        if matches!(self.ingress, Some(Ok(_))) {
            return;
        }
        let bound = bind::bind(SocketAddr::new(ip.into(), 80), true, |at| Ok((at, bind::tcp(at)?)));
        self.ingress = Some(match bound {
            Ok((at, listener)) => {
                let serve = http::serve(Arc::clone(&self.shared), Arc::clone(&self.backends), listener, at);
                Ok((at, Task::spawn(serve)))
            }
            Err(e) => Err(e.to_string()),
        });
    }

    fn published(&self) -> Published {
        let mut addresses = Vec::new();
        let options = &self.shared.options;
        if let (Some(dns), Some(address)) = (&self.dns, options.cluster_dns) {
            let at = dns.as_ref().map(|server| server.at).map_err(Clone::clone);
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let wanted = SocketAddr::new(address, 53);
                addresses.push(PublishedAddress { what: What::Dns, protocol, wanted, at: at.clone() });
            }
        }
        if let (Some(ingress), Some(ip)) = (&self.ingress, options.ingress) {
            addresses.push(PublishedAddress {
                what: What::Ingress,
                protocol: Protocol::Tcp,
                wanted: SocketAddr::new(ip.into(), 80),
                at: ingress.as_ref().map(|(at, _)| *at).map_err(Clone::clone),
            });
        }
        addresses.extend(self.fronts.values().flatten().map(|(id, front)| PublishedAddress {
            what: front.what.clone(),
            protocol: id.protocol,
            wanted: id.wanted,
            at: match &front.at {
                Served::At(at, _) => Ok(*at),
                Served::No(reason) | Served::Never(reason) => Err(reason.clone()),
            },
        }));
        addresses.sort();
        Published { addresses }
    }
}

fn open(
    shared: &Arc<Shared>,
    id: FrontId,
    front: &Front,
    wanted: SocketAddr,
    moving: bool,
) -> io::Result<Served> {
    let (shared, backend, entrance) =
        (Arc::clone(shared), Arc::clone(&front.backend), front.entrance.clone());
    Ok(if id.protocol == Protocol::Udp {
        let socket = bind::bind(wanted, moving, bind::udp)?;
        Served::At(
            socket.local_addr()?,
            Task::spawn(udp::serve(shared, socket, backend, entrance, id.wanted)),
        )
    } else {
        let listener = bind::bind(wanted, moving, bind::tcp)?;
        Served::At(
            listener.local_addr()?,
            Task::spawn(tcp::serve(shared, listener, backend, entrance, id.wanted)),
        )
    })
}
