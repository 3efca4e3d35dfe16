//! One look at a Deployment: [`Pass`]. Follows the order in which Kubernetes decides and writes.

use orlop_core::kinds::{Pod, ReplicaSetCondition};
use orlop_core::rules::{IntOrString, InvalidPercentage};
use orlop_core::{Labels, Name, Object, OwnerReference, Timestamp};
use serde_json::{Map, Value, json};
use std::time::Duration;

use super::revision;
use super::status::{self, DONE, DeploymentStatus, PROGRESSING, REPLICA_FAILURE, TIMED_OUT, condition};
use super::template::{same, template_hash};
use super::view::{DeploymentView, ReplicaSetStatus, ReplicaSetView};
use super::{REVISION, TEMPLATE_HASH};

/// Something that a pass writes.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Creates a ReplicaSet.
    Create {
        /// Its name.
        name: Name,
        /// How many pods.
        replicas: i32,
        /// The object.
        object: Value,
    },
    /// Changes a ReplicaSet.
    Update {
        /// Its name.
        name: Name,
        /// Its UID.
        uid: Name,
        /// How many pods.
        replicas: i32,
        /// All annotations.
        annotations: Labels,
        /// `minReadySeconds`, where that changes.
        min_ready_seconds: Option<i32>,
        /// Whether the number of pods changes.
        resized: bool,
    },
    /// Deletes a ReplicaSet.
    Delete {
        /// Its name.
        name: Name,
        /// Its UID.
        uid: Name,
    },
    /// Writes the status, and with it the revision.
    Status {
        /// The status.
        status: DeploymentStatus,
        /// The revision, where that changes.
        revision: Option<Name>,
    },
}

impl Act {
    /// The merge patch that does it, for changes.
    pub(super) fn patch(&self) -> Option<Value> {
        match self {
            Act::Create { .. } | Act::Delete { .. } => None,
            Act::Update { replicas, annotations, min_ready_seconds, resized, .. } => {
                let mut spec = Map::new();
                if *resized {
                    spec.insert("replicas".to_owned(), json!(replicas));
                }
                if let Some(seconds) = min_ready_seconds {
                    spec.insert("minReadySeconds".to_owned(), json!(seconds));
                }
                let mut patch = json!({"metadata": {"annotations": annotations}});
                if !spec.is_empty() {
                    patch["spec"] = Value::Object(spec);
                }
                Some(patch)
            }
            Act::Status { status, revision } => {
                let mut patch = json!({});
                if let Some(revision) = revision {
                    patch["metadata"] = json!({"annotations": {REVISION: revision}});
                }
                patch["status"] = status.patch();
                Some(patch)
            }
        }
    }
}

/// A ReplicaSet as a pass sees it: copies change, the original does not.
#[derive(Clone, Debug)]
pub(super) struct Set<'a> {
    pub(super) name: Name,
    pub(super) uid: Name,
    pub(super) created: Option<Timestamp>,
    pub(super) generation: i64,
    pub(super) deleting: bool,
    pub(super) annotations: Labels,
    pub(super) replicas: i32,
    min_ready_seconds: i32,
    pub(super) template: Option<&'a Value>,
    pub(super) status: ReplicaSetStatus,
}

impl<'a> Set<'a> {
    fn of(view: &'a ReplicaSetView) -> Set<'a> {
        Set {
            name: view.metadata.name.clone(),
            uid: view.metadata.uid.clone(),
            created: view.metadata.creation_timestamp,
            generation: view.metadata.generation,
            deleting: view.metadata.is_terminating(),
            annotations: view.metadata.annotations.clone(),
            replicas: view.spec.replicas.unwrap_or(1),
            min_ready_seconds: view.spec.min_ready_seconds.unwrap_or(0),
            template: Some(&view.spec.template),
            status: view.status.clone(),
        }
    }

    pub(super) fn age_key(&self) -> (Option<Timestamp>, &Name) {
        (self.created, &self.name)
    }
}

pub(super) fn oldest_first(sets: &mut [Set<'_>]) {
    sets.sort_by(|a, b| a.age_key().cmp(&b.age_key()));
}

pub(super) fn total(sets: &[Set<'_>]) -> i32 {
    sets.iter().map(|set| set.replicas).sum()
}

pub(super) fn active<'a>(sets: &[Set<'a>]) -> Vec<Set<'a>> {
    sets.iter().filter(|set| set.replicas > 0).cloned().collect()
}

/// How many pods a rolling update may have too many, and too few: percentages rounded up, and down. Where both are none,
/// one may be missing, or nothing would ever move.
///
/// # Errors
/// When a text is not a percentage.
pub fn fenceposts(
    max_surge: Option<&IntOrString>,
    max_unavailable: Option<&IntOrString>,
    replicas: i32,
) -> Result<(i32, i32), InvalidPercentage> {
    let none = IntOrString::Int(0);
    let surge = max_surge.unwrap_or(&none).scaled(replicas, true)?;
    let unavailable = max_unavailable.unwrap_or(&none).scaled(replicas, false)?;
    Ok(if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) })
}

/// The pass ends here: a name was taken, and another is tried the next time.
pub(super) struct Stop;

/// One look at a Deployment.
pub struct Pass<'a> {
    pub(super) deployment: &'a DeploymentView,
    pub(super) sets: Vec<Set<'a>>,
    pub(super) old_pods: &'a [(&'a str, Vec<&'a Pod>)],
    pub(super) name_taken: &'a dyn Fn(&str) -> bool,
    pub(super) now: Timestamp,
    /// As it was before the last write of the status.
    pub(super) status: DeploymentStatus,
    pub(super) revision: Option<Name>,
    /// What it writes, in order.
    pub acts: Vec<Act>,
    /// What it tells: whether it is a warning, the reason, the message.
    pub notes: Vec<(bool, &'static str, String)>,
    /// When to look again.
    pub wake: Option<Timestamp>,
}

impl<'a> Pass<'a> {
    /// Looks at a Deployment and the ReplicaSets that it controls. `pods` are their pods by the UID of the set (needed for
    /// Recreate), `name_taken` tells names of ReplicaSets that exist.
    pub fn run(
        deployment: &'a DeploymentView,
        sets: &[&'a ReplicaSetView],
        pods: &'a [(&'a str, Vec<&'a Pod>)],
        name_taken: &'a dyn Fn(&str) -> bool,
        now: Timestamp,
    ) -> Pass<'a> {
        let mut pass = Pass {
            deployment,
            sets: sets.iter().map(|set| Set::of(set)).collect(),
            old_pods: pods,
            name_taken,
            now,
            status: deployment.status.clone(),
            revision: deployment.metadata.annotations.get(REVISION).cloned(),
            acts: Vec::new(),
            notes: Vec::new(),
            wake: None,
        };
        oldest_first(&mut pass.sets);
        // A stop has written what it had to.
        let _stopped: Result<(), Stop> = pass.sync();
        pass
    }

    fn sync(&mut self) -> Result<(), Stop> {
        if self.deployment.metadata.is_terminating() {
            let (new, old) = self.sets_in_order(false)?;
            self.sync_status(&old, new.as_ref());
            return Ok(());
        }
        self.note_pause();
        if self.deployment.spec.paused || self.is_scaling()? {
            return self.scale_all();
        }
        match self.deployment.spec.strategy.r#type.as_str() {
            "Recreate" => self.recreate(),
            _ => self.roll(),
        }
    }

    pub(super) fn wanted(&self) -> i32 {
        self.deployment.spec.replicas()
    }

    pub(super) fn is_rolling(&self) -> bool {
        self.deployment.spec.strategy.r#type == "RollingUpdate"
    }

    pub(super) fn posts(&self) -> (i32, i32) {
        let rolling = self.deployment.spec.strategy.rolling_update.as_ref();
        let surge = rolling.and_then(|r| r.max_surge.as_ref());
        let unavailable = rolling.and_then(|r| r.max_unavailable.as_ref());
        fenceposts(surge, unavailable, self.wanted()).unwrap_or((0, 0))
    }

    pub(super) fn max_surge(&self) -> i32 {
        if self.is_rolling() { self.posts().0 } else { 0 }
    }

    pub(super) fn max_unavailable(&self) -> i32 {
        if !self.is_rolling() || self.wanted() == 0 { 0 } else { self.posts().1.min(self.wanted()) }
    }

    fn write_status(&mut self, status: DeploymentStatus) {
        let changed = self.revision.as_ref() != self.deployment.metadata.annotations.get(REVISION);
        let revision = self.revision.clone().filter(|_| changed);
        self.status = status.clone();
        self.acts.push(Act::Status { status, revision });
    }

    fn set_condition(&mut self, status: &'static str, reason: &'static str, message: String) {
        let condition = condition(PROGRESSING, status, reason, message, self.now);
        self.status.set(condition);
    }

    /// A pause stops the clock of the rollout.
    fn note_pause(&mut self) {
        if status::deadline(&self.deployment.spec).is_none() {
            return;
        }
        let reason = self.status.condition(PROGRESSING).map_or("", |c| c.reason.as_str());
        let noted = reason == "DeploymentPaused";
        match (reason == TIMED_OUT, self.deployment.spec.paused) {
            (false, true) if !noted => {
                self.set_condition("Unknown", "DeploymentPaused", "Deployment is paused".to_owned());
            }
            (false, false) if noted => {
                self.set_condition("Unknown", "DeploymentResumed", "Deployment is resumed".to_owned());
            }
            _ => return,
        }
        self.write_status(self.status.clone());
    }

    /// The ReplicaSet of the present template, with its annotations brought up to date, and the others. Makes it if it is
    /// not there and `create` says so.
    pub(super) fn sets_in_order(&mut self, create: bool) -> Result<(Option<Set<'a>>, Vec<Set<'a>>), Stop> {
        let template = &self.deployment.spec.template;
        let at = self.sets.iter().position(|set| set.template.is_some_and(|t| same(t, template)));
        let old: Vec<Set<'a>> =
            (0..self.sets.len()).filter(|i| Some(*i) != at).map(|i| self.sets[i].clone()).collect();
        let next = old.iter().map(|set| revision::revision(&set.annotations)).max().unwrap_or(0) + 1;
        let new = match at {
            Some(at) => Some(self.refresh(self.sets[at].clone(), next)),
            None if create => Some(self.create(&old, next)?),
            None => None,
        };
        Ok((new, old))
    }

    fn refresh(&mut self, mut set: Set<'a>, next: i64) -> Set<'a> {
        let annotated = revision::annotate(&mut set.annotations, &self.deployment.metadata.annotations, next);
        let min_ready = self.deployment.spec.min_ready_seconds.unwrap_or(0);
        let later = set.min_ready_seconds != min_ready;
        if annotated || later {
            set.min_ready_seconds = min_ready;
            self.acts.push(Act::Update {
                name: set.name.clone(),
                uid: set.uid.clone(),
                replicas: set.replicas,
                annotations: set.annotations.clone(),
                min_ready_seconds: later.then_some(min_ready),
                resized: false,
            });
            return set;
        }
        let revision = set.annotations.get(REVISION).cloned().unwrap_or_default();
        let mut changed = self.revision.as_ref() != Some(&revision);
        self.revision = Some(revision);
        if status::deadline(&self.deployment.spec).is_some() && self.status.condition(PROGRESSING).is_none() {
            self.set_condition(
                "True",
                "FoundNewReplicaSet",
                format!("Found new replica set \"{}\"", set.name),
            );
            changed = true;
        }
        if changed {
            self.write_status(self.status.clone());
        }
        set
    }

    fn create(&mut self, old: &[Set<'a>], next: i64) -> Result<Set<'a>, Stop> {
        let meta = &self.deployment.metadata;
        let spec = &self.deployment.spec;
        let hash = template_hash(&spec.template, self.status.collision_count);
        let keep = meta.name.len().min(252 - hash.len());
        let name = Name::from(format!("{}-{hash}", &meta.name[..keep]));
        if (self.name_taken)(&name) {
            // Another template, or another owner, has the name: count up, so that the next look finds another.
            let count = self.status.collision_count.unwrap_or(0) + 1;
            self.status.collision_count = Some(count);
            self.write_status(self.status.clone());
            return Err(Stop);
        }
        let mut set = Set {
            name: name.clone(),
            uid: Name::default(),
            created: None,
            generation: 0,
            deleting: false,
            annotations: Labels::new(),
            replicas: 0,
            min_ready_seconds: spec.min_ready_seconds.unwrap_or(0),
            template: None,
            status: ReplicaSetStatus::default(),
        };
        set.replicas = self.new_size(total(old), &set);
        revision::annotate(&mut set.annotations, &meta.annotations, next);
        revision::note_sizes(&mut set.annotations, self.wanted(), self.wanted() + self.max_surge());

        let mut template = spec.template.clone();
        label(&mut template["metadata"], "labels", &hash);
        let mut selector = json!(spec.selector);
        label(&mut selector, "matchLabels", &hash);
        let mut object = json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": name,
                "namespace": meta.namespace,
                "labels": template["metadata"]["labels"],
                "annotations": set.annotations,
                "ownerReferences": [OwnerReference::controller_of(&DeploymentView::KIND, meta)],
            },
            "spec": {"replicas": set.replicas},
        });
        if set.min_ready_seconds != 0 {
            object["spec"]["minReadySeconds"] = set.min_ready_seconds.into();
        }
        object["spec"]["selector"] = selector;
        object["spec"]["template"] = template;
        self.acts.push(Act::Create { name: name.clone(), replicas: set.replicas, object });
        if set.replicas > 0 {
            let message = format!("Scaled up replica set {name} from 0 to {}", set.replicas);
            self.notes.push((false, "ScalingReplicaSet", message));
        }
        let revision = Some(Name::from(next.to_string()));
        let mut changed = self.revision != revision;
        self.revision = revision;
        if status::deadline(spec).is_some() {
            let message = format!("Created new replica set \"{name}\"");
            self.set_condition("True", "NewReplicaSetCreated", message);
            changed = true;
        }
        if changed {
            self.write_status(self.status.clone());
        }
        Ok(set)
    }

    /// The size that the ReplicaSet of the present template should have now, if all together have `present` pods.
    pub(super) fn new_size(&self, present: i32, new: &Set<'_>) -> i32 {
        if !self.is_rolling() {
            return self.wanted();
        }
        let most = self.wanted() + self.posts_surge();
        if present >= most {
            return new.replicas;
        }
        new.replicas + (most - present).min(self.wanted() - new.replicas)
    }

    /// The surge as it is written, without the rule for the case that nothing may move.
    fn posts_surge(&self) -> i32 {
        let rolling = self.deployment.spec.strategy.rolling_update.as_ref();
        rolling.and_then(|r| r.max_surge.as_ref()).map_or(0, |s| s.scaled(self.wanted(), true).unwrap_or(0))
    }

    fn calculated(&self, old: &[Set<'a>], new: Option<&Set<'a>>) -> DeploymentStatus {
        let all: Vec<&Set<'a>> = old.iter().chain(new).collect();
        let generation = self.deployment.metadata.generation;
        let unavailable = self.max_unavailable();
        status::calculate(&self.status, &self.deployment.spec, generation, &all, new, unavailable, self.now)
    }

    pub(super) fn sync_status(&mut self, old: &[Set<'a>], new: Option<&Set<'a>>) {
        let status = self.calculated(old, new);
        if status != self.status {
            self.write_status(status);
        }
    }

    /// Also says how the rollout is getting on.
    pub(super) fn sync_rollout_status(&mut self, old: &[Set<'a>], new: Option<&Set<'a>>) {
        let mut status = self.calculated(old, new);
        let generation = self.deployment.metadata.generation;
        let deadline = status::deadline(&self.deployment.spec);
        let current = self.status.condition(PROGRESSING).cloned();
        let complete = status.replicas == status.updated_replicas
            && current.as_ref().is_some_and(|current| current.reason == DONE);
        let what = match new {
            Some(set) => format!("ReplicaSet \"{}\"", set.name),
            None => format!("Deployment \"{}\"", self.deployment.metadata.name),
        };
        match deadline {
            None => status.remove(PROGRESSING),
            Some(_) if complete => {}
            Some(deadline) => {
                if status.is_complete(&self.deployment.spec, generation) {
                    let message = format!("{what} has successfully progressed.");
                    status.set(condition(PROGRESSING, "True", DONE, message, self.now));
                } else if status.is_progress_since(&self.status) {
                    let message = format!("{what} is progressing.");
                    let mut progress = condition(PROGRESSING, "True", "ReplicaSetUpdated", message, self.now);
                    if let Some(current) = current.as_ref().filter(|current| current.status == "True") {
                        progress.last_transition_time = current.last_transition_time;
                    }
                    status.remove(PROGRESSING);
                    status.set(progress);
                } else if self.is_timed_out(&status, deadline) {
                    let message = format!("{what} has timed out progressing.");
                    status.set(condition(PROGRESSING, "False", TIMED_OUT, message, self.now));
                }
            }
        }
        match replica_failure(old, new) {
            Some(failure) => status.set(failure),
            None => status.remove(REPLICA_FAILURE),
        }
        if status != self.status {
            self.write_status(status);
        } else if let (Some(deadline), Some(current)) = (deadline, current) {
            // Time changes nothing for a rollout that is through, even if pods fail later.
            let over = status.is_complete(&self.deployment.spec, generation)
                || matches!(current.reason.as_str(), TIMED_OUT | DONE);
            if let Some(since) = current.last_update_time.filter(|_| !over) {
                self.wake = Some((since + deadline + Duration::from_secs(1)).max(self.now));
            }
        }
    }

    fn is_timed_out(&self, status: &DeploymentStatus, deadline: Duration) -> bool {
        let Some(condition) = status.condition(PROGRESSING) else { return false };
        match condition.reason.as_str() {
            DONE => false,
            TIMED_OUT => true,
            _ => condition.last_update_time.unwrap_or(Timestamp::EPOCH) + deadline < self.now,
        }
    }
}

fn label(parent: &mut Value, field: &str, hash: &str) {
    if !parent[field].is_object() {
        parent[field] = json!({});
    }
    parent[field][TEMPLATE_HASH] = hash.into();
}

/// The failure of the present ReplicaSet, else of any.
fn replica_failure(old: &[Set<'_>], new: Option<&Set<'_>>) -> Option<orlop_core::kinds::DeploymentCondition> {
    let failure = |set: &Set<'_>| -> Option<ReplicaSetCondition> {
        set.status.conditions.iter().find(|c| c.r#type == REPLICA_FAILURE).cloned()
    };
    let found = new.and_then(failure).or_else(|| old.iter().find_map(failure))?;
    Some(orlop_core::kinds::DeploymentCondition {
        r#type: found.r#type,
        status: found.status,
        reason: found.reason,
        message: found.message,
        last_update_time: found.last_transition_time,
        last_transition_time: found.last_transition_time,
    })
}
