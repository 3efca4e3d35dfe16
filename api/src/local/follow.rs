//! Following several kinds in one order, for components that keep a cache.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use orlop_core::scheme::{REGISTRY, Scheme};
use orlop_core::store::{Batch, Entry, Revision, Store, StoreError, View, Watch};
use orlop_core::{Change, Cut, Kind, Name};
use rustc_hash::FxHashMap;

use super::Shared;

/// The cuts of one follower.
pub(super) struct Follow<S> {
    shared: Arc<Shared<S>>,
    kinds: Vec<Kind>,
    /// By storage prefix, the kind that the follower knows it by.
    by_prefix: FxHashMap<Name, usize>,
    source: Option<Watch>,
    failed: bool,
}

impl<S: Store> Follow<S> {
    /// Follows kinds that are served.
    pub(super) fn new(shared: Arc<Shared<S>>, kinds: &[Kind]) -> Follow<S> {
        let scheme = shared.served().scheme.clone();
        let by_prefix = kinds
            .iter()
            .enumerate()
            .filter_map(|(at, kind)| Some((scheme.storage(kind)?.storage_prefix.clone(), at)))
            .collect();
        Follow { shared, kinds: kinds.to_vec(), by_prefix, source: None, failed: false }
    }

    /// Everything, as it is now.
    fn reset(&mut self, view: &dyn View, scheme: &Scheme) -> Cut {
        let mut cut = Cut { revision: view.revision(), reset: self.kinds.clone(), changes: Vec::new() };
        for kind in &self.kinds {
            let Some(prefix) = scheme.storage_range(kind, "") else { continue };
            for entry in view.range(&prefix, "", usize::MAX) {
                if let Some((_, key)) = scheme.by_storage_key(&entry.key) {
                    cut.changes.push(Change { kind: kind.clone(), key, object: Some(entry.object) });
                }
            }
        }
        cut
    }

    fn begin(&mut self) -> Result<Cut, StoreError> {
        let view = self.shared.store.view();
        let scheme = self.shared.served().scheme.clone();
        self.source = Some(self.shared.store.watch(REGISTRY, view.revision())?);
        Ok(self.reset(&*view, &scheme))
    }

    fn take(&self, batch: Batch, scheme: &Scheme, cut: &mut Cut) {
        cut.revision = cut.revision.max(batch.revision);
        for event in batch.events {
            let Some((resource, key)) = scheme.by_storage_key(&event.key) else { continue };
            let Some(at) = self.by_prefix.get(&resource.storage_prefix) else { continue };
            let object = event.now.map(|entry: Entry| entry.object);
            cut.changes.push(Change { kind: self.kinds[*at].clone(), key, object });
        }
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
                    let scheme = this.shared.served().scheme.clone();
                    this.take(batch, &scheme, &mut cut);
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
