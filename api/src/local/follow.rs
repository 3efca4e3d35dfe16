//! Following several kinds in one order, for components that keep a cache. Who follows is woken for their kinds alone.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use orlop_core::store::{Batch, Entry, Revision, Store, StoreError, View, Watch};
use orlop_core::{Change, Cut, Key, Kind, Scope};

use super::Shared;

/// The cuts of one follower.
pub(super) struct Follow<S> {
    shared: Arc<Shared<S>>,
    kinds: Vec<Kind>,
    /// The storage range of each kind that is stored, with its place among `kinds`. Sorted; none begins with another.
    ranges: Vec<(String, usize)>,
    source: Option<Watch>,
    failed: bool,
}

impl<S: Store> Follow<S> {
    /// Follows kinds that are served.
    pub(super) fn new(shared: Arc<Shared<S>>, kinds: &[Kind]) -> Follow<S> {
        let scheme = shared.served().scheme.clone();
        let range = |(at, kind): (usize, &Kind)| Some((scheme.storage_range(kind, "")?, at));
        let mut ranges: Vec<(String, usize)> = kinds.iter().enumerate().filter_map(range).collect();
        ranges.sort_unstable();
        // Of two versions of one kind the later is the one that the follower knows it by.
        ranges.reverse();
        ranges.dedup_by(|later, earlier| later.0 == earlier.0);
        ranges.reverse();
        Follow { shared, kinds: kinds.to_vec(), ranges, source: None, failed: false }
    }

    /// Everything, as it is now.
    fn reset(&self, view: &dyn View) -> Cut {
        let mut cut = Cut { revision: view.revision(), reset: self.kinds.clone(), changes: Vec::new() };
        let mut ranges: Vec<&(String, usize)> = self.ranges.iter().collect();
        ranges.sort_unstable_by_key(|(_, at)| *at);
        for (range, at) in ranges {
            let kind = &self.kinds[*at];
            for entry in view.range(range, "", usize::MAX) {
                if let Some(key) = key_in(kind, range, &entry.key) {
                    cut.changes.push(Change { kind: kind.clone(), key, object: Some(entry.object) });
                }
            }
        }
        cut
    }

    fn begin(&mut self) -> Result<Cut, StoreError> {
        let view = self.shared.store.view();
        let ranges: Vec<&str> = self.ranges.iter().map(|(range, _)| range.as_str()).collect();
        // Woken for these alone; polled, it tells how far the store has come.
        self.source = Some(self.shared.store.watch_any(&ranges, view.revision())?);
        Ok(self.reset(&*view))
    }

    fn take(&self, batch: Batch, cut: &mut Cut) {
        cut.revision = cut.revision.max(batch.revision);
        for event in batch.events {
            let upto = self.ranges.partition_point(|(range, _)| **range <= *event.key);
            let Some((range, at)) = upto.checked_sub(1).map(|at| &self.ranges[at]) else { continue };
            let kind = &self.kinds[*at];
            let Some(key) = key_in(kind, range, &event.key) else { continue };
            let object = event.now.map(|entry: Entry| entry.object);
            cut.changes.push(Change { kind: kind.clone(), key, object });
        }
    }
}

/// The object's key, by its place in the kind's range.
fn key_in(kind: &Kind, range: &str, place: &str) -> Option<Key> {
    let rest = place.strip_prefix(range)?;
    match (kind.scope, rest.split_once('/')) {
        (Scope::Cluster, None) => Some(Key::cluster(rest)),
        (Scope::Namespaced, Some((namespace, name))) if !name.contains('/') => {
            Some(Key::new(namespace, name))
        }
        _ => None,
    }
}

impl<S: Store> Stream for Follow<S> {
    type Item = Cut;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Cut>> {
        let this = &mut *self;
        let mut cut = Cut { revision: Revision(0), reset: Vec::new(), changes: Vec::new() };
        loop {
            let Some(source) = &mut this.source else {
                if this.failed {
                    return Poll::Ready(None);
                }
                match this.begin() {
                    Ok(cut) => return Poll::Ready(Some(cut)),
                    Err(_) => {
                        // A store that cannot be watched at its own latest revision serves nobody any more.
                        this.failed = true;
                        continue;
                    }
                }
            };
            match source.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(batch))) => {
                    this.take(batch, &mut cut);
                }
                // Fell behind: everything anew.
                Poll::Ready(Some(Err(StoreError::Expired { .. }))) => this.source = None,
                Poll::Ready(Some(Err(_)) | None) => {
                    this.source = None;
                    this.failed = true;
                }
                Poll::Pending if cut.revision == Revision(0) => return Poll::Pending,
                Poll::Pending => return Poll::Ready(Some(cut)),
            }
        }
    }
}
