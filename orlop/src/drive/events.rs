//! Events wait while there is something better to do: [`Backlog`].

use std::collections::VecDeque;
use std::time::Duration;

use orlop_core::{Timestamp, Write};

/// So many are written at a time while there is nothing else to do: whoever comes meanwhile waits for no more.
const GROUP: usize = 256;
/// With so many waiting they are written whatever else there is to do.
const MANY: usize = 8_192;
/// No event waits longer for something better to be done.
const LONG: Duration = Duration::from_secs(1);
/// With so many waiting the part decides nothing new until some are written.
const FULL: usize = MANY + MANY / 2;

/// Events that are to be written, in the order in which they were told.
///
/// One group is written at a time, so that they stay in order: an event that counts another comes behind it.
#[derive(Default)]
pub(super) struct Backlog {
    waiting: VecDeque<Write>,
    /// When the first of those that wait began to.
    since: Option<Timestamp>,
    writing: bool,
}

impl Backlog {
    pub(super) fn take_in(&mut self, now: Timestamp, events: impl IntoIterator<Item = Write>) {
        self.waiting.extend(events);
        if !self.waiting.is_empty() {
            self.since.get_or_insert(now);
        }
    }

    /// The events that are to be written now; `idle`: there is nothing else to do.
    pub(super) fn due(&mut self, now: Timestamp, idle: bool) -> Option<Vec<Write>> {
        let long = self.since.is_some_and(|since| now.since(since) >= LONG);
        if self.writing || self.waiting.is_empty() || !(idle || long || self.waiting.len() >= MANY) {
            return None;
        }
        self.writing = true;
        let group = self.waiting.drain(..self.waiting.len().min(GROUP)).collect();
        self.since = self.since.filter(|_| !self.waiting.is_empty());
        Some(group)
    }

    /// When an event has waited long enough.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.since.filter(|_| !self.writing).map(|since| since + LONG)
    }

    /// What [`Backlog::due`] answered with is written.
    pub(super) fn written(&mut self) {
        self.writing = false;
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= FULL
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && !self.writing
    }
}
