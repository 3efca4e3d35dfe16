//! Parts of the key space: all keys that begin with any of some prefixes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::{Batch, StoreError, Watch};

/// The keys that begin with any of some prefixes. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ranges(
    /// Sorted; none begins with another one.
    Arc<[Box<str>]>,
);

impl Ranges {
    /// The keys that begin with any of these.
    pub fn new(prefixes: &[&str]) -> Ranges {
        let mut sorted = prefixes.to_vec();
        sorted.sort_unstable();
        let mut kept: Vec<Box<str>> = Vec::with_capacity(sorted.len());
        for prefix in sorted {
            if kept.last().is_none_or(|wider| !prefix.starts_with(&**wider)) {
                kept.push(prefix.into());
            }
        }
        Ranges(kept.into())
    }

    /// Whether the key is among them.
    pub fn contains(&self, key: &str) -> bool {
        // Between a prefix and a key that begins with it only longer prefixes could stand, and there are none.
        let upto = self.0.partition_point(|prefix| **prefix <= *key);
        upto > 0 && key.starts_with(&*self.0[upto - 1])
    }
}

/// A watch of everything, told of what is within some ranges alone.
pub(super) struct Within {
    pub(super) watch: Watch,
    pub(super) ranges: Ranges,
}

impl Stream for Within {
    type Item = Result<Batch, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        this.watch.as_mut().poll_next(cx).map(|item| {
            item.map(|batch| {
                batch.map(|mut batch| {
                    batch.events.retain(|event| this.ranges.contains(&event.key));
                    batch
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_the_range_of_its_prefix() {
        let prefixes = ["/a/pods/", "/a/nodes/", "/a/pods/x/", "/a/podtemplates/", "/b"];
        let ranges = Ranges::new(&prefixes);
        for key in [
            "/a/pods/x/1",
            "/a/pods/",
            "/a/pods",
            "/a/nodes/n",
            "/a/podsx",
            "/a/podtemplates/a",
            "/b",
            "/c",
            "",
            "/a/pods/~",
        ] {
            assert_eq!(ranges.contains(key), prefixes.iter().any(|p| key.starts_with(p)), "{key}");
        }
        assert!(Ranges::new(&[""]).contains("anything"));
        assert!(!Ranges::new(&[]).contains("anything"));
    }
}
