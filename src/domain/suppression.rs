//! Numbers that want no more campaigns: those who wrote one of the words, and those that were told.

use serde::{Deserialize, Serialize};

use super::Gateway;
use super::optout::OptOut;
use super::session::{Session, must_be_kept};
use crate::error::{Error, Result};
use crate::ids::SessionNumber;
use crate::jid::PhoneNumber;
use crate::store::record::{self, Record};
use crate::store::{Durability, Read, Tx, tables};
use crate::time::Timestamp;

/// Since when a number wants no campaigns, and how that became known.
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

fn key(session: SessionNumber, number: &str) -> Vec<u8> {
    [&session.0.to_be_bytes()[..], number.as_bytes()].concat()
}

pub(super) fn is_suppressed(
    read: &impl Read,
    session: &Session,
    number: &PhoneNumber,
) -> Result<bool> {
    read.exists(tables::SUPPRESSED, &key(session.number, number.as_str()))
}

/// Somebody wrote something: when it is one of the words, it counts. Answers what changed.
pub(super) fn heed(
    tx: &mut Tx,
    session: &Session,
    number: &str,
    text: &str,
    now: Timestamp,
) -> Result<Option<OptOut>> {
    let Some(asked) = session.settings().words().verdict(text) else {
        return Ok(None);
    };
    let row = key(session.number, number);
    let there = tx.exists(tables::SUPPRESSED, &row)?;
    match asked {
        OptOut::Stop if !there => {
            let suppressed = Suppressed {
                at: now,
                by_message: true,
            };
            tx.put(tables::SUPPRESSED, row, record::encode(&suppressed)?);
        }
        OptOut::Start if there => tx.delete(tables::SUPPRESSED, &row),
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
        let prefix = session.number.0.to_be_bytes();
        let after = after.map(|number| key(session.number, number));
        let rows = self
            .store
            .read(|read| read.prefix(tables::SUPPRESSED, &prefix, after.as_deref(), limit))?;
        rows.iter()
            .map(|(key, row)| {
                let number = String::from_utf8_lossy(&key[4..]).into_owned();
                Ok((number, record::decode(row)?))
            })
            .collect()
    }

    /// Writes to none of these numbers any more.
    pub async fn suppress(&self, session: &Session, numbers: Vec<PhoneNumber>) -> Result<()> {
        let now = self.clock.now();
        let (id, number) = (session.id.clone(), session.number);
        self.store
            .write(Durability::Sync, move |tx| {
                must_be_kept(tx, id.as_str(), number)?;
                let row = record::encode(&Suppressed {
                    at: now,
                    by_message: false,
                })?;
                for one in numbers {
                    let key = key(number, one.as_str());
                    if !tx.exists(tables::SUPPRESSED, &key)? {
                        tx.put(tables::SUPPRESSED, key, row.clone());
                    }
                }
                Ok(())
            })
            .await
    }

    /// Writes to this number again.
    pub async fn unsuppress(&self, session: &Session, number: &PhoneNumber) -> Result<()> {
        let row = key(session.number, number.as_str());
        self.store
            .write(Durability::Sync, move |tx| {
                if !tx.exists(tables::SUPPRESSED, &row)? {
                    return Err(Error::not_found("The number is not suppressed"));
                }
                tx.delete(tables::SUPPRESSED, &row);
                Ok(())
            })
            .await
    }
}
