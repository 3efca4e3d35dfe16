//! Many threads.

use super::*;

const THREADS: usize = 8;
const ROUNDS: usize = 40;

/// Every thread counts one counter up by compare-and-swap; a watch sees each value once.
pub(super) fn count_without_loss<S: Store + Clone>(store: &S) {
    let base = store.view().revision();
    let mut watch = store.watch(&key("counter"), base).expect("a watch");
    commit(store, vec![put("counter", "0")]);
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let store = store.clone();
            std::thread::spawn(move || (0..ROUNDS).for_each(|_| count_up(&store)))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("a writer does not panic"));
    let total = THREADS * ROUNDS;
    let counter = store.view().get(&key("counter")).expect("the counter is there");
    assert_eq!(text(&counter), total.to_string(), "no increment is lost, none counts twice");
    let told = told_until(&mut watch, counter.object.revision);
    let values: Vec<String> =
        told.iter().flat_map(|batch| &batch.events).filter_map(|e| e.now.as_ref()).map(text).collect();
    let expected: Vec<String> = (0..=total).map(|n| n.to_string()).collect();
    assert_eq!(values, expected, "a watch sees every value, in order");
}

fn count_up<S: Store>(store: &S) {
    loop {
        let entry = store.view().get(&key("counter")).expect("the counter is there");
        let next = text(&entry).parse::<usize>().expect("the counter is a number") + 1;
        match try_commit(
            store,
            vec![at("counter", entry.object.revision)],
            vec![put("counter", &next.to_string())],
        ) {
            Ok(revision) => {
                assert!(store.view().revision() >= revision, "who was answered sees the commit");
                return;
            }
            Err(StoreError::Conflict { current: Some(current), .. }) => {
                assert!(
                    current.object.revision > entry.object.revision,
                    "a conflict tells of something newer"
                );
                let seen = store.view().get(&key("counter")).expect("the counter is there");
                assert!(
                    seen.object.revision >= current.object.revision,
                    "what a conflict tells is published"
                );
            }
            Err(other) => panic!("counting meets conflicts, not {other}"),
        }
    }
}

/// Watches that wait while others write are woken for each change, and in time.
pub(super) fn are_told_of_each_other<S: Store + Clone>(store: &S) {
    let base = store.view().revision();
    let watchers: Vec<_> = (0..6)
        .map(|n| {
            let everything = n % 2 == 0;
            let prefix = if everything { key("") } else { key(&format!("w{}/", n % 3)) };
            let mut watch = store.watch(&prefix, base).expect("a watch");
            std::thread::spawn(move || {
                let mut told: Vec<u64> = Vec::new();
                while told.len() < if everything { 3 * ROUNDS } else { ROUNDS } {
                    let batch = block_on(watch.next()).expect("a watch of an open store does not end");
                    let batch = batch.expect("a watch that keeps up does not fail");
                    assert!(batch.events.iter().all(|e| e.key.starts_with(&*prefix)), "a prefix selects");
                    told.extend(batch.events.iter().map(|e| e.revision.0));
                }
                assert!(told.is_sorted_by(|a, b| a < b), "changes come in order");
                let all = (base.0 + 1..).take(3 * ROUNDS);
                assert!(!everything || told.iter().copied().eq(all), "and without a gap");
            })
        })
        .collect();
    let writers: Vec<_> = (0..3)
        .map(|n| {
            let store = store.clone();
            std::thread::spawn(move || {
                for round in 0..ROUNDS {
                    commit(&store, vec![put(&format!("w{n}/{round}"), "1")]);
                }
            })
        })
        .collect();
    for thread in writers.into_iter().chain(watchers) {
        thread.join().expect("a watch is told of what others write");
    }
}

/// Two keys always say the same; views and watches never see them differ.
pub(super) fn never_show_half_a_commit<S: Store + Clone>(store: &S) {
    let base = store.view().revision();
    let writer = {
        let store = store.clone();
        std::thread::spawn(move || {
            (0..200).for_each(|n: u32| {
                commit(&store, vec![put("left", &n.to_string()), put("right", &n.to_string())]);
            });
        })
    };
    let mut seen = base;
    while !writer.is_finished() || seen < store.view().revision() {
        let view = store.view();
        assert!(view.revision() >= seen, "the latest revision does not go back");
        seen = view.revision();
        let says = |name: &str| view.get(&key(name)).map(|entry| (text(&entry), entry.object.revision));
        assert_eq!(says("left"), says("right"), "a commit is seen whole");
    }
    writer.join().expect("the writer does not panic");
}

pub(super) fn share_one_store<S: Store + Clone>(store: &S) {
    let other = store.clone();
    let mut watch = other.watch("", other.view().revision()).expect("a watch");
    let revision = commit(store, vec![put("a", "1")]);
    assert_eq!(show(&*other.view()), show(&*store.view()), "clones are the same store");
    assert_eq!(told_until(&mut watch, revision).len(), 1, "also for those who watch");
    drop(other);
    commit(store, vec![put("b", "1")]);
}
