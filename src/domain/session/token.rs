//! A session's bearer token.

use std::sync::Arc;

use super::Session;
use super::row::{SESSIONS, SessionRow};
use crate::domain::Gateway;
use crate::domain::vault::Vault;
use crate::error::Result;
use crate::ids::SessionNumber;
use crate::store::Store;

/// Whether the vault opens what the store holds sealed: a token of any session, if there is one.
pub fn fits_key(store: &Store, vault: &Vault) -> Result<bool> {
    let rows = store.read(|read| SESSIONS.rows(()).values(read, usize::MAX))?;
    let rows: Vec<SessionRow> = rows.into_iter().flatten().collect();
    let opens = |row: &SessionRow| {
        let opened = vault.open(&token_purpose(row.number), &row.token);
        opened.is_ok()
    };
    Ok(rows.is_empty() || rows.iter().any(opens))
}

/// What a session's token is sealed for.
pub(super) fn token_purpose(number: SessionNumber) -> String {
    format!("session token {}", number.0)
}

impl Gateway {
    /// Gives the session a new token; the old one ends at once.
    pub async fn rotate_token(&self, session: &Arc<Session>) -> Result<String> {
        // Two rotations at once, or one beside a deletion, must end in one order.
        let _alone = session.connection.lock().await;
        let token = self.ids.token();
        let sealed = self.vault.seal(&token_purpose(session.number), &token);
        self.change_row(session, move |row| row.token = sealed)
            .await?;
        self.sessions.replace_token(session, token.clone());
        // Event streams that were opened with the old token end.
        session.change(|_| {});
        Ok(token)
    }
}
