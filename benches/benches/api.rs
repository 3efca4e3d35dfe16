//! What does a request cost in process, admission and managed fields on, over the memory store: creating, binding,
//! reading, listing, tables, and a change that 100 watch?
//!
//! `cargo bench -p orlop-benches --bench api`

use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use criterion::{BatchSize, Criterion, Throughput};
use futures_util::{FutureExt, StreamExt};
use orlop_api::local::{Config, LocalApi};
use orlop_api::render::{Form, Include, Renderer, Want};
use orlop_api::{Api, Body, MediaType, Options, Request, ResourceId, Response, User, Verb};
use orlop_core::kinds::{ConfigMap, Node, Pod, ServiceAccount};
use orlop_core::store::MemoryStore;
use orlop_core::{Cache, Clock, Entropy, Key, Kind, ManualClock, Name, Object, Timestamp};
use serde_json::{Value, json};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    writes(&mut criterion);
    path(&mut criterion);
    reads(&mut criterion);
    watches(&mut criterion);
    criterion.final_summary();
}

struct Server {
    api: LocalApi<MemoryStore>,
    clock: Arc<ManualClock>,
}

impl Server {
    /// A cluster with a namespace that can take pods, and one node.
    fn new() -> Server {
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_767_225_600)));
        let store = MemoryStore::new(clock.clone());
        let api = LocalApi::new(store, clock.clone(), Entropy::seeded(1), Config::default());
        api.bootstrap().now_or_never().expect("memory does not wait").expect("an empty store takes all");
        let server = Server { api, clock };
        server.call(create(
            &ServiceAccount::KIND,
            Body::Value(json!({"metadata": {"name": "default", "namespace": "default"}})),
        ));
        server.call(create(&Node::KIND, Body::Value(json!({"metadata": {"name": "node-0"}}))));
        server
    }

    fn call(&self, request: Request) -> Response {
        let answer = self.api.call(request).now_or_never().expect("memory does not wait");
        answer.unwrap_or_else(|status| panic!("{}", status.message))
    }
}

fn user() -> User {
    User {
        name: "bench".into(),
        groups: vec!["system:masters".into(), "system:authenticated".into()],
        ..User::default()
    }
}

fn request(kind: &Kind, verb: Verb, name: &str, body: Option<Body>) -> Request {
    let namespace = if kind.scope == orlop_core::Scope::Namespaced { "default" } else { "" };
    Request {
        user: user(),
        verb,
        resource: ResourceId::from(kind),
        key: Key::new(namespace, name),
        subresource: Name::default(),
        options: Options { field_manager: "bench".into(), ..Options::default() },
        body,
    }
}

fn create(kind: &Kind, body: Body) -> Request {
    request(kind, Verb::Create, "", Some(body))
}

fn bind(name: &str) -> Request {
    let body = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "namespace": "default"},
        "target": {"kind": "Node", "name": "node-0"}});
    Request {
        subresource: Name::new_static("binding"),
        ..request(&Pod::KIND, Verb::Create, name, Some(Body::Value(body)))
    }
}

/// The pod of the scheduler's workloads.
fn pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{
            "name": "pause",
            "image": "registry.k8s.io/pause:3.10",
            "ports": [{"containerPort": 80}],
            "resources": {
                "limits": {"cpu": "100m", "memory": "500Mi"},
                "requests": {"cpu": "100m", "memory": "500Mi"},
            },
        }]},
    })
}

fn config_map(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "bench"}},
        "data": {"key": "value", "text": "x".repeat(200)},
    })
}

/// The store is made anew after so many writes, so that every run works on stores of like size.
const WRITES_MAX: usize = 20_000;

struct Fresh {
    server: Server,
    next: usize,
}

impl Fresh {
    fn new() -> Fresh {
        Fresh { server: Server::new(), next: 0 }
    }

    fn name(&mut self) -> String {
        if self.next == WRITES_MAX {
            *self = Fresh::new();
        }
        self.next += 1;
        format!("one-{:06}", self.next)
    }
}

fn writes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("api");
    let mut at = Fresh::new();
    let mut writing = |name: &str, body: &dyn Fn(&str) -> Request| {
        let fresh = std::cell::RefCell::new(&mut at);
        group.bench_function(name, |b| {
            b.iter_batched(
                || {
                    let name = fresh.borrow_mut().name();
                    body(&name)
                },
                |request| fresh.borrow().server.call(request),
                BatchSize::PerIteration,
            );
        });
    };
    writing("create ConfigMap, tree", &|name| create(&ConfigMap::KIND, Body::Value(config_map(name))));
    writing("create ConfigMap, JSON", &|name| create(&ConfigMap::KIND, bytes(&config_map(name))));
    writing("create Pod, tree", &|name| create(&Pod::KIND, Body::Value(pod(name))));
    writing("create Pod, JSON", &|name| create(&Pod::KIND, bytes(&pod(name))));
    let mut at = Fresh::new();
    group.bench_function("bind", |b| {
        b.iter_batched(
            || {
                let name = at.name();
                at.server.call(create(&Pod::KIND, Body::Value(pod(&name))));
                (at.server.api.clone(), bind(&name))
            },
            |(api, request)| api.call(request).now_or_never(),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn bytes(object: &Value) -> Body {
    Body::Bytes(MediaType::Json, object.to_string().into())
}

/// A pod's whole way: created, seen, bound, seen.
fn path(criterion: &mut Criterion) {
    const PODS: usize = 1000;
    let mut group = criterion.benchmark_group("api");
    group.throughput(Throughput::Elements(PODS as u64));
    group.sample_size(10);
    group.bench_function("1,000 pods created, bound and followed", |b| {
        b.iter_batched(
            || {
                let server = Server::new();
                let kinds = [Pod::KIND];
                let cuts = server.api.follow(&user(), &kinds).now_or_never().expect("does not wait");
                let mut cache = Cache::new();
                cache.register::<Pod>();
                let bodies: Vec<Value> = (0..PODS).map(|n| pod(&format!("one-{n}"))).collect();
                (server, cuts.expect("the kind is served"), cache, bodies)
            },
            |(server, mut cuts, mut cache, bodies)| {
                let mut cx = Context::from_waker(Waker::noop());
                let mut seen = 0;
                for body in bodies {
                    server.call(create(&Pod::KIND, Body::Value(body)));
                    while let Poll::Ready(Some(cut)) = cuts.poll_next_unpin(&mut cx) {
                        let mut new = Vec::new();
                        cache.apply(cut, |change, before, _| match before {
                            None => new.push(change.key.name.clone()),
                            Some(_) => seen += 1,
                        });
                        for name in new {
                            server.call(bind(&name));
                        }
                    }
                }
                assert_eq!(seen, PODS);
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn reads(criterion: &mut Criterion) {
    let server = Server::new();
    for n in 0..1000 {
        server.call(create(&ConfigMap::KIND, Body::Value(config_map(&format!("one-{n:04}")))));
        server.call(create(&Pod::KIND, Body::Value(pod(&format!("one-{n:04}")))));
    }
    let columns = server.api.served().columns.clone();
    let mut group = criterion.benchmark_group("api");
    let mut reading = |name: &str, kind: &Kind, verb: Verb, object: &str, form: Form| {
        group.bench_function(name, |b| {
            b.iter(|| {
                let response = server.call(request(kind, verb, object, None));
                let renderer = Renderer { custom: &columns, now: server.clock.now() };
                renderer.response(black_box(&response), Want { form, ..Want::default() }).len()
            });
        });
    };
    reading("get Pod", &Pod::KIND, Verb::Get, "one-0500", Form::Whole);
    reading("list 1,000 ConfigMaps", &ConfigMap::KIND, Verb::List, "", Form::Whole);
    reading(
        "list 1,000 ConfigMaps as a table",
        &ConfigMap::KIND,
        Verb::List,
        "",
        Form::Table(Include::Metadata),
    );
    reading("list 1,000 Pods as a table", &Pod::KIND, Verb::List, "", Form::Table(Include::Metadata));
    group.finish();
}

/// A change that 100 watch, each of them told its line of JSON.
fn watches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("api");
    let mut at = Fresh::new();
    let open = |at: &Fresh| -> Vec<_> {
        let watch = || at.server.api.watch(request(&ConfigMap::KIND, Verb::Watch, "", None)).now_or_never();
        (0..100).map(|_| watch().expect("does not wait").expect("the kind is served")).collect()
    };
    let mut watchers = open(&at);
    let columns = at.server.api.served().columns.clone();
    group.throughput(Throughput::Elements(100));
    group.bench_function("a ConfigMap that 100 watch", |b| {
        b.iter(|| {
            let name = at.name();
            if at.next == 1 {
                watchers = open(&at);
            }
            at.server.call(create(&ConfigMap::KIND, Body::Value(config_map(&name))));
            let renderer = Renderer { custom: &columns, now: at.server.clock.now() };
            let mut cx = Context::from_waker(Waker::noop());
            let mut told = 0;
            for watcher in &mut watchers {
                while let Poll::Ready(Some(frame)) = watcher.poll_next_unpin(&mut cx) {
                    told += renderer.frame(&ConfigMap::KIND, &frame, Form::Whole, false).len();
                }
            }
            told
        });
    });
    group.finish();
}
