//! A disk that breaks at every step, fills up or lies; a process that is killed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use orlop_core::store::{Revision, Store, StoreError, drain};

use super::disk::{Disk, Kept};
use super::*;

/// So short that commits of the tests go into the database in between.
const JOURNAL: u64 = 600;

fn on(disk: &Disk) -> RedbStore {
    with_journal(disk, JOURNAL)
}

pub(crate) fn with_journal(disk: &Disk, bytes: u64) -> RedbStore {
    let disk = disk.clone();
    RedbStore::on_backend(move |journal| Ok(disk.file(journal)), bytes, clock()).unwrap()
}

pub(crate) fn commit(store: &RedbStore, txn: Txn) -> Result<Revision, StoreError> {
    block_on(store.commit(txn))
}

/// Runs a future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn recovers_whole_commits() {
    // In the database at once; in the journal, and now and then in the database; in the journal alone.
    for journal in [1, 200, 4096] {
        let mut broke = 0;
        for kept in [Kept::Nothing, Kept::Everything, Kept::EveryOther, Kept::HalfOfTheLast] {
            broke += conformance::torn_suite(|step| {
                let disk = Disk::default();
                let store = with_journal(&disk, journal);
                disk.break_after(step);
                let mut left = None;
                let reopen =
                    move || with_journal(left.get_or_insert_with(|| disk.after_crash(kept)), journal);
                (store, reopen)
            });
        }
        // A commit takes two steps in the journal, and more in the database.
        let least = if journal == 1 { 80 } else { 30 };
        assert!(broke > least, "with {journal} bytes the disk broke in {broke} places only");
    }
}

#[test]
fn a_full_disk_takes_nothing_and_then_everything() {
    let disk = Disk::default();
    let clock = clock();
    let opened = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let store = {
        let (disk, opened) = (disk.clone(), opened.clone());
        let make = move |journal: bool| {
            opened.fetch_add(u32::from(!journal), std::sync::atomic::Ordering::Relaxed);
            Ok(disk.file(journal))
        };
        RedbStore::on_backend(make, JOURNAL, clock.clone()).unwrap()
    };
    let large = "x".repeat(100_000);
    let last = commit(&store, put("/a", &large)).unwrap();
    disk.set_capacity(Some(disk.size()));
    let mut watch = store.watch("", last).unwrap();
    let mut full = None;
    for n in 0..1000 {
        match commit(&store, put(&format!("/b{n}"), &large)) {
            Ok(revision) => assert_eq!(revision, store.view().revision()),
            Err(StoreError::Unavailable(why)) => {
                full = Some((n, why));
                break;
            }
            Err(other) => panic!("{other}"),
        }
    }
    let (n, why) = full.expect("a disk that is full refuses a commit");
    assert!(why.contains("no space left"), "{why}");
    let before = store.view().revision();
    assert!(store.view().get(&format!("/b{n}")).is_none());
    assert!(drain(&mut watch).iter().all(|b| b.as_ref().unwrap().revision <= before));
    // Each of these once read the whole file.
    for _ in 0..10 {
        assert!(commit(&store, put("/c", &large)).is_err(), "it stays full");
    }
    assert_eq!(
        opened.load(std::sync::atomic::Ordering::Relaxed),
        2,
        "the file is not opened again each time"
    );
    disk.set_capacity(None);
    clock.advance(std::time::Duration::from_secs(5));
    assert_eq!(commit(&store, put("/c", "1")).unwrap().0, before.0 + 1);
    drop(store);
    let store = on(&disk.after_crash(Kept::Nothing));
    assert_eq!((store.view().revision().0, store.view().count("", "")), (before.0 + 1, n as usize + 2));
}

/// A flush that failed may have happened. What it wrote was answered as unavailable and must not appear beneath what
/// is committed later under the same revision.
#[test]
fn what_failed_and_yet_happened_is_taken_back() {
    // How many flushes a commit takes is redb's affair: lie about the first, the second, the third.
    for good in 0..3 {
        let disk = Disk::default();
        let store = on(&disk);
        commit(&store, put("/0", "1")).unwrap();
        commit(&store, put("/a", "1")).unwrap();
        disk.lie_about_syncs(1 + good);
        let failed = commit(&store, put("/lost", "1"));
        assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
        assert!(store.view().get("/lost").is_none());
        disk.lie_about_syncs(0);
        assert_eq!(commit(&store, put("/b", "1")).unwrap(), Revision(3));
        assert_eq!(commit(&store, put("/c", "1")).unwrap(), Revision(4));
        let crashed = disk.after_crash(Kept::Nothing);
        drop(store);
        for disk in [crashed, disk.after_crash(Kept::Nothing)] {
            let store = on(&disk);
            let keys: Vec<_> = store.view().range("", "", 9).iter().map(|e| e.key.to_string()).collect();
            assert_eq!((store.view().revision().0, keys.join(" ")), (4, "/0 /a /b /c".to_owned()));
        }
    }
}

#[test]
fn dropping_the_store_releases_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    for n in 1..4 {
        let store = RedbStore::open(dir.path(), clock()).unwrap();
        let clone = store.clone();
        drop(store);
        assert_eq!(commit(&clone, put("/a", "1")).unwrap(), Revision(n));
        // A commit that nobody waits for any more is flushed all the same, or not done; either way the store closes.
        drop(clone.commit(put("/b", "1")));
    }
    let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["store.journal", "store.pid", "store.redb"]);
    assert_eq!(std::fs::read_to_string(dir.path().join("store.pid")).unwrap(), "", "nobody holds it");
}

const CHILD_DIR: &str = "ORLOP_TEST_CHILD_DIR";

/// Starts this test program anew as a process that commits without end and prints each revision it was answered.
pub(crate) fn child(dir: &std::path::Path) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::commits_without_end", "--ignored", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

#[test]
#[ignore = "the other tests run it, as a process of its own"]
fn commits_without_end() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let store = RedbStore::open(dir, clock()).unwrap();
    loop {
        let revision = commit(&store, put("/a", "1")).unwrap();
        println!("answered {revision}");
    }
}

#[test]
fn a_killed_process_loses_nothing_that_was_answered() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for _ in 0..3 {
        let (mut child, out) = child(dir.path());
        let mut answered =
            out.lines().filter_map(|line| line.unwrap().strip_prefix("answered ")?.parse::<u64>().ok());
        let first = answered.next().unwrap();
        assert!(first > last, "revisions go on");
        let seen = answered.nth(20).unwrap();
        child.kill().unwrap();
        last = answered.last().unwrap_or(seen);
        child.wait().unwrap();
        let store = RedbStore::open(dir.path(), clock()).unwrap();
        assert!(store.view().revision().0 >= last);
        last = store.view().revision().0;
    }
}
