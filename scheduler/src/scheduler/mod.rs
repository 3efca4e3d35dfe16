//! The scheduler without I/O: [`Scheduler`].

mod cuts;
pub(crate) mod gang;
mod prepare;
mod reader;
mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use orlop_core::{
    Attempt, AttemptId, Failure, Key, Kind, Name, Outcome, Recorder, Revision, Stored, Timestamp, Write,
};
use rustc_hash::FxHashMap;

use crate::change::{attaching, pod_group, watched};
use crate::decision::Decision;
use crate::facts::PodFacts;
use crate::framework::{Event, Hint, Permission, Verdict};
use crate::placer::Placer;
use crate::plugins::volume_limits::NODE_VOLUME_LIMITS;
use crate::profile::Profile;
use crate::queue::{Backoff, Depth, Pending, Queue};
use crate::schedule::{guarded, schedule};
use crate::snapshot::Snapshot;

/// How many pods one [`Scheduler::poll`] tries at most, so that a shell gets to write between.
const BATCH: usize = 256;

/// Places pending pods: cuts of the cluster in, bindings out.
///
/// It has the shape of [`orlop_core::Runner`], so one shell drives both: [`Scheduler::on_cut`] takes in what changed,
/// [`Scheduler::poll`] answers with what to write, [`Scheduler::on_result`] is told how that went.
///
/// # Guarantees
/// - A pod that was given a node counts as running there at once, before its binding is written; if the binding fails,
///   it is forgotten there and the pod is tried again after a back-off.
/// - Only pods whose `spec.schedulerName` names one of the profiles are touched; an empty name means the first one.
/// - Nothing that happens while a pod is under way is lost on it.
/// - The same cuts, results and times in the same order give the same attempts.
/// - A plugin that panics costs the pod in question a back-off.
pub struct Scheduler {
    placers: Vec<Placer>,
    seed: u64,
    snapshot: Snapshot,
    queue: Queue,
    stored: FxHashMap<Key, Stored>,
    /// Pods that count as bound, though no cut has shown it yet.
    assumed: FxHashMap<Key, Assumed>,
    /// Placed pods whose permit plugins say: wait.
    waiting: BTreeMap<Key, Waiting>,
    /// Placed pods that wait for their volumes.
    preparing: BTreeMap<Key, prepare::Preparing>,
    under_way: FxHashMap<AttemptId, Placed>,
    recorder: Recorder,
    reader: reader::Reader,
    next_id: u64,
    stats: Stats,
    /// Plural name and key of what cannot be read.
    malformed: BTreeSet<(Name, Key)>,
}

/// What the scheduler has been doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Pods by where they wait.
    pub depth: Depth,
    /// Attempts to place a pod.
    pub attempts: u64,
    /// Pods that were bound.
    pub bound: u64,
    /// Attempts that found no node.
    pub unschedulable: u64,
    /// Attempts and bindings that failed.
    pub errors: u64,
    /// Objects that cannot be read as they are now, and are taken as not there.
    pub malformed: usize,
}

/// A pod that counts as bound.
struct Assumed {
    uid: Name,
    /// The commit that bound it, once that is known.
    bound: Option<Revision>,
    /// Something else about the pod has changed since.
    changed: bool,
}

impl Assumed {
    fn new(uid: &Name) -> Assumed {
        Assumed { uid: uid.clone(), bound: None, changed: false }
    }
}

#[derive(Clone)]
struct Placed {
    facts: Arc<PodFacts>,
    node: Name,
}

struct Waiting {
    placed: Placed,
    deadline: Timestamp,
}

impl Scheduler {
    /// A scheduler with these profiles; `seed` breaks ties. The first profile's queue order holds for all.
    ///
    /// # Panics
    /// When there is no profile, or two have one name.
    pub fn new(profiles: Vec<Profile>, seed: u64) -> Scheduler {
        assert!(!profiles.is_empty(), "a scheduler needs a profile");
        for (i, profile) in profiles.iter().enumerate() {
            assert!(
                profiles[..i].iter().all(|other| other.name != profile.name),
                "two profiles are named {}",
                profile.name
            );
        }
        Scheduler {
            placers: profiles.into_iter().map(|profile| Placer::new(profile, seed)).collect(),
            seed,
            snapshot: Snapshot::new(),
            queue: Queue::new(),
            stored: FxHashMap::default(),
            assumed: FxHashMap::default(),
            waiting: BTreeMap::new(),
            preparing: BTreeMap::new(),
            under_way: FxHashMap::default(),
            recorder: Recorder::new(),
            reader: reader::Reader::default(),
            next_id: 0,
            stats: Stats::default(),
            malformed: BTreeSet::new(),
        }
    }

    /// This, with other waits for pods that failed. To be called before it is given anything.
    pub fn with_backoff(mut self, backoff: Backoff) -> Scheduler {
        self.queue = self.queue.with_backoff(backoff);
        self
    }

    /// The kinds that it reads: what to follow.
    pub fn kinds(&self) -> Vec<Kind> {
        let mut kinds = watched();
        if self.placers.iter().any(|placer| placer.profile().gangs) {
            kinds.push(pod_group());
        }
        if self.placers.iter().any(|placer| placer.profile().filters().any(|name| name == NODE_VOLUME_LIMITS))
        {
            kinds.extend(attaching());
        }
        kinds
    }

    /// The cluster as it sees it, placed pods included.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The pending pods.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// What it has been doing.
    pub fn stats(&self) -> Stats {
        Stats { depth: self.queue.depth(), malformed: self.malformed.len(), ..self.stats }
    }

    /// What would be decided for a pending pod now, in full; `None` if there is no such pod.
    pub fn decision(&self, pod: &Key) -> Option<Decision> {
        let pending = self.queue.get(pod)?;
        let profile = self.profile(&pending.facts)?;
        Some(schedule(&pending.facts, &self.snapshot, profile, self.seed))
    }

    fn profile(&self, pod: &PodFacts) -> Option<&Profile> {
        profile_of(&self.placers, pod)
    }

    /// Lets the queue know of an event.
    fn tell(&mut self, event: &Event<'_>) {
        self.tell_others(None, event);
    }

    fn tell_others(&mut self, except: Option<&Key>, event: &Event<'_>) {
        let placers = &self.placers;
        self.queue.on_event(except, |pending| pending_worth_it(placers, pending, event));
    }

    /// Tries pods whose turn it is and answers with what is to be done.
    pub fn poll(&mut self, now: Timestamp) -> Vec<Attempt> {
        self.queue.advance(now);
        let mut attempts = self.look(now);
        for key in self.waiting.keys().cloned().collect::<Vec<_>>() {
            if let Some(waiting) = self.waiting.remove(&key) {
                attempts.extend(self.ask_permission(waiting.placed, Some(waiting.deadline), now));
            }
        }
        for _ in 0..BATCH {
            let Some(facts) = self.queue.pop() else { break };
            match self.group_of(&facts) {
                Some(group) => attempts.extend(self.try_member(&group, facts, now)),
                None => attempts.extend(self.try_pod(facts, now)),
            }
        }
        attempts
    }

    /// Whether a pod waits for [`Scheduler::poll`].
    pub fn is_ready(&self) -> bool {
        self.queue.is_ready()
    }

    /// When [`Scheduler::poll`] has something to do even if nothing changes.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let permits = self.waiting.values().map(|w| w.deadline).min();
        [self.queue.next_wake(), permits, self.next_look()].into_iter().flatten().min()
    }

    /// Takes in how an attempt went. Answers with events to write.
    pub fn on_result(&mut self, now: Timestamp, id: AttemptId, outcome: Outcome) -> Vec<Write> {
        if self.on_prepared(now, id, &outcome) {
            return Vec::new();
        }
        let Some(placed) = self.under_way.remove(&id) else { return Vec::new() };
        let Placed { facts, node } = &placed;
        match outcome.failed {
            None => {
                self.stats.bound += 1;
                if let Some(assumed) = self.assumed.get_mut(&facts.key)
                    && assumed.uid == facts.uid
                    && outcome.revision.0 > 0
                {
                    assumed.bound = Some(outcome.revision);
                }
                if let Some(profile) = self.profile(facts) {
                    for plugin in &profile.post_bind {
                        // A plugin that fails to take note does not undo the binding.
                        drop(guarded(plugin.name(), || plugin.post_bind(facts, node)));
                    }
                }
                self.queue.remove(&facts.key);
                let message = format!("Successfully assigned {} to {node}", facts.key);
                self.note(facts, false, "Scheduled", message, now).into_iter().collect()
            }
            Some((_, failure)) => {
                self.stats.errors += 1;
                if self.assumed.get(&facts.key).is_none_or(|assumed| assumed.uid != facts.uid) {
                    // Gone meanwhile, or bound after all; what it had claimed is given back only in the first case.
                    if self.snapshot.pod(&facts.key).is_none()
                        && let Some(profile) = self.profile(facts)
                    {
                        unreserve(profile, facts, node);
                    }
                    return Vec::new();
                }
                self.forget(&placed);
                self.queue.give_up(&facts.key, Vec::new(), now);
                self.note(facts, true, "FailedScheduling", format!("binding rejected: {failure}"), now)
                    .into_iter()
                    .collect()
            }
        }
    }

    /// Takes in that an event was not written; answers with what to write instead.
    pub fn on_lost_event(&mut self, now: Timestamp, write: &Write, failure: &Failure) -> Option<Write> {
        self.recorder.on_failure(now, write, failure)
    }

    fn try_pod(&mut self, facts: Arc<PodFacts>, now: Timestamp) -> Option<Attempt> {
        let profile = profile_of(&self.placers, &facts)?;
        for plugin in &profile.pre_enqueue {
            match guarded(plugin.name(), || plugin.pre_enqueue(&facts)) {
                Ok(Verdict::Fits) => {}
                Ok(Verdict::Refuses(_)) => {
                    let by = Name::from(plugin.name());
                    self.queue.gate(&facts.key, by.clone());
                    return if by == "SchedulingGates" { self.say_gated(&facts, now) } else { None };
                }
                Err(fault) => return self.fault(&facts, fault.to_string(), now),
            }
        }
        self.stats.attempts += 1;
        let decision = placer_of(&mut self.placers, &facts)?.place(&facts, &self.snapshot);
        if decision.fault.is_some() {
            return self.fault(&facts, decision.message(), now);
        }
        let Some(node) = decision.node.clone() else {
            self.stats.unschedulable += 1;
            return self.say_unschedulable(&facts, &decision, now);
        };
        let profile = profile_of(&self.placers, &facts)?;
        let view = self.snapshot.node(&node)?;
        for plugin in &profile.reserve {
            let verdict = guarded(plugin.name(), || plugin.reserve(&facts, &view));
            let (by, message) = match verdict {
                Ok(Verdict::Fits) => continue,
                Ok(Verdict::Refuses(refusal)) => {
                    (vec![Name::from(plugin.name())], refusal.reasons.join(", "))
                }
                Err(fault) => (Vec::new(), fault.to_string()),
            };
            unreserve(profile, &facts, &node);
            return self.give_up(&facts, by, message, now);
        }
        self.snapshot.put_pod(Arc::new(PodFacts { node: node.clone(), ..(*facts).clone() }));
        self.assumed.insert(facts.key.clone(), Assumed::new(&facts.uid));
        self.ask_permission(Placed { facts, node }, None, now)
    }

    fn ask_permission(
        &mut self,
        placed: Placed,
        deadline: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Attempt> {
        let Placed { facts, node } = placed.clone();
        let profile = profile_of(&self.placers, &facts)?;
        let mut wait: Option<Timestamp> = None;
        for plugin in &profile.permit {
            let answer = guarded(plugin.name(), || plugin.permit(&facts, &node, &self.snapshot, now));
            let (by, message) = match answer {
                Ok(Permission::Allow) => continue,
                Ok(Permission::Wait(until)) => {
                    let until = deadline.unwrap_or(until);
                    if until > now {
                        wait = Some(wait.map_or(until, |w| w.min(until)));
                        continue;
                    }
                    let name = plugin.name();
                    (
                        vec![Name::from(name)],
                        format!("rejected due to timeout after waiting at plugin {name}"),
                    )
                }
                Ok(Permission::Deny(refusal)) => {
                    (vec![Name::from(plugin.name())], refusal.reasons.join(", "))
                }
                Err(fault) => (Vec::new(), fault.to_string()),
            };
            self.forget(&placed);
            return self.give_up(&facts, by, message, now);
        }
        if let Some(deadline) = wait {
            self.waiting.insert(facts.key.clone(), Waiting { placed, deadline });
            return None;
        }
        let writes = guarded("bind", || {
            let plugins = &profile.pre_bind;
            let writes: Vec<Write> =
                plugins.iter().flat_map(|p| p.pre_bind(&facts, &node, &self.snapshot)).collect();
            let waits = !writes.is_empty()
                && plugins.iter().any(|p| p.is_done(&facts, &node, &self.snapshot) != Ok(true));
            (writes, waits)
        });
        match writes {
            Ok((writes, true)) => Some(self.prepare(placed, writes, now)),
            Ok((writes, false)) => self.bind(placed, writes, now),
            Err(fault) => {
                self.forget(&placed);
                self.fault(&facts, fault.to_string(), now)
            }
        }
    }

    /// Binds a pod, behind these writes.
    fn bind(&mut self, placed: Placed, mut writes: Vec<Write>, now: Timestamp) -> Option<Attempt> {
        let Placed { facts, node } = placed.clone();
        let profile = profile_of(&self.placers, &facts)?;
        match guarded("bind", || profile.bind.iter().find_map(|plugin| plugin.bind(&facts, &node))) {
            Ok(binding) => {
                writes.extend(binding);
                let id = self.new_id();
                self.under_way.insert(id, placed);
                Some(self.attempt(id, &facts.key, writes, None))
            }
            Err(fault) => {
                self.forget(&placed);
                self.fault(&facts, fault.to_string(), now)
            }
        }
    }

    /// Takes a placement back.
    fn forget(&mut self, placed: &Placed) {
        let Placed { facts, node } = placed;
        self.assumed.remove(&facts.key);
        self.waiting.remove(&facts.key);
        self.preparing.remove(&facts.key);
        if let Some(profile) = self.profile(facts) {
            unreserve(profile, facts, node);
        }
        let there = self.snapshot.pod(&facts.key).cloned();
        let pending = self.queue.get(&facts.key).map_or_else(|| facts.clone(), |p| p.facts.clone());
        self.snapshot.put_pod(pending);
        if let Some(there) = there {
            self.tell_others(Some(&there.key), &Event::AssignedPodGone(&there));
        }
    }

    fn give_up_waiting(&mut self, key: &Key) {
        let waiting = self.waiting.remove(key).map(|waiting| waiting.placed);
        let preparing = self.preparing.remove(key).map(|preparing| preparing.placed);
        for placed in waiting.into_iter().chain(preparing) {
            if let Some(profile) = self.profile(&placed.facts) {
                unreserve(profile, &placed.facts, &placed.node);
            }
        }
    }
}

/// Which profile a pod asks for.
fn index_of(placers: &[Placer], pod: &PodFacts) -> Option<usize> {
    match pod.scheduler.as_str() {
        "" => (!placers.is_empty()).then_some(0),
        name => placers.iter().position(|placer| placer.profile().name == name),
    }
}

fn profile_of<'a>(placers: &'a [Placer], pod: &PodFacts) -> Option<&'a Profile> {
    Some(placers.get(index_of(placers, pod)?)?.profile())
}

fn placer_of<'a>(placers: &'a mut [Placer], pod: &PodFacts) -> Option<&'a mut Placer> {
    let at = index_of(placers, pod)?;
    placers.get_mut(at)
}

/// Whether some plugin that refused a pending pod would answer differently after an event.
fn pending_worth_it(placers: &[Placer], pending: &Pending, event: &Event<'_>) -> bool {
    profile_of(placers, &pending.facts)
        .is_some_and(|profile| worth_it(profile, &pending.facts, &pending.refused_by, event))
}

/// Whether some plugin among those that refused the pod would answer differently after an event.
pub(crate) fn worth_it(profile: &Profile, pod: &PodFacts, refused_by: &[Name], event: &Event<'_>) -> bool {
    refused_by.iter().any(|by| {
        let mut hints = profile.hints.iter().filter(|h| h.name() == by).peekable();
        if hints.peek().is_none() {
            return true;
        }
        // A hint that panics is no reason to leave the pod where it is.
        hints.any(|h| guarded(h.name(), || h.hint(pod, event)).unwrap_or(Hint::Queue) == Hint::Queue)
    })
}

fn unreserve(profile: &Profile, facts: &PodFacts, node: &str) {
    for plugin in profile.reserve.iter().rev() {
        // The placement is given up whether or not a plugin manages to take note.
        drop(guarded(plugin.name(), || plugin.unreserve(facts, node)));
    }
}
