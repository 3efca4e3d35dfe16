//! Events wait while there is something better to do: [`Backlog`].

use std::collections::VecDeque;

use orlop_core::Write;

/// So many are written at a time while there is nothing else to do: whoever comes meanwhile waits for no more.
const GROUP: usize = 256;
/// With so many waiting they are written whatever else there is to do.
const MANY: usize = 8_192;
/// With so many waiting the part decides nothing new until some are written.
const FULL: usize = MANY + MANY / 2;

/// Events that are to be written, in the order in which they were told.
///
/// One group is written at a time, so that they stay in order: an event that counts another comes behind it.
#[derive(Default)]
pub(super) struct Backlog {
    waiting: VecDeque<Write>,
    writing: bool,
}

impl Backlog {
    pub(super) fn take_in(&mut self, events: impl IntoIterator<Item = Write>) {
        self.waiting.extend(events);
    }

    /// The events that are to be written now; `idle`: there is nothing else to do.
    pub(super) fn due(&mut self, idle: bool) -> Option<Vec<Write>> {
        let due = !self.writing && (if idle { !self.waiting.is_empty() } else { self.waiting.len() >= MANY });
        if !due {
            return None;
        }
        self.writing = true;
        Some(self.waiting.drain(..self.waiting.len().min(GROUP)).collect())
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
