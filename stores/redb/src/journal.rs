//! What was committed last, in a file that is only appended to: one write and one flush for a commit, in place.
//!
//! A commit in redb writes the pages from the root to what has changed, all over the file. So commits go here first;
//! when the file is full, all of them go into the database at once, and the file begins anew. Its length never changes:
//! a flush then has nothing to write but the bytes.
//!
//! A record: length (4 bytes) and checksum (8) of what follows; the revisions before and after it (8 each); then rows:
//! the lengths of key and value (4 each; [`REMOVED`]: no value) and both. Numbers are little endian.

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
/// Stands for the length of a value that there is not.
const REMOVED: u32 = u32::MAX;
/// The file is filled in such pieces when it is made.
const PIECE: u64 = 1 << 20;

/// The file, and where its next record goes.
pub(crate) struct Journal {
    file: Box<dyn StorageBackend>,
    room: u64,
    at: u64,
}

/// One record.
#[derive(Debug)]
pub(crate) struct Record {
    before: Revision,
    pub(crate) after: Revision,
    pub(crate) rows: Vec<Row>,
}

impl Journal {
    /// Opens the file, and makes it one of `room` bytes if it is shorter.
    pub(crate) fn open(file: Box<dyn StorageBackend>, room: u64) -> io::Result<Journal> {
        let mut len = file.len()?;
        if len < room {
            // Holes would be filled later, at the cost of a flush of the file's own records.
            file.set_len(room)?;
            let zeros = vec![0; usize::try_from(PIECE.min(room)).unwrap_or_default()];
            while len < room {
                let piece = (room - len).min(PIECE);
                file.write(len, &zeros[..usize::try_from(piece).unwrap_or_default()])?;
                len += piece;
            }
            file.sync_data()?;
        }
        Ok(Journal { file, room: len, at: 0 })
    }

    /// The records that follow upon `reached`, the last commit of the database.
    ///
    /// # Errors
    /// Those of reading; `InvalidData` where a record in the middle is damaged. One at the end, which a crash may have torn,
    /// does not count.
    pub(crate) fn records(&self, mut reached: Revision) -> io::Result<Vec<Record>> {
        let mut bytes = vec![0; usize::try_from(self.room).map_err(io::Error::other)?];
        self.file.read(0, &mut bytes)?;
        let mut rest = bytes.as_slice();
        let mut records = Vec::new();
        while let Some((record, behind)) = read(rest) {
            rest = behind;
            if record.before == reached {
                reached = record.after;
                records.push(record);
            } else if record.after > reached {
                return Err(damaged());
            }
        }
        // Each record was on the disk before the next was begun. No text of JSON has a zero in it, as lengths have.
        let rest = until_zeros(rest);
        let later = |at: usize| before(&rest[at..]).is_some_and(|before| before > reached);
        if (0..rest.len()).any(|at| later(at) && read(&rest[at..]).is_some()) {
            return Err(damaged());
        }
        Ok(records)
    }

    /// Appends a record and flushes it. `false`: there is no room for it, and nothing has been done.
    pub(crate) fn append(&mut self, before: Revision, after: Revision, rows: &[Row]) -> io::Result<bool> {
        let bytes = written(before, after, rows)?;
        if self.room - self.at < bytes.len() as u64 {
            return Ok(false);
        }
        self.file.write(self.at, &bytes)?;
        self.file.sync_data()?;
        self.at += bytes.len() as u64;
        Ok(true)
    }

    /// Begins anew: everything is in the database. What is in the file tells by its revisions that it is older.
    pub(crate) fn restart(&mut self) {
        self.at = 0;
    }

    /// Begins anew, and makes sure that no record is found: the last may be one that never was answered.
    pub(crate) fn wipe(&mut self) -> io::Result<()> {
        self.file.write(0, &vec![0; usize::try_from(self.room).map_err(io::Error::other)?])?;
        self.file.sync_data()?;
        self.at = 0;
        Ok(())
    }
}

/// Without the pages at the end that were never written to.
fn until_zeros(bytes: &[u8]) -> &[u8] {
    const PAGE: [u8; 4096] = [0; 4096];
    let mut pages = bytes.chunks(PAGE.len());
    while pages.next_back().is_some_and(|page| *page == PAGE[..page.len()]) {}
    let left = pages.len() + 1;
    &bytes[..bytes.len().min(left * PAGE.len())]
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a record in the middle is not what was written")
}

fn written(before: Revision, after: Revision, rows: &[Row]) -> io::Result<Vec<u8>> {
    let size: usize =
        rows.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len) + 8).sum();
    let mut out = Vec::with_capacity(HEAD + 16 + size);
    let length =
        |len: usize| u32::try_from(len).ok().filter(|len| *len != REMOVED).ok_or(io::ErrorKind::FileTooLarge);
    out.extend_from_slice(&length(16 + size)?.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&before.0.to_le_bytes());
    out.extend_from_slice(&after.0.to_le_bytes());
    for (key, value) in rows {
        out.extend_from_slice(&length(key.len())?.to_le_bytes());
        let len = value.as_ref().map_or(Ok(REMOVED), |value| length(value.len()))?;
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(value.as_deref().unwrap_or_default());
    }
    let sum = checksum(&out[HEAD..]);
    out[4..HEAD].copy_from_slice(&sum.to_le_bytes());
    Ok(out)
}

/// The revision before what may be a record.
fn before(bytes: &[u8]) -> Option<Revision> {
    let mut rest = bytes;
    let len = usize::try_from(number(&mut rest)?).ok()?;
    rest = rest.get(8..).filter(|rest| len >= 16 && rest.len() >= len)?;
    long(&mut rest).map(Revision)
}

/// The record that bytes begin with, and what is behind it.
fn read(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let mut rest = bytes;
    let len = usize::try_from(number(&mut rest)?).ok()?;
    let sum = long(&mut rest)?;
    let (mut payload, behind) = rest.split_at_checked(len)?;
    if !is_filled(payload) || checksum(payload) != sum {
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

/// Whether the rows end where the payload does. Nearly nothing else passes, and it spares a look at all bytes: a record is
/// looked for at each of millions of offsets when the store is opened.
fn is_filled(payload: &[u8]) -> bool {
    let mut rest = payload;
    let (Some(before), Some(after)) = (long(&mut rest), long(&mut rest)) else { return false };
    if after <= before || rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let (Some(key), Some(value)) = (number(&mut rest), number(&mut rest)) else { return false };
        let value = if value == REMOVED { 0 } else { value };
        let len = usize::try_from(u64::from(key) + u64::from(value)).unwrap_or(usize::MAX);
        if key == 0 || take(&mut rest, len).is_none() {
            return false;
        }
    }
    true
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
fn checksum(bytes: &[u8]) -> u64 {
    #[cfg(test)]
    tests::SUMMED.set(tests::SUMMED.get() + bytes.len());
    let mix = |sum: u64, word: u64| {
        let mixed = (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 29
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(bytes.len() as u64, |sum, word| mix(sum, u64::from_le_bytes(*word)));
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

    fn found(journal: &Journal, reached: u64) -> Vec<u64> {
        journal.records(Revision(reached)).unwrap().iter().map(|record| record.after.0).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let (_, mut journal) = journal();
        assert!(found(&journal, 0).is_empty());
        let rows = [row("/a", "1"), ("/b".into(), None)];
        assert!(journal.append(Revision(4), Revision(6), &rows).unwrap());
        assert!(journal.append(Revision(6), Revision(7), &[row("/c", "")]).unwrap());
        let records = journal.records(Revision(4)).unwrap();
        assert_eq!(records[0].rows, rows);
        assert_eq!(found(&journal, 4), [6, 7]);
        assert_eq!(found(&journal, 6), [7], "what the database has is passed over");
        assert!(found(&journal, 7).is_empty());
        assert!(!journal.append(Revision(7), Revision(8), &[row("/d", &"x".repeat(400))]).unwrap());
        journal.restart();
        assert!(journal.append(Revision(7), Revision(8), &[row("/d", "1")]).unwrap());
        assert_eq!(found(&journal, 7), [8]);
        journal.wipe().unwrap();
        assert!(found(&journal, 7).is_empty());
    }

    /// A record that a crash has torn was never answered. One that has others behind it was.
    #[test]
    fn a_torn_end_is_none_and_a_damaged_middle_is_refused() {
        let (file, mut journal) = journal();
        let mut ends = Vec::new();
        for n in 0..4 {
            assert!(journal.append(Revision(n), Revision(n + 1), &[row("/a", "value")]).unwrap());
            ends.push(journal.at);
        }
        for at in 0..ends[3] {
            let mut byte = [0];
            file.read(at, &mut byte).unwrap();
            file.write(at, &[byte[0] ^ 4]).unwrap();
            match journal.records(Revision(0)) {
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
        while journal.append(Revision(last), Revision(last + 1), &[row("/a/key", &body(last))]).unwrap() {
            last += 1;
        }
        journal.restart();
        assert!(journal.append(Revision(last), Revision(last + 1), &[row("/b", "1")]).unwrap());
        SUMMED.set(0);
        assert_eq!(found(&journal, last), [last + 1]);
        assert!(SUMMED.get() < 1000, "{} bytes are summed up", SUMMED.get());
    }
}
