//! Through the API: pods are created, scheduled, bound, and seen to be bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesUnordered};
use futures_util::{Stream, StreamExt};
use orlop::Cluster;
use orlop::spec::ClusterSpec;
use orlop_api::request::Payload;
use orlop_api::{Api, Body, Options, Request, ResourceId, Status, User, Verb, WatchFrame};
use orlop_core::kinds::{Pod, ServiceAccount};
use orlop_core::{Key, Kind, Name, Object};
use serde_json::{Value, json};

use crate::https::Remote;
use crate::meter::{self, Meter};
use crate::workload::Workload;
use crate::{Run, now};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The pace of the pods that are created beside the others.
const EVERY: Duration = Duration::from_millis(200);
/// When no pod has been bound for so long, no more are waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Who creates in this process lets others have their turn after so many pods.
const TURN: usize = 16;
pub(crate) const TOKEN: &str = "sched-perf";

/// How pods get in, and how bindings are seen.
pub(crate) trait Door: Send + Sync + 'static {
    /// Creates a pod.
    fn create(&self, pod: Value) -> BoxFuture<'_, Result<(), String>>;

    /// The names of pods as they are seen with a node, some of them more than once.
    fn bound(&self) -> BoxFuture<'_, Result<BoxStream<'static, String>, String>>;

    /// How many creations may be under way at once.
    fn width(&self) -> usize;
}

/// A cluster of its own for one row, in this process.
pub(crate) fn run(row: &Workload, https: bool) -> Result<Run, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let dir = tempfile::tempdir()?;
    runtime.block_on(async {
        let spec = ClusterSpec {
            nodes: Vec::new(),
            controllers: false,
            system_pods: false,
            seed: Some(7),
            ..ClusterSpec::default()
        };
        let mut builder = Cluster::builder().spec(spec);
        if https {
            builder = builder.redb(dir.path()).serve(([127, 0, 0, 1], 0).into());
            builder = builder.token(TOKEN, "bench", &["system:masters"]);
        }
        let cluster = builder.start().await?;
        prepare(&cluster, row).await?;
        let door: Arc<dyn Door> = if https {
            let address = cluster.address().ok_or("nothing is served")?;
            Arc::new(Remote::connect(address, cluster.authority().unwrap_or_default()).await?)
        } else {
            Arc::new(Inside(cluster.api()))
        };
        let row = *row;
        let run = tokio::spawn(async move { measure(&row, door).await }).await?;
        cluster.shutdown().await;
        run
    })
}

/// The surroundings and the pods that are there before the clock starts.
async fn prepare(cluster: &Cluster, row: &Workload) -> Result<(), Error> {
    let api = cluster.api();
    let api = api.as_ref();
    let (first, rest): (Vec<_>, Vec<_>) =
        row.surroundings().into_iter().partition(|(kind, _)| kind.plural == "namespaces");
    all(api, first).await?;
    let account = |namespace: &str| {
        (ServiceAccount::KIND, json!({"metadata": {"name": "default", "namespace": namespace}}))
    };
    all(api, vec![account("sched-0"), account("sched-1")]).await?;
    all(api, rest).await?;
    let pods = (0..row.init).map(|n| {
        let mut pod = row.there(n);
        pod["spec"]["nodeName"] = row.place(n).into();
        (Pod::KIND, pod)
    });
    all(api, pods.collect()).await?;
    let last = api.call(request(&Pod::KIND, Verb::List, "", json!({"metadata": {"namespace": "sched-0"}})));
    let last = last.await.map_err(told)?.revision();
    // The scheduler takes in what there is.
    while cluster.stats().any(|(name, stats)| name == "scheduler" && stats.seen < last) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn all(api: &dyn Api, objects: Vec<(Kind, Value)>) -> Result<(), Error> {
    let mut under_way = FuturesUnordered::new();
    for (kind, object) in objects {
        under_way.push(put(api, kind, object));
        if under_way.len() >= 64
            && let Some(result) = under_way.next().await
        {
            result?;
        }
    }
    while let Some(result) = under_way.next().await {
        result?;
    }
    Ok(())
}

/// Creates an object; a node is then made ready, which is somebody else's task in a cluster that runs.
async fn put(api: &dyn Api, kind: Kind, object: Value) -> Result<(), Error> {
    let is_node = kind.plural == "nodes";
    let status = object["status"].clone();
    let response = api.call(request(&kind, Verb::Create, "", object)).await.map_err(told)?;
    let Payload::Object(_, stored) = response.payload else { return Ok(()) };
    if !is_node {
        return Ok(());
    }
    let mut node = stored.to_value();
    if !node["spec"]["taints"].is_null() {
        node["spec"] = json!({});
        let response = api.call(request(&kind, Verb::Update, "", node)).await.map_err(told)?;
        let Payload::Object(_, stored) = response.payload else { return Ok(()) };
        node = stored.to_value();
    }
    if node["status"]["allocatable"] != status["allocatable"] {
        node["status"] = status;
        api.call(request(&kind, Verb::Update, "status", node)).await.map_err(told)?;
    }
    Ok(())
}

fn told(status: Status) -> Error {
    status.message.into()
}

fn user() -> User {
    User { name: "bench".into(), groups: vec!["system:masters".into()], ..User::default() }.authenticated()
}

fn request(kind: &Kind, verb: Verb, subresource: &'static str, object: Value) -> Request {
    let name = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let key = Key::new(name("namespace"), if verb == Verb::Create { String::new() } else { name("name") });
    Request {
        user: user(),
        verb,
        resource: ResourceId::from(kind),
        key,
        subresource: Name::new_static(subresource),
        options: Options { field_manager: "bench".into(), ..Options::default() },
        body: Some(Body::Value(object)),
    }
}

/// The API in this process.
struct Inside(Arc<dyn Api>);

impl Door for Inside {
    fn create(&self, pod: Value) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let created = self.0.call(request(&Pod::KIND, Verb::Create, "", pod)).await;
            created.map(drop).map_err(|status| status.message)
        })
    }

    fn bound(&self) -> BoxFuture<'_, Result<BoxStream<'static, String>, String>> {
        Box::pin(async move {
            let watch = request(&Pod::KIND, Verb::Watch, "", json!({"metadata": {"namespace": "sched-1"}}));
            let frames = self.0.watch(watch).await.map_err(|status| status.message)?;
            let names = frames.filter_map(async |frame| match frame {
                WatchFrame::Added(_, stored) | WatchFrame::Modified(_, stored) => {
                    bound_name(stored.body.bytes())
                }
                _ => None,
            });
            Ok(names.boxed())
        })
    }

    fn width(&self) -> usize {
        1
    }
}

/// The name of a pod that has a node, read off its text.
pub(crate) fn bound_name(pod: &[u8]) -> Option<String> {
    let pod = std::str::from_utf8(pod).ok()?;
    pod.find("\"nodeName\":\"")?;
    let (_, name) = pod.split_once("\"name\":\"")?;
    Some(name.split_once('"')?.0.to_owned())
}

/// When each pod was created, in nanoseconds since the start; 0: it was not yet.
type Created = Arc<Vec<AtomicU64>>;

async fn measure(row: &Workload, door: Arc<dyn Door>) -> Result<Run, Error> {
    let pods: Vec<Value> = (0..row.pods).map(|n| row.pod(n)).collect();
    let mut bound = door.bound().await?;
    let created: Created = Arc::new((0..row.pods).map(|_| AtomicU64::new(0)).collect());
    let (creating, watching) = (Meter::default(), Meter::default());
    let (start, before) = (now(), meter::process());
    let creator = creating.around(create(door.clone(), pods, created.clone(), start));
    let creator = tokio::spawn(creator);
    let meanwhile = tokio::spawn(create_meanwhile(door, *row));
    let mut run = Run::expecting(row.pods);
    let mut seen = vec![false; row.pods];
    let watch = async {
        while run.placed < row.pods {
            let Some(name) = next(&mut bound).await else { break };
            let Some(n) = name.strip_prefix("pod-").and_then(|n| n.parse::<usize>().ok()) else { continue };
            if !std::mem::replace(&mut seen[n], true) {
                run.placed += 1;
                let at = Duration::from_nanos(created[n].load(Ordering::Relaxed));
                run.took = now() - start;
                run.latencies.push(run.took.saturating_sub(at));
            }
        }
    };
    watching.around(watch).await;
    let all = meter::process().saturating_sub(before);
    let others = all.saturating_sub(creating.spent() + watching.spent());
    run.spent = vec![
        ("all", all),
        ("creator", creating.spent()),
        ("scheduler, events and the rest", others),
        ("watcher", watching.spent()),
    ];
    meanwhile.abort();
    creator.abort();
    match creator.await {
        Ok(Err(message)) => Err(message.into()),
        _ => Ok(run),
    }
}

async fn next(bound: &mut (impl Stream<Item = String> + Unpin)) -> Option<String> {
    tokio::time::timeout(PATIENCE, bound.next()).await.ok().flatten()
}

async fn create(
    door: Arc<dyn Door>,
    pods: Vec<Value>,
    created: Created,
    start: Instant,
) -> Result<(), String> {
    let mut under_way = FuturesUnordered::new();
    for (n, pod) in pods.into_iter().enumerate() {
        let at = u64::try_from((now() - start).as_nanos()).unwrap_or(u64::MAX);
        created[n].store(at, Ordering::Relaxed);
        under_way.push(door.create(pod));
        while under_way.len() >= door.width() {
            match under_way.next().await {
                Some(result) => result?,
                None => break,
            }
        }
        // In this process a call may never wait; others must get their turn.
        if n % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    while let Some(result) = under_way.next().await {
        result?;
    }
    Ok(())
}

async fn create_meanwhile(door: Arc<dyn Door>, row: Workload) {
    let mut ticks = tokio::time::interval(EVERY);
    for n in 0.. {
        ticks.tick().await;
        let Some(pod) = row.meanwhile(n) else { return };
        if let Err(message) = door.create(pod).await {
            eprintln!("{}: {message}", row.name);
        }
    }
}
