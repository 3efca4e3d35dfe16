//! The log: the objects as they are and the revision that they are at, in a database; what came last, before it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use orlop_core::store::{Commit, Entry, Image, Log, LogError, Revision, Seal, View};
use orlop_core::{Body, Clock, Stored, Timestamp};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use crate::journal::{self, Journal, Row};

/// Key to creating revision, last revision (8 bytes each, little endian) and body.
const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
/// Numbers by name.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// The version of this layout.
const FORMAT: &str = "format";
/// The last commit.
const REVISION: &str = "revision";
/// The layout that this version reads and writes.
pub(crate) const FORMAT_KNOWN: u64 = 1;
/// Bytes before the body.
const PREFIX: usize = 16;
/// Opening the file again takes as long as reading it: on a disk that stays full, commits do not wait for that more often.
const REOPEN: Duration = Duration::from_secs(5);
/// Why there is no database after redb has panicked: it does where what it trusts is not so.
const NONSENSE: &str = "the file's structure makes no sense";

/// Opens the database, also again after an error.
pub(crate) type Opener = Box<dyn FnMut() -> Result<Database, redb::DatabaseError> + Send>;

/// Commits go into the journal, and from there, many at a time, into the database. All that share a flush are one record,
/// or one transaction, so they come back together or not at all.
pub(crate) struct RedbLog {
    opener: Opener,
    /// `None`: commits go into the database at once.
    journal: Option<Journaling>,
    /// What only the journal has so far, and the last commit in either.
    ahead: BTreeMap<Arc<str>, Option<Vec<u8>>>,
    reached: Revision,
    /// What becomes of bodies on the disk.
    seal: Arc<dyn Seal>,
    /// Taken away by an error: redb refuses everything after one until the file is opened anew.
    database: Option<Database>,
    /// The last error, and when the file was opened again after one.
    failed: LogError,
    reopened: Option<Timestamp>,
    /// The journal's last record may be of a commit that was answered as failed.
    unanswered: bool,
    clock: Arc<dyn Clock>,
    /// For [`Log::load`], which comes once.
    image: Image,
}

/// The journal, and how it is opened.
pub(crate) struct Journaling {
    opener: journal::Opener,
    room: u64,
    /// Taken away by an error.
    open: Option<Journal>,
}

impl Journaling {
    pub(crate) fn new(opener: journal::Opener, room: u64) -> Journaling {
        Journaling { opener, room, open: None }
    }

    fn opened(&mut self) -> std::io::Result<&mut Journal> {
        let journal = match self.open.take() {
            Some(open) => open,
            None => Journal::open((self.opener)()?, self.room)?,
        };
        Ok(self.open.insert(journal))
    }
}

/// Why a file's contents cannot be taken over.
pub(crate) enum Unreadable {
    /// redb itself failed.
    Redb(redb::Error),
    /// The layout is another one.
    Format(u64),
    /// The file is sound and its contents are not.
    Contents(String),
}

impl<E: Into<redb::Error>> From<E> for Unreadable {
    fn from(error: E) -> Unreadable {
        Unreadable::Redb(error.into())
    }
}

impl RedbLog {
    /// Opens and reads everything.
    pub(crate) fn open(
        mut opener: Opener,
        mut journal: Option<Journaling>,
        seal: Arc<dyn Seal>,
        clock: Arc<dyn Clock>,
    ) -> Result<RedbLog, Unreadable> {
        let database = opener()?;
        if !is_known(&database)? {
            initialise(&database)?;
        }
        if let Some(journal) = &mut journal {
            let journal = journal.opened().map_err(redb::Error::Io)?;
            let reached = revision(&database)?.unwrap_or_default();
            let records = journal.records(Revision(reached)).map_err(|error| match error.kind() {
                std::io::ErrorKind::InvalidData => Unreadable::Contents(format!("the journal: {error}")),
                _ => Unreadable::Redb(redb::Error::Io(error)),
            })?;
            if let Some(last) = records.last().map(|record| record.after) {
                let rows: BTreeMap<_, _> = records.into_iter().flat_map(|record| record.rows).collect();
                store(&database, &rows, last)?;
            }
        }
        let image = read(&database, &*seal)?;
        let (reached, failed) = (image.revision, LogError(String::new()));
        let (ahead, database) = (BTreeMap::new(), Some(database));
        let (reopened, unanswered) = (None, false);
        Ok(RedbLog {
            opener,
            journal,
            ahead,
            reached,
            seal,
            database,
            failed,
            reopened,
            unanswered,
            clock,
            image,
        })
    }

    /// Opens the file again after an error.
    fn reopen(&mut self) -> Result<(), LogError> {
        let now = self.clock.now();
        if self.reopened.is_some_and(|last| now < last + REOPEN) {
            return Err(self.failed.clone());
        }
        self.reopened = Some(now);
        // redb panics where what it trusts makes no sense.
        self.database = match catch_unwind(AssertUnwindSafe(&mut self.opener)) {
            Ok(Ok(database)) => Some(database),
            Ok(Err(error)) => return Err(self.fail(error.to_string())),
            Err(_) => return Err(self.fail(NONSENSE.to_owned())),
        };
        Ok(())
    }

    fn fail(&mut self, why: String) -> LogError {
        let database = self.database.take();
        // One that has panicked may do so again when it is closed; while unwinding that would end the process.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
        self.failed = LogError(why);
        self.failed.clone()
    }

    /// Everything is in the database.
    fn settled(&mut self, reached: Revision) {
        self.ahead.clear();
        self.reached = reached;
        if let Some(journal) = self.journal.as_mut().and_then(|journal| journal.open.as_mut()) {
            journal.restart();
        }
    }

    /// Does `work` with the database, and gives the database up if that fails.
    fn with<T>(&mut self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, LogError> {
        let Some(database) = &self.database else { return Err(self.failed.clone()) };
        match catch_unwind(AssertUnwindSafe(|| work(database))) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(self.fail(error.to_string())),
            Err(_) => Err(self.fail(NONSENSE.to_owned())),
        }
    }
}

impl Log for RedbLog {
    fn load(&mut self) -> Result<Image, LogError> {
        Ok(std::mem::take(&mut self.image))
    }

    fn append(&mut self, commits: &[Arc<Commit>]) -> Result<(), LogError> {
        let Some(last) = commits.last().map(|commit| commit.revision) else { return Ok(()) };
        let seal = self.seal.clone();
        let rows: Result<Vec<Row>, LogError> = commits
            .iter()
            .flat_map(|commit| &commit.events)
            .map(|event| {
                let row = event.now.as_ref().map(|entry| encode(entry, &*seal)).transpose()?;
                Ok((event.key.clone(), row))
            })
            .collect();
        let rows = rows?;
        if self.database.is_none() {
            return Err(self.failed.clone());
        }
        if let Some(journal) = &mut self.journal {
            let before = self.reached;
            match journal.opened().and_then(|journal| journal.append(before, last, &rows)) {
                Ok(true) => {
                    self.ahead.extend(rows);
                    self.reached = last;
                    return Ok(());
                }
                Ok(false) => {}
                Err(error) => {
                    journal.open = None;
                    self.unanswered = true;
                    return Err(self.fail(error.to_string()));
                }
            }
        }
        // Those that are ahead stay so until it is certain that these are in the database with them.
        let mut all = self.ahead.clone();
        all.extend(rows);
        self.with(|database| store(database, &all, last))?;
        self.settled(last);
        Ok(())
    }

    fn snapshot(&mut self, view: &dyn View) -> Result<(), LogError> {
        if self.database.is_none() {
            self.reopen()?;
        }
        let (seal, latest) = (self.seal.clone(), view.revision());
        let ahead = std::mem::take(&mut self.ahead);
        let follows = self.reached == latest;
        let done = self.with(|database| {
            // Mostly, what failed is not there. Revisions are enough to tell: this log takes nothing in while in doubt.
            match revision(database)?.map(Revision) {
                Some(there) if there == latest && ahead.is_empty() => Ok(()),
                Some(there) if there <= latest && follows => store(database, &ahead, latest),
                _ => replace(database, view, &*seal),
            }
        });
        if let Err(error) = done {
            self.ahead = ahead;
            return Err(error);
        }
        if self.unanswered
            && let Some(journal) = &mut self.journal
            && let Err(error) = journal.opened().and_then(Journal::wipe)
        {
            journal.open = None;
            return Err(self.fail(error.to_string()));
        }
        self.unanswered = false;
        self.settled(latest);
        Ok(())
    }
}

impl Drop for RedbLog {
    /// Whoever opens, or copies, the database alone finds everything in it.
    fn drop(&mut self) {
        if self.ahead.is_empty() {
            return;
        }
        let (ahead, reached) = (std::mem::take(&mut self.ahead), self.reached);
        // If it fails, the journal still has it.
        let _ = self.with(|database| store(database, &ahead, reached));
    }
}

/// Puts rows into the database: what it has at `reached`.
fn store(
    database: &Database,
    rows: &BTreeMap<Arc<str>, Option<Vec<u8>>>,
    reached: Revision,
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut objects = transaction.open_table(OBJECTS)?;
        for (key, row) in rows {
            match row {
                Some(row) => objects.insert(&**key, row.as_slice())?,
                None => objects.remove(&**key)?,
            };
        }
        transaction.open_table(META)?.insert(REVISION, reached.0)?;
    }
    Ok(transaction.commit()?)
}

/// Makes the database hold exactly `view`.
fn replace(database: &Database, view: &dyn View, seal: &dyn Seal) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.delete_table(OBJECTS)?;
    {
        let mut objects = transaction.open_table(OBJECTS)?;
        for entry in view.range("", "", usize::MAX) {
            let row =
                encode(&entry, seal).map_err(|error| redb::Error::Io(std::io::Error::other(error.0)))?;
            objects.insert(&*entry.key, row.as_slice())?;
        }
        let mut meta = transaction.open_table(META)?;
        meta.insert(FORMAT, FORMAT_KNOWN)?;
        meta.insert(REVISION, view.revision().0)?;
    }
    Ok(transaction.commit()?)
}

/// Whether anything was ever written.
fn is_known(database: &Database) -> Result<bool, redb::Error> {
    match database.begin_read()?.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => Ok(false),
        opened => Ok(opened.map(|_| true)?),
    }
}

fn initialise(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        transaction.open_table(OBJECTS)?;
        let mut meta = transaction.open_table(META)?;
        meta.insert(FORMAT, FORMAT_KNOWN)?;
        meta.insert(REVISION, 0)?;
    }
    Ok(transaction.commit()?)
}

/// The last commit in the file; `None`: somebody took the file away, and it is new.
fn revision(database: &Database) -> Result<Option<u64>, redb::Error> {
    let meta = match database.begin_read()?.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        opened => opened?,
    };
    Ok(meta.get(REVISION)?.map(|value| value.value()))
}

/// Everything in the database.
fn read(database: &Database, seal: &dyn Seal) -> Result<Image, Unreadable> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let number = |name: &str| -> Result<u64, Unreadable> {
        let value = meta.get(name)?.map(|value| value.value());
        value.ok_or_else(|| Unreadable::Contents(format!("the record {name:?} is missing")))
    };
    match number(FORMAT)? {
        FORMAT_KNOWN => {}
        other => return Err(Unreadable::Format(other)),
    }
    let mut image = Image { revision: Revision(number(REVISION)?), entries: Vec::new() };
    for row in transaction.open_table(OBJECTS)?.iter()? {
        let (key, value) = row?;
        let entry = decode(key.value(), value.value(), seal).map_err(|reason| {
            Unreadable::Contents(format!("the record of {:?} cannot be read: {reason}", key.value()))
        })?;
        image.entries.push(entry);
    }
    Ok(image)
}

fn encode(entry: &Entry, seal: &dyn Seal) -> Result<Vec<u8>, LogError> {
    let body = seal.seal(&entry.key, entry.object.body.bytes()).map_err(LogError)?;
    let mut out = Vec::with_capacity(PREFIX + body.len());
    out.extend_from_slice(&entry.created.0.to_le_bytes());
    out.extend_from_slice(&entry.object.revision.0.to_le_bytes());
    out.extend_from_slice(&body);
    Ok(out)
}

fn decode(key: &str, value: &[u8], seal: &dyn Seal) -> Result<Entry, String> {
    let number = |at: usize| -> Result<Revision, String> {
        let bytes = value.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).ok_or("it is too short")?;
        Ok(Revision(u64::from_le_bytes(bytes)))
    };
    let (created, revision) = (number(0)?, number(8)?);
    let body = seal.open(key, &value[PREFIX..])?;
    let body = Body::parse(Bytes::copy_from_slice(&body)).map_err(|error| error.to_string())?;
    Ok(Entry { key: key.into(), object: Stored { body: Arc::new(body), revision }, created })
}

#[cfg(test)]
mod tests {
    use orlop_core::ManualClock;
    use orlop_core::store::{Event, MemoryStore, NoSeal, Store};

    use super::*;
    use crate::memory::Memory;
    use crate::open::{OpenError, directory};

    /// After an error redb's file is closed, and its lock gone. Another process could open the directory then, be answered
    /// commits, end, and lose them to the first one's next commit.
    #[test]
    fn an_error_does_not_give_the_directory_away() {
        let dir = tempfile::tempdir().unwrap();
        let open =
            || directory(dir.path(), Arc::new(NoSeal), Arc::new(ManualClock::default()) as Arc<dyn Clock>);
        let (mut log, held) = open().unwrap_or_else(|error| panic!("{error}"));
        log.fail("no space left on device".to_owned());
        let pid = Some(std::process::id());
        assert!(matches!(open().err(), Some(OpenError::InUse { pid: named, .. }) if named == pid));
        log.reopen().expect("it is still ours");
        drop((log, held));
        assert!(open().is_ok());
    }

    /// It took the thread down, and with it whoever waited.
    #[test]
    fn a_database_that_panics_is_an_error() {
        let mut first = true;
        let backend = redb::backends::InMemoryBackend::new;
        let opener: Opener = Box::new(move || {
            assert!(std::mem::take(&mut first), "the structure makes no sense");
            Database::builder().create_with_backend(backend())
        });
        let clock = Arc::new(ManualClock::default());
        let Ok(mut log) = RedbLog::open(opener, None, Arc::new(NoSeal), clock) else {
            panic!("it opens once")
        };
        log.fail("broken".to_owned());
        let error = log.reopen().unwrap_err();
        assert!(error.0.contains("makes no sense"), "{error}");
        assert_eq!(log.reopen().unwrap_err(), error, "and it is told again, without trying");
    }

    fn on(database: &Memory, journal: &Memory, seal: Arc<dyn Seal>) -> RedbLog {
        let (database, journal) = (database.clone(), journal.clone());
        let opener: Opener = Box::new(move || Database::builder().create_with_backend(database.clone()));
        let journal = Journaling::new(Box::new(move || Ok(Box::new(journal.clone()))), 4096);
        RedbLog::open(opener, Some(journal), seal, Arc::new(ManualClock::default()))
            .unwrap_or_else(|_| panic!("it opens"))
    }

    fn put(log: &mut RedbLog, revision: u64, name: &str) -> Result<(), LogError> {
        let revision = Revision(revision);
        let body = Arc::new(Body::parse(format!(r#"{{"metadata":{{"name":"{name}"}}}}"#).into()).unwrap());
        let key: Arc<str> = format!("/{}", revision.0).into();
        let now = Some(Entry { key: key.clone(), object: Stored { body, revision }, created: revision });
        let events = Box::new([Event { key, now, before: None, revision }]);
        log.append(&[Arc::new(Commit { revision, at: Timestamp::default(), events })])
    }

    /// The thread unwound into the half-changed database, to write to it and to close it, and took the process down.
    #[test]
    fn a_database_that_panics_in_a_commit_is_an_error() {
        let (database, journal) = (Memory::default(), Memory::default());
        let mut log = on(&database, &journal, Arc::new(NoSeal));
        for revision in 1..=3 {
            put(&mut log, revision, "x").unwrap();
        }
        assert!(!log.ahead.is_empty());
        database.panic_once();
        assert_eq!(put(&mut log, 4, &"x".repeat(5000)), Err(LogError(NONSENSE.to_owned())));
        drop(log);
        let mut log = on(&database, &journal, Arc::new(NoSeal));
        let image = log.load().unwrap();
        assert_eq!((image.revision, image.entries.len()), (Revision(3), 3));
    }

    /// Each refusal of a seal had the whole journal overwritten.
    #[test]
    fn a_seal_that_fails_writes_nothing() {
        struct Broken;
        impl Seal for Broken {
            fn seal<'a>(&self, _: &str, _: &'a [u8]) -> Result<std::borrow::Cow<'a, [u8]>, String> {
                Err("no key".to_owned())
            }
            fn open<'a>(&self, key: &str, bytes: &'a [u8]) -> Result<std::borrow::Cow<'a, [u8]>, String> {
                NoSeal.open(key, bytes)
            }
        }
        let journal = Memory::default();
        let mut log = on(&Memory::default(), &journal, Arc::new(Broken));
        let written = journal.written();
        for _ in 0..10 {
            assert_eq!(put(&mut log, 1, "x"), Err(LogError("no key".to_owned())));
            log.snapshot(&*MemoryStore::new(Arc::new(ManualClock::default())).view()).unwrap();
        }
        assert_eq!(journal.written(), written);
    }
}
