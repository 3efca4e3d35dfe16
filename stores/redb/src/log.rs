//! The log: the journal, and behind it the database.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use orlop_core::store::{Commit, Image, Log, LogError, Revision, Seal, View};
use orlop_core::{Clock, Timestamp};
use redb::Database;

use crate::journal::{self, Journal, Row};
use crate::tables::{self, Place, Unreadable};

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
    /// Where the database is, as far as this knows.
    settled: Place,
    /// [`Journal::mark`] when this began.
    mark: u64,
    /// The database is there for certain, in an epoch of this process, and nothing has failed since: the journal may go on.
    sound: bool,
    /// What becomes of bodies on the disk.
    seal: Arc<dyn Seal>,
    /// Taken away by an error: redb refuses everything after one until the file is opened anew.
    database: Option<Database>,
    /// The last error, and when the file was opened again after one.
    failed: LogError,
    reopened: Option<Timestamp>,
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

impl RedbLog {
    /// Opens and reads everything. What only the journal has stays there until the first commit, for which the disk must
    /// have room anyway.
    pub(crate) fn open(
        mut opener: Opener,
        mut journal: Option<Journaling>,
        seal: Arc<dyn Seal>,
        clock: Arc<dyn Clock>,
    ) -> Result<RedbLog, Unreadable> {
        let database = opener()?;
        if !tables::is_known(&database)? {
            tables::initialise(&database)?;
        }
        let (mut image, settled) = tables::read(&database, &*seal)?;
        let (mut ahead, mut mark) = (BTreeMap::new(), 0);
        if let Some(journal) = &mut journal {
            let journal = journal.opened().map_err(Unreadable::Journal)?;
            mark = journal.mark;
            let records = journal.records(settled.epoch, settled.revision);
            for record in records.map_err(Unreadable::Journal)? {
                image.revision = record.after;
                ahead.extend(record.rows);
            }
        }
        if !ahead.is_empty() {
            image.entries.retain(|entry| !ahead.contains_key(&entry.key));
        }
        for (key, row) in &ahead {
            if let Some(row) = row {
                image.entries.push(tables::entry(key, row, &*seal)?);
            }
        }
        Ok(RedbLog {
            opener,
            journal,
            ahead,
            reached: image.revision,
            settled,
            mark,
            sound: false,
            seal,
            database: Some(database),
            failed: LogError(String::new()),
            reopened: None,
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
        if let Some(journal) = &mut self.journal {
            journal.open = None;
        }
        self.sound = false;
        self.failed = LogError(why);
        self.failed.clone()
    }

    /// Where the database is to be: in an epoch that nothing in the journal is of, whatever copy of the database it last
    /// stood beside.
    fn next(&self, revision: Revision) -> Place {
        let now = self.clock.now().nanos().cast_unsigned();
        let numbers = [self.settled.epoch.unwrap_or_default(), revision.0, now, self.mark];
        Place { revision, epoch: Some(journal::checksum(0, numbers.map(u64::to_le_bytes).as_flattened())) }
    }

    /// Everything is in the database.
    fn settle(&mut self, place: Place) {
        self.ahead.clear();
        self.reached = place.revision;
        self.settled = place;
        self.sound = true;
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
                let row = event.now.as_ref().map(|entry| tables::encode(entry, &*seal)).transpose()?;
                Ok((event.key.clone(), row))
            })
            .collect();
        let rows = rows?;
        if self.database.is_none() {
            return Err(self.failed.clone());
        }
        if self.sound
            && let (Some(journal), Some(epoch)) = (&mut self.journal, self.settled.epoch)
        {
            let before = self.reached;
            match journal.opened().and_then(|journal| journal.append(epoch, before, last, &rows)) {
                Ok(true) => {
                    self.ahead.extend(rows);
                    self.reached = last;
                    return Ok(());
                }
                Ok(false) => {}
                Err(error) => return Err(self.fail(error.to_string())),
            }
        }
        // Those that are ahead stay so until it is certain that these are in the database with them.
        let mut all = self.ahead.clone();
        all.extend(rows);
        let place = self.next(last);
        self.with(|database| tables::store(database, &all, place))?;
        self.settle(place);
        Ok(())
    }

    fn snapshot(&mut self, view: &dyn View) -> Result<(), LogError> {
        let latest = view.revision();
        let follows = self.reached == latest;
        if self.sound && follows {
            // What failed was neither of the files, such as a seal.
            return Ok(());
        }
        if self.database.is_none() {
            self.reopen()?;
        }
        let (seal, settled, place) = (self.seal.clone(), self.settled, self.next(latest));
        let ahead = std::mem::take(&mut self.ahead);
        // In the new epoch there is no last record, which may be of a commit that never was.
        let done = self.with(|database| {
            // Mostly, what failed is not there, and the file is the one that was left.
            if follows && tables::place(database)? == Some(settled) {
                tables::store(database, &ahead, place)
            } else {
                tables::replace(database, view, &*seal, place)
            }
        });
        if let Err(error) = done {
            self.ahead = ahead;
            return Err(error);
        }
        self.settle(place);
        Ok(())
    }
}

impl Drop for RedbLog {
    /// Whoever opens, or copies, the database alone finds everything in it.
    fn drop(&mut self) {
        if self.ahead.is_empty() {
            return;
        }
        let (ahead, place) = (std::mem::take(&mut self.ahead), self.next(self.reached));
        // If it fails, the journal still has it.
        let _ = self.with(|database| tables::store(database, &ahead, place));
    }
}

#[cfg(test)]
mod tests {
    use orlop_core::store::{Entry, Event, MemoryStore, NoSeal, Op, Store, Txn};
    use orlop_core::{Body, ManualClock, Stored};

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
        let database = database.clone();
        on_any(move || database.clone(), journal, seal)
    }

    fn on_any(
        mut database: impl FnMut() -> Memory + Send + 'static,
        journal: &Memory,
        seal: Arc<dyn Seal>,
    ) -> RedbLog {
        let journal = journal.clone();
        let opener: Opener = Box::new(move || Database::builder().create_with_backend(database()));
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

    /// Somebody put an older file back while it was closed: the commits since were not in it, and not put into it.
    #[test]
    fn a_database_that_went_back_is_brought_up_again() {
        let (database, journal) = (Memory::default(), Memory::default());
        let mut log = on(&database, &journal, Arc::new(NoSeal));
        put(&mut log, 1, "x").unwrap();
        drop(log);
        let older = database.copy();
        let mut files = vec![older.clone(), database];
        let mut log = on_any(move || files.pop().unwrap(), &journal, Arc::new(NoSeal));
        let memory = MemoryStore::new(Arc::new(ManualClock::default()));
        for revision in 1..=3 {
            let body = Arc::new(Body::parse(r#"{"metadata":{"name":"x"}}"#.into()).unwrap());
            let ops = vec![Op::Put(format!("/{revision}").into(), body)];
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(memory.commit(Txn { compares: vec![], ops }).as_mut().poll(&mut cx).is_ready());
        }
        put(&mut log, 2, "x").unwrap();
        put(&mut log, 3, "x").unwrap();
        assert_eq!((log.settled.revision, log.ahead.len()), (Revision(2), 1));
        log.fail("no space left on device".to_owned());
        log.snapshot(&*memory.view()).unwrap();
        drop(log);
        let image = on(&older, &journal, Arc::new(NoSeal)).load().unwrap();
        assert_eq!((image.revision, image.entries.len()), (Revision(3), 3));
    }

    /// Rows are sealed in the journal as they are in the database.
    #[test]
    fn what_is_replayed_was_sealed() {
        struct Flip;
        impl Seal for Flip {
            fn seal<'a>(&self, _: &str, bytes: &'a [u8]) -> Result<std::borrow::Cow<'a, [u8]>, String> {
                Ok(bytes.iter().map(|byte| byte ^ 0xff).collect())
            }
            fn open<'a>(&self, key: &str, bytes: &'a [u8]) -> Result<std::borrow::Cow<'a, [u8]>, String> {
                self.seal(key, bytes)
            }
        }
        let (database, journal) = (Memory::default(), Memory::default());
        let mut log = on(&database, &journal, Arc::new(Flip));
        for revision in 1..=3 {
            put(&mut log, revision, "secret").unwrap();
        }
        let (database, journal) = (database.copy(), journal.copy());
        drop(log);
        let mut bytes = vec![0; 4096];
        redb::StorageBackend::read(&journal, 0, &mut bytes).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"secret"));
        let mut log = on(&database, &journal, Arc::new(Flip));
        let image = log.load().unwrap();
        assert_eq!((image.revision, image.entries.len(), log.ahead.len()), (Revision(3), 3, 2));
        assert!(image.entries.iter().all(|entry| entry.object.body.bytes().ends_with(b"\"secret\"}}")));
    }
}
