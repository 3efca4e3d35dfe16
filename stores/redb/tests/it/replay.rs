//! A journal and its database: what is taken over from it when the store is opened, and what is not.

use orlop_core::store::{Store, StoreError};

use super::crash::{commit, with_journal};
use super::disk::{Disk, Kept};
use super::*;

fn on(disk: &Disk) -> RedbStore {
    with_journal(disk, 4096)
}

fn remove(key: &str) -> Txn {
    Txn { compares: vec![], ops: vec![Op::Delete(key.into())] }
}

fn show(store: &RedbStore) -> String {
    format!("{:?}", store.view().range("", "", usize::MAX))
}

/// Everything that was regretted since the copy was made, a deletion for instance, was done again from the journal.
#[test]
fn a_copy_that_is_put_back_is_what_it_was() {
    for clean in [true, false] {
        let disk = Disk::default();
        let store = on(&disk);
        for n in 0..4 {
            commit(&store, put(&format!("/{n}"), "1")).unwrap();
        }
        let was = show(&store);
        drop(store);
        let copy = disk.after_crash(Kept::Nothing);
        let store = on(&disk);
        for n in 0..4 {
            commit(&store, remove(&format!("/{n}"))).unwrap();
        }
        let crashed = disk.after_crash(Kept::Nothing);
        drop(store);
        let later = if clean { disk.after_crash(Kept::Nothing) } else { crashed };
        assert_eq!(on(&later.after_crash(Kept::Nothing)).view().count("", ""), 0);

        let disk = copy.beside_journal_of(&later);
        let store = on(&disk);
        assert_eq!((store.view().revision().0, show(&store)), (4, was));
        // And what is committed from there on is not followed by what is left of the other history.
        for name in ["/a", "/b"] {
            commit(&store, put(name, "1")).unwrap();
        }
        let is = show(&store);
        let store = on(&disk.after_crash(Kept::Nothing));
        assert_eq!((store.view().revision().0, show(&store)), (6, is));
    }
}

/// Everything that was answered could be read, and still the store did not open.
#[test]
fn a_store_opens_on_a_full_disk() {
    let disk = Disk::default();
    let store = on(&disk);
    for n in 0..8 {
        commit(&store, put(&format!("/{n}"), "1")).unwrap();
    }
    commit(&store, remove("/3")).unwrap();
    let was = show(&store);
    let mut disk = disk.after_crash(Kept::Nothing);
    for _ in 0..3 {
        disk.set_capacity(Some(disk.size()));
        let store = on(&disk);
        assert_eq!((store.view().revision().0, show(&store)), (9, was.clone()));
        let large = commit(&store, put("/large", &"x".repeat(3_000_000)));
        assert!(matches!(large, Err(StoreError::Unavailable(_))), "{large:?}");
        drop(store);
        disk = disk.after_crash(Kept::Nothing);
    }
    let store = on(&disk);
    assert_eq!(commit(&store, put("/3", "1")).unwrap().0, 10);
    assert_eq!(on(&disk.after_crash(Kept::Nothing)).view().count("", ""), 8);
}

/// Its space was taken when the store was opened, and where there was none, that failed.
#[test]
fn without_room_for_a_journal_there_is_none() {
    let disk = Disk::default();
    drop(on(&disk));
    disk.set_capacity(Some(disk.size() + 1000));
    let store = on(&disk);
    for n in 0..4 {
        commit(&store, put(&format!("/{n}"), "1")).unwrap();
    }
    assert_eq!(redb::StorageBackend::len(&disk.file(true)).unwrap(), 0);
    let store = on(&disk.after_crash(Kept::Nothing));
    assert_eq!((store.view().revision().0, store.view().count("", "")), (4, 4));
}
