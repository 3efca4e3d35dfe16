//! What has happened, in one number: [`History`].

use std::collections::BTreeMap;
use std::fmt::Write as _;

use orlop_core::scheme::Scheme;
use orlop_core::store::{Event, Revision};
use orlop_core::{Name, Timestamp};
use sha2::{Digest as _, Sha256};

/// Every change that was committed, as a digest and as counts.
///
/// The digest is SHA-256 over all changes in order, each as revision (8 bytes, little endian), length of the key (8),
/// key, length of the object (8; all ones: the key was removed), and the object's bytes. Two runs with one digest have
/// gone the same way, to the byte.
#[derive(Clone, Default)]
pub struct History {
    hasher: Sha256,
    revision: Revision,
    changes: u64,
    bytes: u64,
    counts: BTreeMap<Name, Counts>,
    log: Option<Vec<String>>,
}

/// How often objects of one resource were changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Objects that were new.
    pub created: u64,
    /// Changes of what was there.
    pub updated: u64,
    /// Objects that went.
    pub deleted: u64,
}

impl History {
    /// Nothing has happened. With `log`, [`History::take_log`] tells each change.
    pub fn new(log: bool) -> History {
        History { log: log.then(Vec::new), ..History::default() }
    }

    /// Adds a change.
    pub fn add(&mut self, now: Timestamp, event: &Event, scheme: &Scheme) {
        let bytes = event.now.as_ref().map(|entry| &entry.object.body.bytes()[..]);
        self.revision = self.revision.max(event.revision);
        self.changes += 1;
        self.bytes += bytes.map_or(0, |bytes| bytes.len() as u64);
        self.hasher.update(event.revision.0.to_le_bytes());
        self.hasher.update((event.key.len() as u64).to_le_bytes());
        self.hasher.update(event.key.as_bytes());
        self.hasher.update(bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes.unwrap_or_default());
        let resource = scheme
            .by_storage_key(&event.key)
            .map_or_else(Name::default, |(resource, _)| smol_str::format_smolstr!("{}", resource.kind));
        let counts = self.counts.entry(resource).or_default();
        let verb = match (&event.before, &event.now) {
            (None, Some(_)) => {
                counts.created += 1;
                "create"
            }
            (Some(_), Some(_)) => {
                counts.updated += 1;
                "update"
            }
            (_, None) => {
                counts.deleted += 1;
                "delete"
            }
        };
        if let Some(log) = &mut self.log {
            let digest = bytes.map(|bytes| hex(&Sha256::digest(bytes)[..6])).unwrap_or_default();
            log.push(format!("{} {} {verb} {} {digest}", event.revision, now.to_nano_string(), event.key));
        }
    }

    /// The digest, in hexadecimal.
    pub fn digest(&self) -> String {
        hex(&self.hasher.clone().finalize())
    }

    /// The last revision.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How many changes there were.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Bytes of all objects that were written.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Changes by resource, such as `deployments.apps`.
    pub fn counts(&self) -> &BTreeMap<Name, Counts> {
        &self.counts
    }

    /// One line for each change since the last time: revision, time, verb, key, the beginning of the object's digest.
    /// For comparing two runs that should have been one.
    pub fn take_log(&mut self) -> Vec<String> {
        self.log.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}
