//! A campaign's rows, read and written.

use std::collections::HashSet;

use super::{
    CAMPAIGNS, Campaign, CampaignState, LIVE, REFUSED, RecipientState, RecipientStatus,
    SendProgress,
};
use crate::domain::roster::{Position, Roster};
use crate::domain::{damage, pending_removal};
use crate::error::{Code, Error, Result};
use crate::ids::{MediaId, RowId, SessionNumber};
use crate::store::{Read, Tx, Typed, bytes_of, tables, unless_damaged};

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

/// How far it has come.
pub(in crate::domain) fn progress(read: &impl Read, roster: Roster) -> Result<SendProgress> {
    Ok(PROGRESSES.get(read, roster)?.unwrap_or_default())
}

/// The same for a list of campaigns: one whose progress is damaged is in it as if it were not begun.
pub(super) fn readable_progress(read: &impl Read, roster: Roster) -> Result<SendProgress> {
    Ok(PROGRESSES.readable(read, roster)?.unwrap_or_default())
}

/// How many recipients of live campaigns wait, those that are tried again included.
pub(in crate::domain) fn waiting_recipients(read: &impl Read) -> Result<u64> {
    let mut waiting: u64 = 0;
    for (session, id) in LIVE.rows(()).keys(read, usize::MAX)? {
        if let Some(campaign) = find(read, session, &id)? {
            let progress = readable_progress(read, campaign.roster)?;
            let new = progress.end.saturating_sub(progress.next);
            waiting = waiting.saturating_add(u64::from(new) + u64::from(progress.waiting));
        }
    }
    Ok(waiting)
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

/// The same; `None` when it is damaged.
pub(super) fn readable_state(
    read: &impl Read,
    roster: Roster,
    position: Position,
) -> Result<Option<RecipientState>> {
    unless_damaged(state(read, roster, position))
}

/// What is said of a recipient whose row is damaged. He may have been written to, so nobody does that
/// again but at the owner's word.
pub(super) fn damaged() -> RecipientState {
    RecipientState {
        status: RecipientStatus::Failed,
        error: Some("what was known of this recipient is damaged".to_owned()),
        ..RecipientState::default()
    }
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
    let mut states = Vec::new();
    let rows = STATES.rows(roster).from(first);
    if limit > 0 {
        rows.find(read, |row| {
            let state = unless_damaged(row.value())?;
            states.push((row.key()?, state.unwrap_or_else(damaged)));
            Ok((states.len() == limit).then_some(()))
        })?;
    }
    Ok(states)
}

/// Who is being written to.
pub(super) fn in_between(read: &impl Read, roster: Roster) -> Result<Vec<Position>> {
    let mut found = Vec::new();
    STATES.rows(roster).each_readable(read, |position, state| {
        found.extend((state.status == RecipientStatus::Sending).then_some(position));
        Ok(())
    })?;
    Ok(found)
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

/// Removes a campaign with everything that belongs to it. Of a damaged one that is what its row still
/// names.
pub(super) fn delete(tx: &mut Tx, session: SessionNumber, id: &RowId) -> Result<()> {
    let roster = match unless_damaged(get(tx, session, id))? {
        Some(campaign) => Some(campaign.roster),
        None => {
            let row = CAMPAIGNS.view(tx, (session, id), <[u8]>::to_vec)?;
            damage::roster_in(tx, &row.unwrap_or_default())?
        }
    };
    CAMPAIGNS.delete(tx, (session, id));
    LIVE.delete(tx, (session, id));
    if let Some(roster) = roster {
        pending_removal::of_roster(tx, roster);
    }
    Ok(())
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

/// The files that campaigns of a session show which have not ended. A campaign that is damaged can
/// show none any more, and must not keep the session's files for ever.
pub(in crate::domain) fn files_in_use(
    read: &impl Read,
    session: SessionNumber,
) -> Result<HashSet<MediaId>> {
    let mut files = HashSet::new();
    CAMPAIGNS.rows(session).each_readable(read, |_, campaign| {
        let shown = campaign.message.media.map(|part| part.id);
        files.extend(shown.filter(|_| campaign.status != CampaignState::Completed));
        Ok(())
    })?;
    Ok(files)
}
