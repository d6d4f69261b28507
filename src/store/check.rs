//! Verifies a store that nobody has open: `warung check`.

use std::ops::ControlFlow;
use std::path::Path;

use redb::{Database, DatabaseError, ReadableDatabase as _, TableHandle as _};

use super::disk::existing;
use super::failure::Failure;
use super::key::{Key, KeyParts, fits};
use super::layout::Values;
use super::migrations::{SCHEMA_VERSION, schema};
use super::offline::CACHE_BYTES;
use super::problems::Problems;
use super::queue;
use super::read::{Read, Reader};
use super::tables::{self, RETIRED, Table};
use crate::error::{Code, Error, Result};

/// A rule that spans rows or tables; it adds what it finds wrong.
type Rule = fn(&Reader, &mut Problems) -> Result<()>;

const RULES: &[Rule] = &[wa_expiries, outbox, event_order, queue::check::check];

/// Verifies the file at `path`: redb's own checks, then every key, every version byte and every
/// index. Returns what is wrong; nothing is wrong when the list is empty.
pub fn check(path: &Path) -> Result<Vec<String>> {
    let file = existing(path)?;
    verify(
        redb::Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create_file(file),
        || path.display().to_string(),
    )
}

/// [`check`] for a simulated disk.
#[cfg(any(test, feature = "sandbox"))]
pub fn check_simulated(disk: &std::sync::Arc<super::faults::SimulatedDisk>) -> Result<Vec<String>> {
    let plug = super::faults::Plug::new(std::sync::Arc::clone(disk));
    let mut builder = redb::Builder::new();
    verify(
        builder
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(plug),
        || "the disk".into(),
    )
}

fn verify(
    opened: std::result::Result<Database, DatabaseError>,
    name: impl FnOnce() -> String,
) -> Result<Vec<String>> {
    let mut database = match opened {
        Ok(database) => database,
        Err(DatabaseError::DatabaseAlreadyOpen) => {
            let text = format!(
                "{} is in use by another process; stop that one first",
                name()
            );
            return Err(Error::new(Code::StoreInUse, text));
        }
        Err(error) => return Ok(vec![format!("the file is damaged: {error}")]),
    };
    let mut sentences = Vec::new();
    match database.check_integrity() {
        Ok(true) => {}
        Ok(false) => sentences.push("the file was damaged and has been repaired".into()),
        Err(error) => return Ok(vec![format!("the file is damaged: {error}")]),
    }
    let transaction = database.begin_read().map_err(Failure::from)?;
    match schema(&transaction) {
        Some(version) if version == SCHEMA_VERSION => {}
        Some(version) if version < SCHEMA_VERSION => {
            sentences.push(format!(
                "the store is of an older version (schema {version}); the next start of the gateway \
                 migrates it to schema {SCHEMA_VERSION}"
            ));
            return Ok(sentences);
        }
        Some(version) => {
            sentences.push(format!(
                "the store was written by a newer version of this program (schema {version}, this \
                 one knows up to {SCHEMA_VERSION})"
            ));
            return Ok(sentences);
        }
        None => {
            sentences.push("it is not a store of this program".into());
            return Ok(sentences);
        }
    }
    for handle in transaction.list_tables().map_err(Failure::from)? {
        let name = handle.name();
        if !Table::all().any(|t| t.name() == name) && !RETIRED.contains(&name) {
            sentences.push(format!("unknown table {name}"));
        }
    }
    let reader = Reader::new(transaction);
    let mut problems = Problems::default();
    for table in Table::all() {
        rows(&reader, table, &mut problems)?;
    }
    for rule in RULES {
        rule(&reader, &mut problems)?;
    }
    sentences.extend(problems.into_sentences());
    Ok(sentences)
}

fn rows(reader: &Reader, table: Table, problems: &mut Problems) -> Result<()> {
    reader.for_each_prefix(table, b"", |key, value| {
        if !fits(table.key(), key) {
            problems.add(table, key, "the key has another layout");
        }
        if let Values::Versioned(newest) | Values::Dated(newest) = table.values()
            && !value
                .first()
                .is_some_and(|version| (1..=newest).contains(version))
        {
            problems.add(table, key, "the value has an unknown version");
        }
        Ok(ControlFlow::Continue(()))
    })
}

fn wa_expiries(reader: &Reader, problems: &mut Problems) -> Result<()> {
    index(reader, tables::WA_EXPIRY, tables::WA, problems, |key, _| {
        let mut parts = KeyParts::new(key);
        let (sid, kind, _) = (parts.u32()?, parts.u8()?, parts.u64()?);
        Ok(Key::new().u32(sid).u8(kind).tail(parts.tail()))
    })
}

/// A message that is being sent must be among the messages.
fn outbox(reader: &Reader, problems: &mut Problems) -> Result<()> {
    reader.for_each_prefix(tables::OUTBOX, b"", |key, _| {
        let message = [key, &[0]].concat();
        if reader.first(tables::MESSAGES, &message)?.is_none() {
            problems.add(tables::OUTBOX, key, "the row that it names is missing");
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// The order of events names every event and nothing else.
fn event_order(reader: &Reader, problems: &mut Problems) -> Result<()> {
    let (order, events) = (tables::EVENT_ORDER, tables::EVENTS);
    index(reader, order, events, problems, |key, sid| {
        Ok(Key::new().tail([sid, key].concat()))
    })?;
    index(reader, events, order, problems, |key, _| {
        Ok(Key::new().tail(&key[4..]))
    })
}

/// Every row of `index` must name a row of `table`.
fn index(
    reader: &Reader,
    index: Table,
    table: Table,
    problems: &mut Problems,
    named: impl Fn(&[u8], &[u8]) -> Result<Key>,
) -> Result<()> {
    reader.for_each_prefix(index, b"", |key, value| {
        // A key of another layout has been told already.
        if let Ok(target) = named(key, value)
            && !reader.exists(table, &target)?
        {
            problems.add(index, key, "the row that it names is missing");
        }
        Ok(ControlFlow::Continue(()))
    })
}
