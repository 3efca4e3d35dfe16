//! Order, no gaps, progress, compaction.

use super::*;
use crate::store::{Event, drain};

/// `revision name before>now`.
fn show_event(event: &Event) -> String {
    let state = |entry: &Option<Entry>| entry.as_ref().map_or("-".to_owned(), text);
    let name = event.key.rsplit('/').next().unwrap_or_default();
    for entry in event.now.iter().chain(&event.before) {
        assert_eq!(entry.key, event.key, "an event speaks of one key");
    }
    if let Some(now) = &event.now {
        assert_eq!(now.object.revision, event.revision, "an object is as old as its event");
    }
    format!("{} {name} {}>{}", event.revision, state(&event.before), state(&event.now))
}

fn events(batches: &[Batch]) -> Vec<String> {
    for pair in batches.windows(2) {
        assert!(pair[0].revision < pair[1].revision, "each batch leads on");
    }
    for (n, batch) in batches.iter().enumerate() {
        let reached = n.checked_sub(1).map_or(Revision(0), |n| batches[n].revision);
        let inside = |e: &Event| reached < e.revision && e.revision <= batch.revision;
        assert!(batch.events.iter().all(inside), "events belong to their batch");
    }
    batches.iter().flat_map(|batch| batch.events.iter().map(show_event)).collect()
}

pub(super) fn tells_every_change_in_order<S: Store>(store: &S) {
    let base = store.view().revision();
    let mut early = store.watch("/registry/", base).expect("the latest revision can be watched from");
    let mut pods = store.watch("/registry/pods/", base).expect("several may watch");
    commit(store, vec![put("a", "1")]);
    let node = |text: &str| Op::Put("/registry/nodes/n".into(), body(text));
    let second = commit(store, vec![node("1")]);
    // Between two calls as well as before the first.
    let mut told = told_until(&mut early, second);
    commit(store, vec![put("a", "2"), put("b", "1")]);
    commit(store, vec![delete("a"), node("2")]);
    let last = commit(store, vec![put("a", "3")]);
    told.extend(told_until(&mut early, last));
    let expected: Vec<String> = ["1 a ->1", "2 n ->1", "3 a 1>2", "3 b ->1", "4 a 2>-", "4 n 1>2", "5 a ->3"]
        .iter()
        .map(|line| {
            let (revision, rest) = line.split_once(' ').expect("a line has a revision");
            format!("{} {rest}", base.0 + revision.parse::<u64>().expect("a number"))
        })
        .collect();
    assert_eq!(events(&told), expected, "each change once, in order");
    let of_pods: Vec<String> = expected.iter().filter(|line| !line.contains(" n ")).cloned().collect();
    assert_eq!(events(&told_until(&mut pods, last)), of_pods, "a prefix selects");
    let mut late = store.watch("/registry/", base).expect("history can be watched");
    assert_eq!(events(&told_until(&mut late, last)), expected, "who comes late is told the same");
}

pub(super) fn begins_anywhere<S: Store>(store: &S) {
    let base = store.view().revision();
    for n in 0..50 {
        commit(store, vec![put(&format!("k{}", n % 5), &n.to_string())]);
    }
    let last = store.view().revision();
    let mut all = store.watch("", base).expect("history can be watched");
    let all = events(&told_until(&mut all, last));
    for skip in 0..50 {
        let after = Revision(base.0 + skip as u64);
        let mut some = store.watch("", after).expect("history can be watched");
        assert_eq!(events(&told_until(&mut some, last)), all[skip..], "a watch begins after its revision");
    }
    let future = store.watch("", Revision(last.0 + 1)).err();
    assert!(matches!(future, Some(StoreError::Future { .. })), "the future cannot be watched from");
}

pub(super) fn keeps_commits_whole<S: Store>(store: &S) {
    let base = store.view().revision();
    let mut last = base;
    for n in 0..30 {
        last = commit(store, (0..60).map(|k| put(&format!("k{k}"), &n.to_string())).collect());
    }
    let mut watch = store.watch("", base).expect("history can be watched");
    for batch in told_until(&mut watch, last) {
        let mut counts = std::collections::BTreeMap::new();
        batch.events.iter().for_each(|e| *counts.entry(e.revision).or_insert(0) += 1);
        assert!(counts.values().all(|n| *n == 60), "a commit is never split over batches");
    }
}

pub(super) fn wakes_who_waits<S: Store + Clone>(store: &S) {
    let mut watch = store.watch("/registry/pods/", store.view().revision()).expect("a watch");
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for _ in 0..3 {
            let batch = block_on(async {
                loop {
                    match watch.next().await {
                        Some(Ok(batch)) if batch.events.is_empty() => {}
                        other => return other,
                    }
                }
            });
            let text = match batch {
                Some(Ok(batch)) => batch.events.iter().map(show_event).collect::<Vec<_>>().join(","),
                other => format!("{other:?}"),
            };
            // Nobody listens once a check has failed.
            let _ = tell.send(text);
        }
    });
    for n in 0..3 {
        let revision = commit(store, vec![put(&format!("k{n}"), "1")]);
        let woken = told.recv_timeout(PATIENCE).expect("who waits is woken by a change");
        assert_eq!(woken, format!("{revision} k{n} ->1"), "and told of it");
    }
}

pub(super) fn makes_progress<S: Store + Clone>(store: &S) {
    let mut polled = store.watch("/registry/nodes/", store.view().revision()).expect("a watch");
    let mut waiting = store.watch("/registry/nodes/", store.view().revision()).expect("a watch");
    let mut last = commit(store, vec![put("a", "0")]);
    let told = within_patience("a watch that is polled makes progress", move || {
        (told_until(&mut polled, last), polled).0
    });
    assert!(told.iter().all(|batch| batch.events.is_empty()), "progress has no events");

    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        while let Some(Ok(batch)) = block_on(waiting.next()) {
            if tell.send(batch).is_err() {
                return;
            }
        }
    });
    let begin = last;
    for n in 1..700 {
        last = commit(store, vec![put("a", &n.to_string())]);
    }
    let mut reached = begin;
    while last.0 - reached.0 > 500 {
        let batch = told.recv_timeout(PATIENCE).expect("a quiet watch is woken now and then");
        assert!(batch.events.is_empty(), "progress has no events");
        reached = batch.revision;
    }
}

pub(super) fn expires_who_falls_behind<S: Store>(store: &S) {
    let base = store.view().revision();
    let mut behind = store.watch("", base).expect("a watch");
    let mut ahead = store.watch("", base).expect("a watch");
    for n in 0..10 {
        commit(store, vec![put("a", &n.to_string())]);
    }
    let last = store.view().revision();
    told_until(&mut ahead, last);
    block_on(store.compact(last)).expect("compaction");
    // What was on its way already may still be told; then comes the error, and not silence.
    let error = within_patience("who falls behind is told so", move || {
        loop {
            match block_on(behind.next()) {
                Some(Ok(batch)) if batch.revision == last => return None,
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    assert!(block_on(behind.next()).is_none(), "the watch ends with its error");
                    return Some(error);
                }
                None => panic!("a watch does not end without an error"),
            }
        }
    });
    assert!(matches!(error, None | Some(StoreError::Expired { .. })), "the error is Expired, not {error:?}");
    let next = commit(store, vec![put("a", "more")]);
    let told = told_until(&mut ahead, next);
    assert_eq!(told.iter().map(|b| b.events.len()).sum::<usize>(), 1, "who has kept up goes on");
}

/// A watch on keys that do not change has missed nothing, however much of the history is gone.
pub(super) fn spares_who_waits<S: Store>(store: &S) {
    let mut quiet = store.watch("/registry/nodes/", store.view().revision()).expect("a watch");
    assert!(drain(&mut quiet).iter().all(Result::is_ok), "a new watch has nothing to tell");
    for n in 0..10 {
        commit(store, vec![put("a", &n.to_string())]);
    }
    block_on(store.compact(store.view().revision())).expect("compaction");
    assert!(drain(&mut quiet).iter().all(Result::is_ok), "a watch that waited has missed nothing");
    let last = commit(store, vec![Op::Put("/registry/nodes/n".into(), body("1"))]);
    let told = told_until(&mut quiet, last);
    assert_eq!(told.iter().map(|b| b.events.len()).sum::<usize>(), 1, "it goes on");
}
