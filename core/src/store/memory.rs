//! The store that keeps everything in memory.

use std::sync::Arc;

use async_trait::async_trait;

use super::log::MemoryLog;
use super::shell::LogStore;
use super::{Limits, Revision, Store, StoreError, Txn, View, Watch};
use crate::time::Clock;

/// A store that lives as long as its handles. Every call completes at once.
///
/// ```
/// use std::sync::Arc;
///
/// use orlop_core::store::{MemoryStore, Op, Store, Txn};
/// use orlop_core::{Body, ManualClock};
///
/// let store = MemoryStore::new(Arc::new(ManualClock::default()));
/// let body = Body::parse(br#"{"kind":"Pod","metadata":{"name":"web"}}"#.as_slice().into())?;
/// let put = Op::Put("/registry/pods/default/web".into(), Arc::new(body));
/// let revision = store.commit_now(Txn { compares: vec![], ops: vec![put] })?;
/// assert_eq!(store.view().count("/registry/pods/", ""), 1);
/// assert_eq!(store.view().revision(), revision);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct MemoryStore(LogStore);

impl MemoryStore {
    /// An empty store. The clock dates commits, so that history can be forgotten by age.
    pub fn new(clock: Arc<dyn Clock>) -> MemoryStore {
        MemoryStore::with_limits(clock, Limits::default())
    }

    /// An empty store that remembers more or less than others.
    pub fn with_limits(clock: Arc<dyn Clock>, limits: Limits) -> MemoryStore {
        MemoryStore(LogStore::inline(MemoryLog, clock, limits).expect("the memory log loads"))
    }

    /// [`Store::commit`] for those who do not wait.
    ///
    /// # Errors
    /// [`StoreError::Conflict`].
    pub fn commit_now(&self, txn: Txn) -> Result<Revision, StoreError> {
        self.0.commit_now(txn)
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn view(&self) -> Arc<dyn View> {
        self.0.view()
    }

    fn view_at(&self, revision: Revision) -> Result<Arc<dyn View>, StoreError> {
        self.0.view_at(revision)
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        self.0.commit_now(txn)
    }

    async fn commit_all(&self, txns: Vec<Txn>) -> Vec<Result<Revision, StoreError>> {
        self.0.commit_all(txns).await
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.0.watch(prefix, after)
    }

    fn watch_any(&self, prefixes: &[&str], after: Revision) -> Result<Watch, StoreError> {
        self.0.watch_any(prefixes, after)
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.0.compact(revision).await
    }
}
