//! ImageLocality: prefers nodes that have the pod's images, large ones above all, but less so where few nodes have
//! them, lest a new image draw all pods to one node.

use orlop_core::Name;

use crate::facts::PodFacts;
use crate::framework::{MAX_SCORE, PreScore, Priority, Reach};
use crate::snapshot::{NodeId, NodeView, Snapshot};

/// Below this many bytes in all, images do not count.
const LEAST: i64 = 23 << 20;
/// Above this many bytes for each container, more does not count.
const MOST_EACH: i64 = 1000 << 20;

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct ImageLocality;

/// The name under which nodes report an image.
pub(crate) fn with_tag(image: &Name) -> Name {
    if image.rfind(':').map_or(-1, |at| at as isize) <= image.rfind('/').map_or(-1, |at| at as isize) {
        return smol_str::format_smolstr!("{image}:latest");
    }
    image.clone()
}

/// The score for so many bytes, counted by how many nodes have them, and so many containers.
fn points(bytes: i64, containers: i64) -> i64 {
    let most = MOST_EACH * containers;
    if most <= LEAST {
        return 0;
    }
    MAX_SCORE * (bytes.clamp(LEAST, most) - LEAST) / (most - LEAST)
}

impl PreScore for ImageLocality {
    fn name(&self) -> &str {
        "ImageLocality"
    }

    fn reach(&self) -> Reach<'_> {
        Reach::Images
    }

    fn pre_score<'a>(
        &'a self,
        pod: &'a PodFacts,
        _: &'a Snapshot,
        _: &'a [NodeId],
    ) -> Option<Box<dyn Priority + 'a>> {
        Some(Box::new(Images(pod.images.iter().map(with_tag).collect())))
    }
}

struct Images(Vec<Name>);

impl Images {
    fn weighed(&self, cluster: &Snapshot, node: NodeId) -> i64 {
        let total = cluster.len() as f64;
        let rows = self.0.iter().filter_map(|name| cluster.columns().image(name));
        rows.filter_map(|row| {
            let size = row.nodes.get(&node)?;
            Some((*size as f64 * (row.nodes.len() as f64 / total)) as i64)
        })
        .sum()
    }
}

impl Priority for Images {
    fn score(&self, node: &NodeView<'_>) -> i64 {
        points(self.weighed(node.cluster(), node.id()), self.0.len() as i64)
    }

    fn score_all(&self, cluster: &Snapshot, nodes: &[NodeId], scores: &mut [i64]) {
        if self.0.iter().all(|name| cluster.columns().image(name).is_none()) {
            scores.fill(points(0, self.0.len() as i64));
            return;
        }
        for (node, score) in nodes.iter().zip(scores) {
            *score = points(self.weighed(cluster, *node), self.0.len() as i64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_a_tag() {
        for (image, expected) in [
            ("web", "web:latest"),
            ("web:1", "web:1"),
            ("registry:5000/web", "registry:5000/web:latest"),
            ("registry:5000/web:1", "registry:5000/web:1"),
            ("web@sha256:ab", "web@sha256:ab"),
        ] {
            assert_eq!(with_tag(&image.into()), expected);
        }
    }
}
