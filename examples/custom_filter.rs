//! A scheduling rule of one's own: databases only where disks are fast.
//!
//! `cargo run -p orlop-examples --example custom_filter`

use orlop::scheduler::{Filter, NodeView, PodFacts, Verdict};
use orlop::{Cluster, NodeSpec, base, manifest::Manifests};

struct FastDisk;

impl Filter for FastDisk {
    fn name(&self) -> &str {
        "FastDisk"
    }
    fn filter(&self, pod: &PodFacts, node: &NodeView<'_>) -> Verdict {
        Verdict::fits_or(pod.label("tier") != Some("db") || node.label("disk") == Some("nvme"), || {
            Verdict::refuse_firmly("node(s) had no fast disk")
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nodes = vec![NodeSpec::worker("slow"), NodeSpec::worker("fast").label("disk", "nvme")];
    let cluster = Cluster::builder().nodes(nodes).filter(FastDisk).start().await?;
    let mut manifests = Manifests::default();
    manifests.add_text("db", include_str!("manifests/database.yaml"));
    cluster.apply(&manifests.objects[0]).await?;
    cluster.wait_ready("default", "db", std::time::Duration::from_secs(10)).await?;
    for pod in cluster.list::<base::kinds::Pod>("default").await? {
        println!("{} runs on {}", pod.metadata.name, pod.spec.node_name);
    }
    Ok(())
}
