//! Opening a directory, and what can be wrong with it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orlop_core::Clock;
use orlop_core::store::{NoSeal, Seal};
use redb::backends::FileBackend;
use redb::{Builder, Database, StorageBackend};

use crate::journal;
use crate::log::{Journaling, Opener, RedbLog};
use crate::tables::{FORMAT_KNOWN, Unreadable};

/// The file in the directory.
const FILE: &str = "store.redb";
/// The journal before it.
const JOURNAL: &str = "store.journal";
/// Its length, in bytes: while it goes into the database, commits wait, and the longer it is, the more of them have waited
/// for nothing.
const JOURNAL_BYTES: u64 = 8 << 20;
/// Locked by who holds the directory, and tells others who that is. redb locks its own file as well, but only while it
/// is open: an error closes it, and what was answered must not be taken over by others meanwhile.
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
    /// The journal is not what was written.
    #[error("{} is damaged: {reason}. Move it away, and the store begins without its last commits", file.display())]
    Journal {
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

/// A directory that this process holds, as long as this lives.
pub(crate) struct Held(Option<File>);

impl Held {
    /// Takes hold of a directory, or tells why that cannot be.
    fn take(dir: &Path) -> Result<Held, OpenError> {
        let path = dir.join(OWNER);
        let io = |source| OpenError::Io { path: path.clone(), source };
        let mut owner = open_file(&path).map_err(io)?;
        match owner.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = owner.read_to_string(&mut text);
                return Err(OpenError::InUse { dir: dir.to_owned(), pid: text.trim().parse().ok() });
            }
            // Where files cannot be locked, redb's own is not either.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        // Only the text of an error of others hangs on it.
        let _ = owner.set_len(0).and_then(|()| write!(owner, "{}", std::process::id()));
        Ok(Held(Some(owner)))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(owner) = &self.0 {
            // The file stays: whoever waits to lock it must not lock one that has lost its name. The lock is what counts; a
            // number left behind says nothing without it.
            let _ = owner.set_len(0);
        }
    }
}

/// Opens the store's file in a directory, which is made if it is not there.
pub(crate) fn directory(
    dir: &Path,
    seal: Arc<dyn Seal>,
    clock: Arc<dyn Clock>,
) -> Result<(RedbLog, Held), OpenError> {
    let file = dir.join(FILE);
    let io = |path: &Path, source| OpenError::Io { path: path.to_owned(), source };
    make_directory(dir).map_err(|e| io(dir, e))?;
    let held = Held::take(dir)?;
    let path = file.clone();
    let opener = move || builder().create_with_backend(FileBackend::new(open_durably(&path)?)?);
    let path = dir.join(JOURNAL);
    let journal: journal::Opener = Box::new(move || {
        let file = FileBackend::new(open_durably(&path)?).map_err(io::Error::other)?;
        Ok(Box::new(file))
    });
    let journal = Some(Journaling::new(journal, JOURNAL_BYTES));
    let log = load(Box::new(opener), journal, &file, dir, seal, clock)?;
    Ok((log, held))
}

/// Opens a store on something other than files: `make(false)` is the database's, `make(true)` the journal's.
pub(crate) fn backend<B: StorageBackend>(
    make: impl FnMut(bool) -> io::Result<B> + Send + Clone + 'static,
    journal_bytes: u64,
    clock: Arc<dyn Clock>,
) -> Result<(RedbLog, Held), OpenError> {
    let (mut database, mut journal) = (make.clone(), make);
    let opener: Opener = Box::new(move || builder().create_with_backend(database(false)?));
    let journal = Journaling::new(Box::new(move || Ok(Box::new(journal(true)?))), journal_bytes);
    let log = load(opener, Some(journal), Path::new(FILE), Path::new("."), Arc::new(NoSeal), clock)?;
    Ok((log, Held(None)))
}

// A store holds Secrets: what is made here is for its owner's eyes. What is there already keeps its mode.

fn make_directory(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let new = to_be_made(dir);
    builder.recursive(true).create(dir)?;
    // A directory is as durable as its name in the one above.
    new.into_iter().filter_map(Path::parent).try_for_each(|above| {
        sync_directory(if above.as_os_str().is_empty() { Path::new(".") } else { above })
    })
}

/// The directories on the way to one that are not there.
fn to_be_made(dir: &Path) -> Vec<&Path> {
    dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect()
}

fn sync_directory(dir: &Path) -> io::Result<()> {
    // Elsewhere directories cannot be opened as files.
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

fn open_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.read(true).write(true).create(true).truncate(false).open(path)
}

/// A file that may be new, also one that is opened again: without its name it would not outlive a loss of power.
fn open_durably(path: &Path) -> io::Result<File> {
    let file = open_file(path)?;
    path.parent().map_or(Ok(()), sync_directory)?;
    Ok(file)
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    // Everything is read at the start anyway; so damage is found there, and not later.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

fn load(
    opener: Opener,
    journal: Option<Journaling>,
    file: &Path,
    dir: &Path,
    seal: Arc<dyn Seal>,
    clock: Arc<dyn Clock>,
) -> Result<RedbLog, OpenError> {
    let damaged = |reason: String| OpenError::Damaged { file: file.to_owned(), reason };
    // redb trusts what the checksums do not cover, and panics where that trust is misplaced.
    let outcome = catch_unwind(AssertUnwindSafe(|| RedbLog::open(opener, journal, seal, clock)))
        .map_err(|_| damaged("its structure makes no sense".to_owned()))?;
    outcome.map_err(|unreadable| match unreadable {
        Unreadable::Format(found) => OpenError::Format { file: file.to_owned(), found },
        Unreadable::Contents(reason) => damaged(reason),
        Unreadable::Redb(redb::Error::DatabaseAlreadyOpen) => {
            let pid = fs::read_to_string(dir.join(OWNER)).ok().and_then(|text| text.trim().parse().ok());
            OpenError::InUse { dir: dir.to_owned(), pid }
        }
        Unreadable::Journal(error) if is_damage(&error) => {
            OpenError::Journal { file: dir.join(JOURNAL), reason: error.to_string() }
        }
        Unreadable::Journal(source) => OpenError::Io { path: dir.join(JOURNAL), source },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_made_durable() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a/b");
        assert_eq!(to_be_made(&below), [below.as_path(), dir.path().join("a").as_path()]);
        make_directory(&below).unwrap();
        assert!(to_be_made(&below).is_empty());
        assert_eq!(to_be_made(Path::new("no/such")), [Path::new("no/such"), Path::new("no")]);
    }
}
