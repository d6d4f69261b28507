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
    each(read, tables::LISTS, session, |list: List| {
        used += match list.bytes {
            Some(bytes) => bytes,
            None => roster::bytes(read, list.roster)?,
        };
        Ok(())
    })?;
    each(read, tables::CAMPAIGNS, session, |campaign: Campaign| {
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
    mut visit: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    read.for_each_prefix(table, &session.0.to_be_bytes(), |_, row| {
        visit(record::decode(row)?)?;
        Ok(ControlFlow::Continue(()))
    })
}

/// Refuses what would take the session beyond its quota; 0 is none.
pub(super) fn refuse_beyond(
    read: &impl Read,
    session: SessionNumber,
    more: u64,
    quota: u64,
) -> Result<()> {
    if quota == 0 || used(read, session)?.saturating_add(more) <= quota {
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
