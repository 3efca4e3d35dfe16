//! What was committed last, in a file that is only appended to: one write and one flush for a commit, in place.
//!
//! A commit in redb writes the pages from the root to what has changed, all over the file. So commits go here first;
//! when the file is full, all of them go into the database at once, and the file begins anew. Its length never changes:
//! a flush then has nothing to write but the bytes.
//!
//! Records belong to an epoch of the database, which changes with each commit that goes into it directly: what is left of
//! another epoch, or belongs to another copy of the database, is no record.
//!
//! A record: length (4 bytes) and checksum (8) of what follows; the epoch and the revisions before and after it (8 each);
//! then rows: the lengths of key and value (4 each; [`REMOVED`]: no value) and both. Numbers are little endian.

use std::io;
use std::sync::Arc;

use orlop_core::store::Revision;
use redb::StorageBackend;

/// Key, and what is in the database under it from now on.
pub(crate) type Row = (Arc<str>, Option<Vec<u8>>);

/// Opens the file, also again after an error.
pub(crate) type Opener = Box<dyn FnMut() -> io::Result<Box<dyn StorageBackend>> + Send>;

/// Length and checksum.
const HEAD: usize = 12;
/// Epoch and revisions.
const FIXED: usize = 24;
/// Stands for the length of a value that there is not.
const REMOVED: u32 = u32::MAX;
/// The file is filled in such pieces when it is made.
const PIECE: u64 = 1 << 20;

/// The file, and where its next record goes.
pub(crate) struct Journal {
    file: Box<dyn StorageBackend>,
    room: u64,
    /// How long the file is: shorter than `room` until it is first written to.
    made: u64,
    at: u64,
    /// Stands for its first record, and so for the last epoch in it, as that was when it was opened.
    pub(crate) mark: u64,
}

/// One record.
#[derive(Debug)]
pub(crate) struct Record {
    before: Revision,
    pub(crate) after: Revision,
    pub(crate) rows: Vec<Row>,
}

impl Journal {
    /// Opens the file, which becomes one of `room` bytes when it is first written to: what is there can be opened on a disk
    /// that is full.
    pub(crate) fn open(file: Box<dyn StorageBackend>, room: u64) -> io::Result<Journal> {
        let made = file.len()?;
        let mut head = vec![0; usize::try_from(made).unwrap_or(usize::MAX).min(HEAD + FIXED)];
        file.read(0, &mut head)?;
        Ok(Journal { file, room: room.max(made), made, at: 0, mark: checksum(0, &head) })
    }

    /// The records of the database's epoch, which follow upon `reached`, its last commit. They are on the disk afterwards,
    /// also where the process that wrote the last was killed before it was.
    ///
    /// # Errors
    /// Those of reading and flushing; `InvalidData` where a record in the middle is damaged, or the file was cut off. A record
    /// at the end, which a crash may have torn, does not count.
    pub(crate) fn records(&self, epoch: Option<u64>, mut reached: Revision) -> io::Result<Vec<Record>> {
        let mut bytes = vec![0; usize::try_from(self.made).map_err(io::Error::other)?];
        self.file.read(0, &mut bytes)?;
        // Its first record came after the file was whole and flushed.
        if self.made < self.room && bytes.iter().any(|byte| *byte != 0) {
            return Err(damaged("it has been cut off"));
        }
        let Some(epoch) = epoch else {
            return if is_without_epoch(&bytes) {
                Err(damaged("its records have a layout that was never released"))
            } else {
                Ok(Vec::new())
            };
        };
        let (mut rest, mut last, mut records) = (bytes.as_slice(), None, Vec::new());
        while let Some((record, behind)) = read(epoch, rest) {
            if record.before != reached {
                return Err(damaged(MIDDLE));
            }
            reached = record.after;
            records.push(record);
            last = Some((bytes.len() - rest.len(), bytes.len() - behind.len()));
            rest = behind;
        }
        // Each record was on the disk before the next was begun.
        let mark = epoch.to_le_bytes();
        let rest = until_zeros(rest);
        let epochs = rest.get(HEAD..).unwrap_or_default().windows(mark.len()).enumerate();
        if epochs.filter(|(_, found)| *found == mark).any(|(at, _)| read(epoch, &rest[at..]).is_some()) {
            return Err(damaged(MIDDLE));
        }
        if let Some((from, to)) = last {
            // Anew, for a page whose flush has failed is not flushed again.
            self.file.write(from as u64, &bytes[from..to])?;
            self.file.sync_data()?;
        }
        Ok(records)
    }

    /// Appends a record and flushes it. `false`: there is no room for it, and nothing has been done.
    ///
    /// # Errors
    /// Those of writing; the record may be there all the same.
    pub(crate) fn append(
        &mut self,
        epoch: u64,
        before: Revision,
        after: Revision,
        rows: &[Row],
    ) -> io::Result<bool> {
        let bytes = written(epoch, before, after, rows)?;
        if self.room - self.at < bytes.len() as u64 || !self.make() {
            return Ok(false);
        }
        self.file.write(self.at, &bytes)?;
        self.file.sync_data()?;
        self.at += bytes.len() as u64;
        Ok(true)
    }

    /// Begins anew: everything is in the database, and its epoch another one.
    pub(crate) fn restart(&mut self) {
        self.at = 0;
    }

    /// Makes the file as long as it is to be. `false`: that cannot be, such as on a disk that is nearly full. Then there is
    /// no journal, and its space is left to the database.
    fn make(&mut self) -> bool {
        if self.made < self.room && self.fill().is_err() {
            // A length that stays is one of zeros, which are no records.
            let _ = self.file.set_len(0);
            (self.room, self.made) = (0, 0);
        }
        self.room > 0
    }

    /// Fills the file with zeros. Holes would be filled later, at the cost of a flush of the file's own records.
    fn fill(&mut self) -> io::Result<()> {
        let zeros = vec![0; usize::try_from(PIECE.min(self.room)).map_err(io::Error::other)?];
        // What an attempt before has left may be a hole.
        self.made = 0;
        while self.made < self.room {
            let piece = (self.room - self.made).min(PIECE);
            self.file.set_len((self.made + piece).max(self.file.len()?))?;
            self.file.write(self.made, &zeros[..usize::try_from(piece).map_err(io::Error::other)?])?;
            self.made += piece;
        }
        self.file.sync_data()
    }
}

/// What is wrong where a record is not the one that was written, and was answered.
const MIDDLE: &str = "a record in the middle is not what was written";

/// Without the pages at the end that were never written to.
fn until_zeros(bytes: &[u8]) -> &[u8] {
    const PAGE: [u8; 4096] = [0; 4096];
    let mut pages = bytes.chunks(PAGE.len());
    while pages.next_back().is_some_and(|page| *page == PAGE[..page.len()]) {}
    let left = pages.len() + 1;
    &bytes[..bytes.len().min(left * PAGE.len())]
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn written(epoch: u64, before: Revision, after: Revision, rows: &[Row]) -> io::Result<Vec<u8>> {
    let size: usize =
        rows.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len) + 8).sum();
    let mut out = Vec::with_capacity(HEAD + FIXED + size);
    let length =
        |len: usize| u32::try_from(len).ok().filter(|len| *len != REMOVED).ok_or(io::ErrorKind::FileTooLarge);
    out.extend_from_slice(&length(FIXED + size)?.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    for number in [epoch, before.0, after.0] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for (key, value) in rows {
        out.extend_from_slice(&length(key.len())?.to_le_bytes());
        let len = value.as_ref().map_or(Ok(REMOVED), |value| length(value.len()))?;
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(value.as_deref().unwrap_or_default());
    }
    let sum = checksum(epoch, &out[HEAD..]);
    out[4..HEAD].copy_from_slice(&sum.to_le_bytes());
    Ok(out)
}

/// The record of this epoch that bytes begin with, and what is behind it.
fn read(epoch: u64, bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (sum, mut payload, behind) = framed(bytes)?;
    let all = payload;
    // Only what is of this epoch is looked at as a whole: opening looks for records at millions of offsets.
    if long(&mut payload)? != epoch || checksum(epoch, all) != sum {
        return None;
    }
    let (before, after) = (Revision(long(&mut payload)?), Revision(long(&mut payload)?));
    let mut rows = Vec::new();
    while !payload.is_empty() {
        let (key, value) = (number(&mut payload)?, number(&mut payload)?);
        let key = std::str::from_utf8(take(&mut payload, usize::try_from(key).ok()?)?).ok()?;
        let value = match value {
            REMOVED => None,
            len => Some(take(&mut payload, usize::try_from(len).ok()?)?.to_vec()),
        };
        rows.push((key.into(), value));
    }
    Some((Record { before, after, rows }, behind))
}

/// Checksum and payload of what may be a record, and what is behind it.
fn framed(bytes: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let mut rest = bytes;
    let len = usize::try_from(number(&mut rest)?).ok()?;
    let sum = long(&mut rest)?;
    let (payload, behind) = rest.split_at_checked(len)?;
    Some((sum, payload, behind))
}

/// Whether there is a record of the layout before this one, which knew no epochs. Its commits may be nowhere else.
fn is_without_epoch(bytes: &[u8]) -> bool {
    framed(bytes).is_some_and(|(sum, payload, _)| !payload.is_empty() && checksum(0, payload) == sum)
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(len)?;
    *bytes = tail;
    Some(head)
}

fn number(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes, 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn long(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes, 8)?.try_into().ok().map(u64::from_le_bytes)
}

/// Tells what is torn or has rotted; eight bytes at a time, for every commit passes through it.
pub(crate) fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    #[cfg(test)]
    tests::SUMMED.set(tests::SUMMED.get() + bytes.len());
    let mix = |sum: u64, word: u64| {
        let mixed = (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 29
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(seed ^ bytes.len() as u64, |sum, word| mix(sum, u64::from_le_bytes(*word)));
    mix(rest.iter().fold(sum, |sum, byte| mix(sum, u64::from(*byte))), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    std::thread_local! {
        /// Bytes that [`checksum`] has seen on this thread.
        pub(super) static SUMMED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    fn row(key: &str, value: &str) -> Row {
        (key.into(), Some(value.into()))
    }

    fn journal() -> (Memory, Journal) {
        let file = Memory::default();
        let journal = Journal::open(Box::new(file.clone()), 400).unwrap();
        (file, journal)
    }

    fn append(journal: &mut Journal, epoch: u64, after: u64, rows: &[Row]) -> bool {
        journal.append(epoch, Revision(after - 1), Revision(after), rows).unwrap()
    }

    fn found(journal: &Journal, epoch: u64, reached: u64) -> Vec<u64> {
        let records = journal.records(Some(epoch), Revision(reached)).unwrap();
        records.iter().map(|record| record.after.0).collect()
    }

    fn refused(journal: &Journal, epoch: Option<u64>) -> String {
        let error = journal.records(epoch, Revision(0)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        error.to_string()
    }

    #[test]
    fn what_was_written_is_read() {
        let (file, mut journal) = journal();
        assert!(found(&journal, 7, 0).is_empty());
        let rows = [row("/a", "1"), ("/b".into(), None)];
        assert!(journal.append(7, Revision(4), Revision(6), &rows).unwrap());
        assert!(append(&mut journal, 7, 7, &[row("/c", "")]));
        let records = journal.records(Some(7), Revision(4)).unwrap();
        assert_eq!(records[0].rows, rows);
        assert_eq!(found(&journal, 7, 4), [6, 7]);
        assert!(found(&journal, 8, 4).is_empty(), "they are of another epoch");
        assert!(journal.records(None, Revision(4)).unwrap().is_empty(), "the database has none");
        assert!(!append(&mut journal, 7, 8, &[row("/d", &"x".repeat(400))]));
        journal.restart();
        assert!(append(&mut journal, 8, 8, &[row("/d", "1")]));
        assert_eq!(found(&journal, 8, 7), [8]);
        let journal = Journal::open(Box::new(file), 400).unwrap();
        assert_eq!(found(&journal, 8, 7), [8]);
    }

    /// A record that a crash has torn was never answered. One that has others behind it was.
    #[test]
    fn a_torn_end_is_none_and_a_damaged_middle_is_refused() {
        let (file, mut journal) = journal();
        let mut ends = Vec::new();
        for n in 0..4 {
            assert!(append(&mut journal, 7, n + 1, &[row("/a", "value")]));
            ends.push(journal.at);
        }
        for at in 0..ends[3] {
            let mut byte = [0];
            file.read(at, &mut byte).unwrap();
            file.write(at, &[byte[0] ^ 4]).unwrap();
            match journal.records(Some(7), Revision(0)) {
                Ok(records) => assert!(at >= ends[2] && records.len() == 3, "byte {at}: {}", records.len()),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                    assert!(at < ends[2], "byte {at}");
                }
            }
            file.write(at, &byte).unwrap();
        }
    }

    /// Behind a few records of this lap there is the middle of one of the last, and megabytes of others. Everything that
    /// might have been the length of a record had its bytes summed up: opening took minutes.
    #[test]
    fn what_is_left_of_the_last_lap_is_passed_over_quickly() {
        let mut journal = Journal::open(Box::new(Memory::default()), 1 << 20).unwrap();
        let body = |n: u64| "x".repeat(usize::try_from(600 + n * 7 % 97).unwrap());
        let mut last = 20_000;
        while append(&mut journal, 7, last + 1, &[row("/a/key", &body(last))]) {
            last += 1;
        }
        journal.restart();
        assert!(append(&mut journal, 8, last + 1, &[row("/b", "1")]));
        SUMMED.set(0);
        assert_eq!(found(&journal, 8, last), [last + 1]);
        assert!(SUMMED.get() < 1000, "{} bytes are summed up", SUMMED.get());
    }

    /// It was filled up with zeros, and the records behind the cut were as if they had never been answered.
    #[test]
    fn what_was_cut_off_is_refused() {
        let (file, mut journal) = journal();
        for n in 1..4 {
            assert!(append(&mut journal, 7, n, &[row("/a", "1")]));
        }
        file.set_len(100).unwrap();
        let journal = Journal::open(Box::new(file.clone()), 400).unwrap();
        assert!(refused(&journal, Some(7)).contains("cut off"));
        file.write(0, &[0; 100]).unwrap();
        let mut journal = Journal::open(Box::new(file), 400).unwrap();
        assert!(found(&journal, 7, 0).is_empty(), "it was being made");
        assert!(append(&mut journal, 7, 1, &[row("/a", "1")]));
        assert_eq!(found(&journal, 7, 0), [1]);
    }

    /// As long as nothing was released that wrote it, it is enough not to lose it.
    #[test]
    fn records_without_epochs_are_refused() {
        let (file, mut journal) = journal();
        assert!(append(&mut journal, 0, 1, &[row("/a", "1")]));
        let journal = Journal::open(Box::new(file), 400).unwrap();
        assert!(refused(&journal, None).contains("never released"));
    }
}
