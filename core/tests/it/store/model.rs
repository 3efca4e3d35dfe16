//! Random histories: the store against a list of maps.

use std::collections::BTreeMap;

use orlop_core::store::{Entry, Event, Watch};
use proptest::prelude::*;

use super::*;

/// A key's text, its last revision, and the one that created it.
type State = BTreeMap<String, (String, u64, u64)>;

#[derive(Clone, Debug)]
enum Step {
    /// Keys to write or remove; the precondition on the first holds or does not.
    Commit {
        keys: Vec<(u16, bool)>,
        hold: Option<bool>,
    },
    /// Reads so many revisions back, from a fraction of the key space on.
    Read {
        back: usize,
        prefix: u8,
        after: u16,
        limit: usize,
    },
    /// Watches from so many revisions back.
    Watch {
        back: usize,
        prefix: u8,
    },
    /// Drains the n-th watch.
    Drain(usize),
    Compact {
        back: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys = || prop::collection::vec((0..500u16, prop::bool::weighted(0.7)), 1..60);
    let step = prop_oneof![
        8 => (keys(), prop::option::of(prop::bool::weighted(0.7)))
            .prop_map(|(keys, hold)| Step::Commit { keys, hold }),
        4 => (0..12usize, 0..12u8, 0..600u16, 0..80usize)
            .prop_map(|(back, prefix, after, limit)| Step::Read { back, prefix, after, limit }),
        2 => (0..12usize, 0..12u8).prop_map(|(back, prefix)| Step::Watch { back, prefix }),
        2 => any::<prop::sample::Index>().prop_map(|n| Step::Drain(n.index(8))),
        1 => (0..12usize).prop_map(|back| Step::Compact { back }),
    ];
    prop::collection::vec(step, 1..60)
}

fn key(n: u16) -> String {
    format!("/{}/{n:03}", n % 10)
}

/// 10: everything; 11: nothing.
fn prefix(n: u8) -> String {
    if n == 10 { String::new() } else { format!("/{n}/") }
}

fn entry_of(key: &str, (text, revision, created): &(String, u64, u64)) -> String {
    format!("{key}={text}@{revision}+{created}")
}

fn show(entry: &Entry) -> String {
    let text = entry.object.to_value()["metadata"]["name"].as_str().unwrap().to_owned();
    entry_of(&entry.key, &(text, entry.object.revision.0, entry.created.0))
}

fn show_event(event: &Event) -> String {
    let side = |entry: &Option<Entry>| entry.as_ref().map_or("-".to_owned(), show);
    format!("{} {}: {} > {}", event.revision, event.key, side(&event.before), side(&event.now))
}

struct Watched {
    watch: Watch,
    prefix: String,
    reached: usize,
    /// It was told everything, and waits.
    waits: bool,
}

/// Every state since the beginning, with the changes that led to it.
struct Model {
    store: MemoryStore,
    states: Vec<State>,
    changes: Vec<Vec<(String, String)>>,
    oldest: usize,
    watched: Vec<Watched>,
}

impl Model {
    fn latest(&self) -> usize {
        self.states.len() - 1
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Commit { keys, hold } => self.commit(keys, hold),
            Step::Read { back, prefix: p, after, limit } => {
                self.read(self.latest().saturating_sub(back), &prefix(p), &key(after), limit);
            }
            Step::Watch { back, prefix: p } => {
                let after = self.latest().saturating_sub(back);
                let watch = self.store.watch(&prefix(p), Revision(after as u64));
                assert_eq!(watch.is_ok(), after >= self.oldest);
                self.watched.extend(watch.ok().map(|watch| Watched {
                    watch,
                    prefix: prefix(p),
                    reached: after,
                    waits: false,
                }));
            }
            Step::Drain(n) if n < self.watched.len() => self.drain(n),
            Step::Drain(_) => {}
            Step::Compact { back } => {
                let revision = self.latest().saturating_sub(back);
                let compact = self.store.compact(Revision(revision as u64));
                assert!(matches!(poll(compact), Poll::Ready(Ok(()))));
                self.oldest = self.oldest.max(revision);
            }
        }
    }

    fn commit(&mut self, mut keys: Vec<(u16, bool)>, hold: Option<bool>) {
        keys.sort();
        keys.dedup_by_key(|(n, _)| *n);
        let mut state = self.states[self.latest()].clone();
        let next = self.states.len() as u64;
        let mut changes = Vec::new();
        let first = key(keys[0].0);
        let right = state.get(&first).map_or(0, |(_, revision, _)| *revision);
        let compares = hold.map(|hold| Compare {
            key: first.as_str().into(),
            revision: Revision(if hold { right } else { right + 1 }),
        });
        let ops = keys.iter().map(|(n, put)| {
            let (name, text) = (key(*n), format!("{n}-{next}"));
            let before = state.get(&name).cloned();
            let now = put.then(|| (text.clone(), next, before.as_ref().map_or(next, |b| b.2)));
            match &now {
                Some(now) => state.insert(name.clone(), now.clone()),
                None => state.remove(&name),
            };
            if before.is_some() || now.is_some() {
                let side = |s: &Option<_>| s.as_ref().map_or("-".to_owned(), |s| entry_of(&name, s));
                changes.push((name.clone(), format!("{next} {name}: {} > {}", side(&before), side(&now))));
            }
            if *put { Op::Put(name.as_str().into(), body(&text)) } else { Op::Delete(name.as_str().into()) }
        });
        let txn = Txn { ops: ops.collect(), compares: compares.into_iter().collect() };
        let outcome = self.store.commit_now(txn);
        if hold == Some(false) {
            match outcome {
                Err(StoreError::Conflict { key, current }) => {
                    assert_eq!(&*key, first);
                    assert_eq!(
                        current.map(|e| show(&e)),
                        self.states[self.latest()].get(&first).map(|s| entry_of(&first, s))
                    );
                }
                other => panic!("{other:?}"),
            }
            return;
        }
        if !changes.is_empty() {
            self.states.push(state);
            self.changes.push(changes);
        }
        assert_eq!(outcome.unwrap().0 as usize, self.latest());
    }

    fn read(&self, revision: usize, prefix: &str, after: &str, limit: usize) {
        let view = match self.store.view_at(Revision(revision as u64)) {
            Ok(view) => view,
            Err(StoreError::Expired { oldest, .. }) => {
                assert_eq!(oldest.0 as usize, self.oldest);
                return assert!(revision < self.oldest);
            }
            Err(other) => panic!("{other}"),
        };
        assert!(revision >= self.oldest);
        let state = &self.states[revision];
        for after in ["", after] {
            let inside: Vec<String> = state
                .iter()
                .filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after)
                .map(|(key, s)| entry_of(key, s))
                .collect();
            assert_eq!(view.count(prefix, after), inside.len());
            let read: Vec<String> = view.range(prefix, after, limit).iter().map(show).collect();
            assert_eq!(read, inside[..limit.min(inside.len())]);
        }
        assert_eq!(view.get(after).map(|e| show(&e)), state.get(after).map(|s| entry_of(after, s)));
    }

    fn drain(&mut self, n: usize) {
        let latest = self.latest();
        let watched = &mut self.watched[n];
        let told = drain(&mut watched.watch);
        // Who waits misses nothing while nothing of their keys is forgotten.
        let forgotten = &self.changes[watched.reached..self.oldest.max(watched.reached)];
        let missed = match watched.waits {
            true => forgotten.iter().flatten().any(|(key, _)| key.starts_with(&watched.prefix)),
            false => !forgotten.is_empty(),
        };
        assert_eq!(told.iter().any(Result::is_err), missed);
        if missed {
            self.watched.remove(n);
            return;
        }
        let told: Vec<String> = told.iter().flatten().flat_map(|b| b.events.iter().map(show_event)).collect();
        let expected: Vec<String> = self.changes[watched.reached..]
            .iter()
            .flatten()
            .filter(|(key, _)| key.starts_with(&watched.prefix))
            .map(|(_, line)| line.clone())
            .collect();
        assert_eq!(told, expected);
        watched.reached = latest;
        watched.waits = true;
    }
}

fn poll<F: Future>(future: F) -> Poll<F::Output> {
    Box::pin(future).as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn store_agrees_with_a_list_of_maps(steps in steps()) {
        let mut model = Model {
            store: MemoryStore::new(clock()),
            states: vec![State::new()],
            changes: Vec::new(),
            oldest: 0,
            watched: Vec::new(),
        };
        for step in steps {
            model.step(step);
        }
        for n in (0..model.watched.len()).rev() {
            model.drain(n);
        }
        for revision in (0..model.states.len()).rev() {
            model.read(revision, "", "", usize::MAX);
        }
    }
}
