//! A store that outlives the process: every commit is on the disk before it is answered, first in a journal and, many of
//! them at a time, in a redb file.
//!
//! ```
//! use std::sync::Arc;
//!
//! use orlop_core::store::Store;
//! use orlop_core::ManualClock;
//! use orlop_store_redb::RedbStore;
//!
//! let dir = tempfile::tempdir()?;
//! let store = RedbStore::open(dir.path(), Arc::new(ManualClock::default()))?;
//! assert_eq!(store.view().revision().0, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The state machine is [`orlop_core::store::Mvcc`]; this crate is a [`Log`](orlop_core::store::Log) for it
//! (`log.rs`) and a thread that flushes, one flush for all who wait. Objects come back with their revisions; the
//! history does not, so that a watch from before a restart is told to list again.

mod journal; // what came last
mod log; // the journal, and behind it the database
#[cfg(test)]
mod memory; // a file for unit tests
mod open; // directories, locks, what can be wrong with them
mod store; // the thread
mod tables; // the database

pub use open::OpenError;
pub use store::RedbStore;
