//! What must always be true, and what must become true once all is quiet: [`Monitor`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use orlop_core::kinds::{Deployment, Node, Pod, ReplicaSet, Service};
use orlop_core::scheme::Scheme;
use orlop_core::store::{Event, Revision};
use orlop_core::{Key, Name, Stored, Timestamp};

use crate::executor::Handle;
use crate::facts::{Amounts, DeploymentFacts, NodeFacts, PodFacts, ReplicaSetFacts, ServiceFacts, moment};
use crate::history::History;

/// Something that must never be, and was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant's name.
    pub invariant: &'static str,
    /// Why it must hold.
    pub because: &'static str,
    /// What was seen.
    pub seen: String,
    /// When.
    pub at: Timestamp,
}

impl std::error::Error for Violation {}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {} ({})", self.invariant, self.at.to_nano_string(), self.seen, self.because)
    }
}

/// What an invariant finds wrong.
type Found = Result<(), String>;

/// Figures for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Pods that were made.
    pub pods: u64,
    /// Pods that were given a node.
    pub bindings: u64,
    /// Containers that were started again.
    pub restarts: u64,
    /// The most pods at a time.
    pub pods_max: u64,
}

/// Sees every commit, keeps the history, and checks.
pub struct Monitor {
    scheme: Arc<Scheme>,
    handle: Handle,
    faults: bool,
    /// Everything that was committed.
    pub history: History,
    /// Figures for people.
    pub totals: Totals,
    violations: Vec<Violation>,
    seen: Seen,
    /// What is seen now was written before the store crashed, and its writer was not told.
    pub(crate) recovering: bool,
}

/// What is, as far as invariants care.
#[derive(Default)]
struct Seen {
    revision: Revision,
    /// By storage key, the UID and those of the owners.
    objects: BTreeMap<Arc<str>, (Name, Vec<Name>)>,
    uids: BTreeSet<Name>,
    /// By namespace, how many objects it holds.
    population: BTreeMap<Name, usize>,
    /// Namespaces that are being deleted.
    ending: BTreeSet<Name>,
    pods: BTreeMap<Key, PodFacts>,
    terminating: BTreeSet<Key>,
    nodes: BTreeMap<Name, NodeFacts>,
    used: BTreeMap<Name, Amounts>,
    /// By address, the pod that has it.
    addresses: BTreeMap<Name, Key>,
    services: BTreeMap<Key, ServiceFacts>,
    service_addresses: BTreeMap<Name, Key>,
    node_ports: BTreeMap<i32, Key>,
    sets: BTreeMap<Key, ReplicaSetFacts>,
    /// By UID.
    deployments: BTreeMap<Name, DeploymentFacts>,
    /// Since when each node's agent has been up.
    up: BTreeMap<Name, Timestamp>,
    /// Pods whose binding happened although the scheduler was told that it failed.
    doubted: BTreeSet<Key>,
}

impl Monitor {
    pub(crate) fn new(scheme: Arc<Scheme>, handle: Handle, faults: bool, log: bool) -> Monitor {
        Monitor {
            scheme,
            handle,
            faults,
            history: History::new(log),
            totals: Totals::default(),
            violations: Vec::new(),
            seen: Seen::default(),
            recovering: false,
        }
    }

    /// What was found wrong, in order.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    pub(crate) fn report(
        &mut self,
        now: Timestamp,
        invariant: &'static str,
        because: &'static str,
        found: Found,
    ) {
        if let Err(seen) = found {
            self.violations.push(Violation { invariant, because, seen, at: now });
            self.handle.halt();
        }
    }

    /// A node's agent has come up, or gone.
    pub(crate) fn node_is(&mut self, node: &Name, up: Option<Timestamp>) {
        match up {
            Some(since) => self.seen.up.insert(node.clone(), since),
            None => self.seen.up.remove(node),
        };
    }

    /// The answer to this pod's binding will be lost.
    pub(crate) fn doubt(&mut self, pod: Key) {
        self.seen.doubted.insert(pod);
    }

    /// Takes a commit's change in and checks what it can have broken.
    pub(crate) fn on_event(&mut self, now: Timestamp, event: &Event) {
        self.history.add(now, event, &self.scheme.clone());
        let found = revisions_rise(&mut self.seen, event);
        self.report(now, "revisions_rise", "who has seen a revision has seen all before it", found);
        let scheme = self.scheme.clone();
        let Some((resource, key)) = scheme.by_storage_key(&event.key) else { return };
        let object = event.now.as_ref().map(|entry| &entry.object);
        self.count(event, &key);
        match (resource.kind.group.as_str(), resource.kind.plural.as_str()) {
            ("", "pods") => self.on_pod(now, &key, object),
            ("", "nodes") => self.on_node(&key, object),
            ("", "services") => self.on_service(now, &key, object),
            ("", "namespaces") => self.on_namespace(now, &key, object),
            ("apps", "replicasets") => self.on_set(now, &key, object),
            ("apps", "deployments") => self.on_deployment(now, event, object),
            _ => {}
        }
    }

    fn count(&mut self, event: &Event, key: &Key) {
        let seen = &mut self.seen;
        if let Some((uid, _)) = seen.objects.remove(&event.key) {
            seen.uids.remove(&uid);
            if let Some(count) = seen.population.get_mut(&key.namespace) {
                *count -= 1;
            }
        }
        if let Some(entry) = &event.now {
            let header = entry.object.body.header();
            let owners = header.owners.iter().map(|owner| owner.uid.clone()).collect();
            seen.uids.insert(header.uid.clone());
            seen.objects.insert(event.key.clone(), (header.uid.clone(), owners));
            *seen.population.entry(key.namespace.clone()).or_default() += 1;
        }
    }

    fn on_pod(&mut self, now: Timestamp, key: &Key, object: Option<&Stored>) {
        let pod = object.and_then(|stored| stored.decode::<Pod>().ok()).map(|pod| PodFacts::of(&pod));
        let before = self.seen.pods.remove(key);
        let same = before.as_ref().filter(|b| pod.as_ref().is_some_and(|pod| pod.uid == b.uid));
        self.totals.pods += u64::from(pod.is_some() && same.is_none());
        let bound = pod.as_ref().is_some_and(|pod| !pod.node.is_empty())
            && same.is_none_or(|before| before.node.is_empty());
        self.totals.bindings += u64::from(bound);
        if bound && self.recovering {
            self.doubt(key.clone());
        }
        let restarts = pod.as_ref().map_or(0, |pod| pod.restarts);
        let more = restarts - same.map_or(0, |before| before.restarts);
        self.totals.restarts += u64::try_from(more).unwrap_or(0);
        let found = bound_once(key, same, pod.as_ref());
        self.report(now, "bound_once", "two agents would run one pod", found);
        if let Some(before) = &before {
            self.seen.release(before);
        }
        self.seen.terminating.remove(key);
        if let Some(pod) = pod {
            let found = addresses_unique(&self.seen, key, &pod);
            self.report(now, "pod_addresses_unique", "traffic for one pod would reach another", found);
            self.seen.take(key, &pod);
            if bound {
                let found = not_overcommitted(&self.seen, &pod.node);
                self.report(now, "nodes_not_overcommitted", "requests are promises", found);
            }
            if pod.deleted.is_some() {
                self.seen.terminating.insert(key.clone());
            }
            self.seen.pods.insert(key.clone(), pod);
        } else {
            self.seen.doubted.remove(key);
        }
        self.totals.pods_max = self.totals.pods_max.max(self.seen.pods.len() as u64);
    }

    fn on_node(&mut self, key: &Key, object: Option<&Stored>) {
        match object.and_then(|stored| stored.decode::<Node>().ok()) {
            Some(node) => self.seen.nodes.insert(key.name.clone(), NodeFacts::of(&node)),
            None => self.seen.nodes.remove(&key.name),
        };
    }

    fn on_service(&mut self, now: Timestamp, key: &Key, object: Option<&Stored>) {
        if let Some(before) = self.seen.services.remove(key) {
            before.addresses.iter().for_each(|ip| drop(self.seen.service_addresses.remove(ip)));
            before.node_ports.iter().for_each(|port| drop(self.seen.node_ports.remove(port)));
        }
        let Some(service) = object.and_then(|stored| stored.decode::<Service>().ok()) else { return };
        let service = ServiceFacts::of(&service);
        let found = service_addresses_unique(&self.seen, key, &service);
        self.report(now, "service_addresses_unique", "clients of one Service would reach another", found);
        for ip in &service.addresses {
            self.seen.service_addresses.insert(ip.clone(), key.clone());
        }
        for port in &service.node_ports {
            self.seen.node_ports.insert(*port, key.clone());
        }
        self.seen.services.insert(key.clone(), service);
    }

    fn on_namespace(&mut self, now: Timestamp, key: &Key, object: Option<&Stored>) {
        match object {
            Some(stored) if stored.body.header().deleted.is_some() => {
                self.seen.ending.insert(key.name.clone());
            }
            Some(_) => {}
            None => {
                self.seen.ending.remove(&key.name);
                let found = namespace_empty(&self.seen, &key.name);
                self.report(now, "deleted_namespace_empty", "nobody could reach what is left there", found);
            }
        }
    }

    fn on_set(&mut self, now: Timestamp, key: &Key, object: Option<&Stored>) {
        let before = self.seen.sets.remove(key);
        let was = before.as_ref().map(|before| (before.replicas, before.desired.clone()));
        let Some(set) = object.and_then(|stored| stored.decode::<ReplicaSet>().ok()) else { return };
        let set = ReplicaSetFacts::of(&set, now, before.filter(|before| before.uid == set.metadata.uid));
        self.seen.sets.insert(key.clone(), set);
        if let Some((replicas, desired)) = was {
            let since = now - moment(self.faults);
            let found = stays_available(&mut self.seen, key, replicas, &desired, since);
            self.report(now, "updates_stay_available", "maxUnavailable is a promise to clients", found);
        }
    }

    fn on_deployment(&mut self, now: Timestamp, event: &Event, object: Option<&Stored>) {
        let uid = |stored: &Stored| stored.body.header().uid.clone();
        let old = event.before.as_ref().map(|entry| uid(&entry.object));
        let before = old.and_then(|uid| self.seen.deployments.remove(&uid));
        if let Some(stored) = object
            && let Ok(deployment) = stored.decode::<Deployment>()
        {
            self.seen.deployments.insert(uid(stored), DeploymentFacts::of(&deployment, now, before));
        }
    }

    /// Checks what time alone can break.
    pub(crate) fn on_time(&mut self, now: Timestamp) {
        let found = terminating_pods_end(&self.seen, now, self.faults);
        self.report(now, "terminating_pods_end", "what was deleted must go while its node is up", found);
    }

    /// What is not yet as it must be once nothing happens any more; empty when all is.
    pub fn unsettled(&self, now: Timestamp) -> Vec<Violation> {
        let mut all = Vec::new();
        let mut add = |invariant, because, found: Vec<String>| {
            all.extend(found.into_iter().map(|seen| Violation { invariant, because, seen, at: now }));
        };
        let seen = &self.seen;
        add("nodes_return", "a node that is back counts as back", nodes_ready(seen));
        add("owners_exist", "garbage is collected", owners_exist(seen));
        add("namespaces_end", "a deleted namespace goes", namespaces_end(seen));
        add("pods_end", "a deleted pod goes", pods_end(seen));
        add("replica_sets_converge", "a ReplicaSet keeps its size", sets_converge(seen));
        add("deployments_converge", "what can be ready becomes ready", deployments_converge(seen));
        all
    }

    /// How many pods there are.
    pub fn pods(&self) -> usize {
        self.seen.pods.len()
    }
}

impl Seen {
    fn take(&mut self, key: &Key, pod: &PodFacts) {
        let used = self.used.entry(pod.node.clone()).or_default();
        for (name, amount) in &pod.takes {
            *used.entry(name.clone()).or_default() += amount;
        }
        for ip in &pod.addresses {
            self.addresses.insert(ip.clone(), key.clone());
        }
    }

    fn release(&mut self, pod: &PodFacts) {
        if let Some(used) = self.used.get_mut(&pod.node) {
            for (name, amount) in &pod.takes {
                *used.entry(name.clone()).or_default() -= amount;
            }
        }
        for ip in &pod.addresses {
            self.addresses.remove(ip);
        }
    }
}

/// Revisions of commits increase by one, and an object's revision is that of its commit.
fn revisions_rise(seen: &mut Seen, event: &Event) -> Found {
    let before = std::mem::replace(&mut seen.revision, event.revision);
    if event.revision != before && event.revision.0 != before.0 + 1 {
        return Err(format!("{} follows upon {before}", event.revision));
    }
    match &event.now {
        Some(entry) if entry.object.revision != event.revision => {
            Err(format!("{} is of revision {} in {}", event.key, entry.object.revision, event.revision))
        }
        _ => Ok(()),
    }
}

/// A pod that has a node keeps it.
fn bound_once(key: &Key, before: Option<&PodFacts>, now: Option<&PodFacts>) -> Found {
    match (before, now) {
        (Some(before), Some(now)) if !before.node.is_empty() && before.node != now.node => {
            Err(format!("{key} was on {:?} and is on {:?}", before.node, now.node))
        }
        _ => Ok(()),
    }
}

/// What a node's pods request in all is not more than it has. A binding of which the scheduler could not know does not
/// count, as with Kubernetes: the node refuses such a pod.
fn not_overcommitted(seen: &Seen, node: &Name) -> Found {
    let Some(facts) = seen.nodes.get(node) else { return Err(format!("{node} does not exist")) };
    let doubted = || seen.doubted.iter().filter_map(|key| seen.pods.get(key)).filter(|pod| pod.node == *node);
    for (name, used) in seen.used.get(node).into_iter().flatten() {
        let unknown: i64 = doubted().filter_map(|pod| pod.takes.get(name)).sum();
        let has = facts.allocatable.get(name).copied().unwrap_or(0);
        if used - unknown > has && *used > 0 {
            return Err(format!("{node} has {name} {has}, its pods request {used}"));
        }
    }
    Ok(())
}

/// No two pods that live have one address.
fn addresses_unique(seen: &Seen, key: &Key, pod: &PodFacts) -> Found {
    match pod.addresses.iter().find_map(|ip| Some((ip, seen.addresses.get(ip)?))) {
        Some((ip, other)) => Err(format!("{key} and {other} have {ip}")),
        None => Ok(()),
    }
}

/// No two Services have one cluster address or one node port.
fn service_addresses_unique(seen: &Seen, key: &Key, service: &ServiceFacts) -> Found {
    if let Some((ip, other)) =
        service.addresses.iter().find_map(|ip| Some((ip, seen.service_addresses.get(ip)?)))
    {
        return Err(format!("{key} and {other} have {ip}"));
    }
    match service.node_ports.iter().find_map(|port| Some((port, seen.node_ports.get(port)?))) {
        Some((port, other)) => Err(format!("{key} and {other} have node port {port}")),
        None => Ok(()),
    }
}

/// A namespace that is gone holds nothing.
fn namespace_empty(seen: &Seen, namespace: &Name) -> Found {
    match seen.population.get(namespace) {
        Some(left) if *left > 0 => {
            Err(format!("namespace {namespace} is gone, {left} of its objects are not"))
        }
        _ => Ok(()),
    }
}

/// A Deployment that updates scales old ReplicaSets down only as far as enough pods stay available. What became
/// unavailable while the controller acted is not its doing, nor is what follows from another size of the Deployment.
fn stays_available(seen: &mut Seen, key: &Key, was: i32, desired: &Name, since: Timestamp) -> Found {
    let Some(set) = seen.sets.get(key) else { return Ok(()) };
    let (replicas, uid) = (set.replicas, set.deployment.clone());
    if replicas >= was || set.desired != *desired || set.deleted {
        return Ok(());
    }
    let Some(deployment) = seen.deployments.get_mut(&uid).filter(|deployment| !deployment.deleted) else {
        return Ok(());
    };
    let required = deployment.required.since(since).min().unwrap_or(0);
    let name = deployment.name.clone();
    let (mut stay, mut sets) = (0, Vec::new());
    for (other, set) in seen.sets.iter_mut().filter(|(_, set)| set.deployment == uid) {
        let available: Vec<i32> = set.available.since(since).collect();
        if other == key && available.iter().min().is_none_or(|least| *least <= replicas) {
            // Only pods go that were seen not to be available.
            return Ok(());
        }
        let most = available.iter().max().copied().unwrap_or(0);
        if other != key && most > set.replicas {
            // Kubernetes' rule counts what statuses say, also of a set that was made smaller a moment ago.
            return Ok(());
        }
        stay += most.min(set.replicas);
        sets.push(format!("{} of {}, available lately {available:?}", other.name, set.replicas));
    }
    if stay < required {
        return Err(format!(
            "{name} needs {required} pods, {key} goes from {was} to {replicas} replicas, and {stay} stay: {}",
            sets.join("; ")
        ));
    }
    Ok(())
}

/// A pod that was told to end has ended soon after its grace, if its node's agent was there to see to it.
fn terminating_pods_end(seen: &Seen, now: Timestamp, faults: bool) -> Found {
    let slack = Duration::from_secs(if faults { 240 } else { 60 });
    for key in &seen.terminating {
        let Some(pod) = seen.pods.get(key) else { continue };
        let (Some(deadline), Some(up)) = (pod.deleted, seen.up.get(&pod.node)) else { continue };
        if now > deadline.max(*up) + slack {
            return Err(format!("{key} on {} should have ended by {deadline}", pod.node));
        }
    }
    Ok(())
}

fn nodes_ready(seen: &Seen) -> Vec<String> {
    let waits = |node: &&NodeFacts| !node.ready || !node.schedulable;
    let named = seen.nodes.iter().filter(|(_, node)| waits(node));
    named
        .map(|(name, node)| format!("{name}: ready {}, schedulable {}", node.ready, node.schedulable))
        .collect()
}

/// No object is left whose owners are all gone.
fn owners_exist(seen: &Seen) -> Vec<String> {
    let orphans = seen.objects.iter().filter(|(_, (_, owners))| {
        !owners.is_empty() && !owners.iter().any(|owner| seen.uids.contains(owner))
    });
    orphans.map(|(key, _)| format!("{key} belongs to nobody")).collect()
}

fn namespaces_end(seen: &Seen) -> Vec<String> {
    let left = |name: &Name| seen.population.get(name).copied().unwrap_or(0);
    seen.ending.iter().map(|name| format!("{name} is still there with {} objects", left(name))).collect()
}

fn pods_end(seen: &Seen) -> Vec<String> {
    let node = |key: &Key| seen.pods.get(key).map(|pod| pod.node.clone()).unwrap_or_default();
    seen.terminating.iter().map(|key| format!("{key} on {} is still there", node(key))).collect()
}

/// Every ReplicaSet has as many pods as it should have.
fn sets_converge(seen: &Seen) -> Vec<String> {
    let mut pods: BTreeMap<&Name, i32> = BTreeMap::new();
    for pod in seen.pods.values().filter(|pod| !pod.ended && pod.deleted.is_none()) {
        *pods.entry(&pod.controller).or_default() += 1;
    }
    let has = |set: &ReplicaSetFacts| pods.get(&set.uid).copied().unwrap_or(0);
    let off = seen.sets.iter().filter(|(_, set)| has(set) != set.replicas);
    off.map(|(key, set)| format!("{key} has {} pods of {}", has(set), set.replicas)).collect()
}

/// Every Deployment whose pods can be ready has them ready, of its latest template.
fn deployments_converge(seen: &Seen) -> Vec<String> {
    let healthy = seen.deployments.values().filter(|deployment| deployment.healthy);
    healthy.filter_map(|it| Some(format!("{}: {}", it.name, it.unfinished.as_ref()?))).collect()
}
