//! What a session's lists, campaigns and messages take in the store, and where that ends.

use super::campaign::CAMPAIGNS;
use super::list::LISTS;
use super::message;
use super::roster;
use crate::error::{Code, Error, Result};
use crate::ids::SessionNumber;
use crate::store::typed::{Parts, Value};
use crate::store::{Read, Rows, Tx};

/// What is kept of a recipient beside the person: what became of it, a few words each.
const STATE: u64 = 128;

/// As a quota: there is none.
pub(super) const NO_QUOTA: u64 = 0;

/// How many bytes a campaign counts for: its people, and what becomes of so many.
pub(super) fn of_campaign(people: u64, total: u32) -> u64 {
    people + u64::from(total) * STATE
}

/// How many bytes of the store a session uses.
pub(super) fn used(read: &impl Read, session: SessionNumber) -> Result<u64> {
    let mut used = message::bytes(read, session)?;
    for (_, list) in LISTS.rows(session).readable(read, usize::MAX)? {
        used += match list.bytes {
            Some(bytes) => bytes,
            None => roster::bytes(read, list.roster)?,
        };
    }
    for (_, campaign) in CAMPAIGNS.rows(session).readable(read, usize::MAX)? {
        let people = match campaign.bytes {
            Some(bytes) => bytes,
            None => roster::bytes(read, campaign.roster)?,
        };
        used += of_campaign(people, campaign.total);
    }
    Ok(used)
}

/// Writes down how many bytes the lists and campaigns of older versions take, so that their people are
/// read once and not at each judgement.
fn weigh(tx: &mut Tx, session: SessionNumber) -> Result<()> {
    for (id, mut list) in LISTS.rows(session).readable(tx, usize::MAX)? {
        if list.bytes.is_none() {
            list.bytes = Some(roster::bytes(tx, list.roster)?);
            LISTS.put(tx, (session, id), &list)?;
        }
    }
    for (id, mut campaign) in CAMPAIGNS.rows(session).readable(tx, usize::MAX)? {
        if campaign.bytes.is_none() {
            campaign.bytes = Some(roster::bytes(tx, campaign.roster)?);
            CAMPAIGNS.put(tx, (session, id), &campaign)?;
        }
    }
    Ok(())
}

/// Refuses what would take the session beyond its quota.
pub(super) fn refuse_beyond(
    tx: &mut Tx,
    session: SessionNumber,
    more: u64,
    quota: u64,
) -> Result<()> {
    if quota == NO_QUOTA {
        return Ok(());
    }
    weigh(tx, session)?;
    if used(tx, session)?.saturating_add(more) <= quota {
        return Ok(());
    }
    let mib = quota >> 20;
    Err(Error::new(
        Code::StoreQuotaReached,
        format!(
            "The store quota of this session ({mib} MiB) is used up; delete lists or campaigns, or raise store_quota"
        ),
    ))
}

/// Refuses one more row of a kind of which a session may have so many.
pub(super) fn refuse_more_than<R: Parts, V: Value>(
    tx: &Tx,
    rows: &Rows<R, V>,
    most: usize,
    what: &str,
) -> Result<()> {
    if rows.are_fewer_than(tx, most)? {
        return Ok(());
    }
    Err(Error::new(
        Code::LimitReached,
        format!("A session may have {most} {what}"),
    ))
}
