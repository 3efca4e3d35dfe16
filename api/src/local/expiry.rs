//! Events end: what nobody has written for an hour goes (kube-apiserver's `--event-ttl`, a lease in etcd).
//!
//! The store does not know when it was written. A clock's time is therefore noted with the revision of that moment every
//! few minutes; once a note is old enough, all that was last written before it goes. After a restart the notes begin
//! anew, and events live on for up to another hour, as they do when etcd has a new leader.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use orlop_core::Timestamp;
use orlop_core::store::{Op, Revision, Store, StoreError, Txn};
use parking_lot::Mutex;

use super::LocalApi;
use super::write::unchanged;

/// How often the time is noted, and so how much longer than asked an event may live.
const EVERY: Duration = Duration::from_secs(5 * 60);
/// So many go in one commit.
const TOGETHER: usize = 512;
/// Where events are stored.
const EVENTS: &str = "/registry/events/";

/// When was which revision, and how far the events that are to go have been removed.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    /// Nanoseconds of the time of the next note; 0: the next call looks.
    next: AtomicI64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    notes: VecDeque<(Timestamp, Revision)>,
    round: Option<Round>,
}

/// Events that are to be removed.
#[derive(Debug)]
struct Round {
    /// Those that were last written up to here.
    due: Revision,
    /// Those behind this key.
    after: String,
}

impl Expiry {
    /// What is to be removed, where it is time to.
    fn due(&self, now: Timestamp, ttl: Duration, latest: impl FnOnce() -> Revision) -> Option<Round> {
        // Asked with every call: mostly the time has not come.
        if ttl.is_zero() || now.nanos() < self.next.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = self.state.lock();
        if now.nanos() < self.next.load(Ordering::Relaxed) {
            return None;
        }
        self.next.store((now + EVERY).nanos(), Ordering::Relaxed);
        if let Some(round) = state.round.take() {
            return Some(round);
        }
        state.notes.push_back((now, latest()));
        let mut due = None;
        while let Some((_, revision)) = state.notes.front().filter(|(at, _)| *at + ttl <= now) {
            due = Some(*revision);
            state.notes.pop_front();
        }
        due.map(|due| Round { due, after: String::new() })
    }

    /// All is removed; what has become old meanwhile is looked for by the next call.
    fn is_done(&self) {
        self.next.store(0, Ordering::Relaxed);
    }

    /// The next call goes on.
    fn go_on(&self, round: Round) {
        self.state.lock().round = Some(round);
        self.next.store(0, Ordering::Relaxed);
    }
}

impl<S: Store> LocalApi<S> {
    /// Removes some of the events whose time has come: a call waits for one commit at most.
    pub(super) async fn expire(&self) {
        let shared = &self.shared;
        let latest = || shared.store.view().revision();
        let Some(round) = shared.expiry.due(self.now(), shared.config.event_ttl, latest) else { return };
        let Round { due, mut after } = round;
        // Most pages of a large collection hold nothing that is old: those cost no commit.
        let old = loop {
            let page = shared.store.view().range(EVENTS, &after, TOGETHER);
            let Some(last) = page.last() else { return shared.expiry.is_done() };
            after = last.key.to_string();
            let old: Vec<_> = page.into_iter().filter(|entry| entry.object.revision <= due).collect();
            if !old.is_empty() {
                break old;
            }
        };
        let txn = Txn {
            compares: old.iter().map(unchanged).collect(),
            ops: old.iter().map(|entry| Op::Delete(entry.key.clone())).collect(),
        };
        // One that was written meanwhile keeps the others of its page for the next time, and so does a store that cannot
        // write now.
        if !matches!(shared.store.commit(txn).await, Err(StoreError::Unavailable(_))) {
            shared.expiry.go_on(Round { due, after });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_before_a_note_ends_when_the_note_is_old_enough() {
        let expiry = Expiry::default();
        let (hour, start) = (Duration::from_secs(3600), Timestamp::from_secs(1_000_000));
        let due = |minutes: u64, revision| {
            let round = expiry.due(start + Duration::from_secs(60 * minutes), hour, || Revision(revision));
            round.map(|round| round.due)
        };
        assert_eq!(due(0, 10), None);
        assert_eq!(due(1, 20), None, "noted a minute ago");
        assert_eq!(due(5, 30), None);
        assert_eq!(due(60, 40), Some(Revision(10)));
        assert_eq!(due(64, 50), None);
        assert_eq!(due(200, 60), Some(Revision(40)), "all notes that are old enough are done with");
        assert_eq!(due(201, 70), None);
        expiry.go_on(Round { due: Revision(40), after: "/registry/events/default/a".into() });
        assert_eq!(due(201, 70), Some(Revision(40)), "what is not done with comes before what is new");
        let kept = Expiry::default();
        assert!(kept.due(start, Duration::ZERO, || Revision(1)).is_none());
        assert!(kept.state.lock().notes.is_empty(), "events that do not end need no notes");
    }
}
