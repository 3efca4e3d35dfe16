//! One look at a DaemonSet's pods and nodes: [`Survey`].

use std::collections::BTreeMap;
use std::time::Duration;

use orlop_core::kinds::{Node, Pod};
use orlop_core::rules::pod::{is_available, is_ready, is_terminal};
use orlop_core::{Name, Timestamp};

use super::nodes::{Fit, node_of};
use super::view::{DaemonSetStatus, DaemonSetView};
use crate::history;

/// A pod that has failed is replaced when it is at least so old: a node that refuses its pod is not asked at once again.
const PATIENCE: Duration = Duration::from_secs(10);

/// What there is of pods and nodes.
pub struct Survey<'a> {
    set: &'a DaemonSetView,
    hash: &'a str,
    now: Timestamp,
    /// By name: the node's verdict, and its pods from old to new.
    nodes: BTreeMap<Name, Place<'a>>,
    /// When something that waits is due.
    pub wake: Option<Timestamp>,
}

#[derive(Default)]
struct Place<'a> {
    /// Whether a pod should be created, and whether one may stay; `None`: there is no such node.
    fit: Option<(bool, bool)>,
    pods: Vec<&'a Pod>,
}

/// What should change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// On these nodes a pod is created.
    pub create: Vec<Name>,
    /// These pods are deleted.
    pub delete: Vec<Name>,
}

impl Change {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.delete.is_empty()
    }
}

/// A node on which a rolling update has to create a pod is gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("couldn't get node for nodeName {0:?}: node {0:?} not found")]
pub struct NoSuchNode(pub Name);

impl<'a> Survey<'a> {
    /// Looks at the pods of a DaemonSet whose present revision has this `hash`.
    pub fn new(
        set: &'a DaemonSetView,
        hash: &'a str,
        nodes: impl IntoIterator<Item = &'a Node>,
        pods: &[&'a Pod],
        now: Timestamp,
    ) -> Survey<'a> {
        let fit = Fit::new(set);
        let mut places: BTreeMap<Name, Place<'a>> = BTreeMap::new();
        for node in nodes {
            places.entry(node.metadata.name.clone()).or_default().fit = Some(fit.of(node));
        }
        // Who has ended and is being deleted is as good as gone.
        for pod in pods.iter().copied().filter(|pod| !(is_terminal(pod) && pod.metadata.is_terminating())) {
            if let Some(node) = node_of(pod) {
                places.entry(node).or_default().pods.push(pod);
            }
        }
        for place in places.values_mut() {
            place.pods.sort_by_key(|pod| {
                (pod.spec.node_name.is_empty(), pod.metadata.creation_timestamp, &pod.metadata.name)
            });
        }
        Survey { set, hash, now, nodes: places, wake: None }
    }

    fn is_new(&self, pod: &Pod) -> bool {
        !self.hash.is_empty() && history::of_pod(&pod.metadata.labels) == self.hash
    }

    fn is_available(&self, pod: &Pod) -> bool {
        is_available(pod, self.set.min_ready(), self.now)
    }

    /// Pods that are missing, and pods that should not be.
    pub fn manage(&mut self) -> Change {
        let mut change = Change::default();
        let mut due: Option<Timestamp> = None;
        for (name, place) in &self.nodes {
            let Some((run, stay)) = place.fit else {
                // The node is gone: who was meant for it will never be bound.
                let stranded = place.pods.iter().filter(|pod| pod.spec.node_name.is_empty());
                change.delete.extend(stranded.map(|pod| pod.metadata.name.clone()));
                continue;
            };
            if run && place.pods.is_empty() {
                change.create.push(name.clone());
                continue;
            }
            let here = place.pods.iter().copied().filter(|pod| !pod.metadata.is_terminating());
            if !stay {
                change.delete.extend(here.map(|pod| pod.metadata.name.clone()));
                continue;
            }
            let mut running: Vec<&Pod> = Vec::new();
            let mut failed: Vec<&Pod> = Vec::new();
            for pod in here {
                match pod.status.phase.as_str() {
                    "Failed" => failed.push(pod),
                    "Succeeded" => change.delete.push(pod.metadata.name.clone()),
                    _ => running.push(pod),
                }
            }
            if let Some(pod) = failed.into_iter().min_by_key(|pod| &pod.metadata.name) {
                let ripe = pod.metadata.creation_timestamp.map_or(self.now, |created| created + PATIENCE);
                if ripe > self.now {
                    due = Some(due.map_or(ripe, |due| due.min(ripe)));
                } else {
                    change.delete.push(pod.metadata.name.clone());
                }
            }
            if run && running.is_empty() && self.set.surges() {
                // The new pod need not wait for the old one to be gone.
                change.create.push(name.clone());
            }
            change.delete.extend(self.surplus(&running).into_iter().map(|pod| pod.metadata.name.clone()));
        }
        self.wake = due;
        change
    }

    /// Of several pods on one node, given from old to new, those that are too many.
    fn surplus(&self, running: &[&'a Pod]) -> Vec<&'a Pod> {
        if running.len() < 2 {
            return Vec::new();
        }
        if !self.set.surges() {
            return running[1..].to_vec();
        }
        // Two may be: the old one as long as it serves, and the new one until it does.
        let new = running.iter().copied().find(|pod| self.is_new(pod));
        let old = running.iter().copied().find(|pod| !self.is_new(pod));
        let is = |pod: &Pod, one: Option<&Pod>| one.is_some_and(|one| std::ptr::eq(one, pod));
        let mut surplus: Vec<&Pod> =
            running.iter().copied().filter(|pod| !is(pod, new) && !is(pod, old)).collect();
        if let (Some(new), Some(old)) = (new, old)
            && (!is_ready(old) || self.is_available(new))
        {
            surplus.push(old);
        }
        surplus
    }

    /// The pods of a node that are not being deleted: the one of the present template, the one of a former. `None` if
    /// there are several of one sort, which [`Survey::manage`] will mend.
    fn pair(&self, place: &Place<'a>) -> Option<(Option<&'a Pod>, Option<&'a Pod>)> {
        let (mut new, mut old) = (None, None);
        for pod in place.pods.iter().copied().filter(|pod| !pod.metadata.is_terminating()) {
            let sort = if self.is_new(pod) { &mut new } else { &mut old };
            if sort.replace(pod).is_some() {
                return None;
            }
        }
        Some((new, old))
    }

    /// Nodes that should have a pod, and others that have one.
    fn concerned(&self) -> impl Iterator<Item = (&Name, &Place<'a>)> {
        self.nodes.iter().filter(|(_, place)| place.fit.is_some_and(|(run, _)| run) || !place.pods.is_empty())
    }

    fn desired(&self) -> i32 {
        count(self.nodes.values().filter(|place| place.fit.is_some_and(|(run, _)| run)).count())
    }

    /// Pods of a former template that make way, and nodes on which a new one may join the old.
    ///
    /// # Errors
    /// When a new pod is to join the old one on a node that is gone.
    pub fn rolling_update(&self) -> Result<Change, NoSuchNode> {
        let (surge, unavailable) = self.set.bounds(self.desired());
        if surge > 0 { self.surge(surge) } else { Ok(self.replace(unavailable)) }
    }

    fn replace(&self, most: usize) -> Change {
        let mut unavailable = 0;
        let (mut useless, mut candidates) = (Vec::new(), Vec::new());
        for (_, place) in self.concerned() {
            match self.pair(place) {
                Some((Some(new), None)) => unavailable += usize::from(!self.is_available(new)),
                Some((None, Some(old))) if self.is_available(old) => {
                    candidates.push(old.metadata.name.clone());
                }
                Some((None, Some(old))) => {
                    useless.push(old.metadata.name.clone());
                    unavailable += 1;
                }
                _ => unavailable += 1,
            }
        }
        candidates.truncate(most.saturating_sub(unavailable));
        useless.extend(candidates);
        Change { create: Vec::new(), delete: useless }
    }

    fn surge(&self, most: usize) -> Result<Change, NoSuchNode> {
        let mut surging = 0;
        let mut available = 0;
        let mut change = Change::default();
        let (mut misplaced, mut candidates) = (Vec::new(), Vec::new());
        for (name, place) in self.concerned() {
            let Some((new, old)) = self.pair(place) else {
                surging += 1;
                continue;
            };
            available += i32::from(old.or(new).is_some_and(|pod| self.is_available(pod)));
            let Some(old) = old else { continue };
            match new {
                Some(new) if self.is_available(new) => change.delete.push(old.metadata.name.clone()),
                Some(_) => surging += 1,
                None => match place.fit {
                    None => return Err(NoSuchNode(name.clone())),
                    Some((false, _)) if !self.is_available(old) => {
                        change.delete.push(old.metadata.name.clone());
                    }
                    // It serves, and stays until enough others do.
                    Some((false, _)) => misplaced.push(old.metadata.name.clone()),
                    Some(_) if self.is_available(old) => candidates.push(name.clone()),
                    Some(_) => change.create.push(name.clone()),
                },
            }
        }
        misplaced.truncate(usize::try_from(available - self.desired()).unwrap_or(0));
        change.delete.extend(misplaced);
        candidates.truncate(most.saturating_sub(surging));
        change.create.extend(candidates);
        Ok(change)
    }

    /// What it all adds up to.
    pub fn status(&self) -> DaemonSetStatus {
        let mut status = DaemonSetStatus {
            observed_generation: self.set.metadata.generation,
            collision_count: self.set.status.collision_count,
            desired_number_scheduled: self.desired(),
            ..DaemonSetStatus::default()
        };
        for place in self.nodes.values() {
            let (Some((run, _)), Some(pod)) = (place.fit, place.pods.first()) else { continue };
            if !run {
                status.number_misscheduled += 1;
                continue;
            }
            status.current_number_scheduled += 1;
            status.number_ready += i32::from(is_ready(pod));
            status.number_available += i32::from(self.is_available(pod));
            status.updated_number_scheduled += i32::from(self.is_new(pod));
        }
        status.number_unavailable = status.desired_number_scheduled - status.number_available;
        status
    }
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
