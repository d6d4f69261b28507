//! Who calls, and what they may do. There are three credentials: the master key, the token of a
//! session, and stored keys, each of one dialect, with scopes, and perhaps for one session only.

mod scope;
mod stored_key;

pub use scope::Scope;
pub(super) use stored_key::Keys;
pub use stored_key::{KeyUsage, StoredKey};

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use self::stored_key::{AccessKeyRow, KEYS, NO_SESSION};
use super::Gateway;
use super::dialect::Dialect;
use super::pending_removal::is_session_being_removed;
use super::session::{Session, ensure_session_exists, not_found};
use super::vault::{same_secret, token_hash};
use crate::error::{Code, Error, Result};
use crate::ids::{Hash, RowId, SessionId, SessionNumber};
use crate::store::{Durability, Read, Tx};

/// How many keys there may be, those that were revoked and are still listed among them.
const MAX_KEYS: usize = 1000;

/// The longest name of a key, in characters.
const MAX_NAME: usize = 100;

/// How many characters of a key are shown again.
const PREVIEW: usize = 6;

/// Who a request comes from, after its credential was checked.
#[derive(Clone)]
pub enum Principal {
    /// The holder of the master key: every session.
    Master,
    /// The holder of one session's token.
    Session(Arc<Session>),
    /// The holder of a stored key.
    Key(Arc<StoredKey>),
}

impl Principal {
    /// Refuses a key without this scope. The master key and a session's token have all of them.
    pub fn require_scope(&self, scope: Scope) -> Result<()> {
        match self {
            Self::Key(key) if !key.has(scope) => Err(Error::new(
                Code::ScopeMissing,
                format!("The key lacks the scope {}", scope.as_str()),
            )),
            _ => Ok(()),
        }
    }

    /// The only session that this caller may use; `None` for whoever may use all.
    pub fn only_session(&self) -> Option<SessionNumber> {
        match self {
            Self::Master => None,
            Self::Session(own) => Some(own.number),
            Self::Key(key) => key.pinned,
        }
    }
}

/// A key that is to be made.
pub struct NewKey {
    /// What people call it: up to 100 characters.
    pub name: String,
    /// Where it is shown.
    pub dialect: Dialect,
    /// What it may do, at least one thing.
    pub scopes: BTreeSet<Scope>,
    /// The only session that it opens; every one when `None`.
    pub pinned: Option<Arc<Session>>,
}

impl NewKey {
    fn check(&self) -> Result<()> {
        let count = self.name.chars().count();
        if count == 0 || count > MAX_NAME || self.name.chars().any(char::is_control) {
            let text = format!("name must be a text of 1 to {MAX_NAME} characters");
            return Err(Error::invalid(text));
        }
        if self.scopes.is_empty() {
            return Err(Error::invalid("A key needs at least one scope"));
        }
        Ok(())
    }
}

impl Gateway {
    /// Whether this is the master key.
    pub fn is_master_key(&self, key: &str) -> bool {
        same_secret(key, &self.master_key)
    }

    /// The session whose token this is.
    pub fn session_by_token(&self, token: &str) -> Option<Arc<Session>> {
        self.sessions.by_token(&token_hash(token))
    }

    /// The key that this is, unless it was revoked or its session is gone.
    pub fn key_by_secret(&self, secret: &str) -> Option<Arc<StoredKey>> {
        let hash = token_hash(secret);
        let key = self.keys.by_hash(&hash)?;
        let ended = |session| self.sessions.by_number(session).is_none();
        (!key.pinned.is_some_and(ended)).then_some(key)
    }

    /// The dialect of a token or a key. The master key is of none.
    pub fn dialect_of(&self, secret: &str) -> Option<Dialect> {
        if self.session_by_token(secret).is_some() {
            return Some(Dialect::V1);
        }
        self.key_by_secret(secret).map(|key| key.dialect())
    }

    /// Who shows this token or key to a dialect; tokens are of v1. The use of a key is counted.
    pub fn admit(&self, dialect: Dialect, secret: &str) -> Result<Principal> {
        if dialect == Dialect::V1
            && let Some(session) = self.session_by_token(secret)
        {
            return Ok(Principal::Session(session));
        }
        let key = self.key_by_secret(secret).ok_or(Code::TokenInvalid)?;
        if key.dialect() != dialect {
            return Err(Error::new(
                Code::KeyOfOtherDialect,
                format!("This key is for the dialect {}", key.dialect().as_str()),
            ));
        }
        self.note_key_use(&key);
        Ok(Principal::Key(key))
    }

    /// The session that the request names, if this caller may use it.
    ///
    /// Invariant: the id that is authorised here is the id that is used; handlers get the session
    /// from nowhere else. Whoever has one session cannot tell a foreign session from none.
    pub fn authorise(&self, who: &Principal, named: &SessionId) -> Result<Arc<Session>> {
        let Some(only) = who.only_session() else {
            return self.sessions.find(named);
        };
        let own = self.sessions.by_number(only);
        own.filter(|own| own.id == *named).ok_or_else(|| {
            Error::new(
                Code::SessionForbidden,
                format!("Invalid token for session {named}"),
            )
        })
    }

    /// The sessions that this caller may use.
    pub fn sessions_of(&self, who: &Principal) -> Vec<Arc<Session>> {
        match who.only_session() {
            Some(only) => self.sessions.by_number(only).into_iter().collect(),
            None => self.sessions.all(),
        }
    }

    /// Reads all keys from the store; the sessions are there already.
    pub fn load_keys(&self) -> Result<()> {
        let rows = self.store.read(|read| {
            let mut rows = Vec::new();
            KEYS.rows(()).each(read, |row| {
                rows.push(row.key().and_then(|key| Ok((key, row.value()?))));
                Ok(())
            })?;
            Ok(rows)
        })?;
        for row in rows {
            match row {
                Ok(((session, id), row)) => {
                    let pinned = (session != NO_SESSION).then_some(session);
                    // Of a session whose deletion is not over yet.
                    let gone = |session| self.sessions.by_number(session).is_none();
                    if !pinned.is_some_and(gone) {
                        self.keys.insert(StoredKey::new(id, pinned, row));
                    }
                }
                // One damaged row must not stop the others.
                Err(error) => tracing::error!(?error, "a key cannot be read and is left out"),
            }
        }
        Ok(())
    }

    /// Makes a key. The secret is answered here and nowhere again.
    pub async fn create_key(&self, new: NewKey) -> Result<(Arc<StoredKey>, String)> {
        new.check()?;
        let (secret, now) = (
            format!("{}{}", key_prefix(new.dialect), self.ids.secret()),
            self.clock.now(),
        );
        let row = AccessKeyRow {
            hash: Hash(token_hash(&secret)),
            preview: secret[secret.len() - PREVIEW..].to_owned(),
            name: new.name,
            dialect: new.dialect,
            scopes: new.scopes,
            created_at: now,
            usage: KeyUsage::default(),
        };
        let pinned = new.pinned.as_ref().map(|session| session.number);
        let key = StoredKey::new(self.ids.row_id("key", now), pinned, row);
        let (stored, session) = (key.clone(), new.pinned.clone());
        let forgotten = self
            .store
            .write(Durability::Sync, move |tx| {
                if let Some(session) = session {
                    ensure_session_exists(tx, session.id.as_str(), session.number)?;
                }
                let forgotten = make_room(tx)?;
                KEYS.put(tx, stored.key(), &stored.row)?;
                Ok(forgotten)
            })
            .await?;
        if let Some(forgotten) = forgotten {
            self.keys.forget(&forgotten);
        }
        self.keys.insert(key.clone());
        // It may have been deleted since the key was written, when the key was not there to be ended.
        match new.pinned {
            Some(session) if self.sessions.by_number(session.number).is_none() => {
                self.keys.end_of_session(session.number);
                Err(not_found(session.id.as_str()))
            }
            _ => Ok((key, secret)),
        }
    }

    /// All keys in the order in which they were made, those that were revoked too.
    pub fn list_keys(&self) -> Vec<Arc<StoredKey>> {
        self.keys.all()
    }

    /// Ends a key at once; it stays listed. A second time it does nothing.
    ///
    /// # Errors
    /// There is no such key, or no other key could administer its dialect: whoever has a dialect
    /// administered by keys would be locked out.
    pub async fn revoke_key(&self, id: &RowId) -> Result<()> {
        let key = self.keys.get(id);
        let key = key.ok_or(Code::KeyNotFound)?;
        let (stored, now) = (key.clone(), self.clock.now());
        let at = self
            .store
            .write(Durability::Sync, move |tx| {
                let mut at = now;
                change_usage(tx, &stored, |usage| {
                    at = *usage.revoked_at.get_or_insert(now);
                })?;
                must_leave_an_admin(tx, &stored)?;
                Ok(at)
            })
            .await?;
        self.keys.revoked(&key, at);
        Ok(())
    }

    /// Counts a request that a key admitted; it is written by and by.
    fn note_key_use(&self, key: &StoredKey) {
        let mut usage = key.lock();
        usage.count += 1;
        usage.last_used_at = Some(self.clock.now());
        drop(usage);
        key.is_used.store(true, Ordering::SeqCst);
        self.keys.used.notify_one();
    }

    /// Waits until a key has admitted a request that was not written yet.
    pub async fn key_used(&self) {
        self.keys.used.notified().await;
    }

    /// Writes how often keys were used. What a crash loses are the requests since the last time.
    pub async fn write_key_uses(&self) -> Result<()> {
        let mut keys = self.keys.all();
        keys.retain(|key| key.is_used.swap(false, Ordering::SeqCst));
        if keys.is_empty() {
            return Ok(());
        }
        let used = keys.clone();
        let written = self
            .store
            .write(Durability::Lazy, move |tx| {
                for key in keys {
                    let now = key.usage();
                    change_usage(tx, &key, |usage| {
                        usage.count = now.count;
                        usage.last_used_at = now.last_used_at;
                    })?;
                }
                Ok(())
            })
            .await;
        if written.is_err() {
            // Later, then.
            for key in used {
                key.is_used.store(true, Ordering::SeqCst);
            }
            self.keys.used.notify_one();
        }
        written
    }

    /// Rises when keys end; event streams that were opened with one end then.
    pub fn ended_keys(&self) -> watch::Receiver<u64> {
        self.keys.ended.subscribe()
    }
}

/// What the keys of a dialect begin with. Those of ServerWA are 64 hex digits and nothing else.
fn key_prefix(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::V1 => "v1_",
        Dialect::OpenWa => "owa_",
        Dialect::Kirana => "kirana_",
        Dialect::ServerWa => "",
        Dialect::Wafa => "wafa_",
    }
}

/// Removes the key that was revoked first when there are as many as there may be; answers its id.
fn make_room(tx: &mut Tx) -> Result<Option<RowId>> {
    if KEYS.rows(()).are_fewer_than(tx, MAX_KEYS)? {
        return Ok(None);
    }
    let (mut count, mut longest) = (0, None);
    KEYS.rows(()).each(tx, |row| {
        // What is damaged, or goes with its session, is not listed and takes no place.
        let (Ok((session, id)), Ok(key)) = (row.key(), row.value()) else {
            return Ok(());
        };
        if session != NO_SESSION && is_session_being_removed(tx, session)? {
            return Ok(());
        }
        count += 1;
        if let Some(at) = key.usage.revoked_at
            && longest.as_ref().is_none_or(|(first, _)| at < *first)
        {
            longest = Some((at, (session, id)));
        }
        Ok(())
    })?;
    if count < MAX_KEYS {
        return Ok(None);
    }
    let Some((_, key)) = longest else {
        let text = format!("There are {MAX_KEYS} keys already; revoke one first");
        return Err(Error::new(Code::KeyLimitReached, text));
    };
    KEYS.delete(tx, &key);
    Ok(Some(key.1))
}

/// Changes what became of a key, unless its row is gone or says so already.
fn change_usage(tx: &mut Tx, key: &StoredKey, change: impl FnOnce(&mut KeyUsage)) -> Result<()> {
    let Some(mut row) = KEYS.get(tx, key.key())? else {
        return Ok(());
    };
    let before = row.usage;
    change(&mut row.usage);
    if row.usage != before {
        KEYS.put(tx, key.key(), &row)?;
    }
    Ok(())
}

/// Refuses what leaves a dialect without a key that administers it, where it had this one. A key that
/// is pinned administers nothing but its session, and v1 is administered by the master key.
fn must_leave_an_admin(read: &impl Read, without: &StoredKey) -> Result<()> {
    let is_of_v1 = without.dialect() == Dialect::V1;
    if is_of_v1 || without.pinned.is_some() || !without.has(Scope::Admin) {
        return Ok(());
    }
    let other = KEYS.rows(NO_SESSION).find(read, |row| {
        // One that is damaged administers nothing.
        let Ok(row) = row.value() else {
            return Ok(None);
        };
        let is_live = row.usage.revoked_at.is_none();
        let is_admin = row.dialect == without.dialect() && row.scopes.contains(&Scope::Admin);
        Ok((is_live && is_admin).then_some(()))
    })?;
    if other.is_some() {
        return Ok(());
    }
    Err(Error::from(Code::LastAdminKey))
}
