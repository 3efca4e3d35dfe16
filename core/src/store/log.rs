//! What makes commits durable: [`Log`].

use std::sync::Arc;

use super::{Entry, Event, Revision, View};
use crate::time::Timestamp;

/// All changes of one revision.
#[derive(Debug)]
pub struct Commit {
    /// Its number.
    pub revision: Revision,
    /// When it was decided.
    pub at: Timestamp,
    /// What changed, in order; never empty.
    pub events: Box<[Event]>,
}

/// All that a log remembers.
#[derive(Debug, Default)]
pub struct Image {
    /// The last commit.
    pub revision: Revision,
    /// Everything that exists at it, in any order.
    pub entries: Vec<Entry>,
}

/// A log that cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LogError(pub String);

/// Where a [`super::LogStore`] keeps its commits. Called by one thread at a time; may block.
///
/// # Guarantees
/// - After a crash at any moment, [`Log::load`] answers with a state after whole commits, in their order, and with all
///   commits whose [`Log::append`] succeeded.
/// - After an append or snapshot that failed, the log is in doubt: the store calls [`Log::snapshot`] with what it still
///   holds to be true, until that succeeds, before it appends anything else.
pub trait Log: Send + 'static {
    /// What is remembered. Called once, before anything else.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged beyond a torn end.
    fn load(&mut self) -> Result<Image, LogError>;

    /// Makes commits durable. They follow upon what the log holds.
    ///
    /// # Errors
    /// When that is not certain.
    fn append(&mut self, commits: &[Arc<Commit>]) -> Result<(), LogError>;

    /// Makes the log hold exactly `view`, instead of whatever it holds.
    ///
    /// # Errors
    /// When that is not certain.
    fn snapshot(&mut self, view: &dyn View) -> Result<(), LogError>;

    /// Whether the log would be better off with a snapshot now. Asked after each append.
    fn wants_snapshot(&self) -> bool {
        false
    }
}

/// A log that forgets: what [`super::MemoryStore`] runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryLog;

impl Log for MemoryLog {
    fn load(&mut self) -> Result<Image, LogError> {
        Ok(Image::default())
    }

    fn append(&mut self, _commits: &[Arc<Commit>]) -> Result<(), LogError> {
        Ok(())
    }

    fn snapshot(&mut self, _view: &dyn View) -> Result<(), LogError> {
        Ok(())
    }
}
