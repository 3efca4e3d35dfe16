//! Opening a directory, and what can be wrong with it.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orlop_core::store::{NoSeal, Seal};
use redb::backends::FileBackend;
use redb::{Builder, Database, StorageBackend};

use crate::log::{FORMAT_KNOWN, Opener, RedbLog, Unreadable};

/// The file in the directory.
const FILE: &str = "store.redb";
/// Tells others who holds the directory; the lock itself is redb's, on the file.
const OWNER: &str = "store.pid";
/// redb's own cache, in bytes. Small, for every object is in memory already.
const CACHE_BYTES: usize = 16 << 20;

/// Why a directory cannot be opened as a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody has it open. Stop them, or take another directory.
    #[error("{} is in use by {}", dir.display(), owner(*pid))]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The process that holds it, where that is known.
        pid: Option<u32>,
    },
    /// The file is not what was written.
    #[error(
        "{} is damaged: {reason}. Put a copy of it back from a backup; or move it away, and the store begins empty",
        file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file was written by a version that lays it out differently.
    #[error(
        "{} has format {found}, and this version of orlop knows format {FORMAT_KNOWN}: \
         open it with the version that wrote it",
        file.display()
    )]
    Format {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The directory or its file cannot be read or written.
    #[error("cannot open the store in {}: {source}", path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

fn owner(pid: Option<u32>) -> String {
    match pid {
        Some(pid) if pid == std::process::id() => "this process already".to_owned(),
        Some(pid) => format!("another orlop (pid {pid})"),
        None => "another process".to_owned(),
    }
}

/// A directory that this process holds. Dropping it takes its name off the door.
pub(crate) struct Held(Option<PathBuf>);

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(owner) = &self.0 {
            // The lock is what counts; a name left behind says nothing without it.
            let _ = fs::remove_file(owner);
        }
    }
}

/// Opens the store's file in a directory, which is made if it is not there.
pub(crate) fn directory(dir: &Path, seal: Arc<dyn Seal>) -> Result<(RedbLog, Held), OpenError> {
    let file = dir.join(FILE);
    let io = |path: &Path, source| OpenError::Io { path: path.to_owned(), source };
    make_directory(dir).map_err(|e| io(dir, e))?;
    let path = file.clone();
    let opener = move || builder().create_with_backend(FileBackend::new(open_file(&path)?)?);
    let log = load(Box::new(opener), &file, dir, seal)?;
    // Without this the file itself, new in its directory, might not outlive a loss of power.
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| io(dir, e))?;
    let owner = dir.join(OWNER);
    // Only the text of an error of others hangs on it.
    let _ = fs::write(&owner, std::process::id().to_string());
    Ok((log, Held(Some(owner))))
}

/// Opens a store on something other than a file.
pub(crate) fn backend<B: StorageBackend>(
    mut make: impl FnMut() -> io::Result<B> + Send + 'static,
) -> Result<(RedbLog, Held), OpenError> {
    let opener: Opener = Box::new(move || builder().create_with_backend(make()?));
    let log = load(opener, Path::new(FILE), Path::new("."), Arc::new(NoSeal))?;
    Ok((log, Held(None)))
}

// A store holds Secrets: what is made here is for its owner's eyes. What is there already keeps its mode.

fn make_directory(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(dir)
}

fn open_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.read(true).write(true).create(true).truncate(false).open(path)
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    // Everything is read at the start anyway; so damage is found there, and not later.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

fn load(opener: Opener, file: &Path, dir: &Path, seal: Arc<dyn Seal>) -> Result<RedbLog, OpenError> {
    let damaged = |reason: String| OpenError::Damaged { file: file.to_owned(), reason };
    // redb trusts what the checksums do not cover, and panics where that trust is misplaced.
    let outcome = catch_unwind(AssertUnwindSafe(|| RedbLog::open(opener, seal)))
        .map_err(|_| damaged("its structure makes no sense".to_owned()))?;
    outcome.map_err(|unreadable| match unreadable {
        Unreadable::Format(found) => OpenError::Format { file: file.to_owned(), found },
        Unreadable::Contents(reason) => damaged(reason),
        Unreadable::Redb(redb::Error::DatabaseAlreadyOpen) => {
            let pid = fs::read_to_string(dir.join(OWNER)).ok().and_then(|text| text.trim().parse().ok());
            OpenError::InUse { dir: dir.to_owned(), pid }
        }
        Unreadable::Redb(redb::Error::Io(source)) if !is_damage(&source) => {
            OpenError::Io { path: file.to_owned(), source }
        }
        Unreadable::Redb(other) => damaged(other.to_string()),
    })
}

/// Whether an error of input is one of its contents: not a database, or cut short.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}
