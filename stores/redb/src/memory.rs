//! A file in memory for unit tests, which counts what is written and panics when told to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

/// Clones are the same file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<Contents>);

#[derive(Debug, Default)]
struct Contents {
    bytes: InMemoryBackend,
    written: AtomicUsize,
    panics: AtomicBool,
}

impl Memory {
    /// Bytes that were written so far.
    pub(crate) fn written(&self) -> usize {
        self.0.written.load(Ordering::Relaxed)
    }

    /// Another file with the same contents.
    pub(crate) fn copy(&self) -> Memory {
        let copy = Memory::default();
        let mut bytes = vec![0; usize::try_from(self.len().unwrap()).unwrap()];
        self.read(0, &mut bytes).unwrap();
        copy.set_len(bytes.len() as u64).unwrap();
        copy.write(0, &bytes).unwrap();
        copy
    }

    /// The next write panics.
    pub(crate) fn panic_once(&self) {
        self.0.panics.store(true, Ordering::Relaxed);
    }
}

impl StorageBackend for Memory {
    fn len(&self) -> io::Result<u64> {
        self.0.bytes.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.bytes.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.bytes.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.bytes.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.written.fetch_add(data.len(), Ordering::Relaxed);
        assert!(!self.0.panics.swap(false, Ordering::Relaxed), "the structure makes no sense");
        self.0.bytes.write(offset, data)
    }
}
