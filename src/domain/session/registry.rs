//! All sessions, by name, number and token.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::Session;
use crate::domain::vault::token_hash;
use crate::error::{Code, Error, Result};
use crate::ids::{SessionId, SessionNumber};

/// All sessions, by name and by token.
#[derive(Default)]
pub struct Sessions {
    registry: RwLock<Registry>,
    pub(super) version: Arc<AtomicU64>,
}

#[derive(Default)]
struct Registry {
    by_id: BTreeMap<SessionId, Arc<Session>>,
    by_token: HashMap<[u8; 32], Arc<Session>>,
    by_number: HashMap<SessionNumber, Arc<Session>>,
    /// The names of those whose rows are damaged.
    unreadable: BTreeSet<SessionId>,
}

/// What one of these sessions has, by the first that has it: `missing` is the error of one that has not,
/// and of all of them.
pub(in crate::domain) fn first_that_has<T>(
    among: &[Arc<Session>],
    missing: Code,
    read: impl Fn(&Session) -> Result<T>,
) -> Result<(Arc<Session>, T)> {
    for session in among {
        match read(session) {
            Err(error) if error.code() == missing => {}
            found => return Ok((session.clone(), found?)),
        }
    }
    Err(missing.into())
}

/// What is said of a session that is not there, or not any more.
pub(in crate::domain) fn not_found(id: &str) -> Error {
    Error::new(Code::SessionNotFound, format!("Session {id} not found"))
}

/// What is said of a session whose row is damaged.
pub(super) fn unreadable(id: &SessionId) -> Error {
    Error::new(
        Code::SessionUnreadable,
        format!(
            "The stored data of session {id} is damaged; delete the session and create it again"
        ),
    )
}

impl Sessions {
    /// All, by name.
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.read().by_id.values().cloned().collect()
    }

    /// Rises with each change of any session, so that a rendered list can be kept until then.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// The names of those that are stored and cannot be read, in their order: they can only be deleted.
    pub fn unreadable(&self) -> Vec<SessionId> {
        self.read().unreadable.iter().cloned().collect()
    }

    /// Whether the session of this name is one of those.
    pub(super) fn is_unreadable(&self, id: &SessionId) -> bool {
        self.read().unreadable.contains(id)
    }

    pub(super) fn note_unreadable(&self, id: SessionId) {
        self.write().unreadable.insert(id);
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn forget_unreadable(&self, id: &SessionId) {
        self.write().unreadable.remove(id);
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    /// One by its name.
    pub fn get(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.read().by_id.get(id).cloned()
    }

    /// The same.
    ///
    /// # Errors
    /// `SessionNotFound`, or `SessionUnreadable` for one whose row is damaged.
    pub fn find(&self, id: &SessionId) -> Result<Arc<Session>> {
        self.get(id).ok_or_else(|| match self.is_unreadable(id) {
            true => unreadable(id),
            false => not_found(id.as_str()),
        })
    }

    /// One by its number.
    pub fn by_number(&self, number: SessionNumber) -> Option<Arc<Session>> {
        self.read().by_number.get(&number).cloned()
    }

    pub(in crate::domain) fn by_token(&self, hash: &[u8; 32]) -> Option<Arc<Session>> {
        self.read().by_token.get(hash).cloned()
    }

    /// Adds a session unless one of that name is there; answers the one that is there then.
    pub(super) fn insert(&self, session: Arc<Session>) -> (Arc<Session>, bool) {
        let mut registry = self.write();
        if let Some(there) = registry.by_id.get(&session.id) {
            return (there.clone(), false);
        }
        registry
            .by_token
            .insert(token_hash(&session.token()), session.clone());
        registry.by_number.insert(session.number, session.clone());
        registry.by_id.insert(session.id.clone(), session.clone());
        drop(registry);
        self.version.fetch_add(1, Ordering::SeqCst);
        (session, true)
    }

    pub(super) fn remove(&self, session: &Session) {
        let mut registry = self.write();
        if registry
            .by_id
            .get(&session.id)
            .is_some_and(|s| s.number == session.number)
        {
            registry.by_id.remove(&session.id);
        }
        registry.by_number.remove(&session.number);
        registry.by_token.retain(|_, s| s.number != session.number);
    }

    pub(super) fn replace_token(&self, session: &Arc<Session>, token: String) {
        let mut registry = self.write();
        registry.by_token.retain(|_, s| s.number != session.number);
        registry
            .by_token
            .insert(token_hash(&token), session.clone());
        *session
            .token
            .write()
            .unwrap_or_else(PoisonError::into_inner) = token;
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Registry> {
        self.registry
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
