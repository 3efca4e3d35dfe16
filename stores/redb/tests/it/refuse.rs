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
    let database = redb::Database::open(dir.path().join("store.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<'_, &str, u64>::new("meta");
    transaction.open_table(meta).unwrap().insert("format", 7).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = refused(dir.path());
    assert!(matches!(error, OpenError::Format { found: 7, .. }), "{error}");
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
    assert_eq!((mode(&dir), mode(&dir.join("store.redb"))), (0o700, 0o600));
}
