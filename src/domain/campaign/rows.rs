//! A campaign's rows, read and written.

use std::collections::HashSet;

use super::{CAMPAIGNS, Campaign, CampaignState, LIVE, REFUSED, RecipientState, SendProgress};
use crate::domain::pending_removal;
use crate::domain::roster::{Position, Roster};
use crate::error::{Code, Error, Result};
use crate::ids::{MediaId, RowId, SessionNumber};
use crate::store::{Read, Tx, Typed, bytes_of, tables};

const PROGRESSES: Typed<Roster, SendProgress> = Typed::new(tables::CAMPAIGN_PROGRESS);

/// What became of those that were begun.
const STATES: Typed<(Roster, Position), RecipientState> = Typed::new(tables::CAMPAIGN_STATES);

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

pub(super) fn progress(read: &impl Read, roster: Roster) -> Result<SendProgress> {
    Ok(PROGRESSES.get(read, roster)?.unwrap_or_default())
}

/// The same for a list of campaigns: one whose progress is damaged is in it as if it were not begun.
pub(super) fn readable_progress(read: &impl Read, roster: Roster) -> Result<SendProgress> {
    Ok(PROGRESSES.readable(read, roster)?.unwrap_or_default())
}

pub(super) fn put_progress(tx: &mut Tx, roster: Roster, progress: &SendProgress) -> Result<()> {
    PROGRESSES.put(tx, roster, progress)
}

pub(super) fn state(
    read: &impl Read,
    roster: Roster,
    position: Position,
) -> Result<RecipientState> {
    Ok(STATES.get(read, (roster, position))?.unwrap_or_default())
}

pub(super) fn put_state(
    tx: &mut Tx,
    roster: Roster,
    position: Position,
    state: &RecipientState,
) -> Result<()> {
    STATES.put(tx, (roster, position), state)
}

/// State rows from a position on, up to `limit`.
pub(super) fn states(
    read: &impl Read,
    roster: Roster,
    first: Position,
    limit: usize,
) -> Result<Vec<(Position, RecipientState)>> {
    STATES.rows(roster).from(first).page(read, limit)
}

/// The refused rows of a campaign: they are failed from the beginning.
pub(super) fn refused(
    read: &impl Read,
    roster: Roster,
    limit: usize,
) -> Result<Vec<RecipientState>> {
    let rows = states(read, roster, REFUSED, limit)?;
    Ok(rows.into_iter().map(|(_, state)| state).collect())
}

/// Removes a campaign with everything that belongs to it.
pub(super) fn delete(tx: &mut Tx, session: SessionNumber, id: &RowId, campaign: &Campaign) {
    CAMPAIGNS.delete(tx, (session, id));
    LIVE.delete(tx, (session, id));
    pending_removal::of_roster(tx, campaign.roster);
}

/// Removes campaigns of a session, as many as the budget allows.
pub(in crate::domain) fn delete_some(
    tx: &mut Tx,
    session: SessionNumber,
    budget: &mut pending_removal::RemovalBudget,
) -> Result<()> {
    let prefix = bytes_of(session);
    budget.delete(tx, tables::LIVE_CAMPAIGNS, &prefix)?;
    let campaigns = CAMPAIGNS.rows(session).values(tx, budget.left())?;
    for campaign in campaigns.into_iter().flatten() {
        pending_removal::of_roster(tx, campaign.roster);
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
        files.extend(shown.filter(|_| campaign.status != CampaignState::Completed));
        Ok(())
    })?;
    Ok(files)
}
