//! Who is tried next, and when: [`Queue`].
//!
//! A pending pod is in one of these places. *Active*: it is tried in turn. *Backing off*: it may be worth a try, but it
//! failed a moment ago; it is tried when that moment is over, or when no other pod is to be tried, unless the attempt
//! itself had failed. *Unschedulable*: nothing has changed that would make it fit. *Gated*: it may not be tried.
//! *Under way*: it has a node, and its binding is on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use orlop_core::{Key, Name, Timestamp};

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
    /// Something happened while it was under way that may have changed the outcome.
    missed: bool,
    /// Its back-off must run its course: what failed was the attempt itself, or what came after the choice of a node.
    must_wait: bool,
}

/// Pending pods, and in which order and when they are tried.
#[derive(Debug, Default)]
pub struct Queue {
    pods: BTreeMap<Key, Pending>,
    /// By rank, then by who came first.
    active: BTreeSet<(i64, u64, Key)>,
    backing_off: BTreeSet<(Timestamp, Key)>,
    /// Those backing off that must wait.
    waiting: BTreeSet<(Timestamp, Key)>,
    unschedulable: BTreeSet<(Timestamp, Key)>,
    gated: BTreeSet<Key>,
    under_way: BTreeSet<Key>,
    tickets: u64,
    backoff: Backoff,
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

    /// One pending pod.
    pub fn get(&self, key: &Key) -> Option<&Pending> {
        self.pods.get(key)
    }

    /// The pending pods, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Pending)> {
        self.pods.iter()
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
        let key = facts.key.clone();
        self.remove(&key);
        self.tickets += 1;
        self.active.insert((rank, self.tickets, key.clone()));
        let pending = Pending {
            facts,
            place: Place::Active,
            attempts: 0,
            refused_by: Vec::new(),
            failed: None,
            rank,
            ticket: self.tickets,
            missed: false,
            must_wait: false,
        };
        self.pods.insert(key, pending);
    }

    /// Takes in what a pending pod has become; answers with what it was.
    pub fn update(&mut self, facts: Arc<PodFacts>, rank: i64) -> Option<Arc<PodFacts>> {
        let key = facts.key.clone();
        let pending = self.pods.get_mut(&key)?;
        let old = std::mem::replace(&mut pending.facts, facts);
        if pending.rank != rank {
            let before = (pending.rank, pending.ticket, key);
            pending.rank = rank;
            if self.active.remove(&before) {
                self.active.insert((rank, before.1, before.2));
            }
        }
        Some(old)
    }

    /// Forgets a pod.
    pub fn remove(&mut self, key: &Key) -> Option<Pending> {
        self.leave(key);
        self.pods.remove(key)
    }

    /// Takes a pod out of the place where it is.
    fn leave(&mut self, key: &Key) {
        let Some(pending) = self.pods.get(key) else { return };
        match pending.place {
            Place::Active => drop(self.active.remove(&(pending.rank, pending.ticket, key.clone()))),
            Place::BackingOff(until) => {
                let set = if pending.must_wait { &mut self.waiting } else { &mut self.backing_off };
                set.remove(&(until, key.clone()));
            }
            Place::Unschedulable(until) => drop(self.unschedulable.remove(&(until, key.clone()))),
            Place::Gated => drop(self.gated.remove(key)),
            Place::UnderWay => drop(self.under_way.remove(key)),
        }
    }

    fn put(&mut self, key: &Key, place: Place) {
        self.leave(key);
        let Some(pending) = self.pods.get_mut(key) else { return };
        pending.place = place;
        match place {
            Place::Active => {
                self.active.insert((pending.rank, pending.ticket, key.clone()));
            }
            Place::BackingOff(until) => {
                let set = if pending.must_wait { &mut self.waiting } else { &mut self.backing_off };
                set.insert((until, key.clone()));
            }
            Place::Unschedulable(until) => drop(self.unschedulable.insert((until, key.clone()))),
            Place::Gated => drop(self.gated.insert(key.clone())),
            Place::UnderWay => drop(self.under_way.insert(key.clone())),
        }
    }

    /// Whether a pod is to be tried now.
    pub fn is_ready(&self) -> bool {
        !self.active.is_empty() || !self.backing_off.is_empty()
    }

    /// The next pod to try; it is under way from now on. If there is nothing else to do, that is one whose back-off is
    /// not over but for which something has changed.
    pub fn pop(&mut self) -> Option<Arc<PodFacts>> {
        let active = self.active.first().map(|(_, _, key)| key);
        let key = active.or_else(|| self.backing_off.first().map(|(_, key)| key))?.clone();
        self.put(&key, Place::UnderWay);
        let pending = self.pods.get_mut(&key)?;
        pending.missed = false;
        Some(pending.facts.clone())
    }

    /// The pod may not be tried: `by` holds it back.
    pub fn gate(&mut self, key: &Key, by: Name) {
        if let Some(pending) = self.pods.get_mut(key) {
            pending.refused_by = vec![by];
        }
        self.put(key, Place::Gated);
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
        self.tickets += 1;
        let ticket = self.tickets;
        self.put(key, Place::UnderWay);
        let Some(pending) = self.pods.get_mut(key) else { return };
        pending.attempts = pending.attempts.saturating_add(1);
        pending.failed = Some(now);
        pending.ticket = ticket;
        let retry = by.is_empty() || pending.missed;
        pending.must_wait = must_wait;
        pending.refused_by = by;
        let place = if retry {
            Place::BackingOff(now + self.backoff.after(pending.attempts))
        } else {
            Place::Unschedulable(now + UNSCHEDULABLE_MAX)
        };
        self.put(key, place);
    }

    /// Something happened, not to be told to `except`: pods for which `worth_it` answers yes are tried again, after what
    /// is left of their back-off.
    pub fn on_event(&mut self, except: Option<&Key>, worth_it: impl Fn(&Pending) -> bool) {
        for key in self.under_way.iter().filter(|key| Some(*key) != except) {
            if let Some(pending) = self.pods.get_mut(key) {
                pending.missed = true;
            }
        }
        let waiting = self.unschedulable.iter().map(|(_, key)| key).chain(&self.gated);
        let keys: Vec<Key> = waiting.filter(|key| worth_it(&self.pods[*key])).cloned().collect();
        for key in keys {
            self.retry(&key);
        }
    }

    /// The pod is tried again, after what is left of its back-off.
    pub fn retry(&mut self, key: &Key) {
        let Some(pending) = self.pods.get(key) else { return };
        let place = match (pending.place, pending.failed) {
            (Place::Unschedulable(_), Some(failed)) => {
                Place::BackingOff(failed + self.backoff.after(pending.attempts))
            }
            (Place::Unschedulable(_) | Place::Gated, _) => Place::Active,
            (elsewhere, _) => elsewhere,
        };
        self.put(key, place);
    }

    /// Moves pods whose moment has come.
    pub fn advance(&mut self, now: Timestamp) {
        while let Some((_, key)) = self.unschedulable.first().filter(|(at, _)| *at <= now).cloned() {
            self.retry(&key);
        }
        for set in [
            |queue: &Queue| queue.backing_off.first().cloned(),
            |queue: &Queue| queue.waiting.first().cloned(),
        ] {
            while let Some((_, key)) = set(self).filter(|(at, _)| *at <= now) {
                self.put(&key, Place::Active);
            }
        }
    }

    /// When [`Queue::advance`] next has something to do.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let first = |set: &BTreeSet<(Timestamp, Key)>| set.first().map(|(at, _)| *at);
        [first(&self.backing_off), first(&self.waiting), first(&self.unschedulable)]
            .into_iter()
            .flatten()
            .min()
    }
}
