//! Random groups of transactions over a log that fails in every way a log may fail.

use std::collections::BTreeMap;

use orlop_core::store::{Commit, Entry, Image, Log, LogError, View};
use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;

/// What a call of the log comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Done,
    /// It failed, and so many of its commits are there nevertheless.
    FailedAfter(usize),
}

#[derive(Clone, Default)]
struct Flaky(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    revision: u64,
    entries: BTreeMap<String, String>,
    fates: Vec<Fate>,
}

impl Kept {
    fn fate(&mut self) -> Fate {
        self.fates.pop().unwrap_or(Fate::Done)
    }
}

fn text(entry: &Entry) -> String {
    format!("{}@{}+{}", entry.object.to_value()["metadata"]["name"], entry.object.revision, entry.created)
}

fn failed() -> LogError {
    LogError("it failed".to_owned())
}

impl Log for Flaky {
    fn load(&mut self) -> Result<Image, LogError> {
        Ok(Image::default())
    }

    fn append(&mut self, commits: &[Arc<Commit>]) -> Result<(), LogError> {
        let mut kept = self.0.lock();
        let fate = kept.fate();
        let count = if let Fate::FailedAfter(n) = fate { n.min(commits.len()) } else { commits.len() };
        for commit in &commits[..count] {
            assert_eq!(commit.revision.0, kept.revision + 1, "a commit follows upon what the log holds");
            kept.revision += 1;
            for event in &commit.events {
                match &event.now {
                    Some(entry) => kept.entries.insert(event.key.to_string(), text(entry)),
                    None => kept.entries.remove(&*event.key),
                };
            }
        }
        if fate == Fate::Done { Ok(()) } else { Err(failed()) }
    }

    fn snapshot(&mut self, view: &dyn View) -> Result<(), LogError> {
        let mut kept = self.0.lock();
        if kept.fate() != Fate::Done {
            return Err(failed());
        }
        kept.revision = view.revision().0;
        kept.entries = view.range("", "", usize::MAX).iter().map(|e| (e.key.to_string(), text(e))).collect();
        Ok(())
    }
}

/// A group: transactions that count one of three counters up or remove it, as of the latest state that is seen or of
/// one before; and what becomes of the log's next calls.
type Group = (Vec<(u8, bool)>, Vec<Fate>);

fn groups() -> impl Strategy<Value = Vec<Group>> {
    let fate = prop_oneof![3 => Just(Fate::Done), 2 => (0..4usize).prop_map(Fate::FailedAfter)];
    let txns = prop::collection::vec((0..3u8, prop::bool::weighted(0.2)), 1..7);
    prop::collection::vec((txns, prop::collection::vec(fate, 0..3)), 1..20)
}

fn txn(store: &LogStore, counter: u8, remove: bool) -> Txn {
    let key: Arc<str> = format!("/{counter}").into();
    let current = store.view().get(&key);
    let count = current
        .as_ref()
        .map_or(0, |e| e.object.to_value()["metadata"]["name"].as_str().unwrap().parse::<u64>().unwrap());
    let revision = current.map_or(Revision(0), |e| e.object.revision);
    let op =
        if remove { Op::Delete(key.clone()) } else { Op::Put(key.clone(), body(&(count + 1).to_string())) };
    Txn { compares: vec![Compare { key, revision }], ops: vec![op] }
}

/// A log that panics once.
struct Panicking {
    flaky: Flaky,
    when: Arc<Mutex<&'static str>>,
}

impl Panicking {
    fn perhaps(&self, call: &str) {
        let now = *self.when.lock() == call;
        if now {
            *self.when.lock() = "";
            panic!("the log is broken");
        }
    }
}

impl Log for Panicking {
    fn load(&mut self) -> Result<Image, LogError> {
        self.flaky.load()
    }

    fn append(&mut self, commits: &[Arc<Commit>]) -> Result<(), LogError> {
        let appended = self.flaky.append(commits);
        self.perhaps("append");
        appended
    }

    fn snapshot(&mut self, view: &dyn View) -> Result<(), LogError> {
        self.perhaps("snapshot");
        self.flaky.snapshot(view)
    }
}

/// Who waited for a group whose log panicked waited for ever; and the next group found its commits still pending.
#[test]
fn a_log_that_panics_leaves_nobody_waiting() {
    let (flaky, when) = (Flaky::default(), Arc::new(Mutex::new("")));
    let log = Panicking { flaky: flaky.clone(), when: when.clone() };
    let (store, mut writer) = LogStore::queued(log, clock(), Limits::default()).unwrap();
    for call in ["append", "snapshot"] {
        if call == "snapshot" {
            // Which comes after a failure.
            flaky.0.lock().fates = vec![Fate::FailedAfter(1)];
            let mut failing = store.commit(put("/x", "1"));
            assert_eq!(look(&mut failing), "waits");
            writer.turn();
            assert_eq!(look(&mut failing), "store unavailable: it failed");
        }
        *when.lock() = call;
        let before = store.view().revision().0;
        let mut commits = [store.commit(put("/a", "1")), store.commit(put("/b", "1"))];
        commits.iter_mut().for_each(|commit| assert_eq!(look(commit), "waits"));
        let turn = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writer.turn()));
        assert!(turn.is_err());
        for commit in &mut commits {
            assert_eq!(look(commit), "store unavailable: the store's writer has ended");
        }
        assert_eq!(store.view().revision().0, before, "what failed is not seen");
        let mut next = store.commit(put("/c", "1"));
        assert_eq!(look(&mut next), "waits");
        assert!(writer.turn());
        assert_eq!(look(&mut next), format!("revision {}", before + 1), "nor is it part of what comes next");
        let keys: Vec<String> = flaky.0.lock().entries.keys().cloned().collect();
        assert_eq!(keys, ["/c"]);
    }
}

/// What nobody waits for need not be done, and does not pile up.
#[test]
fn a_commit_that_was_dropped_is_left_out() {
    let log = Flaky::default();
    let (store, mut writer) = LogStore::queued(log, clock(), Limits::default()).unwrap();
    let mut dropped = store.commit(put("/a", "1"));
    let mut kept = store.commit(put("/b", "1"));
    assert_eq!((look(&mut dropped), look(&mut kept)), ("waits".into(), "waits".into()));
    drop(dropped);
    assert!(writer.turn());
    assert_eq!(look(&mut kept), "revision 1");
    assert!(store.view().get("/a").is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn answers_tell_what_happened(groups in groups()) {
        let log = Flaky::default();
        let (store, mut writer) = LogStore::queued(log.clone(), clock(), Limits::default()).unwrap();
        let mut watch = store.watch("", Revision(0)).unwrap();
        let mut answered = Vec::new();
        let mut told = Vec::new();
        for (txns, fates) in groups {
            log.0.lock().fates = fates;
            let before = store.view().revision();
            let mut commits: Vec<_> =
                txns.iter().map(|(counter, remove)| store.commit(txn(&store, *counter, *remove))).collect();
            let mut open: Vec<usize> = (0..commits.len()).collect();
            for commit in &mut commits {
                prop_assert_eq!(look(commit), "waits");
            }
            while writer.turn() {
                let seen = store.view().revision().0;
                open.retain(|n| {
                    let outcome = look(&mut commits[*n]);
                    let (what, number) = outcome.rsplit_once(' ').unwrap_or((&outcome, ""));
                    match what {
                        "waits" => {}
                        // Removing what is not there is no commit.
                        "revision" if number.parse::<u64>().unwrap() == before.0 => assert!(txns[*n].1),
                        "revision" => answered.push(number.parse::<u64>().unwrap()),
                        "conflict with" => assert!(number.parse::<u64>().unwrap() <= seen),
                        _ => assert_eq!(outcome, "store unavailable: it failed"),
                    }
                    outcome == "waits"
                });
                let batches = drain(&mut watch);
                told.extend(batches.iter().flatten().flat_map(|b| b.events.iter().map(|e| e.revision.0)));
            }
            prop_assert!(open.is_empty(), "every transaction is answered");
        }
        // Whoever was in doubt settles with the next commit.
        log.0.lock().fates.clear();
        let mut last = store.commit(put("/last", "1"));
        prop_assert_eq!(look(&mut last), "waits");
        while writer.turn() {}
        let latest = store.view().revision().0;
        answered.sort_unstable();
        answered.dedup();
        prop_assert_eq!(answered, (1..latest).collect::<Vec<_>>(), "each commit was answered, and each answer is one");
        prop_assert_eq!(told, (1..latest).collect::<Vec<_>>(), "each was told once, in order");
        let kept = log.0.lock();
        let seen: BTreeMap<String, String> =
            store.view().range("", "", 9).iter().map(|e| (e.key.to_string(), text(e))).collect();
        prop_assert_eq!((kept.revision, &kept.entries), (latest, &seen), "the log holds what is seen");
    }
}
