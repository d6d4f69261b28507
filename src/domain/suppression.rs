//! Numbers that want no more campaigns: those who wrote one of the words, and those that were told.

use serde::{Deserialize, Serialize};

use super::Gateway;
use super::optout::OptOut;
use super::session::{Session, ensure_session_exists};
use crate::error::{Code, Result};
use crate::ids::SessionNumber;
use crate::jid::PhoneNumber;
use crate::store::record::Record;
use crate::store::{Durability, Read, Tx, Typed, tables};
use crate::time::Timestamp;

/// Since when a number wants no campaigns, and how that became known. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppressed {
    /// Since when.
    pub at: Timestamp,
    /// Whether the person wrote one of the words; otherwise it was told through the API.
    pub by_message: bool,
}

impl Record for Suppressed {
    const VERSION: u8 = 1;
}

const SUPPRESSED: Typed<(SessionNumber, String), Suppressed> = Typed::new(tables::SUPPRESSED);

pub(super) fn is_suppressed(
    read: &impl Read,
    session: &Session,
    number: &PhoneNumber,
) -> Result<bool> {
    SUPPRESSED.exists(read, (session.number, number.as_str()))
}

/// Somebody wrote something: when it is one of the words, it counts. Answers what changed.
pub(super) fn apply_opt_out(
    tx: &mut Tx,
    session: &Session,
    number: &str,
    text: &str,
    now: Timestamp,
) -> Result<Option<OptOut>> {
    let Some(asked) = session.settings().opt_out_keywords().verdict(text) else {
        return Ok(None);
    };
    let key = (session.number, number);
    let there = SUPPRESSED.exists(tx, key)?;
    match asked {
        OptOut::Stop if !there => {
            let suppressed = Suppressed {
                at: now,
                by_message: true,
            };
            SUPPRESSED.put(tx, key, &suppressed)?;
        }
        OptOut::Start if there => SUPPRESSED.delete(tx, key),
        _ => return Ok(None),
    }
    Ok(Some(asked))
}

impl Gateway {
    /// Numbers that want no campaigns, those after `after` in their order.
    pub fn suppressed(
        &self,
        session: &Session,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Suppressed)>> {
        let rows = SUPPRESSED.rows(session.number).after(after);
        self.store.read(|read| rows.readable(read, limit))
    }

    /// Writes to none of these numbers any more.
    pub async fn suppress(&self, session: &Session, numbers: Vec<PhoneNumber>) -> Result<()> {
        let now = self.clock.now();
        let (id, number) = (session.id.clone(), session.number);
        self.store
            .write(Durability::Sync, move |tx| {
                ensure_session_exists(tx, id.as_str(), number)?;
                let suppressed = Suppressed {
                    at: now,
                    by_message: false,
                };
                for one in numbers {
                    let key = (number, one.as_str());
                    if !SUPPRESSED.exists(tx, key)? {
                        SUPPRESSED.put(tx, key, &suppressed)?;
                    }
                }
                Ok(())
            })
            .await
    }

    /// Writes to this number again.
    pub async fn unsuppress(&self, session: &Session, number: &PhoneNumber) -> Result<()> {
        let (session, number) = (session.number, number.clone());
        self.store
            .write(Durability::Sync, move |tx| {
                let key = (session, number.as_str());
                if !SUPPRESSED.exists(tx, key)? {
                    return Err(Code::NumberNotSuppressed.into());
                }
                SUPPRESSED.delete(tx, key);
                Ok(())
            })
            .await
    }
}
