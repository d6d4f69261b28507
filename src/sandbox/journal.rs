//! The state file: a journal of JSON lines, each a key with its newest value.
//!
//! Appending is cheap and a torn last line costs only that line; when most of the file is outdated
//! it is written anew and put in the place of the old one.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use super::chat::Chat;
use super::number::{DeviceAddress, Number};
use crate::error::{Code, Error, Result};

/// After so long without a change the disk is asked to keep what was written. A kill of the process
/// takes nothing that was written; only a machine that loses its power does.
const QUIET: Duration = Duration::from_secs(1);
/// So many outdated lines are no reason to write the file anew.
const TOLERATED: usize = 10_000;

/// What a line of the journal is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum JournalKey {
    Seed,
    Account(Number),
    Companion(DeviceAddress),
    /// The keys that a companion published.
    Keys(DeviceAddress),
    /// A stanza that waits for a companion, by its place in the queue.
    Waiting(DeviceAddress, u64),
    Settings(Number),
    Phone(Number),
    /// A message that waits for a phone to be switched on, by its place.
    Held(Number, u64),
    Session(Number, DeviceAddress),
    /// The key with which a device writes to a group.
    GroupSecret(Number, Chat, DeviceAddress),
    /// The key with which the phone itself writes to a group.
    OwnGroupSecret(Number, Chat),
    /// A message that a phone received, by its place.
    Message(Number, u32),
    /// A message that a phone sent, by its place.
    Sent(Number, u64),
    Group(Box<str>),
    /// The picture of a person or group.
    Picture(Chat),
    /// A file that was left at the media host, by its path.
    File(Box<str>),
    /// A channel without what is written in it.
    Channel(Box<str>),
    /// A message in a channel, by its number.
    Post(Box<str>, u64),
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: JournalKey,
    value: Option<Value>,
}

/// Which parts of the network have changed since they were last written.
pub(super) struct JournalChanges {
    /// Whether anything is kept at all.
    kept: bool,
    state: Mutex<Gathered>,
    bell: Condvar,
    /// How many changes are in the file.
    written: watch::Sender<u64>,
}

#[derive(Default)]
struct Gathered {
    keys: HashSet<JournalKey>,
    /// How many changes there were.
    count: u64,
    over: bool,
}

/// Why the one who writes was woken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// Something has changed.
    Changed,
    /// Nothing has changed for a while.
    Quiet,
    /// The network is at its end.
    Over,
}

impl JournalChanges {
    pub(super) fn new(kept: bool) -> Self {
        Self {
            kept,
            state: Mutex::default(),
            bell: Condvar::new(),
            written: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.state
            .lock()
            .expect("Invariant: nothing panics under this lock")
    }

    /// Notes that a part has changed, was made or is gone.
    pub(super) fn touch(&self, key: impl FnOnce() -> JournalKey) {
        if self.kept {
            let mut gathered = self.lock();
            if gathered.keys.is_empty() {
                self.bell.notify_all();
            }
            gathered.keys.insert(key());
            gathered.count += 1;
        }
    }

    /// What has changed since the last call, and how many changes there were in all.
    pub(super) fn take(&self) -> (HashSet<JournalKey>, u64) {
        let mut gathered = self.lock();
        (std::mem::take(&mut gathered.keys), gathered.count)
    }

    /// Waits until something has changed; one who has `pending` work for quiet hours is woken for it.
    pub(super) fn wait(&self, pending: bool) -> Woken {
        let calm = |gathered: &mut Gathered| gathered.keys.is_empty() && !gathered.over;
        let limit = if pending { QUIET } else { Duration::MAX };
        let (gathered, _) = self
            .bell
            .wait_timeout_while(self.lock(), limit, calm)
            .expect("Invariant: nothing panics under this lock");
        if gathered.over {
            Woken::Over
        } else if gathered.keys.is_empty() {
            Woken::Quiet
        } else {
            Woken::Changed
        }
    }

    /// So many changes are in the file now.
    pub(super) fn note_written(&self, count: u64) {
        self.written.send_if_modified(|written| {
            let more = *written < count;
            *written = count.max(*written);
            more
        });
    }

    /// Waits until every change so far is in the file, if one is kept.
    pub(super) async fn written(&self) {
        if self.kept {
            let count = self.lock().count;
            let mut written = self.written.subscribe();
            // It fails only when nobody is left to wait.
            let _ = written.wait_for(|written| *written >= count).await;
        }
    }

    pub(super) fn end(&self) {
        self.lock().over = true;
        self.bell.notify_all();
    }
}

/// The open state file.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Which keys have a value in the file.
    known: HashSet<JournalKey>,
    lines: usize,
}

impl Journal {
    /// Opens a file, which may be missing; answers what is in it.
    pub(super) fn open(path: &Path) -> Result<(Self, BTreeMap<JournalKey, Value>)> {
        let broken = |error: std::io::Error| {
            Error::new(
                Code::StoreUnavailable,
                "the simulated network's state cannot be opened",
            )
            .because(error)
        };
        let mut rows = BTreeMap::new();
        let mut lines = 0;
        let mut good = 0u64;
        if path.exists() {
            let mut reader = BufReader::new(File::open(path).map_err(broken)?);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).map_err(broken)? > 0 {
                // A line without an end is what a kill left of it.
                let Some(text) = line.strip_suffix(b"\n") else {
                    break;
                };
                let Line { key, value } = serde_json::from_slice(text).map_err(|error| {
                    Error::new(
                        Code::StoreUnavailable,
                        "the simulated network's state file is damaged; remove it to start afresh",
                    )
                    .because(error)
                })?;
                match value {
                    Some(value) => rows.insert(key, value),
                    None => rows.remove(&key),
                };
                lines += 1;
                good += line.len() as u64;
                line.clear();
            }
        } else if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(broken)?;
        }
        let file = private(path, false).map_err(broken)?;
        file.set_len(good).map_err(broken)?;
        let known = rows.keys().cloned().collect();
        Ok((
            Self {
                path: path.to_owned(),
                file,
                known,
                lines,
            },
            rows,
        ))
    }

    /// Appends the newest values: after that a kill does not take them.
    pub(super) fn append(
        &mut self,
        keys: HashSet<JournalKey>,
        value_of: impl Fn(&JournalKey) -> Option<Value>,
    ) -> std::io::Result<()> {
        let mut text = Vec::new();
        // In order, so that what a kill tears off is the newest of each phone.
        let mut keys: Vec<_> = keys.into_iter().collect();
        keys.sort_unstable();
        for key in keys {
            let value = value_of(&key);
            let changed = match &value {
                Some(_) => {
                    self.known.insert(key.clone());
                    true
                }
                None => self.known.remove(&key),
            };
            if changed {
                self.lines += 1;
                push(&mut text, Line { key, value })?;
            }
        }
        if text.is_empty() {
            return Ok(());
        }
        self.file.write_all(&text)?;
        if self.lines > 4 * self.known.len() + TOLERATED {
            self.rewrite(value_of)?;
        }
        Ok(())
    }

    /// Waits until the disk has everything.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        self.file.sync_data()
    }

    /// Writes only what is still true, into a new file that then replaces the old one.
    fn rewrite(&mut self, value_of: impl Fn(&JournalKey) -> Option<Value>) -> std::io::Result<()> {
        let fresh = self.path.with_extension("new");
        let mut file = private(&fresh, true)?;
        let mut text = Vec::new();
        let mut known = HashSet::new();
        for key in self.known.drain() {
            if let Some(value) = value_of(&key) {
                push(
                    &mut text,
                    Line {
                        key: key.clone(),
                        value: Some(value),
                    },
                )?;
                known.insert(key);
            }
        }
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&fresh, &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        self.lines = known.len();
        (self.known, self.file) = (known, file);
        Ok(())
    }
}

fn push(text: &mut Vec<u8>, line: Line) -> std::io::Result<()> {
    serde_json::to_writer(&mut *text, &line)?;
    text.push(b'\n');
    Ok(())
}

/// A file for its owner only, opened at its end.
fn private(path: &Path, empty: bool) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    if empty && path.exists() {
        std::fs::remove_file(path)?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn account(value: u64) -> JournalKey {
        JournalKey::Account(Number::from_value(value))
    }

    #[test]
    fn finds_the_newest_values_and_survives_a_torn_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/state");
        let (mut journal, rows) = Journal::open(&path).expect("opens");
        assert!(rows.is_empty());
        let keys = || [account(1), account(2)].into_iter().collect();
        journal
            .append(keys(), |_| Some(json!("old")))
            .expect("written");
        journal
            .append(keys(), |key| (*key == account(1)).then(|| json!("new")))
            .expect("written");
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(&path).expect("opens");
        file.write_all(b"{\"key\":{\"Account\":2},\"val")
            .expect("written");
        drop(file);
        let (mut journal, rows) = Journal::open(&path).expect("opens");
        assert_eq!(rows, BTreeMap::from([(account(1), json!("new"))]));
        journal
            .append([account(3)].into(), |_| Some(json!(3)))
            .expect("written");
        let (_, rows) = Journal::open(&path).expect("opens");
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn is_written_anew_when_most_of_it_is_outdated() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        let (mut journal, _) = Journal::open(&path).expect("opens");
        journal.lines = TOLERATED * 2;
        journal
            .append([account(1), account(2)].into(), |_| Some(json!(1)))
            .expect("written");
        assert_eq!(journal.lines, 2);
        journal
            .append([account(2)].into(), |_| None)
            .expect("written");
        let (_, rows) = Journal::open(&path).expect("opens");
        assert_eq!(rows, BTreeMap::from([(account(1), json!(1))]));
    }

    #[test]
    fn says_that_a_file_is_damaged() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        std::fs::write(&path, "hello\n").expect("written");
        assert!(Journal::open(&path).is_err());
    }
}
