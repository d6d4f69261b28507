//! Who calls, and what they may do.

use std::sync::Arc;

use super::Gateway;
use super::session::Session;
use super::vault::{same_secret, token_hash};
use crate::error::{Code, Error, Result};
use crate::ids::SessionId;

/// Who a request comes from, after its credential was checked.
#[derive(Clone)]
pub enum Principal {
    /// The holder of the master key: every session.
    Master,
    /// The holder of one session's token.
    Session(Arc<Session>),
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

    /// Checks the credentials of a request: the master key wins over a token.
    pub fn principal(&self, master: Option<&str>, token: Option<&str>) -> Result<Principal> {
        if let Some(key) = master {
            return if self.is_master_key(key) {
                Ok(Principal::Master)
            } else {
                Err(Error::from(Code::MasterKeyInvalid))
            };
        }
        let token = token.ok_or(Code::CredentialMissing)?;
        self.session_by_token(token)
            .map(Principal::Session)
            .ok_or_else(|| Error::from(Code::TokenInvalid))
    }

    /// The session that the request names, if this caller may use it.
    ///
    /// Invariant: the id that is authorised here is the id that is used; handlers get the session
    /// from nowhere else. A token's holder cannot tell a foreign session from none.
    pub fn authorise(&self, who: &Principal, named: &SessionId) -> Result<Arc<Session>> {
        match who {
            Principal::Master => self.sessions.get(named).ok_or_else(|| {
                Error::new(Code::SessionNotFound, format!("Session {named} not found"))
            }),
            Principal::Session(own) if own.id == *named => Ok(own.clone()),
            Principal::Session(_) => Err(Error::new(
                Code::SessionForbidden,
                format!("Invalid token for session {named}"),
            )),
        }
    }
}
