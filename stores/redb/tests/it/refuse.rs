//! What cannot be opened, and what the error says.

use std::fs;
use std::io::BufRead;
use std::path::Path;

use orlop_core::store::Store;
use orlop_store_redb::OpenError;

use super::*;

fn refused(dir: &Path) -> OpenError {
    RedbStore::open(dir, clock()).err().expect("the directory cannot be opened")
}

fn commit(store: &RedbStore, txn: Txn) {
    let mut commit = store.commit(txn);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    while commit.as_mut().poll(&mut cx).is_pending() {
        std::thread::yield_now();
    }
}

#[test]
fn a_directory_is_open_once() {
    let dir = tempfile::tempdir().unwrap();
    let shown = dir.path().display();
    let held = RedbStore::open(dir.path(), clock()).unwrap();
    assert_eq!(refused(dir.path()).to_string(), format!("{shown} is in use by this process already"));
    drop(held);

    let (mut child, mut out) = crash::child(dir.path());
    let mut line = String::new();
    while !line.contains("answered") {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "the other process opens the directory");
    }
    let error = refused(dir.path());
    let pid = child.id();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(error.to_string(), format!("{shown} is in use by another orlop (pid {pid})"));
    RedbStore::open(dir.path(), clock()).expect("a lock ends with its process");
}

#[test]
fn what_is_no_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.redb");
    fs::write(&file, "kind: Pod\n".repeat(1000)).unwrap();
    let error = refused(dir.path());
    assert!(matches!(&error, OpenError::Damaged { file: named, .. } if *named == file), "{error}");
    let text = error.to_string();
    assert!(text.starts_with(&file.display().to_string()) && text.contains("move it away"), "{text}");
}

#[test]
fn what_cannot_be_a_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = refused(&file.join("below"));
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
    assert!(error.to_string().contains("file/below"), "{error}");
}

#[test]
fn another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(RedbStore::open(dir.path(), clock()).unwrap());
    set_format(dir.path(), 7);
    let error = refused(dir.path());
    assert!(matches!(error, OpenError::Format { found: 7, .. }), "{error}");
}

const META: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");

fn set_format(dir: &Path, format: u64) {
    let database = redb::Database::open(dir.join("store.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert("format", format).unwrap();
    transaction.commit().unwrap();
}

fn format(dir: &Path) -> u64 {
    let database = redb::Database::open(dir.join("store.redb")).unwrap();
    let meta = redb::ReadableDatabase::begin_read(&database).unwrap().open_table(META).unwrap();
    meta.get("format").unwrap().unwrap().value()
}

/// The process that wrote into `dir` ends without closing anything.
fn kill_one_in(dir: &Path) {
    let (mut child, out) = crash::child(dir);
    let mut lines = out.lines();
    let answered = lines.by_ref().filter(|line| line.as_ref().unwrap().starts_with("answered"));
    assert_eq!(answered.take(5).count(), 5);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Its rows were put into a database of a layout that nobody here knows, which was refused only then.
#[test]
fn another_format_is_refused_before_the_journal_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    kill_one_in(dir.path());
    set_format(dir.path(), 7);
    let was = fs::read(dir.path().join("store.journal")).unwrap();
    assert!(matches!(refused(dir.path()), OpenError::Format { found: 7, .. }));
    assert!(fs::read(dir.path().join("store.journal")).unwrap() == was);
    set_format(dir.path(), 2);
    assert!(RedbStore::open(dir.path(), clock()).unwrap().view().revision().0 >= 5);
}

/// It says so from its first commit on: the version that wrote it would not see what is in the journal.
#[test]
fn a_directory_of_the_release_before_becomes_one_of_this() {
    let dir = tempfile::tempdir().unwrap();
    let database = redb::Database::create(dir.path().join("store.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert("format", 1).unwrap();
        meta.insert("revision", 4).unwrap();
        let objects = redb::TableDefinition::<'_, &str, &[u8]>::new("objects");
        let mut row = [3_u64.to_le_bytes(), 4_u64.to_le_bytes()].concat();
        row.extend_from_slice(br#"{"metadata":{"name":"a"}}"#);
        transaction.open_table(objects).unwrap().insert("/a", row.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    let store = RedbStore::open(dir.path(), clock()).unwrap();
    assert_eq!((store.view().revision().0, store.view().count("", "")), (4, 1));
    drop(store);
    assert_eq!(format(dir.path()), 1, "nothing was committed");
    let store = RedbStore::open(dir.path(), clock()).unwrap();
    commit(&store, put("/b", "1"));
    commit(&store, put("/c", "1"));
    drop(store);
    assert_eq!(format(dir.path()), 2);
    let store = RedbStore::open(dir.path(), clock()).unwrap();
    assert_eq!((store.view().revision().0, store.view().count("", "")), (6, 3));
}

/// The error named the database, and whoever moved that away met the same error for ever.
#[test]
fn a_damaged_journal_is_named_and_what_the_error_advises_works() {
    let dir = tempfile::tempdir().unwrap();
    kill_one_in(dir.path());
    let journal = dir.path().join("store.journal");
    let sound = fs::read(&journal).unwrap();
    let mut bytes = sound.clone();
    bytes[40] ^= 1;
    for damaged in [bytes.as_slice(), &sound[..sound.len() / 2]] {
        fs::write(&journal, damaged).unwrap();
        let error = refused(dir.path());
        assert!(matches!(&error, OpenError::Journal { file, .. } if *file == journal), "{error}");
        assert!(error.to_string().contains("Move it away"), "{error}");
    }
    fs::write(&journal, &sound).unwrap();
    let database = dir.path().join("store.redb");
    let copy = fs::read(&database).unwrap();
    fs::remove_file(&database).unwrap();
    let store = RedbStore::open(dir.path(), clock()).unwrap();
    assert_eq!(store.view().revision().0, 0, "without its database the journal is nothing");
    drop(store);
    fs::write(&database, copy).unwrap();
    fs::remove_file(&journal).unwrap();
    let store = RedbStore::open(dir.path(), clock()).unwrap();
    assert_eq!(store.view().revision().0, 1, "without its journal the database is where the journal began");
}

/// Bits that flip and files that are cut short: what opens is as it was, and the rest is refused by name.
#[test]
fn damage_is_found_when_the_store_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let store = RedbStore::open(dir.path(), clock()).unwrap();
    for n in 0..40 {
        commit(&store, put(&format!("/{n}"), &"x".repeat(3000)));
    }
    let show = |store: &RedbStore| format!("{:?}", store.view().range("", "", usize::MAX));
    let was = show(&store);
    drop(store);
    let file = dir.path().join("store.redb");
    let sound = fs::read(&file).unwrap();
    let mut found = 0;
    let flips = (0..400).step_by(7).chain((4096..sound.len()).step_by(40_011));
    for (n, at) in flips.enumerate() {
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (n % 8);
        fs::write(&file, bytes).unwrap();
        match RedbStore::open(dir.path(), clock()) {
            Ok(store) => assert_eq!(show(&store), was, "a flipped bit at {at} went unnoticed"),
            Err(OpenError::Damaged { .. }) => found += 1,
            Err(other) => panic!("a flipped bit at {at}: {other}"),
        }
    }
    assert!(found > 10, "{found}");
    for len in (1..sound.len()).step_by(sound.len() / 7) {
        fs::write(&file, &sound[..len]).unwrap();
        match RedbStore::open(dir.path(), clock()) {
            Ok(store) => assert_eq!(show(&store), was, "a file cut to {len} bytes went unnoticed"),
            Err(OpenError::Damaged { .. }) => {}
            Err(other) => panic!("a file cut to {len} bytes: {other}"),
        }
    }
}

/// Secrets are in it.
#[cfg(unix)]
#[test]
fn others_cannot_read_the_store() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("made");
    let _held = RedbStore::open(&dir, clock()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let files = ["store.redb", "store.journal"].map(|file| mode(&dir.join(file)));
    assert_eq!((mode(&dir), files), (0o700, [0o600; 2]));
}
