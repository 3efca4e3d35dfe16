//! What a decision reads in the store, and whether it would read the same again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use orlop_core::store::{Entry, Revision, View};
use parking_lot::Mutex;

/// A view that notes what is read.
pub(super) struct Watched<'v> {
    view: &'v dyn View,
    noted: Mutex<Noted>,
}

#[derive(Default)]
struct Noted {
    reads: Vec<Read>,
    /// Something was read that cannot be read again for a comparison.
    more: bool,
}

/// One read, and what it found. States are as good as their revisions: each was given to one state alone.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    One { key: Box<str>, found: Option<Revision> },
    Range { prefix: Box<str>, after: Box<str>, limit: usize, found: Box<[(Arc<str>, Revision)]> },
}

impl Read {
    fn one(view: &dyn View, key: &str) -> (Read, Option<Entry>) {
        let entry = view.get(key);
        let found = entry.as_ref().map(|entry| entry.object.revision);
        (Read::One { key: key.into(), found }, entry)
    }

    fn range(view: &dyn View, prefix: &str, after: &str, limit: usize) -> (Read, Vec<Entry>) {
        let entries = view.range(prefix, after, limit);
        let found = entries.iter().map(|entry| (entry.key.clone(), entry.object.revision)).collect();
        (Read::Range { prefix: prefix.into(), after: after.into(), limit, found }, entries)
    }

    /// What all that it looks at begins with.
    fn part(&self) -> &str {
        match self {
            Read::One { key, .. } => key,
            Read::Range { prefix, .. } => prefix,
        }
    }

    fn finds_the_same(&self, view: &dyn View) -> bool {
        match self {
            Read::One { key, found } => view.get(key).map(|entry| entry.object.revision) == *found,
            Read::Range { prefix, after, limit, .. } => Read::range(view, prefix, after, *limit).0 == *self,
        }
    }
}

impl<'v> Watched<'v> {
    pub(super) fn new(view: &'v dyn View) -> Watched<'v> {
        Watched { view, noted: Mutex::default() }
    }

    /// All that was read; `None` where it cannot be told whether that would be read again.
    pub(super) fn reads(self) -> Option<Reads> {
        let noted = self.noted.into_inner();
        let seen = AtomicU64::new(self.view.revision().0);
        (!noted.more).then(|| Reads { reads: noted.reads.into(), seen })
    }

    fn note(&self, read: Read) {
        let reads = &mut self.noted.lock().reads;
        if !reads.contains(&read) {
            reads.push(read);
        }
    }
}

impl View for Watched<'_> {
    fn revision(&self) -> Revision {
        self.noted.lock().more = true;
        self.view.revision()
    }

    fn get(&self, key: &str) -> Option<Entry> {
        let (read, entry) = Read::one(self.view, key);
        self.note(read);
        entry
    }

    fn range(&self, prefix: &str, after: &str, limit: usize) -> Vec<Entry> {
        let (read, entries) = Read::range(self.view, prefix, after, limit);
        self.note(read);
        entries
    }

    fn count(&self, prefix: &str, after: &str) -> usize {
        self.noted.lock().more = true;
        self.view.count(prefix, after)
    }
}

/// All that a decision read.
#[derive(Debug)]
pub(super) struct Reads {
    reads: Box<[Read]>,
    /// A revision at which all of it was found as it was.
    seen: AtomicU64,
}

impl Reads {
    /// But for what was read of this key: whether the object is there already.
    pub(super) fn without(mut self, own: &str) -> Reads {
        let mut reads = std::mem::take(&mut self.reads).into_vec();
        reads.retain(|read| !matches!(read, Read::One { key, .. } if **key == *own));
        self.reads = reads.into();
        self
    }

    /// Whether all of it would be found as it was.
    pub(super) fn hold(&self, view: &dyn View) -> bool {
        let (seen, at) = (self.seen.load(Ordering::Relaxed), view.revision().0);
        // What came and went before `seen` may be there in a view that is older.
        let fresh = |read: &Read| at >= seen && view.changed(read.part()).0 <= seen;
        let mut all = true;
        for read in &self.reads {
            if !fresh(read) {
                all = false;
                if !read.finds_the_same(view) {
                    return false;
                }
            }
        }
        if !all {
            self.seen.fetch_max(at, Ordering::Relaxed);
        }
        true
    }

    /// Roughly the memory that it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        let one = |read: &Read| match read {
            Read::One { key, .. } => key.len(),
            Read::Range { prefix, found, .. } => prefix.len() + found.len() * 96,
        };
        self.reads.iter().map(|read| size_of::<Read>() + one(read)).sum()
    }
}
