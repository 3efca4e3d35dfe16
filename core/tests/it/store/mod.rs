//! The store: conformance of the stores of this crate, group commit step by step, bounds of the history.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use orlop_core::conformance::store as conformance;
use orlop_core::store::journal::{Disk, Journal};
use orlop_core::store::{
    Compare, Limits, LogStore, MemoryStore, Op, Revision, Store, StoreError, Txn, Writer, drain,
};
use orlop_core::{Body, ManualClock};

mod group; // random groups over a log that fails
mod model; // random histories against a naive model

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::default())
}

fn body(text: &str) -> Arc<Body> {
    Arc::new(Body::parse(format!(r#"{{"metadata":{{"name":"{text}"}}}}"#).into()).unwrap())
}

fn put(key: &str, text: &str) -> Txn {
    Txn { compares: vec![], ops: vec![Op::Put(key.into(), body(text))] }
}

fn put_at(key: &str, revision: u64, text: &str) -> Txn {
    Txn { compares: vec![Compare { key: key.into(), revision: Revision(revision) }], ..put(key, text) }
}

#[test]
fn memory_store_conforms() {
    conformance::suite(|| MemoryStore::new(clock()));
}

#[test]
fn store_with_a_writer_thread_conforms() {
    conformance::suite(|| {
        let (store, mut writer) =
            LogStore::queued(Journal::new(Disk::new()), clock(), Limits::default()).unwrap();
        std::thread::spawn(move || writer.run());
        store
    });
}

/// A loss of power at every byte and flush, with none, some or all of what was not flushed on the disk.
#[test]
fn journal_recovers_whole_commits() {
    for kept in [0, 1, 100, usize::MAX] {
        let broke = conformance::torn_suite(|step| {
            let disk = Disk::new();
            disk.break_after(step);
            let open = |disk: Disk| LogStore::inline(Journal::new(disk), clock(), Limits::default()).unwrap();
            let mut left = None;
            (open(disk.clone()), move || open(left.get_or_insert_with(|| disk.after_crash(kept)).clone()))
        });
        assert!(broke > 500, "the disk broke in {broke} places only");
    }
}

/// Sectors that were being written hold anything.
#[test]
fn journal_notices_what_was_garbled() {
    let disk = Disk::new();
    let store = LogStore::inline(Journal::new(disk.clone()), clock(), Limits::default()).unwrap();
    let ends: Vec<usize> = (0..3)
        .map(|n| {
            store.commit_now(put(&format!("/{n}"), "1")).unwrap();
            disk.size()
        })
        .collect();
    for at in 0..disk.size() {
        let garbled = disk.after_crash(0);
        garbled.flip(at);
        let whole = ends.iter().filter(|end| **end <= at).count();
        let (store, _writer) = queued(&garbled);
        assert_eq!(
            (store.view().revision().0, store.view().count("", "")),
            (whole as u64, whole),
            "byte {at}"
        );
    }
}

type Committing<'a> = Pin<Box<dyn Future<Output = Result<Revision, StoreError>> + Send + 'a>>;

/// What a commit came to so far.
fn look(commit: &mut Committing<'_>) -> String {
    match commit.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => "waits".to_owned(),
        Poll::Ready(Ok(revision)) => format!("revision {revision}"),
        Poll::Ready(Err(StoreError::Conflict { current, .. })) => {
            format!("conflict with {}", current.map_or(Revision(0), |e| e.object.revision))
        }
        Poll::Ready(Err(error)) => error.to_string(),
    }
}

fn queued(disk: &Disk) -> (LogStore, Writer) {
    LogStore::queued(Journal::new(disk.clone()), clock(), Limits::default()).unwrap()
}

#[test]
fn who_waits_together_shares_a_flush() {
    let disk = Disk::new();
    let (store, mut writer) = queued(&disk);
    let mut watch = store.watch("", Revision(0)).unwrap();
    let txns = [put_at("/a", 0, "1"), put_at("/a", 0, "2"), put_at("/a", 1, "3"), put("/b", "1")];
    let mut commits: Vec<_> = txns.into_iter().map(|txn| store.commit(txn)).collect();
    assert!(commits.iter_mut().all(|c| look(c) == "waits"));
    assert!(drain(&mut watch).is_empty(), "nothing is seen before it is durable");
    assert!(writer.turn());
    let outcomes: Vec<String> = commits.iter_mut().map(look).collect();
    assert_eq!(outcomes, ["revision 1", "conflict with 1", "revision 2", "revision 3"]);
    assert_eq!(drain(&mut watch).len(), 1, "one flush is one batch");
    assert!(!writer.turn());
}

/// A conflict with a commit that then fails would tell of something that never was: it is decided anew.
#[test]
fn a_failed_flush_fails_exactly_its_commits() {
    let disk = Disk::new();
    let (store, mut writer) = queued(&disk);
    disk.set_capacity(Some(50));
    let mut commits: Vec<_> =
        [put_at("/a", 0, "1"), put_at("/a", 0, "2")].into_iter().map(|txn| store.commit(txn)).collect();
    commits.iter_mut().for_each(|c| assert_eq!(look(c), "waits"));
    assert!(writer.turn());
    assert_eq!(look(&mut commits[0]), "store unavailable: the disk is full");
    assert_eq!(look(&mut commits[1]), "waits");
    assert_eq!(store.view().revision(), Revision(0));
    disk.set_capacity(None);
    assert!(writer.turn());
    assert_eq!(look(&mut commits[1]), "revision 1");
    drop(commits);
    drop((store, writer));

    let (store, _writer) = queued(&disk.after_crash(usize::MAX));
    let entry = store.view().get("/a").unwrap();
    assert_eq!(entry.object.to_value()["metadata"]["name"], "2", "what failed did not come back");
}

#[test]
fn a_store_without_its_writer_answers() {
    let (store, writer) = queued(&Disk::new());
    let mut waiting = store.commit(put("/a", "1"));
    assert_eq!(look(&mut waiting), "waits");
    drop(writer);
    for mut commit in [waiting, store.commit(put("/a", "1"))] {
        assert_eq!(look(&mut commit), "store unavailable: the store's writer has ended");
    }
}

#[test]
fn a_journal_does_not_grow_for_ever() {
    let disk = Disk::new();
    let store = LogStore::inline(Journal::new(disk.clone()), clock(), Limits::default()).unwrap();
    for n in 0..200 {
        store.commit_now(put(&format!("/{}", n % 3), &format!("{n}{}", "x".repeat(20_000)))).unwrap();
    }
    assert!(disk.size() < 2_000_000, "{}", disk.size());
    let (again, _writer) = queued(&disk.after_crash(0));
    assert_eq!(again.view().revision(), Revision(200));
    assert_eq!(again.view().count("", ""), 3);
}

#[test]
fn watches_end_when_the_store_is_closed() {
    let store = MemoryStore::new(clock());
    let mut watch = store.watch("", Revision(0)).unwrap();
    store.commit_now(put("/a", "1")).unwrap();
    drop(store);
    assert_eq!(drain(&mut watch).len(), 1, "what happened is told");
    assert!(matches!(watch.as_mut().poll_next(&mut Context::from_waker(Waker::noop())), Poll::Ready(None)));
}

#[test]
fn history_is_bounded_by_age() {
    let clock = clock();
    let store = MemoryStore::new(clock.clone());
    for _ in 0..20 {
        store.commit_now(put("/a", "1")).unwrap();
        clock.advance(Duration::from_secs(60));
    }
    // The last commit is one minute old, and it was the one to look at the age of the others.
    assert!(store.view_at(Revision(14)).is_ok());
    match store.view_at(Revision(13)) {
        Err(StoreError::Expired { oldest, .. }) => assert_eq!(oldest, Revision(14)),
        other => panic!("{:?}", other.map(|view| view.revision())),
    }
}

#[test]
fn history_is_bounded_by_bytes() {
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    let store = MemoryStore::with_limits(clock(), limits);
    let mut slow = store.watch("", Revision(0)).unwrap();
    for n in 0..200 {
        store.commit_now(put("/a", &format!("{n}{}", "x".repeat(20_000)))).unwrap();
    }
    let kept = (0..200).filter(|n| store.watch("", Revision(*n)).is_ok()).count();
    assert!((45..55).contains(&kept), "{kept} commits of 20 kB are kept in 1 MB");
    assert!(matches!(drain(&mut slow)[..], [Err(StoreError::Expired { .. })]), "a slow watch is told so");
    let huge = put("/a", &"x".repeat(3 << 20));
    let revision = store.commit_now(huge.clone()).unwrap();
    store.commit_now(huge).unwrap();
    assert!(store.watch("", revision).is_ok(), "the latest commit stays, whatever its size");
}
