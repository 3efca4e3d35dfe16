//! Revisions, compare-and-swap, ranges, the past.

use super::*;

pub(super) fn counts_revisions<S: Store>(store: &S) {
    let base = store.view().revision().0;
    assert_eq!(commit(store, vec![put("a", "1")]).0, base + 1, "the first commit has the next revision");
    assert_eq!(commit(store, vec![put("b", "1"), put("c", "1")]).0, base + 2, "a commit is one revision");
    let failed = try_commit(store, vec![at("a", Revision(0))], vec![put("a", "2")]);
    assert!(
        matches!(failed, Err(StoreError::Conflict { .. })),
        "a key that exists conflicts with revision 0"
    );
    assert_eq!(store.view().revision().0, base + 2, "a failed transaction consumes no revision");
    assert_eq!(commit(store, vec![delete("nothing")]).0, base + 2, "what changes nothing is no commit");
    assert_eq!(commit(store, vec![put("a", "2")]).0, base + 3, "revisions have no gaps");
    assert_eq!(commit(store, vec![delete("b")]).0, base + 4, "a removal is a commit");
    assert_eq!(commit(store, vec![put("b", "2")]).0, base + 5, "revisions have no gaps");

    let view = store.view();
    let entry = |name: &str| view.get(&key(name)).expect("the key was written");
    assert_eq!(view.revision().0, base + 5, "who was answered sees the commit");
    assert_eq!(
        (entry("a").object.revision.0, entry("a").created.0),
        (base + 3, base + 1),
        "a change of a key"
    );
    assert_eq!((entry("b").object.revision.0, entry("b").created.0), (base + 5, base + 5), "a key made anew");
    assert_eq!(
        (entry("c").object.revision.0, entry("c").created.0),
        (base + 2, base + 2),
        "a key left alone"
    );
}

pub(super) fn compares_before_it_writes<S: Store>(store: &S) {
    let first = try_commit(store, vec![at("a", Revision(0))], vec![put("a", "1")]).expect("the key is new");
    let second = try_commit(store, vec![at("a", first)], vec![put("a", "2")]).expect("the revision is right");
    match try_commit(store, vec![at("a", first)], vec![put("a", "3")]) {
        Err(StoreError::Conflict { key: at, current: Some(current) }) => {
            assert_eq!(at, key("a"), "a conflict names the key");
            assert_eq!(
                (current.object.revision, text(&current)),
                (second, "2".to_owned()),
                "and what is there"
            );
        }
        other => panic!("an old revision must conflict, got {other:?}"),
    }
    try_commit(store, vec![at("a", second)], vec![delete("a")]).expect("a removal may have a precondition");
    match try_commit(store, vec![at("a", second)], vec![put("a", "4")]) {
        Err(StoreError::Conflict { current: None, .. }) => {}
        other => panic!("a removed key must conflict, got {other:?}"),
    }
    let guard = try_commit(store, vec![at("a", Revision(0))], vec![put("b", "1")]);
    guard.expect("a precondition may speak of a key that is not written");
}

pub(super) fn is_atomic<S: Store>(store: &S) {
    let a = commit(store, vec![put("a", "1")]);
    let ops = || vec![put("a", "2"), put("b", "2"), delete("c")];
    let failed = try_commit(store, vec![at("a", a), at("b", a)], ops());
    assert!(
        matches!(failed, Err(StoreError::Conflict { key: k, .. }) if k == key("b")),
        "one precondition fails"
    );
    assert_eq!(show(&*store.view()).len(), 1, "then nothing is written");
    let done =
        try_commit(store, vec![at("a", a), at("b", Revision(0))], ops()).expect("all preconditions hold");
    let revisions: Vec<Revision> =
        store.view().range("", "", 9).iter().map(|entry| entry.object.revision).collect();
    assert_eq!(revisions, [done, done], "all writes have one revision");
}

pub(super) fn ranges_by_prefix<S: Store>(store: &S) {
    let names: Vec<String> = (0..300).map(|n| format!("n{n:03}")).collect();
    for chunk in names.chunks(40) {
        commit(store, chunk.iter().map(|name| put(name, name)).collect());
    }
    let edges = ["/registry/pods", "/registry/pods/defaul", "/registry/pods/default0", "/registry/podz/x"];
    commit(store, edges.iter().map(|key| Op::Put((*key).into(), body("edge"))).collect());
    let view = store.view();
    let prefix = "/registry/pods/default/";
    let texts =
        |after: &str, limit| -> Vec<String> { view.range(prefix, after, limit).iter().map(text).collect() };
    assert_eq!(texts("", usize::MAX), names, "a prefix ends where it ends, in order of the keys");
    assert_eq!(texts("", 7), names[..7], "a limit");
    assert_eq!(texts(&key("n006"), 7), names[7..14], "what follows upon a key");
    assert_eq!(texts(&key("n006x"), 2), names[7..9], "what follows upon a key that is not there");
    assert_eq!(texts("/a", 2), names[..2], "`after` before the prefix");
    assert!(texts("/z", 2).is_empty() && texts(&key("n299"), 2).is_empty(), "`after` behind the prefix");
    assert!(texts("", 0).is_empty(), "no limit is not a limit of none");
    assert!(view.range("/registry/nothing/", "", 9).is_empty(), "a prefix without keys");
    assert_eq!(view.range("", "", usize::MAX).len(), 304, "the empty prefix is everything");
    let count = |prefix: &str, after: &str| view.count(prefix, after);
    assert_eq!(count("", ""), 304, "everything is counted");
    assert_eq!((count(prefix, ""), count(prefix, &key("n099"))), (300, 200), "a prefix is counted");
    assert_eq!(
        (count(prefix, "/z"), count("/registry/nothing/", "")),
        (0, 0),
        "nothing is counted as nothing"
    );
    assert_eq!(
        view.get("/registry/pods/defaul").map(|e| text(&e)),
        Some("edge".to_owned()),
        "a key is found"
    );
    assert!(view.get(prefix).is_none(), "a prefix is not a key");
}

pub(super) fn keeps_the_past<S: Store>(store: &S) {
    let mut seen = vec![(store.view(), show(&*store.view()))];
    for n in 0..120u32 {
        let (name, other) = (format!("k{}", n % 17), format!("k{}", (n * 7) % 17));
        let ops = if name == other {
            vec![delete(&name)]
        } else {
            vec![put(&name, &n.to_string()), delete(&other)]
        };
        if commit(store, ops) > seen[seen.len() - 1].0.revision() {
            seen.push((store.view(), show(&*store.view())));
        }
    }
    for (held, expected) in seen.iter().chain(seen.iter().rev()) {
        let again = store.view_at(held.revision()).expect("a recent revision can be read");
        assert_eq!(again.revision(), held.revision(), "a view knows its revision");
        assert_eq!(&show(&*again), expected, "the past reads as it was");
        assert_eq!(&show(&**held), expected, "a view stays as it was");
        assert_eq!(again.count("", ""), expected.len(), "and counts so");
    }
    let latest = store.view().revision();
    match store.view_at(Revision(latest.0 + 1)) {
        Err(StoreError::Future { asked, latest: told }) => {
            assert_eq!((asked.0, told), (latest.0 + 1, latest))
        }
        other => panic!("the future cannot be read: {:?}", other.map(|view| view.revision())),
    }
}

pub(super) fn forgets_what_is_compacted<S: Store>(store: &S) {
    let revisions: Vec<Revision> = (0..10).map(|n| commit(store, vec![put("a", &n.to_string())])).collect();
    let held = store.view_at(revisions[2]).expect("a recent revision can be read");
    let was = show(&*held);
    block_on(store.compact(revisions[5])).expect("a past revision can be compacted");
    block_on(store.compact(revisions[3])).expect("compacting less than before changes nothing");
    for revision in &revisions[..5] {
        let expired = |error: StoreError| match error {
            StoreError::Expired { asked, oldest } => assert_eq!((asked, oldest), (*revision, revisions[5])),
            other => panic!("what is compacted is expired, not {other}"),
        };
        store.view_at(*revision).map(|view| view.revision()).expect_err("what is compacted cannot be read");
        expired(store.view_at(*revision).err().expect("nor a second time"));
        expired(store.watch("", *revision).err().expect("nor watched from"));
    }
    for (n, revision) in revisions.iter().enumerate().skip(5) {
        let view = store.view_at(*revision).expect("the rest can be read");
        assert_eq!(view.get(&key("a")).map(|e| text(&e)), Some(n.to_string()), "as it was");
    }
    assert_eq!(show(&*held), was, "a view that is held outlives compaction");
    let future = Revision(store.view().revision().0 + 1);
    assert!(matches!(block_on(store.compact(future)), Err(StoreError::Future { .. })), "the future stays");
}

/// Transactions that are given together each have a revision, and the ones that fail cost the others nothing.
pub(super) fn commits_several_each_for_itself<S: Store>(store: &S) {
    let base = commit(store, vec![put("a", "0")]);
    let mut watch = store.watch("", base).expect("a watch");
    let txn = |compares, ops| Txn { compares, ops };
    let outcomes = block_on(store.commit_all(vec![
        txn(vec![at("a", base)], vec![put("a", "1")]),
        txn(vec![at("a", base)], vec![put("a", "2")]),
        txn(vec![at("b", Revision(0))], vec![put("b", "1"), put("c", "1")]),
        txn(Vec::new(), Vec::new()),
        txn(vec![at("a", Revision(base.0 + 1))], vec![delete("a")]),
    ]));
    let [first, refused, second, nothing, third] = outcomes.as_slice() else {
        panic!("there is an outcome for each transaction")
    };
    let revision = |outcome: &Result<Revision, StoreError>| match outcome {
        Ok(revision) => revision.0 - base.0,
        Err(error) => panic!("what holds is committed, whatever becomes of the others: {error}"),
    };
    assert_eq!(
        (revision(first), revision(second), revision(third)),
        (1, 2, 3),
        "each has a revision of its own"
    );
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "each is held to its preconditions");
    assert!(nothing.is_ok(), "nothing to do is no failure");
    let told = told_until(&mut watch, Revision(base.0 + 3));
    let events = told.iter().flat_map(|batch| &batch.events);
    let events: Vec<(u64, &str)> =
        events.map(|e| (e.revision.0 - base.0, e.key.rsplit('/').next().unwrap_or_default())).collect();
    assert_eq!(events, [(1, "a"), (2, "b"), (2, "c"), (3, "a")], "and is told as one commit");
}

/// Who was told that nothing has changed since it read must find what it found.
pub(super) fn never_hides_a_change<S: Store>(store: &S) {
    let prefixes = ["", "/registry/", "/registry/pods", "/registry/pods/", "/registry/pods/default/"];
    let exact =
        ["/registry/pods/default/k1", "/registry/nodes/k1", "/registry/nodes/", "/registry/example.org/a/"];
    let prefixes: Vec<&str> = prefixes.into_iter().chain(exact).collect();
    let mut seen = Vec::new();
    for n in 0..60u32 {
        let place = ["pods/default", "nodes", "pods/other", "example.org/a", "example.org/b"][n as usize % 5];
        let key: Arc<str> = format!("/registry/{place}/k{}", n % 3).into();
        let op = if n % 4 == 3 { Op::Delete(key) } else { Op::Put(key, body(&n.to_string())) };
        if n % 7 == 6 {
            // What fails must not count as what it would have done, either.
            try_commit(store, vec![at("absent", Revision(1))], vec![op]).expect_err("the key is not there");
        } else {
            commit(store, vec![op]);
        }
        seen.push(store.view());
    }
    for (i, before) in seen.iter().enumerate() {
        for after in &seen[i..] {
            for prefix in &prefixes {
                let changed = after.changed(prefix);
                assert!(changed <= after.revision(), "a view knows nothing of what comes after it");
                if changed <= before.revision() {
                    let read = |view: &dyn View| -> Vec<String> {
                        view.range(prefix, "", usize::MAX).iter().map(show_entry).collect()
                    };
                    assert_eq!(read(&**before), read(&**after), "{prefix} is said not to have changed");
                }
            }
        }
    }
}
