//! A priority of one's own: pods run best where their data is.
//!
//! `cargo run -p orlop-examples --example data_locality`
//!
//! A pod names the data sets that it reads in the label `data.example.com/reads`, with sizes in gigabytes:
//! `logs-40_users-2`. A node says in `data.example.com/SET` that it holds a copy. Each node scores the share of the
//! pod's bytes that need not cross the network.

use orlop::scheduler::{MAX_SCORE, NodeView, PodFacts, Score};
use orlop::{Cluster, NodeSpec, base, manifest::Manifests};

/// The priority.
pub struct DataLocality;

/// The data sets that a pod reads, with their gigabytes. What is no number counts as one.
fn reads(pod: &PodFacts) -> impl Iterator<Item = (&str, i64)> {
    let sets = pod.label("data.example.com/reads").unwrap_or_default().split('_');
    sets.filter(|set| !set.is_empty()).map(|set| match set.rsplit_once('-') {
        Some((name, size)) => (name, size.parse().unwrap_or(1).max(0)),
        None => (set, 1),
    })
}

impl Score for DataLocality {
    fn name(&self) -> &str {
        "DataLocality"
    }

    fn score(&self, pod: &PodFacts, node: &NodeView<'_>) -> i64 {
        let here = |set: &str| node.label(&format!("data.example.com/{set}")).is_some();
        let all: i64 = reads(pod).map(|(_, size)| size).fold(0, i64::saturating_add);
        let local: i64 =
            reads(pod).filter(|(set, _)| here(set)).map(|(_, size)| size).fold(0, i64::saturating_add);
        // In a wider number: sizes are what people write.
        if all == 0 { 0 } else { (i128::from(local) * i128::from(MAX_SCORE) / i128::from(all)) as i64 }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nodes = vec![
        NodeSpec::worker("logs").label("data.example.com/logs", "v7"),
        NodeSpec::worker("users").label("data.example.com/users", "v2"),
        NodeSpec::worker("nothing"),
    ];
    let cluster = Cluster::builder().nodes(nodes).score(DataLocality, 10).start().await?;
    let mut manifests = Manifests::default();
    manifests.add_text(
        "report",
        "{apiVersion: v1, kind: Pod, metadata: {name: report, labels: {data.example.com/reads: logs-40_users-2}}, \
         spec: {containers: [{name: report, image: 'report:1'}]}}",
    );
    cluster.apply(&manifests.objects[0]).await?;
    cluster.wait_pod_ready("default", "report", std::time::Duration::from_secs(10)).await?;
    for pod in cluster.list::<base::kinds::Pod>("default").await? {
        println!("{} runs on {}", pod.metadata.name, pod.spec.node_name);
    }
    Ok(())
}
