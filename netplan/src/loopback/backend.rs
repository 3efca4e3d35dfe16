//! The endpoints behind one port of a Service, and which of them a connection gets.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use orlop_core::runtime::bind_port;
use orlop_core::{Key, Name};
use tokio::sync::watch;

use super::Shared;
use crate::balance::{Balancer, ClientAffinity, Flow};
use crate::choice::{Place, Way, offered};
use crate::plan::{Affinity, Endpoint, NetPlan, PortPlan, ServicePlan, TrafficPolicy};

/// One port of a Service.
pub(super) struct Backend {
    shared: Arc<Shared>,
    inner: Mutex<Inner>,
    /// Counts changes, so that UDP sessions notice.
    generation: AtomicU64,
}

struct Inner {
    policy: TrafficPolicy,
    affinity: Affinity,
    accessible: bool,
    endpoints: Arc<[Endpoint]>,
    targets: BTreeMap<SocketAddr, Arc<Target>>,
    groups: BTreeMap<(Way, Name), Group>,
}

/// The endpoints for connections that come one way at one place.
struct Group {
    members: Vec<Arc<Target>>,
    balancer: Box<dyn Balancer>,
    loads: Vec<u32>,
}

/// An endpoint with its connections.
#[derive(Debug)]
pub(super) struct Target {
    /// Where to connect to.
    pub(super) at: SocketAddr,
    pub(super) pod: Option<(IpAddr, Key)>,
    open: AtomicU32,
    gone: watch::Sender<bool>,
}

impl Target {
    fn new(shared: &Shared, endpoint: &Endpoint) -> Target {
        // What is not of this cluster, somebody's own server behind a Service, is reached where it is.
        let mirrored = shared.options.mirror.of(endpoint.address);
        let port = match (mirrored, &endpoint.pod) {
            (Some(_), Some(_)) => bind_port(endpoint.port, shared.options.unprivileged_from),
            _ => endpoint.port,
        };
        let ip = mirrored.unwrap_or(endpoint.address);
        let redirected = shared.options.redirect.get(&endpoint.socket()).copied();
        Target {
            at: redirected.unwrap_or(SocketAddr::new(ip, port)),
            pod: endpoint.pod.clone().map(|key| (endpoint.address, key)),
            open: AtomicU32::new(0),
            gone: watch::Sender::new(false),
        }
    }

    /// Whether the pod behind it has ended.
    pub(super) fn is_gone(&self, plan: &NetPlan) -> bool {
        let gone = |(ip, key): &(IpAddr, Key)| match plan.pods.get(ip) {
            Some(pod) => pod.key != *key,
            // Pods that share their node's address are not known by it; their connections end with them.
            None => !plan.nodes.values().any(|node| node.addresses.contains(ip)),
        };
        self.pod.as_ref().is_some_and(gone)
    }

    /// Ends its connections.
    pub(super) fn end(&self) {
        self.gone.send_replace(true);
    }

    /// Whether nobody is connected.
    pub(super) fn is_idle(&self) -> bool {
        self.open.load(Ordering::Relaxed) == 0
    }
}

/// A chosen endpoint; counts as one connection as long as it lives.
pub(super) struct Pick {
    pub(super) target: Arc<Target>,
    gone: watch::Receiver<bool>,
}

impl Pick {
    fn new(target: &Arc<Target>) -> Pick {
        target.open.fetch_add(1, Ordering::Relaxed);
        Pick { gone: target.gone.subscribe(), target: Arc::clone(target) }
    }

    /// Completes when the pod has been gone for `linger`. Usually its server has ended the connection before: this is
    /// for one that vanished without a word.
    pub(super) async fn gone(&self, linger: std::time::Duration) {
        let mut gone = self.gone.clone();
        if gone.wait_for(|gone| *gone).await.is_err() {
            // Whoever could say so is gone; as long as this lives, the target does too, so that cannot be.
            return std::future::pending().await;
        }
        tokio::time::sleep(linger).await;
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        self.target.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Backend {
    pub(super) fn new(shared: &Arc<Shared>) -> Backend {
        let inner = Inner {
            policy: TrafficPolicy::default(),
            affinity: Affinity::None,
            accessible: false,
            endpoints: Arc::new([]),
            targets: BTreeMap::new(),
            groups: BTreeMap::new(),
        };
        Backend { shared: Arc::clone(shared), inner: Mutex::new(inner), generation: AtomicU64::new(0) }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the port as it is from now on. Answers with endpoints that are no longer among its own but have
    /// connections.
    pub(super) fn update(&self, service: &ServicePlan, port: &PortPlan) -> Vec<Arc<Target>> {
        let mut inner = self.inner();
        // Only IPv4 lives on loopback.
        inner.endpoints = if port.endpoints.iter().all(|e| e.address.is_ipv4()) {
            Arc::clone(&port.endpoints)
        } else {
            port.endpoints.iter().filter(|e| e.address.is_ipv4()).cloned().collect()
        };
        inner.policy = service.policy;
        inner.accessible = port.externally_accessible(service);
        if inner.affinity != service.affinity {
            inner.affinity = service.affinity;
            inner.groups.clear();
        }
        let mut before = std::mem::take(&mut inner.targets);
        let endpoints = Arc::clone(&inner.endpoints);
        for endpoint in endpoints.iter() {
            let kept = before.remove(&endpoint.socket());
            // An address that passed from one pod to another is another endpoint.
            let same = |t: &Arc<Target>| t.pod.as_ref().map(|(_, key)| key) == endpoint.pod.as_ref();
            let target = match kept {
                Some(target) if same(&target) => target,
                other => {
                    if let Some(other) = other {
                        before.insert(endpoint.socket(), other);
                    }
                    Arc::new(Target::new(&self.shared, endpoint))
                }
            };
            inner.targets.insert(endpoint.socket(), target);
        }
        let plan = self.shared.plan();
        inner.groups.retain(|(_, node), _| node.is_empty() || plan.nodes.contains_key(node));
        let Inner { groups, endpoints, targets, policy, accessible, .. } = &mut *inner;
        for ((way, node), group) in groups {
            let place = place(&plan, node);
            group.members = members(endpoints, targets, *policy, *accessible, *way, &place);
            let sockets: Vec<SocketAddr> = group.members.iter().map(|t| t.at).collect();
            group.balancer.set_endpoints(&sockets);
        }
        self.generation.fetch_add(1, Ordering::Release);
        before.into_values().filter(|target| !target.is_idle()).collect()
    }

    /// All endpoints that have connections, for the end of the port.
    pub(super) fn close(&self) -> Vec<Arc<Target>> {
        let mut inner = self.inner();
        inner.groups.clear();
        inner.endpoints = Arc::new([]);
        self.generation.fetch_add(1, Ordering::Release);
        std::mem::take(&mut inner.targets).into_values().filter(|target| !target.is_idle()).collect()
    }

    /// An endpoint for a new connection that was refused by those `tried`.
    pub(super) fn pick(
        &self,
        flow: &Flow,
        way: Way,
        node: Option<&Name>,
        tried: &[SocketAddr],
    ) -> Option<Pick> {
        let plan = self.shared.plan();
        let node = match way {
            Way::NodePort => node.cloned().unwrap_or_default(),
            Way::Internal | Way::External => node_of(&self.shared, &plan, flow.client),
        };
        let mut inner = self.inner();
        let Inner { groups, endpoints, targets, policy, accessible, affinity, .. } = &mut *inner;
        let group = groups.entry((way, node)).or_insert_with_key(|(way, node)| {
            let members = members(endpoints, targets, *policy, *accessible, *way, &place(&plan, node));
            let mut balancer = self.shared.balancer();
            if let Affinity::ClientIp(timeout) = *affinity {
                balancer = Box::new(ClientAffinity::new(balancer, timeout));
            }
            balancer.set_endpoints(&members.iter().map(|t| t.at).collect::<Vec<_>>());
            Group { members, balancer, loads: Vec::new() }
        });
        let Group { members, balancer, loads } = group;
        loads.clear();
        loads.extend(members.iter().map(|t| t.open.load(Ordering::Relaxed)));
        let first = balancer.choose(flow, loads, self.shared.options.clock.now())?;
        let turn = members[first..].iter().chain(&members[..first]);
        turn.into_iter().find(|target| !tried.contains(&target.at)).map(Pick::new)
    }

    /// How often it has changed.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether connections from somewhere may still go to `target`.
    pub(super) fn offers(&self, target: &Arc<Target>) -> bool {
        let inner = self.inner();
        inner.groups.values().any(|group| group.members.iter().any(|member| Arc::ptr_eq(member, target)))
    }
}

fn members(
    endpoints: &[Endpoint],
    targets: &BTreeMap<SocketAddr, Arc<Target>>,
    policy: TrafficPolicy,
    accessible: bool,
    way: Way,
    place: &Place,
) -> Vec<Arc<Target>> {
    let indices = offered(endpoints, policy, accessible, way, place);
    indices.into_iter().filter_map(|at| targets.get(&endpoints[at].socket())).cloned().collect()
}

fn place(plan: &NetPlan, node: &Name) -> Place {
    let zone = plan.nodes.get(node).map(|node| node.zone.clone()).unwrap_or_default();
    Place { node: node.clone(), zone }
}

/// The node on which a client is; empty if on none.
fn node_of(shared: &Shared, plan: &NetPlan, client: IpAddr) -> Name {
    let Some(ip) = shared.options.mirror.back(client) else { return Name::default() };
    match plan.pods.get(&ip) {
        Some(pod) => pod.node.clone(),
        None => plan
            .nodes
            .iter()
            .find(|(_, node)| node.addresses.contains(&ip))
            .map(|(name, _)| name.clone())
            .unwrap_or_default(),
    }
}
