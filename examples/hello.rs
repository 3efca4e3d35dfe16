//! A cluster in this process, and a Deployment on it: the smallest orchestrator.
//!
//! `cargo run -p orlop-examples --example hello`

use std::time::Duration;

use orlop::base::kinds::{Deployment, Pod};
use orlop::base::{Key, Object};
use orlop::{Cluster, manifest::Manifests};

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'web:1'}]}
";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cluster = Cluster::builder().start().await?;
    let mut manifests = Manifests::default();
    manifests.add_text("web", WEB);
    for manifest in &manifests.objects {
        println!("{}: {:?}", manifest.title(), cluster.apply(manifest).await?);
    }
    let available = |web: &serde_json::Value| web["status"]["availableReplicas"] == 3;
    cluster
        .wait_for(&Deployment::KIND, &Key::new("default", "web"), Duration::from_secs(10), available)
        .await?;
    for pod in cluster.list::<Pod>("default").await? {
        println!("{} runs on {} at {}", pod.metadata.name, pod.spec.node_name, pod.status.pod_ip);
    }
    cluster.shutdown().await;
    Ok(())
}
