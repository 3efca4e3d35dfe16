//! A [`Store`] over the state machine and a log.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::log::{Log, LogError};
use super::watchers::Cursor;
use super::writer::{Shared, Writer};
use super::{Limits, Ranges, Revision, Store, StoreError, Txn, View, Watch};
use crate::time::Clock;

/// A store whose commits go through a [`Log`]. Clones are the same store; it is closed when the last one goes.
///
/// Needs no async runtime: who commits is woken by whoever runs the [`Writer`].
#[derive(Clone)]
pub struct LogStore {
    shared: Arc<Shared>,
    /// Set where commits run the writer themselves.
    inline: Option<Arc<Mutex<Writer>>>,
    _open: Arc<Open>,
}

/// Closes the store when the last handle goes; watches do not keep it open.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl LogStore {
    /// Loads the log. Each commit goes through it within its first poll: for logs that do not block.
    ///
    /// # Errors
    /// When the log cannot be loaded.
    pub fn inline(log: impl Log, clock: Arc<dyn Clock>, limits: Limits) -> Result<LogStore, LogError> {
        let (mut store, writer) = LogStore::queued(log, clock, limits)?;
        store.inline = Some(Arc::new(Mutex::new(writer)));
        Ok(store)
    }

    /// Loads the log. Commits wait for the writer, and those that wait together share a flush.
    ///
    /// # Errors
    /// When the log cannot be loaded.
    pub fn queued(
        mut log: impl Log,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Result<(LogStore, Writer), LogError> {
        let shared = Arc::new(Shared::new(log.load()?, limits, clock));
        let writer = Writer::new(shared.clone(), Box::new(log));
        Ok((LogStore { _open: Arc::new(Open(shared.clone())), shared, inline: None }, writer))
    }

    /// Commits without waiting for anyone.
    ///
    /// # Errors
    /// Those of [`Store::commit`].
    ///
    /// # Panics
    /// When the store is not [`LogStore::inline`].
    pub fn commit_now(&self, txn: Txn) -> Result<Revision, StoreError> {
        let writer = self.inline.as_ref().expect("only an inline store commits by itself");
        let answer = self.shared.submit(txn);
        let mut writer = writer.lock();
        loop {
            // Whoever held the writer until now may have done this transaction along with its own.
            if let Some(outcome) = answer.take() {
                return outcome;
            }
            writer.turn();
        }
    }

    /// Takes what is queued through the log, where commits do that themselves.
    fn turn_inline(&self) {
        if let Some(writer) = &self.inline {
            let mut writer = writer.lock();
            while writer.turn() {}
        }
    }
}

#[async_trait]
impl Store for LogStore {
    fn view(&self) -> Arc<dyn View> {
        self.shared.state.lock().mvcc.view()
    }

    fn view_at(&self, revision: Revision) -> Result<Arc<dyn View>, StoreError> {
        self.shared.state.lock().mvcc.view_at(revision)
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        if self.inline.is_some() { self.commit_now(txn) } else { self.shared.submit(txn).await }
    }

    async fn commit_all(&self, txns: Vec<Txn>) -> Vec<Result<Revision, StoreError>> {
        let answers = self.shared.submit_all(txns);
        self.turn_inline();
        let mut outcomes = Vec::with_capacity(answers.len());
        for answer in answers {
            outcomes.push(answer.await);
        }
        outcomes
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.watch_any(&[prefix], after)
    }

    fn watch_any(&self, prefixes: &[&str], after: Revision) -> Result<Watch, StoreError> {
        Ok(Box::pin(Cursor::open(&self.shared, Ranges::new(prefixes), after)?))
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.shared.state.lock().mvcc.compact(revision)
    }
}
