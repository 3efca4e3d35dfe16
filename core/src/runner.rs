//! Runs controllers without doing anything itself: [`Runner`].
//!
//! `on_cut` takes in what changed, `poll` answers with what to write, `on_result` is told how that went. A shell (one
//! thread, one task, or the simulator's loop) sits between the runner and the API and decides nothing.

mod erased;
mod slot;

use std::any::Any;
use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::controller::{Context, Controller, Watches};
use crate::entropy::Entropy;
use crate::object::{Key, Kind, Name};
use crate::plan::{Action, Failure, FailureReason, Note, Plan, Reference, Wake, Write};
use crate::recorder::Recorder;
use crate::store::Revision;
use crate::time::{Clock, Timestamp};
use crate::world::{Cache, Cut, World};
use erased::{Erased, NoEffects};
use slot::{Slot, concern};

/// The first back-off of a key that failed; it doubles up to [`BACKOFF_MAX`].
const BACKOFF_BASE: Duration = Duration::from_millis(5);
/// How long a key rests that wants to be looked at again at a moment that has passed.
const PAST_WAKE: Duration = Duration::from_secs(1);
/// The longest back-off.
const BACKOFF_MAX: Duration = Duration::from_secs(1000);

/// Carries out the effects of one controller: whatever lies outside the cluster.
#[async_trait]
pub trait Executor<E>: Send + Sync + 'static {
    /// Does what `effect` asks for. What came of it is reported back as writes, so that it is in the store and the
    /// controller sees it like everything else.
    ///
    /// An effect may be asked for again after a crash or a failure: it must be idempotent.
    ///
    /// # Errors
    /// The key is looked at again after a back-off.
    async fn execute(&self, effect: E) -> Result<Vec<Write>, Failure>;
}

/// One effect, ready to be awaited once.
pub type EffectFuture = Pin<Box<dyn Future<Output = Result<Vec<Write>, Failure>> + Send>>;

/// What one look at one key wants done.
///
/// The shell performs `writes` in order until one fails, then, if none did, awaits `effects` in order and performs
/// the writes that they report; it answers with [`Runner::on_result`], unless there were neither. The `events` are
/// written in any case; a failure goes to [`Runner::on_lost_event`].
pub struct Attempt {
    /// Names the attempt in [`Runner::on_result`].
    pub id: AttemptId,
    /// The controller.
    pub controller: &'static str,
    /// The key.
    pub key: Key,
    /// Changes of objects.
    pub writes: Vec<Write>,
    /// Requests to the outside.
    pub effects: Vec<EffectFuture>,
    /// Events for people.
    pub events: Vec<Write>,
}

/// Names an [`Attempt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(u64);

impl AttemptId {
    /// The number that names the attempt among those of its runner.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The id of this number, for another sans-I/O part that hands out attempts of its own.
    pub const fn new(number: u64) -> AttemptId {
        AttemptId(number)
    }
}

/// How an [`Attempt`] went.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The revision of its last commit; 0 if it wrote nothing.
    pub revision: Revision,
    /// Why it ended early, with the write that failed; an effect has none.
    pub failed: Option<(Option<Write>, Failure)>,
}

impl Outcome {
    /// All of it was done.
    pub fn done(revision: Revision) -> Outcome {
        Outcome { revision, failed: None }
    }
}

/// What a controller has been doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys that wait for their turn.
    pub depth: usize,
    /// Looks taken.
    pub reconciles: u64,
    /// Plans that failed.
    pub failures: u64,
    /// Looks that panicked.
    pub panics: u64,
    /// Time spent looking; zero unless [`Runner::time_with`] was given a clock.
    pub busy: Duration,
}

/// Runs any number of controllers over one cache.
///
/// # Guarantees
/// - Every look sees one consistent cut of all kinds.
/// - A key is never looked at while its last plan is being carried out, nor before the cache shows that plan's last
///   commit; what happens meanwhile is not forgotten.
/// - A plan that fails, or a look that panics, costs that key a back-off (5 ms, doubling to 1,000 s) and an event,
///   and nothing else.
/// - The same cuts, results and times in the same order give the same attempts in the same order.
pub struct Runner {
    cache: Cache,
    entropy: Entropy,
    slots: Vec<Slot>,
    recorder: Recorder,
    /// `(at, slot, key)`.
    timers: BTreeSet<(Timestamp, usize, Key)>,
    /// Keys held back until the cache has reached a revision.
    held: BTreeSet<(Revision, usize, Key)>,
    under_way: FxHashMap<AttemptId, (usize, Key, Wake)>,
    next_id: u64,
    stopwatch: Option<Arc<dyn Clock>>,
}

impl Runner {
    /// A runner without controllers. Each controller draws from a child of `entropy`.
    pub fn new(entropy: &Entropy) -> Runner {
        Runner {
            cache: Cache::new(),
            entropy: entropy.child("controllers"),
            slots: Vec::new(),
            recorder: Recorder::new(),
            timers: BTreeSet::new(),
            held: BTreeSet::new(),
            under_way: FxHashMap::default(),
            next_id: 0,
            stopwatch: None,
        }
    }

    /// Measures how long looks take. The figures go to [`Runner::stats`] and to no decision.
    pub fn time_with(&mut self, clock: Arc<dyn Clock>) {
        self.stopwatch = Some(clock);
    }

    /// Adds a controller without effects.
    pub fn add<C: Controller<Effect = Infallible>>(&mut self, controller: C) {
        self.add_slot(Erased { controller, executor: Arc::new(NoEffects) });
    }

    /// Adds a controller with the executor of its effects.
    pub fn add_with<C: Controller>(&mut self, controller: C, executor: impl Executor<C::Effect>) {
        self.add_slot(Erased { controller, executor: Arc::new(executor) });
    }

    fn add_slot<C: Controller>(&mut self, erased: Erased<C>) {
        let mut watches = Watches { cache: &mut self.cache, routes: Vec::new() };
        erased.controller.watches(&mut watches);
        let routes = watches.routes;
        let entropy = self.entropy.child(erased.controller.name());
        self.slots.push(Slot {
            primary: routes.first().and_then(|route| route.kind.clone()),
            controller: Box::new(erased),
            routes,
            entropy,
            queue: VecDeque::new(),
            queued: FxHashSet::default(),
            keys: FxHashMap::default(),
            stats: Stats::default(),
        });
    }

    /// The kinds that the controllers read: what to follow.
    pub fn kinds(&self) -> &[Kind] {
        self.cache.followed()
    }

    /// Follows a kind beyond those that the controllers name, from now on; see [`Cache::follow`].
    pub fn follow(&mut self, kind: Kind) {
        self.cache.follow(kind);
    }

    /// Follows a kind no longer, for it cannot be followed now; see [`Cache::unfollow`].
    pub fn unfollow(&mut self, kind: &Kind) {
        self.cache.unfollow(kind);
    }

    /// Takes in that a kind has ended, and its objects with it; see [`Cache::retire`].
    pub fn retire(&mut self, kind: &Kind) {
        let slots = &mut self.slots;
        self.cache.retire(kind, |change, before, world| concern(slots, change, before, world));
    }

    /// How many objects the controllers' views cannot decode; see [`Cache::malformed`].
    pub fn malformed(&self) -> usize {
        self.cache.malformed()
    }

    /// What the controllers see.
    pub fn world(&self) -> &World {
        self.cache.world()
    }

    /// What each controller has been doing.
    pub fn stats(&self) -> impl Iterator<Item = (&'static str, Stats)> {
        self.slots
            .iter()
            .map(|slot| (slot.controller.name(), Stats { depth: slot.queue.len(), ..slot.stats }))
    }

    /// Takes in what changed.
    pub fn on_cut(&mut self, cut: Cut) {
        let slots = &mut self.slots;
        self.cache.apply(cut, |change, before, world| concern(slots, change, before, world));
        let seen = self.cache.world().revision();
        while let Some((revision, _, _)) = self.held.first() {
            if *revision > seen {
                break;
            }
            if let Some((_, slot, key)) = self.held.pop_first() {
                self.slots[slot].free(key);
            }
        }
    }

    /// Looks at every key that is due and answers with what is to be done.
    pub fn poll(&mut self, now: Timestamp) -> Vec<Attempt> {
        while let Some((at, _, _)) = self.timers.first() {
            if *at > now {
                break;
            }
            if let Some((_, slot, key)) = self.timers.pop_first() {
                let slot = &mut self.slots[slot];
                if let Some(state) = slot.keys.get_mut(&key) {
                    state.timer = None;
                }
                slot.enqueue(key);
            }
        }
        let mut attempts = Vec::new();
        for slot in 0..self.slots.len() {
            while let Some(key) = self.slots[slot].queue.pop_front() {
                self.slots[slot].queued.remove(&key);
                attempts.extend(self.look(slot, key, now));
            }
        }
        attempts
    }

    /// When [`Runner::poll`] has something to do even if nothing changes.
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _, _)| *at)
    }

    /// Whether a key waits for [`Runner::poll`].
    pub fn is_ready(&self) -> bool {
        self.slots.iter().any(|slot| !slot.queue.is_empty())
    }

    /// Takes in how an attempt went. Answers with events to write.
    pub fn on_result(&mut self, now: Timestamp, id: AttemptId, outcome: Outcome) -> Vec<Write> {
        let Some((slot, key, wake)) = self.under_way.remove(&id) else { return Vec::new() };
        let events = match outcome.failed {
            None => {
                if let Some(state) = self.slots[slot].keys.get_mut(&key) {
                    state.failures = 0;
                    state.failure = None;
                }
                if let Wake::At(at) = wake {
                    self.wake(slot, &key, later(at, now));
                }
                Vec::new()
            }
            Some((write, failure)) => self.fail(slot, &key, now, write, failure),
        };
        // A plan of which only a part was written must be seen too before the key is looked at again.
        if outcome.revision > self.cache.world().revision() {
            self.held.insert((outcome.revision, slot, key));
        } else {
            self.slots[slot].free(key);
        }
        events
    }

    /// Takes in that an event was not written; answers with what to write instead.
    pub fn on_lost_event(&mut self, now: Timestamp, write: &Write, failure: &Failure) -> Option<Write> {
        self.recorder.on_failure(now, write, failure)
    }

    fn look(&mut self, at: usize, key: Key, now: Timestamp) -> Option<Attempt> {
        let slot = &mut self.slots[at];
        let failure = slot.keys.get(&key).and_then(|state| state.failure.clone());
        let started = self.stopwatch.as_ref().map(|clock| clock.now());
        let world = self.cache.world();
        let mut ctx = Context { now, entropy: &mut slot.entropy, failure: failure.as_ref() };
        let plan = catch_unwind(AssertUnwindSafe(|| slot.controller.reconcile(&key, world, &mut ctx)));
        slot.stats.reconciles += 1;
        if let (Some(clock), Some(started)) = (&self.stopwatch, started) {
            slot.stats.busy += clock.now().since(started);
        }
        let plan = match plan {
            Ok(plan) => plan,
            Err(panic) => {
                slot.stats.panics += 1;
                let message = panic_message(panic.as_ref());
                let failure = Failure {
                    reason: FailureReason::Refused,
                    message: format!("{} panicked: {message}", slot.controller.name()),
                };
                let controller = slot.controller.name();
                let events = self.fail(at, &key, now, None, failure);
                let id = self.new_id();
                return (!events.is_empty()).then_some(Attempt {
                    id,
                    controller,
                    key,
                    writes: Vec::new(),
                    effects: Vec::new(),
                    events,
                });
            }
        };
        let Plan { writes, events, effects, wake } = plan;
        let controller = slot.controller.name();
        let events: Vec<Write> =
            events.into_iter().filter_map(|note| self.recorder.record(now, controller, note)).collect();
        if writes.is_empty() && effects.is_empty() {
            slot.settle(&key);
            if let Wake::At(moment) = wake {
                self.wake(at, &key, later(moment, now));
            }
            if events.is_empty() {
                return None;
            }
            let id = self.new_id();
            return Some(Attempt { id, controller, key, writes, effects: Vec::new(), events });
        }
        slot.keys.entry(key.clone()).or_default().busy = true;
        let id = self.new_id();
        self.under_way.insert(id, (at, key.clone(), wake));
        Some(Attempt { id, controller, key, writes, effects, events })
    }

    fn fail(
        &mut self,
        at: usize,
        key: &Key,
        now: Timestamp,
        write: Option<Write>,
        failure: Failure,
    ) -> Vec<Write> {
        let slot = &mut self.slots[at];
        slot.stats.failures += 1;
        let state = slot.keys.entry(key.clone()).or_default();
        state.failures = state.failures.saturating_add(1);
        let backoff = BACKOFF_BASE.saturating_mul(1 << (state.failures - 1).min(18)).min(BACKOFF_MAX);
        state.failure = Some(failure.clone());
        // What changed meanwhile does not shorten the back-off; the look after it sees that anyway.
        state.dirty = false;
        self.wake(at, key, now + backoff);
        let slot = &self.slots[at];
        let about = slot.primary.as_ref().and_then(|kind| reference(kind, key, self.cache.world()));
        let routine = matches!(failure.reason, FailureReason::Conflict | FailureReason::AlreadyExists);
        let Some(about) = about.filter(|_| !routine) else { return Vec::new() };
        let (reason, message) = match write.map(|w| w.action) {
            Some(Action::Create(_)) => ("FailedCreate", format!("Error creating: {failure}")),
            Some(Action::Delete { .. }) => ("FailedDelete", format!("Error deleting: {failure}")),
            Some(_) => ("FailedUpdate", format!("Error updating: {failure}")),
            None => ("FailedReconcile", failure.message),
        };
        let note = Note { about, warning: true, reason: Name::new_static(reason), message };
        self.recorder.record(now, slot.controller.name(), note).into_iter().collect()
    }

    fn wake(&mut self, at: usize, key: &Key, moment: Timestamp) {
        let state = self.slots[at].keys.entry(key.clone()).or_default();
        match state.timer {
            Some(earlier) if earlier <= moment => return,
            Some(later) => {
                self.timers.remove(&(later, at, key.clone()));
            }
            None => {}
        }
        state.timer = Some(moment);
        self.timers.insert((moment, at, key.clone()));
    }

    fn new_id(&mut self) -> AttemptId {
        self.next_id += 1;
        AttemptId(self.next_id)
    }
}

fn reference(kind: &Kind, key: &Key, world: &World) -> Option<Reference> {
    let stored = world.object(kind, key)?;
    Some(Reference {
        api_version: kind.api_version(),
        kind: kind.kind.clone(),
        key: key.clone(),
        uid: stored.body.header().uid.clone(),
        resource_version: smol_str::format_smolstr!("{}", stored.revision),
        field_path: Name::default(),
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// When a key is woken that asked for `moment`. One that has passed would have the key looked at without end: a look
/// that wants nothing but another look learns nothing new at once.
fn later(moment: Timestamp, now: Timestamp) -> Timestamp {
    if moment > now { moment } else { now + PAST_WAKE }
}
