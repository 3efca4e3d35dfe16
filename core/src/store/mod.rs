//! The store: what is.
//!
//! etcd's contract: one global revision, compare-and-swap transactions, reads of everything at one revision, watches
//! from a revision without gaps across all keys in one order, compaction with a clear [`StoreError::Expired`].
//!
//! [`Store`] is the seam. Behind it, [`Mvcc`] is the state machine: synchronous, deterministic, without I/O.
//! [`LogStore`] makes a `Store` of it and a [`Log`]; [`MemoryStore`] is the one that keeps nothing on disk. A store
//! that lives elsewhere (etcd) implements `Store` itself.

mod changes; // when each part of the key space last changed
pub mod journal; // a log on a simulated disk, for tests and the simulator
mod log; // what makes commits durable
mod map; // the key space, shared between revisions
mod memory;
mod mvcc; // transactions, history, views
mod ranges; // parts of the key space
mod shell; // a Store over all that
mod watchers; // cursors, and who is woken when
mod writer; // group commit and the publication rule

pub use log::{Commit, Image, Log, LogError, MemoryLog};
pub use memory::MemoryStore;
pub use mvcc::{Limits, Mvcc};
pub use ranges::Ranges;
pub use shell::LogStore;
pub use watchers::drain;
pub use writer::Writer;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_core::Stream;
use ranges::Within;

use crate::body::{Body, Stored};

/// The number of a commit. Every commit has a higher one than those before; 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One key with its object.
#[derive(Clone, Debug)]
pub struct Entry {
    /// `/registry/pods/default/web`.
    pub key: Arc<str>,
    /// The object and the commit that last wrote it.
    pub object: Stored,
    /// The commit that created the key.
    pub created: Revision,
}

/// A transaction: all of it happens in one revision, or nothing.
#[derive(Clone, Debug, Default)]
pub struct Txn {
    /// What must be true.
    pub compares: Vec<Compare>,
    /// What is done, in this order. At most one operation for a key. A transaction that changes nothing is no commit:
    /// it is answered with the latest revision.
    pub ops: Vec<Op>,
}

/// A precondition: the key was last written by this commit; [`Revision`] 0: the key does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key.
    pub key: Arc<str>,
    /// Its last commit.
    pub revision: Revision,
}

/// An operation of a transaction.
#[derive(Clone, Debug)]
pub enum Op {
    /// Writes an object.
    Put(Arc<str>, Arc<Body>),
    /// Removes a key; a key that is not there is left alone.
    Delete(Arc<str>),
}

/// Why a store did not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A precondition does not hold; nothing was written. Read again and decide anew.
    #[error("{key} is not at the expected revision")]
    Conflict {
        /// The first key whose precondition failed.
        key: Arc<str>,
        /// What is there.
        current: Option<Entry>,
    },
    /// The revision lies before what the store remembers. List again.
    #[error("revision {asked} is gone: the oldest kept is {oldest}")]
    Expired {
        /// What was asked for.
        asked: Revision,
        /// The oldest revision that can still be read.
        oldest: Revision,
    },
    /// The revision lies in the future.
    #[error("revision {asked} does not exist yet: the latest is {latest}")]
    Future {
        /// What was asked for.
        asked: Revision,
        /// The latest revision.
        latest: Revision,
    },
    /// The store cannot serve now: the disk is full, the peer is away. Whether the write happened is not known.
    #[error("store unavailable: {0}")]
    Unavailable(String),
}

/// A change of one key.
#[derive(Clone, Debug)]
pub struct Event {
    /// The commit.
    pub revision: Revision,
    /// The key.
    pub key: Arc<str>,
    /// The object from now on; `None`: the key was removed.
    pub now: Option<Entry>,
    /// The object until now; `None`: the key is new.
    pub before: Option<Entry>,
}

/// Changes in the order of their commits; never a part of a commit.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Everything up to here has been told. A batch without events is mere progress.
    pub revision: Revision,
    /// The changes of the watched keys.
    pub events: Vec<Event>,
}

/// Every change after a revision, without gaps. Ends with an error when it falls behind what the store remembers;
/// without one, when the store is closed.
///
/// A watch that is polled answers with a batch whenever the store has moved since it last did, be it an empty one: who
/// polls several watches together sees all of them reach one revision. It is *woken*, however, only for changes of its
/// keys, and every few hundred commits so that a quiet watch makes progress too.
pub type Watch = Pin<Box<dyn Stream<Item = Result<Batch, StoreError>> + Send>>;

/// Everything as it was at one revision. Reading does no I/O.
pub trait View: Send + Sync {
    /// The revision.
    fn revision(&self) -> Revision;

    /// One key.
    fn get(&self, key: &str) -> Option<Entry>;

    /// Up to `limit` keys that begin with `prefix` and are greater than `after` (all, where that is empty), in order.
    fn range(&self, prefix: &str, after: &str, limit: usize) -> Vec<Entry>;

    /// How many keys begin with `prefix` and are greater than `after`.
    fn count(&self, prefix: &str, after: &str) -> usize;

    /// No key that begins with `prefix` was written or removed after this revision. It may be later than the last time
    /// that one was, and is the view's own where a store keeps no count: then nothing is known.
    ///
    /// For who has read there before, and asks whether it would find the same.
    fn changed(&self, prefix: &str) -> Revision {
        let _ = prefix;
        self.revision()
    }
}

/// Changes the bytes of objects on their way to a disk and back: encryption at rest. What is in memory is plain.
///
/// # Guarantees
/// `open` takes whatever `seal` has made for the same key, and what was written before there was a seal.
pub trait Seal: Send + Sync + 'static {
    /// The bytes as they are written.
    ///
    /// # Errors
    /// Why they cannot be sealed; nothing is written then.
    fn seal<'a>(&self, key: &str, bytes: &'a [u8]) -> Result<std::borrow::Cow<'a, [u8]>, String>;

    /// The bytes as they were.
    ///
    /// # Errors
    /// Why they cannot be opened.
    fn open<'a>(&self, key: &str, bytes: &'a [u8]) -> Result<std::borrow::Cow<'a, [u8]>, String>;
}

/// Writes everything as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSeal;

impl Seal for NoSeal {
    fn seal<'a>(&self, _key: &str, bytes: &'a [u8]) -> Result<std::borrow::Cow<'a, [u8]>, String> {
        Ok(bytes.into())
    }

    fn open<'a>(&self, _key: &str, bytes: &'a [u8]) -> Result<std::borrow::Cow<'a, [u8]>, String> {
        Ok(bytes.into())
    }
}

/// Keeps objects.
///
/// # Guarantees
/// Checked for every implementation by the conformance suite:
/// - revisions of commits increase by one; a failed transaction consumes none;
/// - what [`Store::commit`] has answered survives a crash, and nobody sees a commit before it would;
/// - a watch tells each change once, in order, also those between two calls;
/// - two clones of one handle are the same store.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Everything at the latest revision.
    fn view(&self) -> Arc<dyn View>;

    /// Everything as it was at `revision`.
    ///
    /// # Errors
    /// [`StoreError::Expired`], [`StoreError::Future`].
    fn view_at(&self, revision: Revision) -> Result<Arc<dyn View>, StoreError>;

    /// Does the transaction; answers with its revision once it is durable.
    ///
    /// # Errors
    /// [`StoreError::Conflict`], [`StoreError::Unavailable`].
    ///
    /// # Cancellation
    /// A call that is dropped may or may not have happened.
    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError>;

    /// Does several transactions in this order, each as [`Store::commit`] does one: each has a revision of its own, and
    /// one that fails keeps none of the others back. A store may do once what they have in common, such as a flush.
    ///
    /// # Cancellation
    /// As of [`Store::commit`], for each of them.
    async fn commit_all(&self, txns: Vec<Txn>) -> Vec<Result<Revision, StoreError>> {
        let mut outcomes = Vec::with_capacity(txns.len());
        for txn in txns {
            outcomes.push(self.commit(txn).await);
        }
        outcomes
    }

    /// The changes after `after` of keys that begin with `prefix`.
    ///
    /// # Errors
    /// [`StoreError::Expired`], [`StoreError::Future`].
    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError>;

    /// The changes after `after` of keys that begin with any of these prefixes, in one order. Who follows several kinds
    /// is so woken for theirs alone; a store that cannot do that tells everything and leaves the rest out.
    ///
    /// # Errors
    /// Those of [`Store::watch`].
    fn watch_any(&self, prefixes: &[&str], after: Revision) -> Result<Watch, StoreError> {
        let ranges = Ranges::new(prefixes);
        Ok(Box::pin(Within { watch: self.watch("", after)?, ranges }))
    }

    /// Forgets what was before `revision`: that is then the oldest to be read, or to be watched from.
    ///
    /// Views that were handed out stay as they are.
    ///
    /// # Errors
    /// [`StoreError::Future`], [`StoreError::Unavailable`].
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;
}

#[async_trait]
impl<S: Store + ?Sized> Store for Arc<S> {
    fn view(&self) -> Arc<dyn View> {
        S::view(self)
    }

    fn view_at(&self, revision: Revision) -> Result<Arc<dyn View>, StoreError> {
        S::view_at(self, revision)
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        S::commit(self, txn).await
    }

    async fn commit_all(&self, txns: Vec<Txn>) -> Vec<Result<Revision, StoreError>> {
        S::commit_all(self, txns).await
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        S::watch(self, prefix, after)
    }

    fn watch_any(&self, prefixes: &[&str], after: Revision) -> Result<Watch, StoreError> {
        S::watch_any(self, prefixes, after)
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        S::compact(self, revision).await
    }
}
