//! A predicate of one's own: pods run only on nodes that they are worth.
//!
//! `cargo run -p orlop-examples --example cost_aware`
//!
//! A node says in the label `cost.example.com/per-hour` what an hour of it costs, in cents. A pod says in
//! `cost.example.com/at-most` what an hour of its share may cost: its part of the node's CPU. Pods that say nothing may
//! run anywhere, and nodes that say nothing cost nothing.

use orlop::scheduler::{Depends, Filter, NodeView, PodFacts, Verdict};
use orlop::{Cluster, NodeSpec, base, manifest::Manifests};

/// The predicate.
pub struct CostAware;

/// Cents an hour for the pod's part of a node; `None`: the node says nothing.
fn cost(pod: &PodFacts, node: &NodeView<'_>) -> Option<i64> {
    let per_hour: i64 = node.label("cost.example.com/per-hour")?.parse().ok()?;
    // A pod that asks for nothing still takes something; a node without CPU is all of one pod's.
    let (share, all) =
        (i128::from(pod.requests.cpu_milli.max(100)), i128::from(node.allocatable("cpu").max(1)));
    let cost = (i128::from(per_hour) * share + all - 1) / all;
    Some(i64::try_from(cost).unwrap_or(i64::MAX))
}

impl Filter for CostAware {
    fn name(&self) -> &str {
        "CostAware"
    }

    fn filter(&self, pod: &PodFacts, node: &NodeView<'_>) -> Verdict {
        let at_most: Option<i64> = pod.label("cost.example.com/at-most").and_then(|text| text.parse().ok());
        let fits = at_most.zip(cost(pod, node)).is_none_or(|(at_most, cost)| cost <= at_most);
        Verdict::fits_or(fits, || Verdict::refuse_firmly("node(s) were too expensive"))
    }

    fn remedy(&self, pod: &PodFacts, node: &NodeView<'_>) -> Option<String> {
        Some(format!("the pod's part of the node costs {} cents an hour", cost(pod, node)?))
    }

    fn depends_on(&self) -> Depends {
        Depends::NODE_LABELS.and(Depends::NODE_CAPACITY)
    }

    /// The larger a node of one price, the smaller the pod's part of it.
    fn is_monotone(&self) -> bool {
        true
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nodes = vec![
        NodeSpec::worker("spot").label("cost.example.com/per-hour", "8"),
        NodeSpec::worker("reserved").label("cost.example.com/per-hour", "90"),
    ];
    let cluster = Cluster::builder().nodes(nodes).filter(CostAware).start().await?;
    let mut manifests = Manifests::default();
    manifests.add_text(
        "batch",
        "{apiVersion: v1, kind: Pod, metadata: {name: batch, labels: {cost.example.com/at-most: '5'}}, \
         spec: {containers: [{name: batch, image: 'batch:1', resources: {requests: {cpu: 2}}}]}}",
    );
    cluster.apply(&manifests.objects[0]).await?;
    cluster.wait_pod_ready("default", "batch", std::time::Duration::from_secs(10)).await?;
    for pod in cluster.list::<base::kinds::Pod>("default").await? {
        println!("{} runs on {}", pod.metadata.name, pod.spec.node_name);
    }
    Ok(())
}
