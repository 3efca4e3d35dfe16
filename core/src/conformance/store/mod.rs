//! What every [`Store`] guarantees, as suites that each of them runs; they panic with a sentence at the first broken
//! promise.
//!
//! - [`suite`]: every store.
//! - [`durable_suite`]: those that live in a directory and come back.
//! - [`torn_suite`]: those whose disk can be broken at will.
//!
//! ```
//! # use std::sync::Arc;
//! use orlop_core::conformance::store::suite;
//! # use orlop_core::{ManualClock, store::MemoryStore};
//!
//! // In a test of the crate that has the store:
//! suite(|| MemoryStore::new(Arc::new(ManualClock::default())));
//! ```

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;

use crate::body::Body;
use crate::store::{Batch, Compare, Entry, Op, Revision, Store, StoreError, Txn, View, Watch};

mod durable; // what outlives a restart or a crash
mod reads; // revisions, compare-and-swap, ranges, the past
mod watches; // order, no gaps, progress, compaction
mod writers; // many threads

pub use durable::{durable_suite, torn_suite};

/// Runs every check, each on a store of its own.
///
/// # Panics
/// At the first promise that is not kept.
pub fn suite<S: Store + Clone>(make: impl Fn() -> S) {
    reads::counts_revisions(&make());
    reads::compares_before_it_writes(&make());
    reads::is_atomic(&make());
    reads::commits_several_each_for_itself(&make());
    reads::ranges_by_prefix(&make());
    reads::keeps_the_past(&make());
    reads::forgets_what_is_compacted(&make());
    reads::never_hides_a_change(&make());
    watches::tells_every_change_in_order(&make());
    watches::begins_anywhere(&make());
    watches::keeps_commits_whole(&make());
    watches::wakes_who_waits(&make());
    watches::makes_progress(&make());
    watches::expires_who_falls_behind(&make());
    watches::spares_who_waits(&make());
    writers::count_without_loss(&make());
    writers::are_told_of_each_other(&make());
    writers::never_show_half_a_commit(&make());
    writers::share_one_store(&make());
}

/// How long the suite waits for what should happen at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a future on this thread, which must not sleep for longer than [`PATIENCE`].
fn block_on<F: Future>(future: F) -> F::Output {
    struct Signal {
        thread: Thread,
        woken: AtomicBool,
    }
    impl Wake for Signal {
        fn wake(self: Arc<Self>) {
            self.woken.store(true, Ordering::Release);
            self.thread.unpark();
        }
    }
    let signal = Arc::new(Signal { thread: std::thread::current(), woken: AtomicBool::new(false) });
    let waker = Waker::from(signal.clone());
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut naps = 0;
        while !signal.woken.swap(false, Ordering::Acquire) {
            naps += 1;
            assert!(naps < 200, "a call or a watch that waits is woken");
            std::thread::park_timeout(PATIENCE / 200);
        }
    }
}

/// Runs `body` on a thread, and fails with `what` if it does not end.
fn within_patience<T: Send + 'static>(what: &str, body: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || done.send(body()));
    wait.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what}"))
}

fn key(name: &str) -> Arc<str> {
    format!("/registry/pods/default/{name}").into()
}

/// An object that says `text`.
fn body(text: &str) -> Arc<Body> {
    let json = format!(r#"{{"kind":"Pod","metadata":{{"name":"{text}"}}}}"#);
    Arc::new(Body::parse(Bytes::from(json)).expect("the suite's objects are well-formed"))
}

/// What an object of [`body`] says.
fn text(entry: &Entry) -> String {
    entry.object.to_value()["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

fn put(name: &str, text: &str) -> Op {
    Op::Put(key(name), body(text))
}

fn delete(name: &str) -> Op {
    Op::Delete(key(name))
}

fn at(name: &str, revision: Revision) -> Compare {
    Compare { key: key(name), revision }
}

fn try_commit<S: Store>(store: &S, compares: Vec<Compare>, ops: Vec<Op>) -> Result<Revision, StoreError> {
    block_on(store.commit(Txn { compares, ops }))
}

fn commit<S: Store>(store: &S, ops: Vec<Op>) -> Revision {
    try_commit(store, Vec::new(), ops).expect("a transaction without preconditions is committed")
}

/// `name=text@revision+created` for each entry.
fn show(view: &dyn View) -> Vec<String> {
    view.range("", "", usize::MAX).iter().map(show_entry).collect()
}

fn show_entry(entry: &Entry) -> String {
    format!("{}={}@{}+{}", entry.key, text(entry), entry.object.revision, entry.created)
}

/// Batches until one reaches `revision`.
fn told_until(watch: &mut Watch, revision: Revision) -> Vec<Batch> {
    let mut out: Vec<Batch> = Vec::new();
    while out.last().is_none_or(|batch| batch.revision < revision) {
        let batch = block_on(watch.next()).expect("a watch of an open store does not end");
        out.push(batch.expect("a watch that keeps up does not fail"));
    }
    out
}
