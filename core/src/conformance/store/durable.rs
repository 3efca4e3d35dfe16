//! What outlives a restart or a crash.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// What stores promise that live in a directory: closed and opened again, everything is there at its revision.
///
/// # Panics
/// At the first promise that is not kept.
pub fn durable_suite<S: Store + Clone>(open: impl Fn(&Path) -> S) {
    let dir = Scratch::new();
    let (last, was) = {
        let store = open(&dir.0);
        assert_eq!(store.view().count("", ""), 0, "a new directory is empty");
        for n in 0..40 {
            commit(
                &store,
                vec![put(&format!("k{}", n % 7), &n.to_string()), delete(&format!("k{}", (n + 3) % 7))],
            );
        }
        commit(&store, vec![Op::Put("/registry/nodes/ünï".into(), body("ünï"))]);
        (store.view().revision(), show(&*store.view()))
    };
    for _ in 0..2 {
        let store = open(&dir.0);
        assert_eq!(store.view().revision(), last, "the revision comes back");
        assert_eq!(show(&*store.view()), was, "every object, its revision and its creation come back");
    }
    let store = open(&dir.0);
    watches_over_a_restart(&store, last);
    let next = store.view().get(&key("k0")).map_or(Revision(0), |entry| entry.object.revision);
    let next =
        try_commit(&store, vec![at("k0", next)], vec![put("k0", "again")]).expect("preconditions hold on");
    assert!(next > last, "revisions go on where they were");
    drop(store);
    let store = open(&dir.0);
    assert_eq!(store.view().revision(), next, "what was committed after a restart outlives the next");
    let entry = store.view().get(&key("k0")).expect("the key is there");
    assert_eq!((entry.object.revision, text(&entry).as_str()), (next, "again"), "with its object");
}

/// A watch from before the restart is told what it missed, or that it is too late; never nothing.
fn watches_over_a_restart<S: Store>(store: &S, last: Revision) {
    for back in [1, 5, 30] {
        match store.watch("", Revision(last.0 - back)) {
            Err(StoreError::Expired { .. }) => {}
            Err(other) => panic!("a revision from before the restart is expired, not {other}"),
            Ok(mut watch) => {
                let told = told_until(&mut watch, last);
                let revisions: std::collections::BTreeSet<Revision> =
                    told.iter().flat_map(|batch| batch.events.iter().map(|e| e.revision)).collect();
                assert_eq!(revisions.len() as u64, back, "a watch that is accepted has no gap");
            }
        }
    }
    let mut watch = store.watch("", last).expect("who was up to date goes on");
    let next = commit(store, vec![put("restart", "1")]);
    let told = told_until(&mut watch, next);
    assert_eq!(told.iter().map(|b| b.events.len()).sum::<usize>(), 1, "with the next change");
}

/// Breaks the disk at every step of a little history, and looks at what comes back. Answers with how many places the
/// disk broke in.
///
/// `trial(step)` makes an empty store whose disk breaks at that step, and a function that opens what a crash there
/// left on a disk that is sound, and opens that disk again when it is called again. The suite counts steps up from 0
/// until nothing breaks.
///
/// # Panics
/// When what comes back is not the state after a whole number of commits, lacks one that was answered, or when a
/// commit was seen before it was answered.
pub fn torn_suite<S: Store, R: FnMut() -> S>(trial: impl Fn(u64) -> (S, R)) -> u64 {
    // What the store holds after each commit, from a run in which nothing breaks.
    let mut step = 0;
    let history = {
        let (store, _) = trial(u64::MAX);
        let mut history = vec![show(&*store.view())];
        for ops in little_history() {
            commit(&store, ops);
            history.push(show(&*store.view()));
        }
        history
    };
    loop {
        let (store, mut reopen) = trial(step);
        let base = store.view().revision();
        let mut watch = store.watch("", base).expect("a watch");
        let mut answered = 0;
        let mut broke = false;
        for ops in little_history() {
            match try_commit(&store, Vec::new(), ops) {
                Ok(_) => {
                    assert!(!broke, "a broken disk takes nothing in (step {step})");
                    answered += 1;
                }
                Err(StoreError::Unavailable(_)) => broke = true,
                Err(other) => panic!("a broken disk is Unavailable, not {other} (step {step})"),
            }
            let (now, told) = (store.view(), crate::store::drain(&mut watch));
            assert_eq!(
                show(&*now),
                history[answered],
                "a failed commit leaves the state as before (step {step})"
            );
            let reached = told.iter().flatten().map(|batch| batch.revision).max();
            assert!(reached.is_none_or(|r| r <= now.revision()), "nobody sees what failed (step {step})");
        }
        drop((watch, store));
        let store = reopen();
        let now = show(&*store.view());
        let whole = (answered..history.len()).find(|n| history[*n] == now);
        let Some(whole) = whole else {
            panic!("after a crash at step {step}, with {answered} answered, there is {now:?}");
        };
        assert_eq!(store.view().revision().0, base.0 + whole as u64, "with its revision (step {step})");
        let next = commit(&store, vec![put("after", "crash")]);
        assert_eq!(next.0, base.0 + whole as u64 + 1, "and goes on from there (step {step})");
        let now = show(&*store.view());
        drop(store);
        assert_eq!(show(&*reopen().view()), now, "what follows upon a crash outlives it (step {step})");
        if !broke {
            return step;
        }
        step += 1;
    }
}

fn little_history() -> Vec<Vec<Op>> {
    vec![
        vec![put("a", "1")],
        vec![put("b", "1"), put("c", "1")],
        vec![put("a", "2"), delete("b")],
        vec![delete("c"), put("d", "1")],
        vec![put("b", "2")],
    ]
}

/// A directory that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("orlop-conformance-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).expect("the directory for temporary files can be written");
        Scratch(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind in the directory for temporary files harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
