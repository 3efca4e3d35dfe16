//! The database: the objects as they are, and where that is in the history of commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use orlop_core::store::{Entry, Image, LogError, Revision, Seal, View};
use orlop_core::{Body, Stored};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction};

/// Key to creating revision, last revision (8 bytes each, little endian) and body.
const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
/// Numbers by name.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// The version of this layout.
const FORMAT: &str = "format";
/// The last commit.
const REVISION: &str = "revision";
/// Which records of the journal follow upon the database: drawn anew with every commit that goes into it directly.
const EPOCH: &str = "epoch";
/// The layout that this version writes: there may be a journal, which the one before did not know.
pub(crate) const FORMAT_KNOWN: u64 = 2;
/// The oldest that it reads; the first commit makes it the newest.
const FORMAT_OLDEST: u64 = 1;
/// Bytes before the body.
const PREFIX: usize = 16;

/// Where a database is in the history of commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The last commit.
    pub(crate) revision: Revision,
    /// Tells it from other databases at the same commit; `None`: there never was a journal.
    pub(crate) epoch: Option<u64>,
}

/// Why a file's contents cannot be taken over.
pub(crate) enum Unreadable {
    /// redb itself failed.
    Redb(redb::Error),
    /// The layout is another one.
    Format(u64),
    /// The file is sound and its contents are not.
    Contents(String),
    /// The journal is not what was written, or cannot be read.
    Journal(std::io::Error),
}

impl<E: Into<redb::Error>> From<E> for Unreadable {
    fn from(error: E) -> Unreadable {
        Unreadable::Redb(error.into())
    }
}

/// Puts rows into the database, which is at `place` then.
pub(crate) fn store(
    database: &Database,
    rows: &BTreeMap<Arc<str>, Option<Vec<u8>>>,
    place: Place,
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
        put_place(&transaction, place)?;
    }
    Ok(transaction.commit()?)
}

/// Makes the database hold exactly `view`.
pub(crate) fn replace(
    database: &Database,
    view: &dyn View,
    seal: &dyn Seal,
    place: Place,
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.delete_table(OBJECTS)?;
    {
        let mut objects = transaction.open_table(OBJECTS)?;
        for entry in view.range("", "", usize::MAX) {
            let row =
                encode(&entry, seal).map_err(|error| redb::Error::Io(std::io::Error::other(error.0)))?;
            objects.insert(&*entry.key, row.as_slice())?;
        }
        put_place(&transaction, place)?;
    }
    Ok(transaction.commit()?)
}

/// Whether anything was ever written.
pub(crate) fn is_known(database: &Database) -> Result<bool, redb::Error> {
    match database.begin_read()?.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => Ok(false),
        opened => Ok(opened.map(|_| true)?),
    }
}

pub(crate) fn initialise(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        transaction.open_table(OBJECTS)?;
        put_place(&transaction, Place::default())?;
    }
    Ok(transaction.commit()?)
}

fn put_place(transaction: &WriteTransaction, place: Place) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(META)?;
    meta.insert(FORMAT, FORMAT_KNOWN)?;
    meta.insert(REVISION, place.revision.0)?;
    if let Some(epoch) = place.epoch {
        meta.insert(EPOCH, epoch)?;
    }
    Ok(())
}

/// Where the database is; `None`: somebody took the file away, and it is new.
pub(crate) fn place(database: &Database) -> Result<Option<Place>, redb::Error> {
    let meta = match database.begin_read()?.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        opened => opened?,
    };
    let epoch = meta.get(EPOCH)?.map(|value| value.value());
    Ok(meta.get(REVISION)?.map(|value| Place { revision: Revision(value.value()), epoch }))
}

/// Everything in the database.
pub(crate) fn read(database: &Database, seal: &dyn Seal) -> Result<(Image, Place), Unreadable> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let missing = |name: &str| Unreadable::Contents(format!("the record {name:?} is missing"));
    match meta.get(FORMAT)?.ok_or_else(|| missing(FORMAT))?.value() {
        FORMAT_OLDEST..=FORMAT_KNOWN => {}
        other => return Err(Unreadable::Format(other)),
    }
    let place = place(database)?.ok_or_else(|| missing(REVISION))?;
    let mut image = Image { revision: place.revision, entries: Vec::new() };
    for row in transaction.open_table(OBJECTS)?.iter()? {
        let (key, value) = row?;
        image.entries.push(entry(key.value(), value.value(), seal)?);
    }
    Ok((image, place))
}

/// What a row, in the database or the journal, stands for.
pub(crate) fn entry(key: &str, row: &[u8], seal: &dyn Seal) -> Result<Entry, Unreadable> {
    let unreadable = |why| Unreadable::Contents(format!("the record of {key:?} cannot be read: {why}"));
    decode(key, row, seal).map_err(unreadable)
}

pub(crate) fn encode(entry: &Entry, seal: &dyn Seal) -> Result<Vec<u8>, LogError> {
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
