//! What the plugins that reach no farther than a node say of pods that ask the same: [`Local`].

use crate::decision::Fault;
use crate::facts::PodFacts;
use crate::framework::{Prepared, Priority, Reach, Scale};
use crate::profile::Profile;
use crate::schedule::{Ready, first_refusal, guarded, waiting_on};
use crate::snapshot::{Delta, NodeId, Snapshot};

use super::buckets::Axes;

/// Those plugins, prepared.
pub(super) struct Local<'a> {
    pod: &'a PodFacts,
    pub(super) ready: Vec<Ready<'a>>,
    pub(super) priorities: Vec<Weighed<'a>>,
}

/// A priority that is prepared.
pub(super) struct Weighed<'a> {
    pub(super) name: &'a str,
    pub(super) priority: Box<dyn Priority + 'a>,
    pub(super) weight: i64,
    pub(super) scale: Scale,
}

/// Whether a plugin's answers of a node can be kept.
pub(super) fn is_near(reach: Reach<'_>) -> bool {
    matches!(reach, Reach::Node | Reach::Wants | Reach::Images)
}

impl<'a> Local<'a> {
    /// `None`: some predicate refuses all nodes, or all but some, while preparing.
    pub(super) fn prepare(
        pod: &'a PodFacts,
        cluster: &'a Snapshot,
        profile: &'a Profile,
    ) -> Result<Option<Local<'a>>, Fault> {
        let mut local = Local { pod, ready: Vec::with_capacity(8), priorities: Vec::with_capacity(8) };
        for plugin in profile.filters.iter().filter(|p| is_near(p.reach())) {
            let name = plugin.name();
            match guarded(name, || plugin.pre_filter(pod, cluster))? {
                Prepared::Skip => {}
                Prepared::Ready(predicate) => local.ready.push(Ready { plugin: name, predicate }),
                Prepared::Refuse(_) | Prepared::Only(..) => return Ok(None),
            }
        }
        for weighted in profile.scores.iter().filter(|s| is_near(s.plugin.reach())) {
            let plugin = &*weighted.plugin;
            if let Some(priority) = guarded(plugin.name(), || plugin.pre_score(pod, cluster, &[]))? {
                let (name, scale) = (plugin.name(), plugin.scale());
                local.priorities.push(Weighed { name, priority, weight: weighted.weight, scale });
            }
        }
        Ok(Some(local))
    }

    /// Whether the pod may run on a node, beside those for whom room is made there as well as without them.
    pub(super) fn fits(&mut self, cluster: &Snapshot, node: NodeId) -> Result<bool, Fault> {
        let view = cluster.view(node);
        for Ready { plugin, predicate } in &self.ready {
            if !guarded(plugin, || predicate.fits(&view))? {
                return Ok(false);
            }
        }
        self.fits_beside(cluster, node)
    }

    /// Whether the pod may run beside those for whom room is made on a node.
    pub(super) fn fits_beside(&mut self, cluster: &Snapshot, node: NodeId) -> Result<bool, Fault> {
        let with = waiting_on(self.pod, cluster, node);
        if with.is_empty() {
            return Ok(true);
        }
        let delta = Delta { without: Vec::new(), with };
        Ok(first_refusal(cluster, &mut self.ready, node, &delta)?.is_none())
    }

    /// The sum of the scores that count as they are; the others become axes.
    pub(super) fn score(&self, cluster: &Snapshot, node: NodeId, axes: &mut Axes) -> Result<i64, Fault> {
        let mut total = 0i64;
        for Weighed { name, priority, weight, scale } in &self.priorities {
            let mut score = [0];
            guarded(name, || priority.score_all(cluster, &[node], &mut score))?;
            match scale {
                Scale::AsIs => total = total.saturating_add(score[0].saturating_mul(*weight)),
                Scale::Highest { .. } => axes.push(score[0]),
            }
        }
        Ok(total)
    }
}
