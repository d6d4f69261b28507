//! A campaign's rows, read and written.

use std::collections::HashSet;

use super::{CAMPAIGNS, Campaign, Progress, REFUSED, State, Status};
use crate::domain::doomed;
use crate::domain::roster::{Place, Roster};
use crate::error::{Code, Error, Result};
use crate::ids::{MediaId, RowId, SessionNumber};
use crate::store::{Read, Tx, record, tables};

pub(super) fn key(session: SessionNumber, id: &RowId) -> Vec<u8> {
    [&session.0.to_be_bytes()[..], id.as_str().as_bytes()].concat()
}

fn state_key(roster: Roster, place: Place) -> Vec<u8> {
    [roster.0.to_be_bytes(), place.to_be_bytes()].concat()
}

pub(super) fn lane(roster: Roster) -> [u8; 4] {
    roster.0.to_be_bytes()
}

pub(super) fn find(
    read: &impl Read,
    session: SessionNumber,
    id: &RowId,
) -> Result<Option<Campaign>> {
    let row = read.get(tables::CAMPAIGNS, &key(session, id))?;
    row.map(|row| record::decode(&row)).transpose()
}

pub(super) fn get(read: &impl Read, session: SessionNumber, id: &RowId) -> Result<Campaign> {
    find(read, session, id)?.ok_or_else(|| Error::from(Code::CampaignNotFound))
}

/// Writes a campaign's row, and its entry among the live ones.
pub(super) fn put(
    tx: &mut Tx,
    session: SessionNumber,
    id: &RowId,
    campaign: &Campaign,
) -> Result<()> {
    let key = key(session, id);
    if campaign.status.is_live() {
        tx.put(tables::LIVE_CAMPAIGNS, key.clone(), []);
    } else {
        tx.delete(tables::LIVE_CAMPAIGNS, &key);
    }
    tx.put(tables::CAMPAIGNS, key, record::encode(campaign)?);
    Ok(())
}

pub(super) fn progress(read: &impl Read, roster: Roster) -> Result<Progress> {
    let row = read.get(tables::CAMPAIGN_PROGRESS, &lane(roster))?;
    row.map_or(Ok(Progress::default()), |row| record::decode(&row))
}

pub(super) fn put_progress(tx: &mut Tx, roster: Roster, progress: &Progress) -> Result<()> {
    tx.put(
        tables::CAMPAIGN_PROGRESS,
        lane(roster),
        record::encode(progress)?,
    );
    Ok(())
}

pub(super) fn state(read: &impl Read, roster: Roster, place: Place) -> Result<State> {
    let row = read.get(tables::CAMPAIGN_STATES, &state_key(roster, place))?;
    row.map_or(Ok(State::default()), |row| record::decode(&row))
}

pub(super) fn put_state(tx: &mut Tx, roster: Roster, place: Place, state: &State) -> Result<()> {
    tx.put(
        tables::CAMPAIGN_STATES,
        state_key(roster, place),
        record::encode(state)?,
    );
    Ok(())
}

/// State rows from a place on, up to `limit`.
pub(super) fn states(
    read: &impl Read,
    roster: Roster,
    first: Place,
    limit: usize,
) -> Result<Vec<(Place, State)>> {
    let (from, to) = (state_key(roster, first), state_key(roster, Place::MAX));
    let rows = read.range(tables::CAMPAIGN_STATES, from..=to, limit, false)?;
    rows.into_iter()
        .map(|(key, value)| {
            let place = key.last_chunk::<4>().map_or(0, |n| u32::from_be_bytes(*n));
            Ok((place, record::decode(&value)?))
        })
        .collect()
}

/// The refused rows of a campaign: they are failed from the beginning.
pub(super) fn refused(read: &impl Read, roster: Roster, limit: usize) -> Result<Vec<State>> {
    let rows = states(read, roster, REFUSED, limit)?;
    Ok(rows.into_iter().map(|(_, state)| state).collect())
}

/// Removes a campaign with everything that belongs to it.
pub(super) fn delete(tx: &mut Tx, session: SessionNumber, id: &RowId, campaign: &Campaign) {
    let key = key(session, id);
    tx.delete(tables::CAMPAIGNS, &key);
    tx.delete(tables::LIVE_CAMPAIGNS, &key);
    doomed::of_roster(tx, campaign.roster);
}

/// Removes campaigns of a session, as many as the budget allows.
pub(in crate::domain) fn delete_some(
    tx: &mut Tx,
    session: SessionNumber,
    budget: &mut doomed::Budget,
) -> Result<()> {
    let prefix = session.0.to_be_bytes();
    budget.delete(tx, tables::LIVE_CAMPAIGNS, &prefix)?;
    for (_, row) in tx.prefix(tables::CAMPAIGNS, &prefix, None, budget.left())? {
        // A damaged row must not keep the others.
        if let Ok(campaign) = record::decode::<Campaign>(&row) {
            doomed::of_roster(tx, campaign.roster);
        }
    }
    budget.delete(tx, tables::CAMPAIGNS, &prefix)
}

/// The files that campaigns of a session show which have not ended.
pub(in crate::domain) fn files_in_use(
    read: &impl Read,
    session: SessionNumber,
) -> Result<HashSet<MediaId>> {
    let mut files = HashSet::new();
    CAMPAIGNS.rows(session).each(read, |row| {
        let campaign = row.value()?;
        let shown = campaign.message.media.map(|part| part.id);
        files.extend(shown.filter(|_| campaign.status != Status::Completed));
        Ok(())
    })?;
    Ok(files)
}
