//! Who is tried next, and when: [`Queue`].
//!
//! A pending pod is in one of these places. *Active*: it is tried in turn. *Backing off*: it may be worth a try, but it
//! failed a moment ago; it is tried when that moment is over, or when no other pod is to be tried, unless the attempt
//! itself had failed. *Unschedulable*: nothing has changed that would make it fit. *Gated*: it may not be tried.
//! *Under way*: it has a node, and its binding is on its way.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use orlop_core::{Key, Name, Timestamp};
use rustc_hash::FxHashMap;

use crate::facts::PodFacts;

/// The wait after a first failed attempt.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest wait.
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// How long a pod stays unschedulable without being tried again whatever happens.
const UNSCHEDULABLE_MAX: Duration = Duration::from_secs(5 * 60);

/// How long pods wait that failed: twice as long each time, up to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after a first failed attempt.
    pub first: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl Default for Backoff {
    /// From 1 s to 10 s.
    fn default() -> Backoff {
        Backoff { first: BACKOFF_FIRST, max: BACKOFF_MAX }
    }
}

impl Backoff {
    /// The wait after this many failed attempts.
    pub fn after(self, attempts: u32) -> Duration {
        match attempts {
            0 => Duration::ZERO,
            n => self.first.saturating_mul(1 << (n - 1).min(30)).min(self.max),
        }
    }
}

/// How long a pod waits by default after this many failed attempts.
pub fn backoff(attempts: u32) -> Duration {
    Backoff::default().after(attempts)
}

/// Where a pending pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is tried in turn.
    Active,
    /// It is tried from this moment on.
    BackingOff(Timestamp),
    /// It is tried when something changes that may make it fit, at the latest at this moment.
    Unschedulable(Timestamp),
    /// It is tried once what holds it back is gone.
    Gated,
    /// It has a node, and its binding is on its way.
    UnderWay,
}

/// A pending pod.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The pod.
    pub facts: Arc<PodFacts>,
    /// Where it is.
    pub place: Place,
    /// Attempts that have failed since it was created.
    pub attempts: u32,
    /// The plugins that refused it last.
    pub refused_by: Vec<Name>,
    failed: Option<Timestamp>,
    rank: i64,
    ticket: u64,
    /// How many events there were when it got under way: more now, and something may have changed the outcome.
    events: u64,
    /// Its back-off must run its course: what failed was the attempt itself, or what came after the choice of a node.
    must_wait: bool,
}

/// Pending pods, and in which order and when they are tried.
#[derive(Debug, Default)]
pub struct Queue {
    ids: FxHashMap<Key, u32>,
    pods: Vec<Option<Pending>>,
    free: Vec<u32>,
    /// By rank, then by who came first.
    active: BTreeSet<(i64, u64, u32)>,
    /// By moment, then by who failed first.
    backing_off: BTreeSet<(Timestamp, u64, u32)>,
    /// Those backing off that must wait.
    waiting: BTreeSet<(Timestamp, u64, u32)>,
    unschedulable: BTreeSet<(Timestamp, u64, u32)>,
    gated: BTreeSet<u32>,
    /// Those that belong to a group.
    by_group: FxHashMap<Key, BTreeSet<u32>>,
    tickets: u64,
    backoff: Backoff,
    /// How many events there were.
    events: u64,
}

/// How many pods are in each place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Tried in turn.
    pub active: usize,
    /// Backing off.
    pub backing_off: usize,
    /// Unschedulable.
    pub unschedulable: usize,
    /// Gated.
    pub gated: usize,
}

impl Queue {
    /// An empty queue.
    pub fn new() -> Queue {
        Queue::default()
    }

    /// This, with other waits from now on.
    pub(crate) fn with_backoff(mut self, backoff: Backoff) -> Queue {
        self.backoff = backoff;
        self
    }

    fn at(&self, id: u32) -> Option<&Pending> {
        self.pods.get(id as usize)?.as_ref()
    }

    fn at_mut(&mut self, id: u32) -> Option<&mut Pending> {
        self.pods.get_mut(id as usize)?.as_mut()
    }

    /// One pending pod.
    pub fn get(&self, key: &Key) -> Option<&Pending> {
        self.at(*self.ids.get(key)?)
    }

    /// The pending pods, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Pending)> {
        let mut all: Vec<&Pending> = self.pods.iter().flatten().collect();
        all.sort_unstable_by_key(|pending| &pending.facts.key);
        all.into_iter().map(|pending| (&pending.facts.key, pending))
    }

    /// The pending pods of a group, by key.
    pub(crate) fn members(&self, group: &Key) -> Vec<&Pending> {
        let ids = self.by_group.get(group).into_iter().flatten();
        let mut members: Vec<&Pending> = ids.filter_map(|id| self.at(*id)).collect();
        members.sort_unstable_by_key(|pending| &pending.facts.key);
        members
    }

    fn enlist(&mut self, facts: &PodFacts, id: u32) {
        if let Some(group) = facts.group_key() {
            self.by_group.entry(group).or_default().insert(id);
        }
    }

    fn strike_off(&mut self, facts: &PodFacts, id: u32) {
        if let Some(group) = facts.group_key()
            && let Some(ids) = self.by_group.get_mut(&group)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_group.remove(&group);
            }
        }
    }

    /// How many pods are where.
    pub fn depth(&self) -> Depth {
        Depth {
            active: self.active.len(),
            backing_off: self.backing_off.len() + self.waiting.len(),
            unschedulable: self.unschedulable.len(),
            gated: self.gated.len(),
        }
    }

    /// Takes a new pod in, to be tried in turn.
    pub fn add(&mut self, facts: Arc<PodFacts>, rank: i64) {
        self.remove(&facts.key);
        self.tickets += 1;
        let id = self.free.pop().unwrap_or_else(|| {
            self.pods.push(None);
            u32::try_from(self.pods.len() - 1).expect("fewer than 2^32 pods are pending")
        });
        self.active.insert((rank, self.tickets, id));
        self.ids.insert(facts.key.clone(), id);
        self.enlist(&facts, id);
        self.pods[id as usize] = Some(Pending {
            facts,
            place: Place::Active,
            attempts: 0,
            refused_by: Vec::new(),
            failed: None,
            rank,
            ticket: self.tickets,
            events: self.events,
            must_wait: false,
        });
    }

    /// Takes in what a pending pod has become; answers with what it was.
    pub fn update(&mut self, facts: Arc<PodFacts>, rank: i64) -> Option<Arc<PodFacts>> {
        let id = *self.ids.get(&facts.key)?;
        let pending = self.at_mut(id)?;
        let old = std::mem::replace(&mut pending.facts, facts.clone());
        if pending.rank != rank {
            let before = (pending.rank, pending.ticket, id);
            pending.rank = rank;
            if self.active.remove(&before) {
                self.active.insert((rank, before.1, id));
            }
        }
        if old.group != facts.group {
            self.strike_off(&old, id);
            self.enlist(&facts, id);
        }
        Some(old)
    }

    /// Forgets a pod.
    pub fn remove(&mut self, key: &Key) -> Option<Pending> {
        let id = self.ids.remove(key)?;
        self.leave(id);
        self.free.push(id);
        let pending = self.pods[id as usize].take()?;
        self.strike_off(&pending.facts, id);
        Some(pending)
    }

    /// Takes a pod out of the place where it is.
    fn leave(&mut self, id: u32) {
        let Some(pending) = self.at(id) else { return };
        let (rank, ticket, must_wait) = (pending.rank, pending.ticket, pending.must_wait);
        match pending.place {
            Place::Active => drop(self.active.remove(&(rank, ticket, id))),
            Place::BackingOff(until) => {
                let set = if must_wait { &mut self.waiting } else { &mut self.backing_off };
                set.remove(&(until, ticket, id));
            }
            Place::Unschedulable(until) => drop(self.unschedulable.remove(&(until, ticket, id))),
            Place::Gated => drop(self.gated.remove(&id)),
            Place::UnderWay => {}
        }
    }

    fn put(&mut self, id: u32, place: Place) {
        self.leave(id);
        let Some(pending) = self.at_mut(id) else { return };
        pending.place = place;
        let (rank, ticket, must_wait) = (pending.rank, pending.ticket, pending.must_wait);
        match place {
            Place::Active => drop(self.active.insert((rank, ticket, id))),
            Place::BackingOff(until) => {
                let set = if must_wait { &mut self.waiting } else { &mut self.backing_off };
                set.insert((until, ticket, id));
            }
            Place::Unschedulable(until) => drop(self.unschedulable.insert((until, ticket, id))),
            Place::Gated => drop(self.gated.insert(id)),
            Place::UnderWay => {}
        }
    }

    /// Whether a pod is to be tried now.
    pub fn is_ready(&self) -> bool {
        !self.active.is_empty() || !self.backing_off.is_empty()
    }

    /// The next pod to try; it is under way from now on. If there is nothing else to do, that is one whose back-off is
    /// not over but for which something has changed.
    pub fn pop(&mut self) -> Option<Arc<PodFacts>> {
        let active = self.active.first().map(|(_, _, id)| *id);
        let id = active.or_else(|| self.backing_off.first().map(|(_, _, id)| *id))?;
        self.put(id, Place::UnderWay);
        let events = self.events;
        let pending = self.at_mut(id)?;
        pending.events = events;
        Some(pending.facts.clone())
    }

    /// Takes one pod, wherever it is, to be tried now.
    pub(crate) fn take(&mut self, key: &Key) {
        let Some(id) = self.ids.get(key).copied() else { return };
        self.put(id, Place::UnderWay);
        let events = self.events;
        if let Some(pending) = self.at_mut(id) {
            pending.events = events;
        }
    }

    /// The pod may not be tried: `by` holds it back.
    pub fn gate(&mut self, key: &Key, by: Name) {
        let Some(id) = self.ids.get(key).copied() else { return };
        if let Some(pending) = self.at_mut(id) {
            pending.refused_by = vec![by];
        }
        self.put(id, Place::Gated);
    }

    /// No node took the pod: it waits until what `by` refused may have changed.
    pub fn fail(&mut self, key: &Key, by: Vec<Name>, now: Timestamp) {
        self.put_back(key, by, false, now);
    }

    /// The attempt itself failed, or the node that was chosen was given up again because of `by`: whatever happens, the
    /// pod is tried again only after a back-off; without `by`, right after it.
    pub fn give_up(&mut self, key: &Key, by: Vec<Name>, now: Timestamp) {
        self.put_back(key, by, true, now);
    }

    fn put_back(&mut self, key: &Key, by: Vec<Name>, must_wait: bool, now: Timestamp) {
        let Some(id) = self.ids.get(key).copied() else { return };
        self.put(id, Place::UnderWay);
        self.tickets += 1;
        let (ticket, events, backoff) = (self.tickets, self.events, self.backoff);
        let Some(pending) = self.at_mut(id) else { return };
        pending.attempts = pending.attempts.saturating_add(1);
        pending.failed = Some(now);
        pending.ticket = ticket;
        let retry = by.is_empty() || pending.events < events;
        pending.must_wait = must_wait;
        pending.refused_by = by;
        let place = if retry {
            Place::BackingOff(now + backoff.after(pending.attempts))
        } else {
            Place::Unschedulable(now + UNSCHEDULABLE_MAX)
        };
        self.put(id, place);
    }

    /// Something happened, not to be told to `except`: pods for which `worth_it` answers yes are tried again, after what
    /// is left of their back-off. Pods under way are, should they fail.
    pub fn on_event(&mut self, except: Option<&Key>, worth_it: impl Fn(&Pending) -> bool) {
        self.events += 1;
        if let Some(id) = except.and_then(|key| self.ids.get(key)).copied()
            && let Some(pending) = self.at_mut(id)
        {
            pending.events += 1;
        }
        if self.unschedulable.is_empty() && self.gated.is_empty() {
            return;
        }
        let waiting = self.unschedulable.iter().map(|(_, _, id)| *id).chain(self.gated.iter().copied());
        let ids: Vec<u32> = waiting.filter(|id| self.at(*id).is_some_and(&worth_it)).collect();
        for id in ids {
            self.retry_at(id);
        }
    }

    /// The pod is tried again, after what is left of its back-off.
    pub fn retry(&mut self, key: &Key) {
        if let Some(id) = self.ids.get(key).copied() {
            self.retry_at(id);
        }
    }

    fn retry_at(&mut self, id: u32) {
        let Some(pending) = self.at(id) else { return };
        let place = match (pending.place, pending.failed) {
            (Place::Unschedulable(_), Some(failed)) => {
                Place::BackingOff(failed + self.backoff.after(pending.attempts))
            }
            (Place::Unschedulable(_) | Place::Gated, _) => Place::Active,
            (elsewhere, _) => elsewhere,
        };
        self.put(id, place);
    }

    /// Moves pods whose moment has come.
    pub fn advance(&mut self, now: Timestamp) {
        while let Some((_, _, id)) = self.unschedulable.first().filter(|(at, ..)| *at <= now).copied() {
            self.retry_at(id);
        }
        for set in [
            |queue: &Queue| queue.backing_off.first().copied(),
            |queue: &Queue| queue.waiting.first().copied(),
        ] {
            while let Some((_, _, id)) = set(self).filter(|(at, ..)| *at <= now) {
                self.put(id, Place::Active);
            }
        }
    }

    /// When [`Queue::advance`] next has something to do.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let first = |set: &BTreeSet<(Timestamp, u64, u32)>| set.first().map(|(at, ..)| *at);
        [first(&self.backing_off), first(&self.waiting), first(&self.unschedulable)]
            .into_iter()
            .flatten()
            .min()
    }
}
