//! What every [`DataPlane`] guarantees, as a suite that each of them runs.
//!
//! Give it a [`Fixture`] and call [`suite`] from a test; it panics with a sentence at the first broken promise.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use orlop_core::{Key, Revision};

use crate::plan::{Endpoint, NetPlan, PodEntry, PortPlan, ServicePlan};
use crate::plane::DataPlane;

/// How the suite gets at the plane under test, and at servers and clients around it.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// A plane that serves nothing yet.
    fn plane(&self) -> Arc<dyn DataPlane>;

    /// An address for a Service.
    fn service(&self) -> IpAddr;

    /// Three addresses for pods.
    fn pods(&self) -> [IpAddr; 3];

    /// Starts a server in the pod that has this address, until the answer is dropped. It answers every line of a
    /// connection with a line that says `name`.
    async fn serve(&self, pod: SocketAddr, name: &str) -> Box<dyn Send + Sync>;

    /// Opens a TCP connection to where something is published.
    async fn connect(&self, at: SocketAddr) -> io::Result<Box<dyn Connection>>;

    /// Lets a little time pass.
    async fn tick(&self);

    /// The longest that the suite waits for anything, counted in ticks.
    fn patience(&self) -> usize {
        500
    }
}

/// A client's connection.
#[async_trait]
pub trait Connection: Send + Sync {
    /// Sends a line, and answers with the line that comes back.
    async fn ask(&mut self) -> io::Result<String>;
}

/// Runs every check.
///
/// # Panics
/// At the first promise that is not kept.
pub async fn suite(fixture: &dyn Fixture) {
    let case = Case { fixture };
    case.says_how_far_it_is().await;
    case.offers_ready_endpoints_only().await;
    case.leaves_connections_alone().await;
    case.passes_over_who_refuses().await;
    case.ends_connections_to_pods_that_are_gone().await;
    case.stops_serving_what_is_removed().await;
    case.closes_everything_when_dropped().await;
}

struct Case<'a> {
    fixture: &'a dyn Fixture,
}

const SERVICE_PORT: u16 = 18_080;
const POD_PORT: u16 = 18_081;
const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    Ready,
    NotReady,
    Terminating,
    Gone,
}

impl Case<'_> {
    fn key(&self) -> Key {
        Key::new("conformance", "service")
    }

    /// A plan with one Service, and its endpoints in the given states.
    fn plan(&self, revision: u64, states: &[Is]) -> Arc<NetPlan> {
        let pods = self.fixture.pods();
        let known = || pods.iter().zip(NAMES).zip(states).filter(|(_, is)| **is != Is::Gone);
        let endpoints = known().map(|((ip, name), is)| Endpoint {
            ready: *is == Is::Ready,
            serving: *is != Is::NotReady,
            terminating: *is == Is::Terminating,
            pod: Some(Key::new("conformance", name)),
            ..Endpoint::at(*ip, POD_PORT)
        });
        let port = PortPlan { port: SERVICE_PORT, endpoints: endpoints.collect(), ..PortPlan::default() };
        let service = ServicePlan {
            key: self.key(),
            cluster_ips: vec![self.fixture.service()],
            ports: vec![port],
            ..ServicePlan::default()
        };
        Arc::new(NetPlan {
            revision: Revision(revision),
            zone: "cluster.local".into(),
            services: Arc::new([(self.key(), Arc::new(service))].into()),
            addresses: Arc::new([(self.fixture.service(), vec![self.key()])].into()),
            pods: known()
                .map(|((ip, name), _)| {
                    (*ip, PodEntry { key: Key::new("conformance", name), ..PodEntry::default() })
                })
                .collect(),
            ..NetPlan::default()
        })
    }

    async fn apply(&self, plane: &dyn DataPlane, plan: Arc<NetPlan>) {
        let wanted = plan.revision;
        let applied = plane.apply(plan).await.expect("the plan can be applied");
        assert!(applied.revision >= wanted, "apply answers with the revision that holds");
        assert!(plane.progress().reached() >= wanted, "progress has risen before apply returns");
        assert_eq!(*applied.published, *plane.published(), "what is published is what apply says");
    }

    /// Where the Service is.
    fn at(&self, plane: &dyn DataPlane) -> SocketAddr {
        let published = plane.published();
        let key = self.key();
        let mut found = published.service(&key).filter_map(|address| address.at.clone().ok());
        found.next().expect("the Service is published with an address")
    }

    async fn connect(&self, plane: &dyn DataPlane) -> io::Result<(Box<dyn Connection>, String)> {
        let mut connection = self.fixture.connect(self.at(plane)).await?;
        let name = connection.ask().await?;
        Ok((connection, name))
    }

    /// Who answers twenty new connections.
    async fn who(&self, plane: &dyn DataPlane) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for _ in 0..20 {
            names.insert(self.connect(plane).await.expect("a new connection is answered").1);
        }
        names
    }

    async fn servers(&self) -> Vec<Box<dyn Send + Sync>> {
        let mut servers = Vec::new();
        for (ip, name) in self.fixture.pods().into_iter().zip(NAMES) {
            servers.push(self.fixture.serve(SocketAddr::new(ip, POD_PORT), name).await);
        }
        servers
    }

    async fn says_how_far_it_is(&self) {
        let plane = self.fixture.plane();
        assert_eq!(plane.progress().reached(), Revision(0), "a new plane has applied nothing");
        let empty = Arc::new(NetPlan { revision: Revision(5), ..NetPlan::default() });
        let waiting = plane.progress().passed(Revision(5));
        self.apply(&*plane, empty).await;
        waiting.await;
        self.apply(&*plane, self.plan(7, &[Is::Ready])).await;
        let before = plane.published();
        self.apply(&*plane, self.plan(7, &[Is::Ready])).await;
        assert_eq!(*before, *plane.published(), "the same plan again changes nothing");
    }

    async fn offers_ready_endpoints_only(&self) {
        let _servers = self.servers().await;
        let plane = self.fixture.plane();
        self.apply(&*plane, self.plan(10, &[Is::Ready, Is::NotReady, Is::Ready])).await;
        assert_eq!(
            self.who(&*plane).await,
            set(&["a", "c"]),
            "ready endpoints take connections, others none"
        );
        self.apply(&*plane, self.plan(11, &[Is::Terminating, Is::Ready, Is::NotReady])).await;
        assert_eq!(self.who(&*plane).await, set(&["b"]), "no new connection goes to who is not offered");
        self.apply(&*plane, self.plan(10, &[Is::Ready, Is::NotReady, Is::Ready])).await;
        assert_eq!(self.who(&*plane).await, set(&["b"]), "a plan of an earlier revision is ignored");
        self.apply(&*plane, self.plan(12, &[Is::Terminating, Is::NotReady, Is::NotReady])).await;
        assert_eq!(self.who(&*plane).await, set(&["a"]), "who ends but serves is used where nobody is ready");
    }

    async fn leaves_connections_alone(&self) {
        let _servers = self.servers().await;
        let plane = self.fixture.plane();
        self.apply(&*plane, self.plan(20, &[Is::Ready])).await;
        let (mut kept, _) = self.connect(&*plane).await.expect("a connection is answered");
        self.apply(&*plane, self.plan(21, &[Is::Terminating, Is::Ready])).await;
        assert_eq!(self.who(&*plane).await, set(&["b"]), "new connections go to who is ready");
        let answer = kept.ask().await.expect("an established connection is not cut");
        assert_eq!(answer, "a", "an established connection stays with its endpoint");
    }

    async fn passes_over_who_refuses(&self) {
        let mut servers = self.servers().await;
        let plane = self.fixture.plane();
        self.apply(&*plane, self.plan(30, &[Is::Ready, Is::Ready, Is::Ready])).await;
        servers.truncate(1);
        // What listened must be gone before the promise counts.
        for _ in 0..5 {
            self.fixture.tick().await;
        }
        assert_eq!(self.who(&*plane).await, set(&["a"]), "who refuses a connection is passed over");
    }

    async fn ends_connections_to_pods_that_are_gone(&self) {
        let _servers = self.servers().await;
        let plane = self.fixture.plane();
        self.apply(&*plane, self.plan(40, &[Is::Ready])).await;
        let (mut kept, _) = self.connect(&*plane).await.expect("a connection is answered");
        self.apply(&*plane, self.plan(41, &[Is::Gone, Is::Ready])).await;
        for _ in 0..self.fixture.patience() {
            if kept.ask().await.is_err() {
                return;
            }
            self.fixture.tick().await;
        }
        panic!("a connection to a pod that is gone ends");
    }

    async fn stops_serving_what_is_removed(&self) {
        let _servers = self.servers().await;
        let plane = self.fixture.plane();
        self.apply(&*plane, self.plan(50, &[Is::Ready])).await;
        let at = self.at(&*plane);
        self.apply(&*plane, Arc::new(NetPlan { revision: Revision(51), ..NetPlan::default() })).await;
        assert!(plane.published().service(&self.key()).count() == 0, "what is removed is not published");
        self.is_dead(at, "what is removed").await;
    }

    async fn closes_everything_when_dropped(&self) {
        let _servers = self.servers().await;
        let plane = self.fixture.plane();
        self.apply(&*plane, self.plan(60, &[Is::Ready])).await;
        let at = self.at(&*plane);
        let (mut kept, _) = self.connect(&*plane).await.expect("a connection is answered");
        drop(plane);
        self.is_dead(at, "what a dropped plane served").await;
        assert!(kept.ask().await.is_err(), "a dropped plane closes its connections");
        let again = self.fixture.plane();
        self.apply(&*again, self.plan(1, &[Is::Ready])).await;
        assert_eq!(self.who(&*again).await, set(&["a"]), "another plane can take its place");
    }

    async fn is_dead(&self, at: SocketAddr, what: &str) {
        for _ in 0..self.fixture.patience() {
            match self.fixture.connect(at).await {
                Err(_) => return,
                Ok(mut connection) => {
                    if connection.ask().await.is_err() {
                        return;
                    }
                }
            }
            self.fixture.tick().await;
        }
        panic!("{what} does not answer any more");
    }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
