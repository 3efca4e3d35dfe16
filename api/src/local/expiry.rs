//! Events end: what nobody has written for an hour goes (kube-apiserver's `--event-ttl`, a lease in etcd).
//!
//! The store does not know when it was written. A clock's time is therefore noted with the revision of that moment every
//! few minutes; once a note is old enough, all that was last written before it goes. After a restart the notes begin
//! anew, and events live on for up to another hour, as they do when etcd has a new leader.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use orlop_core::Timestamp;
use orlop_core::store::{Op, Revision, Store, Txn};
use parking_lot::Mutex;

use super::LocalApi;
use super::write::unchanged;

/// How often the time is noted, and so how much longer than asked an event may live.
const EVERY: Duration = Duration::from_secs(5 * 60);
/// So many go in one commit.
const TOGETHER: usize = 512;
/// Where events are stored.
const EVENTS: &str = "/registry/events/";

/// When was which revision.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    /// Nanoseconds of the time of the next note.
    next: AtomicI64,
    notes: Mutex<VecDeque<(Timestamp, Revision)>>,
}

impl Expiry {
    /// The revision up to which all was last written longer than `ttl` ago, where it is time to look.
    fn due(&self, now: Timestamp, ttl: Duration, latest: impl FnOnce() -> Revision) -> Option<Revision> {
        // Asked with every call: mostly the time has not come.
        if ttl.is_zero() || now.nanos() < self.next.load(Ordering::Relaxed) {
            return None;
        }
        let mut notes = self.notes.lock();
        if now.nanos() < self.next.load(Ordering::Relaxed) {
            return None;
        }
        self.next.store((now + EVERY).nanos(), Ordering::Relaxed);
        notes.push_back((now, latest()));
        let mut due = None;
        while let Some((_, revision)) = notes.front().filter(|(at, _)| *at + ttl <= now) {
            due = Some(*revision);
            notes.pop_front();
        }
        due
    }
}

impl<S: Store> LocalApi<S> {
    /// Removes the events whose time has come.
    pub(super) async fn expire(&self) {
        let shared = &self.shared;
        let latest = || shared.store.view().revision();
        let Some(due) = shared.expiry.due(self.now(), shared.config.event_ttl, latest) else { return };
        let mut after = String::new();
        loop {
            let page = shared.store.view().range(EVENTS, &after, TOGETHER);
            let Some(last) = page.last() else { return };
            after = last.key.to_string();
            let old: Vec<_> = page.into_iter().filter(|entry| entry.object.revision <= due).collect();
            if old.is_empty() {
                continue;
            }
            let txn = Txn {
                compares: old.iter().map(unchanged).collect(),
                ops: old.iter().map(|entry| Op::Delete(entry.key.clone())).collect(),
            };
            // One that was written meanwhile keeps the others for the next time, as a store does that cannot write now.
            let _ = shared.store.commit(txn).await;
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
            expiry.due(start + Duration::from_secs(60 * minutes), hour, || Revision(revision))
        };
        assert_eq!(due(0, 10), None);
        assert_eq!(due(1, 20), None, "noted a minute ago");
        assert_eq!(due(5, 30), None);
        assert_eq!(due(60, 40), Some(Revision(10)));
        assert_eq!(due(64, 50), None);
        assert_eq!(due(200, 60), Some(Revision(40)), "all notes that are old enough are done with");
        let kept = Expiry::default();
        assert_eq!(kept.due(start, Duration::ZERO, || Revision(1)), None);
        assert!(kept.notes.lock().is_empty(), "events that do not end need no notes");
    }
}
