//! When each part of the key space last changed.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Revision;

/// The last change of each part: of a kind, or of a group of custom kinds.
#[derive(Clone, Default)]
pub(super) struct Changes {
    /// What has no entry has not changed since.
    since: Revision,
    last: FxHashMap<Arc<str>, Revision>,
}

impl Changes {
    pub(super) fn since(since: Revision) -> Changes {
        Changes { since, last: FxHashMap::default() }
    }

    /// Notes a change of a key. What a view holds is left as it is.
    pub(super) fn note(this: &mut Arc<Changes>, key: &str, revision: Revision) {
        // Nobody can ask for what is in no part.
        let Some(part) = part(key) else { return };
        let last = &mut Arc::make_mut(this).last;
        match last.get_mut(part) {
            Some(known) => *known = revision,
            None => drop(last.insert(part.into(), revision)),
        }
    }

    /// When a key that begins with `prefix` last changed, or later; `None` for a prefix of several parts.
    pub(super) fn last(&self, prefix: &str) -> Option<Revision> {
        Some(self.last.get(part(prefix)?).copied().unwrap_or(self.since))
    }
}

/// `/registry/pods/` of `/registry/pods/default/web`: all keys that begin with it share it.
fn part(key: &str) -> Option<&str> {
    let (end, _) = key.match_indices('/').nth(2)?;
    Some(&key[..=end])
}
