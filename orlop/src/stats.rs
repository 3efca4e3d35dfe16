//! What the loops of a cluster have been doing.

use std::sync::Arc;
use std::time::Duration;

use orlop_core::store::Revision;
use parking_lot::Mutex;

/// What one decider within a part has been doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopStats {
    /// Its name: `deployment-controller`, `scheduler`.
    pub name: &'static str,
    /// Keys that wait for their turn.
    pub depth: usize,
    /// Looks taken.
    pub looks: u64,
    /// Plans that failed.
    pub failures: u64,
    /// Looks that panicked.
    pub panics: u64,
    /// Time spent looking.
    pub busy: Duration,
}

/// What a part and its loop have been doing.
#[derive(Clone, Debug, Default)]
pub struct PartStats {
    /// The revision up to which it has seen the cluster.
    pub seen: Revision,
    /// Jobs under way.
    pub jobs: usize,
    /// How often it followed the API anew.
    pub follows: u64,
    /// Objects that it cannot read as they are now: to it they do not exist.
    pub malformed: usize,
    /// Its deciders.
    pub loops: Vec<LoopStats>,
}

/// A part's figures, readable while it runs.
#[derive(Clone, Debug, Default)]
pub struct Watched(Arc<Mutex<PartStats>>);

impl Watched {
    /// The figures as of the part's last turn.
    pub fn stats(&self) -> PartStats {
        self.0.lock().clone()
    }

    pub(crate) fn set(&self, update: impl FnOnce(&mut PartStats)) {
        update(&mut self.0.lock());
    }
}
