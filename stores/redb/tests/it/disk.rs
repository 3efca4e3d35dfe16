//! A disk under the store that breaks or fills up.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;

/// A disk with two files, as seen through one of them. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<Platter>>, bool);

#[derive(Clone, Debug, Default)]
struct Contents {
    bytes: Vec<u8>,
    /// What a loss of power leaves for certain.
    synced: Vec<u8>,
    /// What was done since.
    unsynced: Vec<Change>,
}

#[derive(Debug, Default)]
struct Platter {
    /// The database and the journal.
    files: [Contents; 2],
    /// Writes and flushes until the disk breaks.
    fuse: Option<u64>,
    capacity: Option<u64>,
    /// Flushes that fail although they happen.
    lying_syncs: u32,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Resize(u64),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Write(at, data) => {
                let end = *at as usize + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*at as usize..end].copy_from_slice(data);
            }
            Change::Resize(len) => bytes.resize(*len as usize, 0),
        }
    }
}

/// Which of the changes that were not flushed are on the disk after a loss of power.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kept {
    Nothing,
    Everything,
    /// Disks reorder writes.
    EveryOther,
    /// And tear the last one.
    HalfOfTheLast,
}

impl Disk {
    pub(crate) fn break_after(&self, steps: u64) {
        self.0.lock().fuse = Some(steps);
    }

    pub(crate) fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().capacity = bytes;
    }

    pub(crate) fn size(&self) -> u64 {
        self.0.lock().files.iter().map(|file| file.bytes.len() as u64).sum()
    }

    /// The disk through its journal, or through the other file.
    pub(crate) fn file(&self, journal: bool) -> Disk {
        Disk(self.0.clone(), journal)
    }

    pub(crate) fn lie_about_syncs(&self, times: u32) {
        self.0.lock().lying_syncs = times;
    }

    /// A sound disk with what is left after a loss of power.
    pub(crate) fn after_crash(&self, kept: Kept) -> Disk {
        let files = self.0.lock().files.clone().map(|old| old.after_crash(kept));
        Disk(Arc::new(Mutex::new(Platter { files, ..Platter::default() })), false)
    }

    /// A disk with this one's database, as it was put back from a copy, and the journal of another.
    pub(crate) fn beside_journal_of(&self, other: &Disk) -> Disk {
        let files = [self.0.lock().files[0].clone(), other.0.lock().files[1].clone()];
        Disk(Arc::new(Mutex::new(Platter { files, ..Platter::default() })), false)
    }

    fn step(&self) -> io::Result<parking_lot::MutexGuard<'_, Platter>> {
        let mut platter = self.0.lock();
        match &mut platter.fuse {
            Some(0) => return Err(io::Error::other("the disk is broken")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(platter)
    }
}

impl Contents {
    fn after_crash(&self, kept: Kept) -> Contents {
        let mut bytes = self.synced.clone();
        let last = self.unsynced.len().saturating_sub(1);
        for (n, change) in self.unsynced.iter().enumerate() {
            match (kept, change) {
                (Kept::Nothing, _) => {}
                (Kept::EveryOther, Change::Write(..)) if n % 2 == 1 => {}
                (Kept::HalfOfTheLast, Change::Write(at, data)) if n == last => {
                    Change::Write(*at, data[..data.len() / 2].to_vec()).apply(&mut bytes);
                }
                _ => change.apply(&mut bytes),
            }
        }
        Contents { synced: bytes.clone(), bytes, unsynced: Vec::new() }
    }
}

impl Platter {
    fn change(&mut self, file: usize, change: Change) -> io::Result<()> {
        let end = match &change {
            Change::Write(at, data) => at + data.len() as u64,
            Change::Resize(len) => *len,
        };
        let lengths = self.files.each_ref().map(|file| file.bytes.len() as u64);
        let (all, grown) = (lengths[0] + lengths[1], end.saturating_sub(lengths[file]));
        if grown > 0 && self.capacity.is_some_and(|capacity| all + grown > capacity) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on device"));
        }
        change.apply(&mut self.files[file].bytes);
        self.files[file].unsynced.push(change);
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().files[usize::from(self.1)].bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.0.lock();
        if platter.fuse == Some(0) {
            return Err(io::Error::other("the disk is broken"));
        }
        let from = offset as usize;
        let bytes = &platter.files[usize::from(self.1)].bytes;
        out.copy_from_slice(bytes.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.step()?.change(usize::from(self.1), Change::Resize(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.step()?;
        let file = &mut platter.files[usize::from(self.1)];
        file.synced = file.bytes.clone();
        file.unsynced.clear();
        if platter.lying_syncs > 0 {
            platter.lying_syncs -= 1;
            return Err(io::Error::other("the cable came loose"));
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.step()?.change(usize::from(self.1), Change::Write(offset, data.to_vec()))
    }
}
