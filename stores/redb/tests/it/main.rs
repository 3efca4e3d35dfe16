//! The durable store: conformance, crashes, full disks, directories that cannot be opened.

use std::sync::Arc;

use orlop_core::store::{Op, Txn};
use orlop_core::{Body, ManualClock};

mod crash; // a disk that breaks at every step, and a process that is killed
mod disk; // the disk
mod refuse; // what cannot be opened, and what the error says
mod replay; // a journal and its database

use orlop_core::conformance::store as conformance;
use orlop_store_redb::RedbStore;

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::default())
}

fn put(key: &str, text: &str) -> Txn {
    let body = Body::parse(format!(r#"{{"metadata":{{"name":"{text}"}}}}"#).into()).unwrap();
    Txn { compares: vec![], ops: vec![Op::Put(key.into(), Arc::new(body))] }
}

#[test]
fn conforms() {
    let dir = tempfile::tempdir().unwrap();
    let next = std::cell::Cell::new(0);
    conformance::suite(|| {
        next.set(next.get() + 1);
        RedbStore::open(dir.path().join(next.get().to_string()), clock()).unwrap()
    });
}

#[test]
fn is_durable() {
    conformance::durable_suite(|dir| RedbStore::open(dir, clock()).unwrap());
}
