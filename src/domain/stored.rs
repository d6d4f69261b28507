//! What a session's lists, campaigns and messages take in the store, and where that ends.

use std::ops::ControlFlow;

use super::campaign::Campaign;
use super::list::List;
use super::message;
use super::roster;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::SessionNumber;
use crate::store::{Read, Record, Tx, record, tables};

/// What is kept of a recipient beside the person: what became of it, a few words each.
const STATE: u64 = 128;

/// How many bytes of the store a session uses.
pub(super) fn used(read: &impl Read, session: SessionNumber) -> Result<u64> {
    let mut used = message::bytes(read, session)?;
    each(read, tables::LISTS, session, |_, list: List| {
        used += match list.bytes {
            Some(bytes) => bytes,
            None => roster::bytes(read, list.roster)?,
        };
        Ok(())
    })?;
    each(read, tables::CAMPAIGNS, session, |_, campaign: Campaign| {
        used += match campaign.bytes {
            Some(bytes) => bytes,
            None => roster::bytes(read, campaign.roster)?,
        };
        used += u64::from(campaign.total) * STATE;
        Ok(())
    })?;
    Ok(used)
}

fn each<R: Record>(
    read: &impl Read,
    table: tables::Table,
    session: SessionNumber,
    mut visit: impl FnMut(&[u8], R) -> Result<()>,
) -> Result<()> {
    read.for_each_prefix(table, &session.0.to_be_bytes(), |key, row| {
        visit(key, record::decode(row)?)?;
        Ok(ControlFlow::Continue(()))
    })
}

/// Writes down how many bytes the lists and campaigns of older versions take, so that their people are
/// read once and not at each judgement.
fn weigh(tx: &mut Tx, session: SessionNumber) -> Result<()> {
    let (mut lists, mut campaigns) = (Vec::new(), Vec::new());
    each(tx, tables::LISTS, session, |key, list: List| {
        if list.bytes.is_none() {
            lists.push((key.to_vec(), list));
        }
        Ok(())
    })?;
    each(tx, tables::CAMPAIGNS, session, |key, campaign: Campaign| {
        if campaign.bytes.is_none() {
            campaigns.push((key.to_vec(), campaign));
        }
        Ok(())
    })?;
    for (key, mut list) in lists {
        list.bytes = Some(roster::bytes(tx, list.roster)?);
        tx.put(tables::LISTS, key, record::encode(&list)?);
    }
    for (key, mut campaign) in campaigns {
        campaign.bytes = Some(roster::bytes(tx, campaign.roster)?);
        tx.put(tables::CAMPAIGNS, key, record::encode(&campaign)?);
    }
    Ok(())
}

/// Refuses what would take the session beyond its quota; 0 is none.
pub(super) fn refuse_beyond(
    tx: &mut Tx,
    session: SessionNumber,
    more: u64,
    quota: u64,
) -> Result<()> {
    if quota == 0 {
        return Ok(());
    }
    weigh(tx, session)?;
    if used(tx, session)?.saturating_add(more) <= quota {
        return Ok(());
    }
    let mib = quota >> 20;
    Err(Error::new(
        ErrorKind::TooLarge,
        format!(
            "The store quota of this session ({mib} MiB) is used up; delete lists or campaigns, or raise store_quota"
        ),
    ))
}

/// Refuses one more row of a kind of which a session may have so many.
pub(super) fn refuse_more_than(
    tx: &Tx,
    table: tables::Table,
    session: SessionNumber,
    most: usize,
    what: &str,
) -> Result<()> {
    let mut there = 0;
    tx.for_each_prefix(table, &session.0.to_be_bytes(), |_, _| {
        there += 1;
        Ok(if there < most {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        })
    })?;
    if there < most {
        return Ok(());
    }
    Err(Error::invalid(format!("A session may have {most} {what}")))
}
