//! The store and its thread.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use orlop_core::Clock;
use orlop_core::store::{Limits, LogStore, NoSeal, Revision, Seal, Store, StoreError, Txn, View, Watch};
use parking_lot::Mutex;
use redb::StorageBackend;

use crate::log::RedbLog;
use crate::open::{self, Held, OpenError};

/// A durable store in a directory.
///
/// # Guarantees
/// Those of [`Store`]; and:
/// - one process has a directory open at a time;
/// - when the disk is full or fails, commits are answered as [`StoreError::Unavailable`] and nothing has changed; they
///   succeed again once there is room, a few seconds later at most;
/// - after a clean end `store.redb` alone is a whole copy; put back later it is what it was, whatever `store.journal` holds;
/// - dropping the last handle answers who still waits, ends the thread and releases the directory. That blocks for the
///   length of a flush.
#[derive(Clone)]
pub struct RedbStore {
    // Before the thread: it ends when the store is closed.
    store: LogStore,
    _thread: Arc<Flusher>,
}

impl RedbStore {
    /// Opens the store in `dir`, or makes one there. Reads everything: about a second for 100,000 pods.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(dir: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<RedbStore, OpenError> {
        RedbStore::open_with(dir, clock, Limits::default())
    }

    /// [`RedbStore::open`] with a history of another size.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_with(
        dir: impl AsRef<Path>,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Result<RedbStore, OpenError> {
        RedbStore::start(open::directory(dir.as_ref(), Arc::new(NoSeal), clock.clone())?, clock, limits)
    }

    /// [`RedbStore::open`], with bodies that are sealed on the disk.
    ///
    /// # Errors
    /// See [`OpenError`]; what the seal cannot open counts as damaged.
    pub fn open_sealed(
        dir: impl AsRef<Path>,
        clock: Arc<dyn Clock>,
        seal: Arc<dyn Seal>,
    ) -> Result<RedbStore, OpenError> {
        RedbStore::start(open::directory(dir.as_ref(), seal, clock.clone())?, clock, Limits::default())
    }

    /// A store on something other than files, such as a disk that breaks in a test. `make` is called with `false` for the
    /// database and with `true` for the journal, of `journal_bytes`; and again when an error forces the store to begin
    /// anew.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn on_backend<B: StorageBackend>(
        make: impl FnMut(bool) -> io::Result<B> + Send + Clone + 'static,
        journal_bytes: u64,
        clock: Arc<dyn Clock>,
    ) -> Result<RedbStore, OpenError> {
        RedbStore::start(open::backend(make, journal_bytes, clock.clone())?, clock, Limits::default())
    }

    fn start(
        (log, held): (RedbLog, Held),
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Result<RedbStore, OpenError> {
        let io = |source| OpenError::Io { path: PathBuf::from("."), source };
        let (store, mut writer) =
            LogStore::queued(log, clock, limits).map_err(|error| io(io::Error::other(error)))?;
        let thread = thread::Builder::new().name("orlop-store".to_owned()).spawn(move || {
            writer.run();
            // The file is closed before the directory is given away.
            drop(writer);
            drop(held);
        });
        let thread = Arc::new(Flusher(Mutex::new(Some(thread.map_err(io)?))));
        Ok(RedbStore { store, _thread: thread })
    }
}

/// The thread that flushes.
struct Flusher(Mutex<Option<JoinHandle<()>>>);

impl Drop for Flusher {
    fn drop(&mut self) {
        let Some(thread) = self.0.get_mut().take() else { return };
        // A task that was the last to hold the store may be dropped by the very thread that woke it.
        if thread.thread().id() != thread::current().id() {
            // If it panicked, it has said so, and everyone was answered.
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl Store for RedbStore {
    fn view(&self) -> Arc<dyn View> {
        self.store.view()
    }

    fn view_at(&self, revision: Revision) -> Result<Arc<dyn View>, StoreError> {
        self.store.view_at(revision)
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        self.store.commit(txn).await
    }

    async fn commit_all(&self, txns: Vec<Txn>) -> Vec<Result<Revision, StoreError>> {
        self.store.commit_all(txns).await
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.store.watch(prefix, after)
    }

    fn watch_any(&self, prefixes: &[&str], after: Revision) -> Result<Watch, StoreError> {
        self.store.watch_any(prefixes, after)
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.store.compact(revision).await
    }
}
