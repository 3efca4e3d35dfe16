//! The state machine: transactions in, revisions out.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::changes::Changes;
use super::log::{Commit, Image};
use super::map::Map;
use super::{Batch, Entry, Event, Op, Ranges, Revision, StoreError, Txn, View};
use crate::body::Stored;
use crate::time::Timestamp;

/// How much of the past is remembered: for watches that catch up, and for reads at an older revision.
///
/// What exceeds either bound is forgotten when the next commit is published: a store in which nothing happens
/// remembers longer, which costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory, in bytes, that only the past needs: objects since changed or removed, and the events themselves.
    pub bytes: usize,
    /// Age of the oldest commit.
    pub age: Duration,
}

impl Default for Limits {
    /// 64 MiB and five minutes.
    fn default() -> Limits {
        Limits { bytes: 64 << 20, age: Duration::from_secs(300) }
    }
}

/// One read of a watch looks at no more commits, so that who is far behind does not hold the others up.
const READ_COMMITS: usize = 4096;
/// One batch takes no further commits in once it has this many events.
const READ_EVENTS: usize = 512;
/// Older views that are kept at hand, for lists that are read in chunks.
const OLD_VIEWS: usize = 8;
/// What an event costs, with its share of a commit.
const EVENT_BYTES: usize = std::mem::size_of::<Event>() + 96;
/// What an object costs beyond its bytes: header, key, allocations.
const OBJECT_BYTES: usize = 640;

/// The multi-version state of a store: what is published, what is pending, and the history of what was.
///
/// Synchronous and deterministic; time comes in as an argument. [`Mvcc::apply`] decides at once, on top of everything
/// that is pending. Nobody sees the outcome before [`Mvcc::publish`]; [`Mvcc::rollback`] undoes all that is pending.
pub struct Mvcc {
    limits: Limits,
    /// The latest published revision.
    published: Revision,
    /// What is published, once somebody has asked for it. Nobody has, mostly, when the next commit comes: then that
    /// changes the nodes of the tip where they are instead of copies of them.
    at_hand: OnceLock<Arc<At>>,
    tip: Map,
    /// Of what is pending, too; what is taken back has left its mark, which does no harm.
    changes: Arc<Changes>,
    pending: Vec<Arc<Commit>>,
    /// Published commits without gaps; the last one is the latest.
    history: VecDeque<Arc<Commit>>,
    history_bytes: usize,
    /// Everything up to here has been forgotten as an event; as a state it can still be read.
    oldest: Revision,
    old_views: VecDeque<Arc<At>>,
}

/// The key space at a revision.
struct At {
    revision: Revision,
    map: Map,
    /// Of the latest state alone.
    changes: Option<Arc<Changes>>,
}

impl Mvcc {
    /// Nothing, at revision 0.
    pub fn new(limits: Limits) -> Mvcc {
        Mvcc::restore(Image::default(), limits)
    }

    /// What a log remembers. History begins anew: what was before the image is [`StoreError::Expired`].
    pub fn restore(image: Image, limits: Limits) -> Mvcc {
        let mut map = Map::default();
        for entry in image.entries {
            map.insert(entry);
        }
        Mvcc {
            limits,
            tip: map,
            changes: Arc::new(Changes::since(image.revision)),
            published: image.revision,
            at_hand: OnceLock::new(),
            pending: Vec::new(),
            history: VecDeque::new(),
            history_bytes: 0,
            oldest: image.revision,
            old_views: VecDeque::new(),
        }
    }

    /// The latest published revision.
    pub fn revision(&self) -> Revision {
        self.published
    }

    /// The oldest revision that can be read or watched from.
    pub fn oldest(&self) -> Revision {
        self.oldest
    }

    /// The revision of the last pending commit, or the published one.
    fn tip_revision(&self) -> Revision {
        self.pending.last().map_or(self.published, |commit| commit.revision)
    }

    /// Decides a transaction on top of all that is pending. A transaction that changes nothing makes no commit.
    ///
    /// # Errors
    /// [`StoreError::Conflict`], then nothing has changed. It may tell of a commit that is still pending.
    pub fn apply(&mut self, txn: &Txn, now: Timestamp) -> Result<Revision, StoreError> {
        for compare in &txn.compares {
            let current = self.tip.get(&compare.key);
            if current.map_or(Revision(0), |e| e.object.revision) != compare.revision {
                return Err(StoreError::Conflict { key: compare.key.clone(), current: current.cloned() });
            }
        }
        if self.at_hand.get().is_some_and(|view| Arc::strong_count(view) == 1) {
            // Nobody holds it any more; who asks again meanwhile gets one made anew.
            self.at_hand = OnceLock::new();
        }
        let revision = Revision(self.tip_revision().0 + 1);
        let events: Box<[Event]> = txn.ops.iter().filter_map(|op| self.step(op, revision)).collect();
        if events.is_empty() {
            return Ok(self.tip_revision());
        }
        self.pending.push(Arc::new(Commit { revision, at: now, events }));
        Ok(revision)
    }

    fn step(&mut self, op: &Op, revision: Revision) -> Option<Event> {
        let (Op::Put(key, _) | Op::Delete(key)) = op;
        Changes::note(&mut self.changes, key, revision);
        match op {
            Op::Put(key, body) => {
                let before = self.tip.get(key);
                let entry = Entry {
                    // One allocation for a key, however often it is written.
                    key: before.map_or(key, |e| &e.key).clone(),
                    object: Stored { body: body.clone(), revision },
                    created: before.map_or(revision, |e| e.created),
                };
                let before = self.tip.insert(entry.clone());
                Some(Event { revision, key: entry.key.clone(), now: Some(entry), before })
            }
            Op::Delete(key) => {
                let before = self.tip.remove(key)?;
                Some(Event { revision, key: before.key.clone(), now: None, before: Some(before) })
            }
        }
    }

    /// The commits that were applied and not yet published.
    pub fn pending(&self) -> &[Arc<Commit>] {
        &self.pending
    }

    /// Makes everything that is pending visible, and forgets what is beyond the limits.
    pub fn publish(&mut self, now: Timestamp) {
        if self.pending.is_empty() {
            return;
        }
        self.published = self.tip_revision();
        self.at_hand = OnceLock::new();
        for commit in self.pending.drain(..) {
            self.history_bytes += cost(&commit);
            self.history.push_back(commit);
        }
        // The latest commit stays whatever its size: otherwise no watch could ever tell it.
        while self.history.len() > 1
            && (self.history_bytes > self.limits.bytes || self.history[0].at + self.limits.age < now)
        {
            self.forget_first();
        }
        self.forget_views();
    }

    /// Takes everything that is pending back.
    pub fn rollback(&mut self) {
        self.tip = self.latest().map.clone();
        self.pending.clear();
    }

    /// Everything at the latest published revision.
    pub fn view(&self) -> Arc<dyn View> {
        self.latest().clone()
    }

    fn latest(&self) -> &Arc<At> {
        self.at_hand.get_or_init(|| {
            let mut map = self.tip.clone();
            self.pending.iter().rev().for_each(|commit| undo(&mut map, commit));
            Arc::new(At { revision: self.published, map, changes: Some(self.changes.clone()) })
        })
    }

    /// Everything at an older revision. The first read at a revision costs a step for each event since.
    ///
    /// # Errors
    /// [`StoreError::Expired`], [`StoreError::Future`].
    pub fn view_at(&mut self, revision: Revision) -> Result<Arc<dyn View>, StoreError> {
        self.check(revision)?;
        let nearest = self.old_views.iter().filter(|v| v.revision >= revision).min_by_key(|v| v.revision);
        let nearest = nearest.unwrap_or_else(|| self.latest()).clone();
        if nearest.revision == revision {
            return Ok(nearest);
        }
        let mut map = nearest.map.clone();
        let first = (revision.0 - self.oldest.0) as usize;
        let last = (nearest.revision.0 - self.oldest.0) as usize;
        self.history.range(first..last).rev().for_each(|commit| undo(&mut map, commit));
        let view = Arc::new(At { revision, map, changes: None });
        if self.old_views.len() == OLD_VIEWS {
            self.old_views.pop_front();
        }
        self.old_views.push_back(view.clone());
        Ok(view)
    }

    /// What a watch of `prefix` that has reached `after` is told next: whole commits, at most a few thousand of them.
    ///
    /// # Errors
    /// [`StoreError::Expired`], [`StoreError::Future`].
    pub fn read(&self, prefix: &str, after: Revision) -> Result<Batch, StoreError> {
        self.read_any(&Ranges::new(&[prefix]), after)
    }

    /// [`Mvcc::read`] of several ranges in one order.
    ///
    /// # Errors
    /// [`StoreError::Expired`], [`StoreError::Future`].
    pub fn read_any(&self, ranges: &Ranges, after: Revision) -> Result<Batch, StoreError> {
        self.check(after)?;
        let mut batch = Batch { revision: after, events: Vec::new() };
        let first = (after.0 - self.oldest.0) as usize;
        for commit in self.history.range(first..).take(READ_COMMITS) {
            if batch.events.len() >= READ_EVENTS {
                break;
            }
            batch.events.extend(commit.events.iter().filter(|e| ranges.contains(&e.key)).cloned());
            batch.revision = commit.revision;
        }
        Ok(batch)
    }

    /// Forgets what was before `revision`; what is forgotten already stays so.
    ///
    /// # Errors
    /// [`StoreError::Future`].
    pub fn compact(&mut self, revision: Revision) -> Result<(), StoreError> {
        if revision > self.revision() {
            return Err(StoreError::Future { asked: revision, latest: self.revision() });
        }
        while self.oldest < revision {
            self.forget_first();
        }
        self.forget_views();
        Ok(())
    }

    /// Whether `revision` can be read.
    ///
    /// # Errors
    /// [`StoreError::Expired`], [`StoreError::Future`].
    pub fn check(&self, revision: Revision) -> Result<(), StoreError> {
        if revision < self.oldest {
            return Err(StoreError::Expired { asked: revision, oldest: self.oldest });
        }
        if revision > self.revision() {
            return Err(StoreError::Future { asked: revision, latest: self.revision() });
        }
        Ok(())
    }

    fn forget_first(&mut self) {
        if let Some(commit) = self.history.pop_front() {
            self.history_bytes -= cost(&commit);
            self.oldest = commit.revision;
        }
    }

    fn forget_views(&mut self) {
        self.old_views.retain(|view| view.revision >= self.oldest);
    }
}

/// Makes a state what it was before a commit.
fn undo(map: &mut Map, commit: &Commit) {
    for event in commit.events.iter().rev() {
        match &event.before {
            Some(before) => map.insert(before.clone()),
            None => map.remove(&event.key),
        };
    }
}

/// The memory that history holds for a commit. An object counts where it is replaced: until then it is alive anyway.
fn cost(commit: &Commit) -> usize {
    let event = |e: &Event| {
        let replaced = e.before.as_ref().map(|before| before.object.body.bytes().len());
        EVENT_BYTES + replaced.map_or(0, |len| OBJECT_BYTES + len)
    };
    commit.events.iter().map(event).sum()
}

impl View for At {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn get(&self, key: &str) -> Option<Entry> {
        self.map.get(key).cloned()
    }

    fn range(&self, prefix: &str, after: &str, limit: usize) -> Vec<Entry> {
        let mut out = Vec::new();
        if limit == 0 {
            return out;
        }
        self.map.visit(&|key| is_before(key, prefix, after), &mut |entry| {
            let inside = entry.key.starts_with(prefix);
            if inside {
                out.push(entry.clone());
            }
            inside && out.len() < limit
        });
        out
    }

    fn count(&self, prefix: &str, after: &str) -> usize {
        let upto = self.map.rank(&|key| key < prefix || key.starts_with(prefix));
        upto.saturating_sub(self.map.rank(&|key| is_before(key, prefix, after)))
    }

    fn changed(&self, prefix: &str) -> Revision {
        // What was noted of a commit that is pending, or was taken back, says no more than that nothing is known.
        let last = self.changes.as_ref().and_then(|changes| changes.last(prefix));
        last.map_or(self.revision, |last| last.min(self.revision))
    }
}

/// Whether a key comes before the range of `prefix` behind `after`.
fn is_before(key: &str, prefix: &str, after: &str) -> bool {
    key < prefix || (!after.is_empty() && key <= after)
}
