//! What is old enough to be forgotten.

use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::message::outbox_key_of;
use super::{Gateway, event, message};
use crate::error::Result;
use crate::store::record::{self, Record};
use crate::store::{Durability, Read, Table, tables};
use crate::time::Timestamp;

/// How many rows one transaction looks at, so that others are not kept waiting.
const PAGE: usize = 500;

/// The one field of a row that says how old it is.
#[derive(Serialize, Deserialize)]
struct Dated {
    #[serde(alias = "ends")]
    at: Timestamp,
    #[serde(flatten, skip_serializing)]
    _rest: std::collections::HashMap<String, IgnoredAny>,
}

impl Record for Dated {
    const VERSION: u8 = 1;
}

/// Whether the row's time is past. A damaged row is for `warung check` to tell; it is left.
fn is_old(row: &[u8], before: Timestamp) -> bool {
    record::decode::<Dated>(row).is_ok_and(|row| row.at < before)
}

impl Gateway {
    /// Removes events, delivery logs, messages, files and idempotency keys past their time, a page at a
    /// time. Answers how many rows went.
    pub async fn forget_old(&self, stop: &CancellationToken) -> Result<usize> {
        let now = self.clock.now();
        let kept = Duration::from_secs(u64::from(self.config.retention_days) * 24 * 3600);
        let mut gone = 0;
        for (table, before) in [
            (tables::EVENTS, now.before(kept)),
            (tables::DELIVERIES, now.before(kept)),
            (tables::MESSAGES, now.before(kept)),
            (tables::IDEMPOTENCY, now),
            (tables::UPLOADS, now),
            (tables::POLL_VOTES, now.before(kept)),
        ] {
            gone += self.forget_in(table, before, stop).await?;
        }
        let media = Duration::from_secs(u64::from(self.config.media_days) * 24 * 3600);
        gone += self.forget_old_media(now.before(media)).await?;
        Ok(gone)
    }

    async fn forget_in(
        &self,
        table: Table,
        before: Timestamp,
        stop: &CancellationToken,
    ) -> Result<usize> {
        let mut gone = 0;
        let mut after: Option<Vec<u8>> = None;
        while !stop.is_cancelled() {
            let from = after.clone();
            let page = self
                .store
                .read_slow(move |read| read.prefix(table, b"", from.as_deref(), PAGE))
                .await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            let mut old = Vec::new();
            for (key, value) in &page {
                if is_old(value, before) {
                    old.push(key.clone());
                }
            }
            if old.is_empty() {
                continue;
            }
            gone += self
                .store
                .write(Durability::Lazy, move |tx| {
                    let mut gone = 0;
                    for key in &old {
                        // It may have been written anew since it was read.
                        let row = tx.get(table, key)?;
                        let Some(row) = row.filter(|row| is_old(row, before)) else {
                            continue;
                        };
                        // Somebody waits to hear what becomes of a message that is still to go.
                        if table == tables::MESSAGES
                            && tx.exists(tables::OUTBOX, outbox_key_of(key))?
                        {
                            continue;
                        }
                        gone += 1;
                        match table {
                            tables::EVENTS => event::remove(tx, key)?,
                            tables::MESSAGES => message::forget(tx, key, row.len())?,
                            _ => tx.delete(table, key),
                        }
                    }
                    Ok(gone)
                })
                .await?;
        }
        Ok(gone)
    }
}
