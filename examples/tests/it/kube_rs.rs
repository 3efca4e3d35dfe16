//! kube-rs against a cluster: over TLS, and in this process without sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, AttachParams, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Config, ResourceExt};
use orlop::Cluster;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Longer than anything here takes, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(20);

async fn cluster() -> Cluster {
    Cluster::builder().serve(([127, 0, 0, 1], 0).into()).start().await.expect("a cluster")
}

async fn over_tls(cluster: &Cluster) -> Client {
    let text = cluster.kubeconfig().expect("a kubeconfig");
    let kubeconfig = Kubeconfig::from_yaml(&text).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a configuration");
    Client::try_from(config).expect("a client")
}

fn map(name: &str, entries: usize) -> ConfigMap {
    let data: serde_json::Map<_, _> = (0..entries).map(|n| (format!("k{n}"), json!("v"))).collect();
    serde_json::from_value(json!({"metadata": {"name": name}, "data": data})).expect("a ConfigMap")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kube_rs_works_over_tls_and_in_process() {
    let cluster = cluster().await;
    for (name, client) in [("tls", over_tls(&cluster).await), ("process", cluster.kube_client())] {
        objects(client.clone(), name).await;
        watches(client.clone(), name).await;
        applies(client.clone(), name).await;
        controls(client.clone(), name).await;
        elects(client, name).await;
    }
    cluster.shutdown().await;
}

async fn objects(client: Client, name: &str) {
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    for n in 0..5 {
        maps.create(&PostParams::default(), &map(&format!("{name}-{n}"), n)).await.expect("created");
    }
    let taken =
        maps.create(&PostParams::default(), &map(&format!("{name}-0"), 0)).await.expect_err("a conflict");
    assert!(
        matches!(&taken, kube::Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists"),
        "{taken}"
    );
    let mut seen = Vec::new();
    let mut page = ListParams::default().limit(2);
    loop {
        let list = maps.list(&page).await.expect("a page");
        seen.extend(list.items.iter().map(ResourceExt::name_any).filter(|found| found.starts_with(name)));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => break,
        }
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
    let version = client.apiserver_version().await.expect("a version");
    assert_eq!((version.major.as_str(), version.minor.as_str()), ("1", "36"));
    for n in 0..5 {
        maps.delete(&format!("{name}-{n}"), &DeleteParams::default()).await.expect("deleted");
    }
    let gone = maps.get_opt(&format!("{name}-0")).await.expect("an answer");
    assert!(gone.is_none());
}

/// A watcher sees what is there, and then what comes, by either way of beginning.
async fn watches(client: Client, name: &str) {
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let (before, after) = (format!("{name}-before"), format!("{name}-after"));
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        maps.create(&PostParams::default(), &map(&before, 1)).await.expect("created");
        let mut events = watcher(maps.clone(), config).boxed();
        let mut seen = Vec::new();
        let watched = async {
            while let Some(event) = events.try_next().await.expect("an event") {
                match event {
                    watcher::Event::InitApply(map) if map.name_any() == before => seen.push("there"),
                    watcher::Event::InitDone => {
                        seen.push("done");
                        maps.create(&PostParams::default(), &map(&after, 1)).await.expect("created");
                    }
                    watcher::Event::Apply(map) if map.name_any() == after => {
                        seen.push("new");
                        maps.delete(&after, &DeleteParams::default()).await.expect("deleted");
                    }
                    watcher::Event::Delete(map) if map.name_any() == after => {
                        seen.push("gone");
                        break;
                    }
                    _ => {}
                }
            }
        };
        timeout(PATIENCE, watched).await.expect("all events come");
        assert_eq!(seen, ["there", "done", "new", "gone"]);
        maps.delete(&before, &DeleteParams::default()).await.expect("deleted");
    }
}

/// Two appliers own what they apply, and neither takes it from the other unless it insists.
async fn applies(client: Client, name: &str) {
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let apply = |colour: &str| {
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"sky": colour}});
        Patch::Apply(value)
    };
    maps.patch(name, &PatchParams::apply("one"), &apply("blue")).await.expect("applied");
    let conflict =
        maps.patch(name, &PatchParams::apply("two"), &apply("grey")).await.expect_err("a conflict");
    assert!(matches!(&conflict, kube::Error::Api(status) if status.code == 409), "{conflict}");
    let forced = maps.patch(name, &PatchParams::apply("two").force(), &apply("grey")).await.expect("forced");
    assert_eq!(forced.data.as_ref().and_then(|data| data.get("sky")).map(String::as_str), Some("grey"));
    let managers: Vec<_> =
        forced.managed_fields().iter().filter_map(|entry| entry.manager.as_deref()).collect();
    assert!(managers.contains(&"two"), "{managers:?}");
    maps.delete(name, &DeleteParams::default()).await.expect("deleted");
}

/// A controller labels each map once, and comes to rest.
async fn controls(client: Client, name: &str) {
    struct Context(Client, AtomicUsize, String);
    let context = Arc::new(Context(client.clone(), AtomicUsize::new(0), format!("{name}-owned")));
    let reconcile = |map: Arc<ConfigMap>, context: Arc<Context>| async move {
        if map.name_any() != context.2 || map.labels().contains_key("seen") {
            return Ok::<_, kube::Error>(Action::await_change());
        }
        context.1.fetch_add(1, Ordering::SeqCst);
        let maps: Api<ConfigMap> = Api::default_namespaced(context.0.clone());
        let patch = json!({"metadata": {"labels": {"seen": "yes"}}});
        maps.patch(&context.2, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(Action::await_change())
    };
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let owned = context.2.clone();
    let controller = Controller::new(maps.clone(), watcher::Config::default())
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_millis(100)), context.clone())
        .for_each(|_| std::future::ready(()));
    let controller = tokio::spawn(controller);
    maps.create(&PostParams::default(), &map(&owned, 1)).await.expect("created");
    let labelled = async {
        let events =
            watcher(maps.clone(), watcher::Config::default().fields(&format!("metadata.name={owned}")));
        let mut labelled = events.applied_objects().boxed();
        while let Some(map) = labelled.try_next().await.expect("an event") {
            if map.labels().contains_key("seen") {
                break;
            }
        }
    };
    timeout(PATIENCE, labelled).await.expect("the map is labelled");
    controller.abort();
    assert_eq!(context.1.load(Ordering::SeqCst), 1, "it was done once");
    maps.delete(&owned, &DeleteParams::default()).await.expect("deleted");
}

/// Who writes the Lease first leads; the other is told by the revision that it was too late.
async fn elects(client: Client, name: &str) {
    let leases: Api<Lease> = Api::default_namespaced(client);
    let lease =
        json!({"metadata": {"name": name}, "spec": {"holderIdentity": "", "leaseDurationSeconds": 15}});
    let lease: Lease = serde_json::from_value(lease).expect("a Lease");
    let lease = leases.create(&PostParams::default(), &lease).await.expect("created");
    let claim = |who: &str| {
        let mut lease = lease.clone();
        lease.spec.get_or_insert_default().holder_identity = Some(who.to_owned());
        lease
    };
    let (one, two) = (claim("one"), claim("two"));
    let options = PostParams::default();
    let both = futures_util::future::join(
        leases.replace(name, &options, &one),
        leases.replace(name, &options, &two),
    );
    let (one, two) = both.await;
    assert!(one.is_ok() != two.is_ok(), "exactly one leads: {one:?} {two:?}");
    let late = one.err().or(two.err()).expect("one is late");
    assert!(
        matches!(&late, kube::Error::Api(status) if status.code == 409 && status.reason == "Conflict"),
        "{late}"
    );
    leases.delete(name, &DeleteParams::default()).await.expect("deleted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kube_rs_has_sessions_over_tls() {
    let cluster = cluster().await;
    let pods: Api<Pod> = Api::default_namespaced(over_tls(&cluster).await);
    let pod = json!({
        "metadata": {"name": "web"},
        "spec": {"containers": [{"name": "web", "image": "web:1", "ports": [{"containerPort": 8080}]}]},
    });
    let account: Api<k8s_openapi::api::core::v1::ServiceAccount> =
        Api::default_namespaced(over_tls(&cluster).await);
    let there =
        kube::runtime::wait::await_condition(account, "default", |account: Option<&_>| account.is_some());
    timeout(PATIENCE, there).await.expect("an account").expect("an account");
    pods.create(&PostParams::default(), &serde_json::from_value(pod).expect("a Pod")).await.expect("created");
    let running = kube::runtime::wait::await_condition(
        pods.clone(),
        "web",
        kube::runtime::conditions::is_pod_running(),
    );
    timeout(PATIENCE, running).await.expect("it runs").expect("it runs");

    let script = ["sh", "-c", "read line; echo \"<$line>\"; echo bad >&2; exit 4"];
    let mut session =
        pods.exec("web", script, &AttachParams::default().stdin(true)).await.expect("a session");
    let (mut stdin, mut stdout) = (session.stdin().expect("a way in"), session.stdout().expect("a way out"));
    let status = session.take_status().expect("a status");
    stdin.write_all(b"hello\n").await.expect("sent");
    stdin.shutdown().await.expect("closed");
    let mut text = String::new();
    timeout(PATIENCE, stdout.read_to_string(&mut text)).await.expect("an end").expect("text");
    assert_eq!(text, "<hello>\n");
    let status = timeout(PATIENCE, status).await.expect("an end").expect("a status");
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"));
    let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
    assert_eq!(causes.first().and_then(|cause| cause.message.as_deref()), Some("4"));

    let mut forwarded = pods.portforward("web", &[8080, 9999]).await.expect("forwarded");
    let mut stream = forwarded.take_stream(8080).expect("a stream");
    let failed = forwarded.take_error(9999).expect("an error");
    stream.write_all(b"GET /kube HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n").await.expect("sent");
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("an end").expect("text");
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.contains("GET /kube"), "{text}");
    let failed = timeout(PATIENCE, failed).await.expect("an end").expect("an error");
    assert!(failed.contains("error forwarding port 9999"), "{failed}");
    cluster.shutdown().await;
}
