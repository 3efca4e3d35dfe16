//! A kind and a controller of one's own, with an effect on something outside the cluster: `Bucket` objects become
//! folders on the disk, and go with them.
//!
//! `cargo run -p orlop-examples --example custom_controller`

use std::path::PathBuf;
use std::time::Duration;

use orlop::base::{
    Context, Controller, Executor, Failure, FailureReason, Key, Kind, Meta, Object, Plan, Watches, World,
    Write,
};
use orlop::{Cluster, manifest::Manifests};
use serde::Deserialize;
use serde_json::json;

const FINALIZER: &str = "storage.example.com/folder";

/// What we look at of a Bucket.
#[derive(Deserialize)]
struct Bucket {
    metadata: Meta,
    #[serde(default)]
    status: BucketStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BucketStatus {
    path: String,
}

impl Object for Bucket {
    const KIND: Kind = Kind::namespaced("storage.example.com", "v1", "Bucket", "buckets");
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// What is asked of the disk.
enum Folder {
    Make(Key),
    Remove(Key),
}

/// Decides; does nothing itself.
struct Buckets;

impl Controller for Buckets {
    type Effect = Folder;

    fn name(&self) -> &'static str {
        "bucket-controller"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<Bucket>();
    }

    fn reconcile(&self, key: &Key, world: &World, _ctx: &mut Context<'_>) -> Plan<Folder> {
        let Some(bucket) = world.get::<Bucket>(key) else { return Plan::nothing() };
        let held = bucket.metadata.finalizers.iter().any(|f| f == FINALIZER);
        match (bucket.metadata.is_terminating(), held) {
            (true, true) => Plan::nothing().effect(Folder::Remove(key.clone())),
            (true, false) => Plan::nothing(),
            // Before the folder exists, see to it that the object cannot go without it.
            (false, false) => {
                Plan::write(Write::merge_seen(bucket, json!({"metadata": {"finalizers": [FINALIZER]}})))
            }
            (false, true) if bucket.status.path.is_empty() => {
                Plan::nothing().effect(Folder::Make(key.clone()))
            }
            (false, true) => Plan::nothing(),
        }
    }
}

/// Acts, and reports back in writes.
struct Disk {
    root: PathBuf,
}

#[async_trait::async_trait]
impl Executor<Folder> for Disk {
    async fn execute(&self, effect: Folder) -> Result<Vec<Write>, Failure> {
        let failed = |error: std::io::Error| Failure {
            reason: FailureReason::Unavailable,
            message: error.to_string(),
        };
        match effect {
            Folder::Make(key) => {
                let path = self.root.join(&key.namespace).join(&key.name);
                tokio::fs::create_dir_all(&path).await.map_err(failed)?;
                println!("made {}", path.display());
                Ok(vec![Write::merge(Bucket::KIND, key, json!({"status": {"path": path}})).on("status")])
            }
            Folder::Remove(key) => {
                let path = self.root.join(&key.namespace).join(&key.name);
                match tokio::fs::remove_dir_all(&path).await {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
                    _ => println!("removed {}", path.display()),
                }
                Ok(vec![Write::merge(Bucket::KIND, key, json!({"metadata": {"finalizers": null}}))])
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = std::env::temp_dir().join(format!("buckets-{}", std::process::id()));
    let mut manifests = Manifests::default();
    manifests.add_text("buckets", include_str!("manifests/buckets.yaml"));
    let cluster = Cluster::builder().controller_with(Buckets, Disk { root: root.clone() }).start().await?;
    manifests.sort();
    for manifest in &manifests.objects {
        cluster.apply(manifest).await?;
    }
    let photos = Key::new("default", "photos");
    let made = |bucket: &serde_json::Value| bucket["status"]["path"].is_string();
    cluster.wait_for(&Bucket::KIND, &photos, Duration::from_secs(10), made).await?;
    cluster.link("example").perform(Write::delete(Bucket::KIND, photos.clone())).await?;
    while cluster.get::<Bucket>(&photos).await?.is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::fs::remove_dir_all(&root).await?;
    cluster.shutdown().await;
    Ok(())
}
