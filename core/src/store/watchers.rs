//! Watches are cursors into the history: a slow one costs nothing.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use super::log::Commit;
use super::writer::Shared;
use super::{Batch, Ranges, Revision, StoreError, Watch};

/// A watch whose keys do not change is woken once in so many commits, to make progress.
const PROGRESS_COMMITS: u64 = 256;

/// Who waits for what.
///
/// Who waits has been told everything; while nothing of theirs changes they stay up to date without being touched. So
/// a commit costs a step for each distinct set of prefixes, not for each watch.
#[derive(Default)]
pub(super) struct Watchers {
    next: u64,
    groups: BTreeMap<Ranges, Group>,
    /// Those who were woken and have not come yet, with the revision that they had reached.
    woken: BTreeMap<u64, Revision>,
    closed: bool,
}

/// The watches of the same ranges.
#[derive(Default)]
struct Group {
    members: usize,
    waiting: BTreeMap<u64, Waker>,
    /// Who waits has been told at least this.
    told: Revision,
}

impl Watchers {
    fn join(&mut self, ranges: Ranges) -> (u64, Ranges) {
        let ranges = match self.groups.get_key_value(&ranges) {
            Some((known, _)) => known.clone(),
            None => ranges,
        };
        self.groups.entry(ranges.clone()).or_default().members += 1;
        self.next += 1;
        (self.next, ranges)
    }

    /// The answer must be dropped outside of any lock: it may be the last to hold a task, and the task a watch.
    fn leave(&mut self, id: u64, ranges: &Ranges) -> Option<Waker> {
        self.woken.remove(&id);
        let group = self.groups.get_mut(ranges)?;
        let waker = group.waiting.remove(&id);
        group.members -= 1;
        if group.members == 0 {
            self.groups.remove(ranges);
        }
        waker
    }

    /// Where the watch stands that had reached `cursor`, now that `latest` is published. It no longer waits; the waker
    /// that it waited with must be dropped outside of any lock, as that of [`Watchers::leave`].
    fn resume(
        &mut self,
        id: u64,
        ranges: &Ranges,
        cursor: Revision,
        latest: Revision,
    ) -> (Revision, Option<Waker>) {
        match self.groups.get_mut(ranges).and_then(|group| group.waiting.remove(&id)) {
            Some(waker) => (latest, Some(waker)),
            None => (self.woken.remove(&id).unwrap_or(cursor), None),
        }
    }

    fn park(&mut self, id: u64, ranges: &Ranges, waker: Waker, told: Revision) {
        if let Some(group) = self.groups.get_mut(ranges) {
            if group.waiting.is_empty() {
                group.told = told;
            }
            group.waiting.insert(id, waker);
        }
    }

    /// Takes notice of commits that follow upon `before`. The answer must be woken outside of any lock.
    pub(super) fn notify(&mut self, before: Revision, commits: &[Arc<Commit>]) -> Vec<Waker> {
        let Some(after) = commits.last().map(|commit| commit.revision) else { return Vec::new() };
        let mut wake = Vec::new();
        for (ranges, group) in &mut self.groups {
            if group.waiting.is_empty() {
                continue;
            }
            let concerned = commits.iter().flat_map(|c| &c.events).any(|e| ranges.contains(&e.key));
            if concerned || after.0 - group.told.0 >= PROGRESS_COMMITS {
                let reached = if concerned { before } else { after };
                for (id, waker) in std::mem::take(&mut group.waiting) {
                    self.woken.insert(id, reached);
                    wake.push(waker);
                }
            }
        }
        wake
    }

    /// No commit will come any more.
    pub(super) fn close(&mut self) -> Vec<Waker> {
        self.closed = true;
        // They stay where they wait, for they have been told everything.
        self.groups.values().flat_map(|group| group.waiting.values().cloned()).collect()
    }
}

/// One watch.
pub(super) struct Cursor {
    shared: Arc<Shared>,
    id: u64,
    ranges: Ranges,
    reached: Revision,
    told: Revision,
    ended: bool,
}

impl Cursor {
    pub(super) fn open(shared: &Arc<Shared>, ranges: Ranges, after: Revision) -> Result<Cursor, StoreError> {
        let mut state = shared.state.lock();
        state.mvcc.check(after)?;
        let (id, ranges) = state.watchers.join(ranges);
        Ok(Cursor { shared: shared.clone(), id, ranges, reached: after, told: after, ended: false })
    }

    fn next(&mut self, waker: &Waker) -> Poll<Option<Result<Batch, StoreError>>> {
        // Dropped after the lock is released.
        let _waited;
        let mut state = self.shared.state.lock();
        let latest = state.mvcc.revision();
        (self.reached, _waited) = state.watchers.resume(self.id, &self.ranges, self.reached, latest);
        let batch = match state.mvcc.read_any(&self.ranges, self.reached) {
            Ok(batch) => batch,
            Err(error) => {
                self.ended = true;
                return Poll::Ready(Some(Err(error)));
            }
        };
        self.reached = batch.revision;
        if batch.revision > self.told {
            self.told = batch.revision;
            return Poll::Ready(Some(Ok(batch)));
        }
        if state.watchers.closed {
            self.ended = true;
            return Poll::Ready(None);
        }
        state.watchers.park(self.id, &self.ranges, waker.clone(), self.told);
        Poll::Pending
    }
}

impl Stream for Cursor {
    type Item = Result<Batch, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended { Poll::Ready(None) } else { self.next(cx.waker()) }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        let waker = self.shared.state.lock().watchers.leave(self.id, &self.ranges);
        drop(waker);
    }
}

/// Everything that a watch has to tell at this moment. For shells without an async runtime, such as the simulator.
pub fn drain(watch: &mut Watch) -> Vec<Result<Batch, StoreError>> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut out = Vec::new();
    while let Poll::Ready(Some(item)) = watch.as_mut().poll_next(&mut cx) {
        out.push(item);
    }
    out
}
