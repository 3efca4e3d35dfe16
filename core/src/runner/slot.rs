//! One controller's queue, and what is remembered of its keys.

use std::collections::VecDeque;

use rustc_hash::{FxHashMap, FxHashSet};

use super::Stats;
use super::erased::AnyController;
use crate::controller::Route;
use crate::entropy::Entropy;
use crate::object::{Key, Kind};
use crate::plan::Failure;
use crate::time::Timestamp;
use crate::world::{Change, World};

pub(super) struct Slot {
    pub(super) controller: Box<dyn AnyController>,
    pub(super) primary: Option<Kind>,
    pub(super) routes: Vec<Route>,
    pub(super) entropy: Entropy,
    pub(super) queue: VecDeque<Key>,
    pub(super) queued: FxHashSet<Key>,
    pub(super) keys: FxHashMap<Key, KeyState>,
    pub(super) stats: Stats,
}

/// What is remembered of a key that is not at rest.
#[derive(Default)]
pub(super) struct KeyState {
    /// Its plan is being carried out, or its view is not there yet.
    pub(super) busy: bool,
    /// It must be looked at once it is free.
    pub(super) dirty: bool,
    pub(super) failures: u32,
    pub(super) failure: Option<Failure>,
    pub(super) timer: Option<Timestamp>,
}

impl Slot {
    pub(super) fn enqueue(&mut self, key: Key) {
        if let Some(state) = self.keys.get_mut(&key)
            && (state.busy || state.failures > 0 && state.timer.is_some())
        {
            state.dirty = true;
            return;
        }
        if self.queued.insert(key.clone()) {
            self.queue.push_back(key);
        }
    }

    /// The key's plan is done and seen.
    pub(super) fn free(&mut self, key: Key) {
        let Some(state) = self.keys.get_mut(&key) else { return };
        state.busy = false;
        if std::mem::take(&mut state.dirty) {
            self.enqueue(key);
        } else if state.timer.is_none() && state.failures == 0 {
            self.keys.remove(&key);
        }
    }

    /// The key wants nothing: forget what is remembered of it.
    pub(super) fn settle(&mut self, key: &Key) {
        if let Some(state) = self.keys.get_mut(key) {
            state.failures = 0;
            state.failure = None;
            if state.timer.is_none() && !state.busy {
                self.keys.remove(key);
            }
        }
    }
}

/// Queues every key that a change concerns.
pub(super) fn concern(slots: &mut [Slot], change: &Change, before: Option<&Change>, world: &World) {
    let mut keys = Vec::new();
    for slot in slots {
        for route in slot.routes.iter().filter(|route| route.heeds(&change.kind)) {
            (route.keys)(change, before, world, &mut keys);
        }
        for key in keys.drain(..) {
            slot.enqueue(key);
        }
    }
}
