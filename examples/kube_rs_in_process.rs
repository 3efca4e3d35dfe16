//! An ordinary kube-rs controller, in this process and without sockets: it labels every ConfigMap with the number of
//! its entries.
//!
//! `cargo run -p orlop-examples --example kube_rs_in_process`

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use orlop::Cluster;
use serde_json::json;

const LABEL: &str = "example.com/entries";

async fn reconcile(map: Arc<ConfigMap>, client: Arc<Client>) -> Result<Action, kube::Error> {
    let entries = map.data.as_ref().map_or(0, |data| data.len()).to_string();
    if map.labels().get(LABEL) != Some(&entries) {
        let maps: Api<ConfigMap> =
            Api::namespaced(Client::clone(&client), &map.namespace().unwrap_or_default());
        let patch = json!({"metadata": {"labels": {LABEL: entries}}});
        maps.patch(&map.name_any(), &PatchParams::apply("example"), &Patch::Merge(patch)).await?;
    }
    Ok(Action::await_change())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cluster = Cluster::builder().start().await?;
    let client = cluster.kube_client();
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let controller =
        Controller::new(Api::<ConfigMap>::all(client.clone()), watcher::Config::default().streaming_lists())
            .run(reconcile, |_, _, _| Action::requeue(Duration::from_millis(100)), Arc::new(client));
    let controller = tokio::spawn(controller.for_each(|_| std::future::ready(())));

    let map: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": "colours"},
        "data": {"sky": "blue", "grass": "green"},
    }))?;
    maps.create(&PostParams::default(), &map).await?;
    loop {
        let map = maps.get("colours").await?;
        if let Some(entries) = map.labels().get(LABEL) {
            println!("colours has {entries} entries");
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    controller.abort();
    cluster.shutdown().await;
    Ok(())
}
