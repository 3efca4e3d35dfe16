//! What was read from stored objects, kept as long as they stay as they are: [`Kept`].

use std::sync::Arc;

use orlop_core::store::{Entry, Revision};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// With so many known, those that are long gone among them, all are read anew: what is deleted is not told here.
const KNOWN_MAX: usize = 16_384;

/// By key: what was read, and at which revision.
type Known<T> = FxHashMap<Arc<str>, (Revision, Arc<T>)>;

/// What objects say, by their places in the store and their revisions. For what is looked at with every request and
/// takes its time to read: rules of roles, compiled policies, certificates of webhooks.
pub(crate) struct Kept<T>(Mutex<Known<T>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Kept(Mutex::default())
    }
}

impl<T> Kept<T> {
    /// What an object says; `read` is asked only where that is not known yet.
    pub(crate) fn get(&self, entry: &Entry, read: impl FnOnce(&Entry) -> T) -> Arc<T> {
        if let Some((revision, known)) = self.0.lock().get(&entry.key)
            && *revision == entry.object.revision
        {
            return known.clone();
        }
        // Compiling takes its time: not under the lock that every request takes.
        let value = Arc::new(read(entry));
        let mut known = self.0.lock();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(entry.key.clone(), (entry.object.revision, value.clone()));
        value
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use orlop_core::Stored;
    use orlop_core::body::Body;

    use super::*;

    #[test]
    fn an_object_is_read_once_for_each_of_its_revisions() {
        let kept = Kept::default();
        let reads = Cell::new(0);
        let get = |key: &str, revision: u64| {
            let body = Body::parse(r#"{"metadata":{"name":"x"}}"#.into()).expect("an object");
            let object = Stored { body: body.into(), revision: Revision(revision) };
            let entry = Entry { key: key.into(), object, created: Revision(1) };
            *kept.get(&entry, |_| {
                reads.set(reads.get() + 1);
                reads.get()
            })
        };
        assert_eq!([get("a", 1), get("a", 1), get("b", 1), get("a", 2), get("a", 2)], [1, 1, 2, 3, 3]);
        // One that is deleted is never asked for again, and must not stay for ever.
        for n in 0..KNOWN_MAX {
            get(&n.to_string(), 1);
        }
        assert!(kept.0.lock().len() <= KNOWN_MAX);
    }
}
