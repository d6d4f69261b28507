//! What is old enough to be forgotten.

use std::collections::HashMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::event::{delivery, log, webhook};
use super::media::uploaded::LIFE;
use super::message::idempotency::KEY_LIFE;
use super::message::outbox;
use super::{Gateway, message};
use crate::error::{Error, Result};
use crate::ids::SessionNumber;
use crate::store::{Durability, Read, Table, Tx, bytes_of, dated, parts_of, tables};
use crate::time::Timestamp;

/// How many rows one transaction looks at, so that others are not kept waiting.
const PAGE: usize = 500;

/// How many days the copy of the store is kept that a migration made for going back.
pub const COPY_DAYS: u32 = 30;

/// Where it is noted when such a copy was seen first; the copy's name follows.
const COPIES: &str = "copy/";

/// Where the time that was seen last is noted.
const SEEN: &[u8] = b"seen_time";

/// How far a row's time may be ahead: WhatsApp's clock is not ours.
const SLACK: Duration = Duration::from_secs(2 * 24 * 3600);

/// What age makes of a row.
enum AgeDecision {
    /// It stays.
    Keep,
    /// Its time is past.
    Old,
    /// Its time cannot be right: it was written while the clock was wrong.
    Misdated,
}

/// By when rows of a table are judged.
#[derive(Clone, Copy)]
struct AgeRule {
    table: Table,
    /// What is dated before this is old.
    before: Timestamp,
    /// No row can be dated later than this; `None` while the clock is not believed.
    latest: Option<Timestamp>,
    /// The date of a row that has a wrong one.
    instead: Timestamp,
}

impl AgeRule {
    /// A damaged row is for `warung check` to tell; it is left.
    fn decide(&self, row: &[u8]) -> AgeDecision {
        let Some(at) = dated::date(row) else {
            return AgeDecision::Keep;
        };
        let misdated = !at.is_plausible() || self.latest.is_some_and(|latest| at > latest);
        match self.latest {
            Some(_) if misdated => AgeDecision::Misdated,
            _ if at.is_plausible() && at < self.before => AgeDecision::Old,
            _ => AgeDecision::Keep,
        }
    }

    fn put(&self, tx: &mut Tx, key: &[u8], row: Vec<u8>) -> Result<()> {
        match (self.table, parts_of(key)) {
            (tables::MESSAGES, Ok(key)) => message::put_encoded(tx, &key, row)?,
            // Damage is for `warung check` to tell; it is left.
            (tables::MESSAGES, Err(_)) => {}
            (table, _) => tx.put(table, key, row),
        }
        Ok(())
    }

    /// Removes the row if it is old and nobody needs it; whether it went.
    fn apply(&self, tx: &mut Tx, key: &[u8], needed: &mut NeededEvents) -> Result<bool> {
        // It may have been written anew since it was read.
        let Some(row) = tx.get(self.table, key)? else {
            return Ok(false);
        };
        match self.decide(&row) {
            AgeDecision::Keep => return Ok(false),
            AgeDecision::Misdated => {
                if let Some(row) = dated::redated(&row, self.instead) {
                    self.put(tx, key, row)?;
                }
                return Ok(false);
            }
            AgeDecision::Old => {}
        }
        // Damage is for `warung check` to tell; it is left.
        match self.table {
            tables::EVENTS => match parts_of(key) {
                Ok((session, seq)) if !needed.event(tx, session, seq)? => {
                    log::remove(tx, session, seq);
                }
                _ => return Ok(false),
            },
            tables::DELIVERIES if delivery::is_waiting(tx, key, &row)? => return Ok(false),
            // Somebody waits to hear what becomes of a message that is still to go.
            tables::MESSAGES => match parts_of(key) {
                Ok(key) if !outbox::holds(tx, &key)? => message::forget(tx, &key, row.len())?,
                _ => return Ok(false),
            },
            table => tx.delete(table, key),
        }
        Ok(true)
    }
}

/// Which events deliveries need, looked up once per session and page.
#[derive(Default)]
struct NeededEvents(HashMap<SessionNumber, Option<u64>>);

impl NeededEvents {
    fn event(&mut self, tx: &Tx, session: SessionNumber, seq: u64) -> Result<bool> {
        let oldest = match self.0.get(&session) {
            Some(oldest) => *oldest,
            None => {
                let oldest = webhook::oldest_awaited(tx, session)?;
                self.0.insert(session, oldest);
                oldest
            }
        };
        Ok(oldest.is_some_and(|oldest| seq >= oldest) || delivery::is_pending(tx, session, seq)?)
    }
}

/// The time that a run noted last.
pub fn noted_time(read: &impl Read) -> Result<Option<Timestamp>> {
    let ms = read.get(tables::META, SEEN)?;
    let ms: Option<u64> = ms.and_then(|bytes| parts_of(&bytes).ok());
    Ok(ms.map(|ms| Timestamp::from_ms(ms as i64)))
}

impl Gateway {
    /// Notes the time for the next run to go on from, unless the clock is not believed.
    pub async fn note_time(&self) -> Result<()> {
        let Some(now) = self.clock.believed() else {
            return Ok(());
        };
        self.store
            .write(Durability::Lazy, move |tx| {
                tx.put(tables::META, SEEN, bytes_of(now.as_ms() as u64));
                Ok(())
            })
            .await
    }

    /// Removes events, delivery logs, messages, files, idempotency keys and copies of older stores past
    /// their time, a page at a time. Answers how many rows and copies went.
    ///
    /// Invariant: nothing is old by a clock that jumped, or that nobody set; see [`Clock::seen`].
    ///
    /// [`Clock::seen`]: crate::time::Clock::seen
    pub async fn forget_old(&self, stop: &CancellationToken) -> Result<usize> {
        if self.clock.doubt().is_some() {
            return Ok(0);
        }
        let now = self.clock.seen();
        let believed = self.clock.believed();
        let days = |days: u32| Duration::from_secs(u64::from(days) * 24 * 3600);
        let kept = now.before(days(self.config.retention_days));
        let mut gone = 0;
        for table in Table::all().filter(|table| table.is_dated()) {
            // Rows that say when they end are dated ahead, by the life that they were given.
            let (before, life) = match table {
                tables::IDEMPOTENCY => (now, KEY_LIFE),
                tables::UPLOADS => (now, LIFE),
                _ => (kept, Duration::ZERO),
            };
            let rule = AgeRule {
                table,
                before,
                latest: believed.map(|now| now.after(life + SLACK)),
                instead: now.after(life),
            };
            gone += self.forget_in(rule, stop).await?;
        }
        let before = now.before(days(self.config.media_days));
        gone += self.forget_old_media(before, now).await?;
        gone += self.forget_old_copies().await?;
        Ok(gone)
    }

    /// Removes copies that migrations kept of the store and that are too old to go back to. What was
    /// deleted since is in them. Answers how many went, and says of a new one until when it is kept.
    pub async fn forget_old_copies(&self) -> Result<usize> {
        let Some(believed) = self.clock.believed() else {
            return Ok(0);
        };
        let row = |version: u32| format!("{COPIES}{version}").into_bytes();
        let copies = self.store.older_copies()?;
        let notes = self
            .store
            .read(|read| read.prefix(tables::META, COPIES.as_bytes(), None, usize::MAX))?;
        let noted = |version: u32| {
            let note = notes.iter().find(|(key, _)| *key == row(version))?;
            let ms: u64 = parts_of(&note.1).ok()?;
            // A time that is ahead was noted while the clock was wrong.
            Some(Timestamp::from_ms(ms as i64)).filter(|at| *at <= believed.after(SLACK))
        };
        let life = Duration::from_secs(u64::from(COPY_DAYS) * 24 * 3600);
        let (mut new, mut stays, mut gone) = (Vec::new(), Vec::new(), 0);
        for (version, copy) in &copies {
            let Some(at) = noted(*version) else {
                let until = believed.after(life);
                tracing::info!(copy = %copy.display(), %until,
                    "the copy of the older store is kept until then, for going back to the older version");
                new.push(row(*version));
                continue;
            };
            if believed < at.after(life) {
                stays.push(row(*version));
                continue;
            }
            std::fs::remove_file(copy).map_err(Error::internal)?;
            tracing::info!(copy = %copy.display(), "the copy of the older store is removed");
            gone += 1;
        }
        // A later copy of the same name begins anew.
        let mut old: Vec<_> = notes.into_iter().map(|(key, _)| key).collect();
        old.retain(|key| !stays.contains(key));
        if new.is_empty() && old.is_empty() {
            return Ok(gone);
        }
        self.store
            .write(Durability::Sync, move |tx| {
                for key in old {
                    tx.delete(tables::META, &key);
                }
                for key in new {
                    tx.put(tables::META, key, bytes_of(believed.as_ms() as u64));
                }
                Ok(())
            })
            .await?;
        Ok(gone)
    }

    async fn forget_in(&self, rule: AgeRule, stop: &CancellationToken) -> Result<usize> {
        let mut gone = 0;
        let mut after: Option<Vec<u8>> = None;
        while !stop.is_cancelled() {
            let from = after.clone();
            let page = self
                .store
                .read_slow(move |read| read.prefix(rule.table, b"", from.as_deref(), PAGE))
                .await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            let judged = |(key, value): (Vec<u8>, Vec<u8>)| {
                (!matches!(rule.decide(&value), AgeDecision::Keep)).then_some(key)
            };
            let old: Vec<_> = page.into_iter().filter_map(judged).collect();
            if old.is_empty() {
                continue;
            }
            gone += self
                .store
                .write(Durability::Lazy, move |tx| {
                    let (mut gone, mut needed) = (0, NeededEvents::default());
                    for key in &old {
                        gone += usize::from(rule.apply(tx, key, &mut needed)?);
                    }
                    Ok(gone)
                })
                .await?;
        }
        Ok(gone)
    }
}
