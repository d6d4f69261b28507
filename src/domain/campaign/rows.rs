//! A campaign's rows, read and written.

use std::collections::HashSet;

use super::{CAMPAIGNS, Campaign, LIVE, Progress, REFUSED, State, Status};
use crate::domain::doomed;
use crate::domain::roster::{Place, Roster};
use crate::error::{Code, Error, Result};
use crate::ids::{MediaId, RowId, SessionNumber};
use crate::store::{Read, Tx, Typed, bytes_of, tables};

const PROGRESSES: Typed<Roster, Progress> = Typed::new(tables::CAMPAIGN_PROGRESS);

/// What became of those that were begun.
const STATES: Typed<(Roster, Place), State> = Typed::new(tables::CAMPAIGN_STATES);

pub(super) fn lane(roster: Roster) -> Vec<u8> {
    bytes_of(roster)
}

pub(super) fn find(
    read: &impl Read,
    session: SessionNumber,
    id: &RowId,
) -> Result<Option<Campaign>> {
    CAMPAIGNS.get(read, (session, id))
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
    if campaign.status.is_live() {
        LIVE.put(tx, (session, id), &())?;
    } else {
        LIVE.delete(tx, (session, id));
    }
    CAMPAIGNS.put(tx, (session, id), campaign)
}

pub(super) fn progress(read: &impl Read, roster: Roster) -> Result<Progress> {
    Ok(PROGRESSES.get(read, roster)?.unwrap_or_default())
}

pub(super) fn put_progress(tx: &mut Tx, roster: Roster, progress: &Progress) -> Result<()> {
    PROGRESSES.put(tx, roster, progress)
}

pub(super) fn state(read: &impl Read, roster: Roster, place: Place) -> Result<State> {
    Ok(STATES.get(read, (roster, place))?.unwrap_or_default())
}

pub(super) fn put_state(tx: &mut Tx, roster: Roster, place: Place, state: &State) -> Result<()> {
    STATES.put(tx, (roster, place), state)
}

/// State rows from a place on, up to `limit`.
pub(super) fn states(
    read: &impl Read,
    roster: Roster,
    first: Place,
    limit: usize,
) -> Result<Vec<(Place, State)>> {
    STATES.rows(roster).from(first).page(read, limit)
}

/// The refused rows of a campaign: they are failed from the beginning.
pub(super) fn refused(read: &impl Read, roster: Roster, limit: usize) -> Result<Vec<State>> {
    let rows = states(read, roster, REFUSED, limit)?;
    Ok(rows.into_iter().map(|(_, state)| state).collect())
}

/// Removes a campaign with everything that belongs to it.
pub(super) fn delete(tx: &mut Tx, session: SessionNumber, id: &RowId, campaign: &Campaign) {
    CAMPAIGNS.delete(tx, (session, id));
    LIVE.delete(tx, (session, id));
    doomed::of_roster(tx, campaign.roster);
}

/// Removes campaigns of a session, as many as the budget allows.
pub(in crate::domain) fn delete_some(
    tx: &mut Tx,
    session: SessionNumber,
    budget: &mut doomed::Budget,
) -> Result<()> {
    let prefix = bytes_of(session);
    budget.delete(tx, tables::LIVE_CAMPAIGNS, &prefix)?;
    let campaigns = CAMPAIGNS.rows(session).values(tx, budget.left())?;
    for campaign in campaigns.into_iter().flatten() {
        doomed::of_roster(tx, campaign.roster);
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
