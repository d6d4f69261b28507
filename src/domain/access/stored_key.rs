//! Stored keys: their rows, and all of them in memory, by id and by hash.
//!
//! A key is random, so that its SHA-256 is all that is kept of it: whoever reads the store learns no key.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use super::scope::Scope;
use crate::domain::dialect::Dialect;
use crate::ids::{Hash, RowId, SessionNumber};
use crate::store::{Record, Typed, tables};
use crate::time::Timestamp;

/// What is stored of a key. Hazard: the names of its fields are in the files of users.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AccessKeyRow {
    /// SHA-256 of the key.
    pub(super) hash: Hash,
    /// Its last characters, by which people tell keys apart.
    pub(super) preview: String,
    pub(super) name: String,
    pub(super) dialect: Dialect,
    pub(super) scopes: BTreeSet<Scope>,
    pub(super) created_at: Timestamp,
    #[serde(default)]
    pub(super) usage: KeyUsage,
}

impl Record for AccessKeyRow {
    const VERSION: u8 = 1;
}

/// What became of a key since it was made. Stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUsage {
    /// How many requests it admitted.
    pub count: u64,
    /// When the last of them came.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A stored key while the program runs.
pub struct StoredKey {
    /// By which it is listed and revoked.
    pub id: RowId,
    /// The only session that it opens; every one when `None`.
    pub pinned: Option<SessionNumber>,
    /// What was stored when it was made or read; its usage goes on in `usage`.
    pub(super) row: AccessKeyRow,
    usage: Mutex<KeyUsage>,
    /// Whether it was used since its usage was written.
    pub(super) is_used: AtomicBool,
}

impl StoredKey {
    /// What its maker called it.
    pub fn name(&self) -> &str {
        &self.row.name
    }

    /// The dialect in which it is shown.
    pub fn dialect(&self) -> Dialect {
        self.row.dialect
    }

    /// What it may do.
    pub fn scopes(&self) -> impl Iterator<Item = Scope> + '_ {
        self.row.scopes.iter().copied()
    }

    /// Whether it may do this.
    pub fn has(&self, scope: Scope) -> bool {
        self.row.scopes.contains(&scope)
    }

    /// The last characters of the key itself.
    pub fn preview(&self) -> &str {
        &self.row.preview
    }

    /// When it was made.
    pub fn created_at(&self) -> Timestamp {
        self.row.created_at
    }

    /// What became of it since.
    pub fn usage(&self) -> KeyUsage {
        *self.lock()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, KeyUsage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn new(id: RowId, pinned: Option<SessionNumber>, row: AccessKeyRow) -> Arc<Self> {
        let usage = Mutex::new(row.usage);
        Arc::new(Self {
            id,
            pinned,
            row,
            usage,
            is_used: AtomicBool::new(false),
        })
    }

    pub(super) fn key(&self) -> (SessionNumber, RowId) {
        row_key(self.pinned, &self.id)
    }
}

/// All keys.
///
/// The rows of keys that are pinned go with their session, as the layout says. Those of the others
/// have number 0 there, which no session has: they are never removed, and all keys are one table.
pub(super) const KEYS: Typed<(SessionNumber, RowId), AccessKeyRow> = Typed::new(tables::KEYS);

fn row_key(pinned: Option<SessionNumber>, id: &RowId) -> (SessionNumber, RowId) {
    (pinned.unwrap_or(NO_SESSION), id.clone())
}

/// The numbers of sessions begin with 1.
pub(super) const NO_SESSION: SessionNumber = SessionNumber(0);

/// All keys, by id and by hash.
#[derive(Default)]
pub(in crate::domain) struct Keys {
    registry: RwLock<KeyRegistry>,
    /// Rises when keys end.
    pub(super) ended: watch::Sender<u64>,
    /// Told when a key has admitted a request.
    pub(super) used: Notify,
}

#[derive(Default)]
struct KeyRegistry {
    by_id: BTreeMap<RowId, Arc<StoredKey>>,
    /// Those that were not revoked.
    by_hash: HashMap<[u8; 32], Arc<StoredKey>>,
}

impl Keys {
    pub(super) fn insert(&self, key: Arc<StoredKey>) {
        let mut registry = self.write();
        if key.usage().revoked_at.is_none() {
            registry.by_hash.insert(key.row.hash.0, key.clone());
        }
        registry.by_id.insert(key.id.clone(), key);
    }

    /// Ends the keys of a session that was deleted; its rows go with the session's.
    pub(in crate::domain) fn end_of_session(&self, session: SessionNumber) {
        let mut registry = self.write();
        let is_other = |key: &Arc<StoredKey>| key.pinned != Some(session);
        registry.by_id.retain(|_, key| is_other(key));
        registry.by_hash.retain(|_, key| is_other(key));
        drop(registry);
        self.ended.send_modify(|n| *n += 1);
    }

    /// Gives the keys of a session to the one in its place, whose rows they are now.
    pub(in crate::domain) fn hand_on(&self, from: SessionNumber, to: SessionNumber) {
        let keys = self.all().into_iter();
        let keys: Vec<_> = keys.filter(|key| key.pinned == Some(from)).collect();
        self.end_of_session(from);
        for key in keys {
            let mut row = key.row.clone();
            row.usage = key.usage();
            let handed_on = StoredKey::new(key.id.clone(), Some(to), row);
            let is_used = key.is_used.load(Ordering::SeqCst);
            handed_on.is_used.store(is_used, Ordering::SeqCst);
            self.insert(handed_on);
        }
    }

    pub(super) fn revoked(&self, key: &StoredKey, at: Timestamp) {
        key.lock().revoked_at = Some(at);
        self.write().by_hash.remove(&key.row.hash.0);
        self.ended.send_modify(|n| *n += 1);
    }

    pub(super) fn forget(&self, id: &RowId) {
        self.write().by_id.remove(id);
    }

    pub(super) fn all(&self) -> Vec<Arc<StoredKey>> {
        self.read().by_id.values().cloned().collect()
    }

    /// The key of this hash, if it was not revoked.
    pub(super) fn by_hash(&self, hash: &[u8; 32]) -> Option<Arc<StoredKey>> {
        self.read().by_hash.get(hash).cloned()
    }

    pub(super) fn get(&self, id: &RowId) -> Option<Arc<StoredKey>> {
        self.read().by_id.get(id).cloned()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, KeyRegistry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, KeyRegistry> {
        self.registry
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record;

    /// A row as the first version wrote it.
    #[test]
    fn a_row_of_the_first_version_is_read() {
        let json = format!(
            r#"{{"hash":"{}","preview":"abcdef","name":"shop","dialect":"openwa","scopes":["admin","send"],"created_at":1700000000000}}"#,
            "ab".repeat(32)
        );
        let row: AccessKeyRow = record::decode(&[&[1], json.as_bytes()].concat()).expect("a row");
        let id = RowId::parse("key_1").expect("an id");
        let key = StoredKey::new(id, None, row);
        assert_eq!(key.dialect(), Dialect::OpenWa);
        assert!(key.has(Scope::Send) && !key.has(Scope::Read));
        assert_eq!(key.usage(), KeyUsage::default());
    }

    #[test]
    fn no_session_is_told_from_every_session_by_its_number() {
        let id = RowId::parse("key_1").expect("an id");
        assert_eq!(row_key(None, &id).0, NO_SESSION);
        let seven = SessionNumber(7);
        assert_eq!(row_key(Some(seven), &id).0, seven);
        assert!(tables::KEYS.is_of_session());
    }
}
