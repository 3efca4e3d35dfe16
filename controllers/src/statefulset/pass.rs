//! One look at a StatefulSet: [`Pass`]. Follows the order in which Kubernetes decides and writes.

use std::collections::BTreeMap;

use orlop_core::kinds::{ControllerRevision, PersistentVolumeClaim, Pod};
use orlop_core::rules::pod::{is_available, is_ready, is_terminal};
use orlop_core::{Labels, Meta, Name, OwnerReference, Timestamp};
use serde_json::{Value, json};

use super::claims;
use super::pod::{identity_patch, new_pod};
use super::view::{StatefulSetStatus, StatefulSetView};
use crate::history::{self, Newest};

/// As many pods are created at once.
const BURST: usize = 500;

/// Something that a pass writes.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Creates a ControllerRevision.
    CreateRevision(Value),
    /// Gives a ControllerRevision a new number.
    Renumber(Name, i64),
    /// Deletes a ControllerRevision.
    DeleteRevision(Name),
    /// Creates a claim.
    CreateClaim {
        /// Its name.
        name: Name,
        /// The pod that it is for.
        pod: Name,
        /// The claim.
        object: Value,
    },
    /// Says whom a claim goes with.
    OwnClaim(Name, Vec<OwnerReference>),
    /// Creates a pod.
    CreatePod {
        /// Its name.
        name: Name,
        /// The pod.
        object: Value,
    },
    /// Puts right what a pod says of itself.
    UpdatePod(Name, Value),
    /// Deletes a pod.
    DeletePod(Name),
}

/// What a pass is told beside the set.
pub struct Facts<'a> {
    /// Its pods.
    pub pods: &'a [&'a Pod],
    /// Its revisions, from old to new.
    pub revisions: &'a [&'a ControllerRevision],
    /// Finds a claim.
    pub claim: &'a dyn Fn(&str) -> Option<&'a PersistentVolumeClaim>,
    /// Whether there is a ControllerRevision of that name, whosever it is.
    pub taken: &'a dyn Fn(&str) -> bool,
    /// The present moment.
    pub now: Timestamp,
    /// Whether `maxUnavailable` counts.
    pub max_unavailable: bool,
}

/// What one look says should change.
pub struct Pass<'a> {
    set: &'a StatefulSetView,
    facts: &'a Facts<'a>,
    update: Name,
    current: Name,
    /// The writes, in order.
    pub acts: Vec<Act>,
    /// The status that results.
    pub status: StatefulSetStatus,
}

/// A place among the pods: a pod, or the number and revision of one that is missing.
#[derive(Clone, Copy)]
enum Slot<'a> {
    There(&'a Pod),
    Missing { ordinal: i32, current: bool },
}

/// Whether the pass goes on.
#[derive(PartialEq)]
enum Step {
    On,
    Stop,
}

impl<'a> Pass<'a> {
    /// Looks once.
    pub fn run(set: &'a StatefulSetView, facts: &'a Facts<'a>) -> Pass<'a> {
        let mut pass = Pass {
            set,
            facts,
            update: Name::default(),
            current: Name::default(),
            acts: Vec::new(),
            status: StatefulSetStatus { observed_generation: set.metadata.generation, ..Default::default() },
        };
        pass.find_revisions();
        pass.work();
        pass.complete();
        pass.forget_revisions();
        pass
    }

    /// Whether the status is to be written.
    pub fn status_differs(&self) -> bool {
        let (new, old) = (&self.status, &self.set.status);
        let same = StatefulSetStatus {
            collision_count: old.collision_count,
            observed_generation: old.observed_generation,
            ..new.clone()
        };
        new.observed_generation > old.observed_generation || same != *old
    }

    fn find_revisions(&mut self) {
        let set = self.set;
        let data = history::template_patch(&set.spec.template);
        let mut collisions = set.status.collision_count.unwrap_or(0);
        let revisions = self.facts.revisions;
        let newest = history::newest(
            &set.metadata.name,
            &data,
            revisions.iter().copied(),
            &mut collisions,
            self.facts.taken,
            |collisions| history::hash(&data, collisions),
        );
        self.update = newest.name().clone();
        let known = revisions.iter().any(|revision| revision.metadata.name == set.status.current_revision);
        self.current = if known { set.status.current_revision.clone() } else { self.update.clone() };
        match newest {
            Newest::Is(_) => {}
            Newest::Renumber(name, number) => self.acts.push(Act::Renumber(name, number)),
            Newest::Create { name, revision, hash } => {
                let mut labels = set.spec.template["metadata"]["labels"].clone();
                labels[history::HASH] = hash.into();
                let kind = <StatefulSetView as orlop_core::Object>::KIND;
                let object = history::object(&kind, &set.metadata, &labels, &name, revision, data);
                self.acts.push(Act::CreateRevision(object));
            }
        }
        self.status.current_revision = self.current.clone();
        self.status.update_revision = self.update.clone();
        self.status.collision_count = Some(collisions);
    }

    fn work(&mut self) {
        let set = self.set;
        let mut there: BTreeMap<usize, &'a Pod> = BTreeMap::new();
        let mut condemned: Vec<(i32, &'a Pod)> = Vec::new();
        for pod in self.facts.pods.iter().copied() {
            let Some(ordinal) = set.ordinal_of(&pod.metadata.name) else { continue };
            match set.place(ordinal) {
                Some(place) => drop(there.insert(place, pod)),
                None => condemned.push((ordinal, pod)),
            }
        }
        let slots = self.slots(there);
        condemned.sort_by_key(|(ordinal, _)| std::cmp::Reverse(*ordinal));
        self.count();
        if set.metadata.is_terminating() {
            return;
        }
        let ordered = set.is_ordered();
        for slot in &slots {
            if self.tend(*slot) == Step::Stop && ordered {
                return;
            }
        }
        for (ordinal, pod) in &condemned {
            self.own_claims(*ordinal, &pod.metadata);
        }
        let first_unhealthy = slots
            .iter()
            .filter_map(|slot| match slot {
                Slot::There(pod) => Some(*pod),
                Slot::Missing { .. } => None,
            })
            .chain(condemned.iter().rev().map(|(_, pod)| *pod))
            .find(|pod| !self.is_healthy(pod));
        for (_, pod) in &condemned {
            if self.dismiss(pod, first_unhealthy) == Step::Stop && ordered {
                return;
            }
        }
        if set.spec.update_strategy.r#type != "OnDelete" && slots.len() == set.replicas() {
            self.replace(&slots);
        }
    }

    /// The places in order: all pods, and as many of the missing ones as one pass may create.
    fn slots(&self, there: BTreeMap<usize, &'a Pod>) -> Vec<Slot<'a>> {
        let (mut slots, mut next, mut missing) = (Vec::new(), 0, 0);
        let mut fill = |slots: &mut Vec<Slot<'a>>, places: std::ops::Range<usize>| {
            let places = places.take(BURST - missing);
            missing += places.len();
            slots.extend(places.map(|place| self.missing(place)));
        };
        for (place, pod) in there {
            fill(&mut slots, next..place);
            slots.push(Slot::There(pod));
            next = place + 1;
        }
        fill(&mut slots, next..self.set.replicas());
        slots
    }

    fn missing(&self, place: usize) -> Slot<'a> {
        let strategy = &self.set.spec.update_strategy;
        let kept = match &strategy.rolling_update {
            _ if strategy.r#type == "OnDelete" => 0,
            Some(rolling) => rolling.partition.unwrap_or(0),
            None => self.set.status.current_replicas,
        };
        let current = usize::try_from(kept).is_ok_and(|kept| place < kept);
        Slot::Missing { ordinal: self.set.ordinal(place), current }
    }

    fn is_running(pod: &Pod) -> bool {
        pod.status.phase == "Running" && is_ready(pod)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        Self::is_running(pod) && is_available(pod, self.set.min_ready(), self.facts.now)
    }

    fn is_healthy(&self, pod: &Pod) -> bool {
        self.is_available(pod) && !pod.metadata.is_terminating()
    }

    /// What the pods add up to.
    fn count(&mut self) {
        for pod in self.facts.pods {
            if self.set.ordinal_of(&pod.metadata.name).is_none() || pod.status.phase.is_empty() {
                continue;
            }
            self.status.replicas += 1;
            self.status.ready_replicas += i32::from(Self::is_running(pod));
            self.status.available_replicas += i32::from(self.is_available(pod));
            if !pod.metadata.is_terminating() {
                let revision = history::of_pod(&pod.metadata.labels);
                self.status.current_replicas += i32::from(revision == self.current);
                self.status.updated_replicas += i32::from(revision == self.update);
            }
        }
    }

    /// One of the pods that should be.
    fn tend(&mut self, slot: Slot<'a>) -> Step {
        let pod = match slot {
            Slot::Missing { ordinal, current } => return self.create(ordinal, current),
            Slot::There(pod) => pod,
        };
        let Some(ordinal) = self.set.ordinal_of(&pod.metadata.name) else { return Step::On };
        if is_terminal(pod) {
            if !pod.metadata.is_terminating() {
                self.acts.push(Act::DeletePod(pod.metadata.name.clone()));
            }
            return Step::Stop;
        }
        if pod.status.phase == "Pending" {
            if self.create_claims(ordinal, &pod.metadata) == Step::Stop {
                return Step::Stop;
            }
            self.own_claims(ordinal, &pod.metadata);
        }
        let ordered = self.set.is_ordered();
        if ordered && (pod.metadata.is_terminating() || !self.is_available(pod)) {
            return Step::Stop;
        }
        if let Some(patch) = identity_patch(ordinal, pod) {
            self.acts.push(Act::UpdatePod(pod.metadata.name.clone(), patch));
        }
        if !claims::storage_matches(self.set, ordinal, pod) {
            let volumes = claims::volumes(self.set, ordinal, &json!(pod.spec.volumes));
            self.acts.push(Act::UpdatePod(pod.metadata.name.clone(), json!({"spec": {"volumes": volumes}})));
            if self.create_claims(ordinal, &pod.metadata) == Step::Stop {
                return Step::Stop;
            }
        }
        self.own_claims(ordinal, &pod.metadata);
        Step::On
    }

    fn create(&mut self, ordinal: i32, current: bool) -> Step {
        let revision = if current { self.current.clone() } else { self.update.clone() };
        // The new pod has no UID yet: a claim that goes with its predecessor is about to go.
        let object = new_pod(self.set, ordinal, &revision, &self.template(&revision));
        let name = Name::from(object["metadata"]["name"].as_str().unwrap_or_default());
        let meta = Meta { name: name.clone(), ..Meta::default() };
        let stale = claims::claims(self.set, ordinal)
            .iter()
            .filter_map(|(name, _)| (self.facts.claim)(name))
            .any(|claim| claims::is_stale(claim, self.set, &meta));
        if stale || self.create_claims(ordinal, &meta) == Step::Stop {
            return Step::Stop;
        }
        self.acts.push(Act::CreatePod { name, object });
        self.own_claims(ordinal, &meta);
        Step::Stop
    }

    fn template(&self, revision: &Name) -> Value {
        if *revision == self.update {
            return self.set.spec.template.clone();
        }
        let revision = self.facts.revisions.iter().find(|r| r.metadata.name == *revision);
        revision.map_or_else(|| self.set.spec.template.clone(), |revision| history::template_of(revision))
    }

    /// Creates what a pod lacks of claims. Stops where a claim is being deleted: it is created anew once it is gone.
    fn create_claims(&mut self, ordinal: i32, pod: &Meta) -> Step {
        let mut step = Step::On;
        for (name, object) in claims::claims(self.set, ordinal) {
            match (self.facts.claim)(&name) {
                Some(claim) if claim.metadata.is_terminating() => step = Step::Stop,
                Some(_) => {}
                None => self.acts.push(Act::CreateClaim { name, pod: pod.name.clone(), object }),
            }
        }
        step
    }

    /// Says of a pod's claims, also of those that have just been created, whom they go with.
    fn own_claims(&mut self, ordinal: i32, pod: &Meta) {
        for template in &self.set.spec.volume_claim_templates {
            let name = claims::claim_name(self.set, template, ordinal);
            let created = Meta { name: name.clone(), ..Meta::default() };
            let claim = match (self.facts.claim)(&name) {
                Some(claim) => &claim.metadata,
                None if self
                    .acts
                    .iter()
                    .any(|act| matches!(act, Act::CreateClaim { name: n, .. } if *n == name)) =>
                {
                    &created
                }
                None => continue,
            };
            if let Some(owners) = claims::owners(claim, self.set, ordinal, pod) {
                let act = Act::OwnClaim(name, owners);
                if !self.acts.contains(&act) {
                    self.acts.push(act);
                }
            }
        }
    }

    /// One of the pods that should not be.
    fn dismiss(&mut self, pod: &'a Pod, first_unhealthy: Option<&'a Pod>) -> Step {
        if pod.metadata.is_terminating() {
            return Step::Stop;
        }
        let first = first_unhealthy.is_some_and(|first| first.metadata.uid == pod.metadata.uid);
        if self.set.is_ordered() && !self.is_available(pod) && !first {
            return Step::Stop;
        }
        self.acts.push(Act::DeletePod(pod.metadata.name.clone()));
        Step::Stop
    }

    /// Pods of a former template make room, from the last.
    fn replace(&mut self, slots: &[Slot<'a>]) {
        let rolling = self.set.spec.update_strategy.rolling_update.as_ref();
        let partition = rolling.and_then(|rolling| rolling.partition).unwrap_or(0);
        let partition = usize::try_from(partition).unwrap_or(0);
        if self.facts.max_unavailable {
            return self.replace_some(slots, partition);
        }
        for slot in slots.iter().skip(partition).rev() {
            // One that has just been created is of the new template, and is waited for.
            let Slot::There(pod) = slot else { return };
            if history::of_pod(&pod.metadata.labels) != self.update && !pod.metadata.is_terminating() {
                self.acts.push(Act::DeletePod(pod.metadata.name.clone()));
                self.status.current_replicas -= 1;
                return;
            }
            if !self.is_healthy(pod) {
                return;
            }
        }
    }

    fn replace_some(&mut self, slots: &[Slot<'a>], partition: usize) {
        let rolling = self.set.spec.update_strategy.rolling_update.as_ref();
        let total = i32::try_from(self.set.replicas()).unwrap_or(i32::MAX);
        let most = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let most = most.and_then(|most| most.scaled(total, false).ok()).unwrap_or(1).max(1);
        let most = usize::try_from(most).unwrap_or(1);
        let unavailable =
            slots.iter().filter(|slot| !matches!(slot, Slot::There(pod) if self.is_healthy(pod))).count();
        let mut room = most.saturating_sub(unavailable);
        for slot in slots.iter().skip(partition).rev() {
            let Slot::There(pod) = slot else { continue };
            if room == 0 {
                return;
            }
            if history::of_pod(&pod.metadata.labels) != self.update && !pod.metadata.is_terminating() {
                self.acts.push(Act::DeletePod(pod.metadata.name.clone()));
                self.status.current_replicas -= 1;
                room -= 1;
            }
        }
    }

    /// A rolling update that is through makes the new revision the current one.
    fn complete(&mut self) {
        let total = i32::try_from(self.set.replicas()).unwrap_or(i32::MAX);
        let status = &mut self.status;
        if self.set.spec.update_strategy.r#type != "OnDelete"
            && status.updated_replicas == total
            && status.ready_replicas == total
            && status.replicas == total
        {
            status.current_replicas = status.updated_replicas;
            status.current_revision = status.update_revision.clone();
        }
    }

    fn forget_revisions(&mut self) {
        let limit = usize::try_from(self.set.spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
        let label = |labels: &Labels| Name::from(history::of_pod(labels));
        let mut used: Vec<Name> = self.facts.pods.iter().map(|pod| label(&pod.metadata.labels)).collect();
        used.extend([self.current.clone(), self.update.clone()]);
        let gone = history::outlived(self.facts.revisions.iter().copied(), limit, |revision| {
            used.contains(&revision.metadata.name)
        });
        self.acts.extend(gone.into_iter().map(Act::DeleteRevision));
    }
}
