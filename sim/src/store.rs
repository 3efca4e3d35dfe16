//! The store of a simulated cluster, which can crash: [`SimStore`].

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use orlop_core::Clock;
use orlop_core::store::journal::{Disk, Journal};
use orlop_core::store::{
    Entry, Event, Limits, LogError, LogStore, MemoryLog, Revision, Store, StoreError, Txn, View, Watch, drain,
};
use parking_lot::Mutex;

/// Is told every change, right after its commit and before anybody can act on it.
pub(crate) type Observer = Box<dyn FnMut(&Event) + Send>;

/// A store over a log on a simulated disk, or over none, that tells an observer everything.
#[derive(Clone)]
pub struct SimStore(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    current: Mutex<Current>,
    observer: Mutex<Observer>,
}

struct Current {
    store: LogStore,
    /// Reads for the observer.
    tail: Watch,
    disk: Option<Disk>,
}

impl SimStore {
    /// An empty store; with `durable`, on a disk that can be broken.
    pub(crate) fn new(
        durable: bool,
        clock: Arc<dyn Clock>,
        observer: Observer,
    ) -> Result<SimStore, LogError> {
        let disk = durable.then(Disk::new);
        let current = Current::open(disk, &clock)?;
        Ok(SimStore(Arc::new(Inner { clock, current: Mutex::new(current), observer: Mutex::new(observer) })))
    }

    /// Lets the disk break after so many more bytes. Whatever is committed from then on fails, until
    /// [`SimStore::restart`].
    pub fn break_after(&self, bytes: u64) {
        if let Some(disk) = &self.0.current.lock().disk {
            disk.break_after(bytes);
        }
    }

    /// The loss of power: all handles' watches end, and what is on the disk is read again, of which up to `kept` bytes
    /// were written but not flushed. Answers with what is wrong about that: a commit that was answered and is lost, or
    /// one that nobody made.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn restart(&self, kept: usize) -> Result<Option<String>, LogError> {
        let (old, old_tail) = {
            let mut current = self.0.current.lock();
            let Some(disk) = &current.disk else { return Ok(None) };
            let new = Current::open(Some(disk.after_crash(kept)), &self.0.clock)?;
            let old = std::mem::replace(&mut *current, new);
            (old.store, old.tail)
        };
        drop(old_tail);
        let (before, now) = (old.view(), self.view());
        // Watches of the old store end here.
        drop(old);
        let (events, lost) = difference(&*before, &*now);
        let mut observer = self.0.observer.lock();
        for event in &events {
            observer(event);
        }
        Ok(lost)
    }

    fn commit_now(&self, txn: Txn) -> Result<Revision, StoreError> {
        let store = self.0.current.lock().store.clone();
        let outcome = store.commit_now(txn);
        let told = drain(&mut self.0.current.lock().tail);
        let mut observer = self.0.observer.lock();
        for event in told.iter().flatten().flat_map(|batch| &batch.events) {
            observer(event);
        }
        outcome
    }

    fn store(&self) -> LogStore {
        self.0.current.lock().store.clone()
    }
}

impl Current {
    fn open(disk: Option<Disk>, clock: &Arc<dyn Clock>) -> Result<Current, LogError> {
        let store = match &disk {
            Some(disk) => LogStore::inline(Journal::new(disk.clone()), clock.clone(), Limits::default())?,
            None => LogStore::inline(MemoryLog, clock.clone(), Limits::default())?,
        };
        let tail = store.watch("", store.view().revision()).map_err(|error| LogError(error.to_string()))?;
        Ok(Current { store, tail, disk })
    }
}

/// What a recovered store has on top of what was seen last, and what of that is missing.
fn difference(before: &dyn View, now: &dyn View) -> (Vec<Event>, Option<String>) {
    let all = |view: &dyn View| -> BTreeMap<Arc<str>, Entry> {
        view.range("", "", usize::MAX).into_iter().map(|entry| (entry.key.clone(), entry)).collect()
    };
    let (old, new) = (all(before), all(now));
    let mut events = Vec::new();
    let mut lost = None;
    if now.revision() < before.revision() {
        lost = Some(format!("revision {} was published, {} is found", before.revision(), now.revision()));
    }
    for (key, entry) in &new {
        let seen = old.get(key);
        if seen.is_some_and(|seen| seen.object.revision == entry.object.revision) {
            continue;
        }
        if entry.object.revision <= before.revision() {
            lost = Some(format!("{key} is found as it was at revision {}", entry.object.revision));
        }
        let (revision, now, before) = (entry.object.revision, Some(entry.clone()), seen.cloned());
        events.push(Event { revision, key: key.clone(), now, before });
    }
    for (key, entry) in old.iter().filter(|(key, _)| !new.contains_key(*key)) {
        if now.revision() <= before.revision() {
            lost = Some(format!("{key} was written at revision {} and is lost", entry.object.revision));
        }
        let before = Some(entry.clone());
        events.push(Event { revision: now.revision(), key: key.clone(), now: None, before });
    }
    events.sort_by(|a, b| (a.revision, &a.key).cmp(&(b.revision, &b.key)));
    (events, lost)
}

#[async_trait]
impl Store for SimStore {
    fn view(&self) -> Arc<dyn View> {
        self.store().view()
    }

    fn view_at(&self, revision: Revision) -> Result<Arc<dyn View>, StoreError> {
        self.store().view_at(revision)
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        self.commit_now(txn)
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.store().watch(prefix, after)
    }

    fn watch_any(&self, prefixes: &[&str], after: Revision) -> Result<Watch, StoreError> {
        self.store().watch_any(prefixes, after)
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.store().compact(revision).await
    }
}
