//! A log on a simulated disk that breaks, fills up and tears writes when it is told to.
//!
//! For tests and the simulator. The journal is append-only, each record with its length and checksum, so that after a
//! crash the longest beginning of whole commits is recovered.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::log::{Commit, Image, Log, LogError};
use super::{Entry, Event, Revision, View};
use crate::body::{Body, Stored};

/// A disk with one file. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Platter>>);

#[derive(Clone, Debug, Default)]
struct Platter {
    bytes: Vec<u8>,
    /// What survives the loss of power for certain.
    synced: usize,
    /// Bytes and flushes until the disk breaks.
    fuse: Option<u64>,
    capacity: Option<usize>,
}

impl Disk {
    /// An empty disk.
    pub fn new() -> Disk {
        Disk::default()
    }

    /// Breaks after so many more steps: a byte written is one, and so is a flush. A write in which it breaks is torn;
    /// everything later fails.
    pub fn break_after(&self, steps: u64) {
        self.0.lock().fuse = Some(steps);
    }

    /// Holds so many bytes at most; `None`: any number.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.0.lock().capacity = bytes;
    }

    /// A sound disk with what is found after the loss of power: all that was flushed, and up to `kept` bytes behind.
    pub fn after_crash(&self, kept: usize) -> Disk {
        let old = self.0.lock();
        let end = old.bytes.len().min(old.synced.saturating_add(kept));
        Disk(Arc::new(Mutex::new(Platter {
            bytes: old.bytes[..end].to_vec(),
            synced: end,
            ..Platter::default()
        })))
    }

    /// Turns one bit of the byte at `at` over, if there is such a byte.
    pub fn flip(&self, at: usize) {
        if let Some(byte) = self.0.lock().bytes.get_mut(at) {
            *byte ^= 1;
        }
    }

    /// Bytes written, flushed or not.
    pub fn size(&self) -> usize {
        self.0.lock().bytes.len()
    }
}

impl Platter {
    /// How many of `wanted` steps can be taken.
    fn burn(&mut self, wanted: usize) -> usize {
        let Some(fuse) = &mut self.fuse else { return wanted };
        let taken = usize::try_from(*fuse).unwrap_or(usize::MAX).min(wanted);
        *fuse -= taken as u64;
        taken
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        let room = self.capacity.map_or(usize::MAX, |c| c.saturating_sub(self.bytes.len()));
        let wanted = bytes.len().min(room);
        let written = self.burn(wanted);
        self.bytes.extend_from_slice(&bytes[..written]);
        match written {
            n if n < wanted => Err(LogError("the disk is broken".to_owned())),
            n if n < bytes.len() => Err(LogError("the disk is full".to_owned())),
            _ => Ok(()),
        }
    }

    fn sync(&mut self) -> Result<(), LogError> {
        if self.burn(1) == 0 {
            return Err(LogError("the disk is broken".to_owned()));
        }
        self.synced = self.bytes.len();
        Ok(())
    }

    /// Writes a file of its own and then puts it in the place of the old one: all or nothing.
    fn replace(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        let old = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.synced));
        let done = self.write(bytes).and_then(|()| self.sync());
        if done.is_err() {
            (self.bytes, self.synced) = old;
        }
        done
    }
}

/// A [`Log`] on a [`Disk`].
#[derive(Debug)]
pub struct Journal {
    disk: Disk,
    /// Bytes of the last snapshot.
    base: usize,
}

/// A journal may grow by this, in bytes, and to twice its snapshot, before it wants to be one again.
const GROWTH: usize = 1 << 20;
const COMMIT: u8 = 0;
const SNAPSHOT: u8 = 1;

impl Journal {
    /// The journal on `disk`.
    pub fn new(disk: Disk) -> Journal {
        Journal { disk, base: 0 }
    }
}

impl Log for Journal {
    fn load(&mut self) -> Result<Image, LogError> {
        let mut disk = self.disk.0.lock();
        let mut rest = disk.bytes.as_slice();
        let (mut revision, mut entries) = (Revision(0), BTreeMap::new());
        while let Some((payload, after)) = unframe(rest) {
            let mut reader = Reader(payload);
            let kind = reader.take(1)?[0];
            revision = Revision(reader.number()?);
            if kind == SNAPSHOT {
                entries.clear();
            }
            while !reader.0.is_empty() {
                let (key, entry) = reader.change()?;
                match entry {
                    Some(entry) => entries.insert(key, entry),
                    None => entries.remove(&key),
                };
            }
            rest = after;
        }
        // What follows was torn: it must not stand before what is appended next.
        let whole = disk.bytes.len() - rest.len();
        disk.bytes.truncate(whole);
        disk.synced = disk.synced.min(whole);
        Ok(Image { revision, entries: entries.into_values().collect() })
    }

    fn append(&mut self, commits: &[Arc<Commit>]) -> Result<(), LogError> {
        let mut out = Vec::new();
        for commit in commits {
            frame(&mut out, COMMIT, commit.revision, |out| {
                commit.events.iter().for_each(|e| put_event(out, e))
            });
        }
        let mut disk = self.disk.0.lock();
        disk.write(&out)?;
        disk.sync()
    }

    fn snapshot(&mut self, view: &dyn View) -> Result<(), LogError> {
        let mut out = Vec::new();
        frame(&mut out, SNAPSHOT, view.revision(), |out| {
            view.range("", "", usize::MAX).iter().for_each(|entry| put_change(out, &entry.key, Some(entry)));
        });
        self.disk.0.lock().replace(&out)?;
        self.base = out.len();
        Ok(())
    }

    fn wants_snapshot(&self) -> bool {
        self.disk.size() > 2 * self.base + GROWTH
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, revision: Revision, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut payload = vec![kind];
    payload.extend_from_slice(&revision.0.to_le_bytes());
    fill(&mut payload);
    out.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    out.extend_from_slice(&checksum(&payload).to_le_bytes());
    out.extend_from_slice(&payload);
}

/// The first whole record, and what is behind it.
fn unframe(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = Reader(bytes);
    let len = usize::try_from(reader.number().ok()?).ok()?;
    let sum = reader.number().ok()?;
    let payload = reader.take(len).ok()?;
    (checksum(payload) == sum).then_some((payload, reader.0))
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, b| (sum ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

fn put_event(out: &mut Vec<u8>, event: &Event) {
    put_change(out, &event.key, event.now.as_ref());
}

fn put_change(out: &mut Vec<u8>, key: &str, entry: Option<&Entry>) {
    put_bytes(out, key.as_bytes());
    let (created, revision) = entry.map_or((0, 0), |e| (e.created.0, e.object.revision.0));
    out.extend_from_slice(&created.to_le_bytes());
    out.extend_from_slice(&revision.to_le_bytes());
    put_bytes(out, entry.map_or(&[], |e| e.object.body.bytes()));
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], LogError> {
        let (head, tail) =
            self.0.split_at_checked(len).ok_or_else(|| LogError("a record ends early".to_owned()))?;
        self.0 = tail;
        Ok(head)
    }

    fn number(&mut self) -> Result<u64, LogError> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes were taken")))
    }

    fn bytes(&mut self) -> Result<&'a [u8], LogError> {
        let len = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        self.take(len)
    }

    fn change(&mut self) -> Result<(Arc<str>, Option<Entry>), LogError> {
        let damaged = |what: &dyn std::fmt::Display| LogError(format!("a record is damaged: {what}"));
        let key: Arc<str> = std::str::from_utf8(self.bytes()?).map_err(|e| damaged(&e))?.into();
        let created = Revision(self.number()?);
        let revision = Revision(self.number()?);
        let bytes = self.bytes()?;
        if created == Revision(0) {
            return Ok((key, None));
        }
        let body = Arc::new(Body::parse(Bytes::copy_from_slice(bytes)).map_err(|e| damaged(&e))?);
        let entry = Entry { key: key.clone(), object: Stored { body, revision }, created };
        Ok((key, Some(entry)))
    }
}
