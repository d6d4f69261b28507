//! A campaign's rows: reading them, and the steps that keep them in agreement.

use std::sync::Arc;

use super::{Campaign, Counts, Part, Progress, QUEUE, REFUSED, Stage, State, Statistics, Status};
use crate::domain::Gateway;
use crate::domain::event::{self, CampaignProgress, CampaignStatus, EventData};
use crate::domain::removal;
use crate::domain::roster::{Place, Roster};
use crate::domain::session::Session;
use crate::error::{Error, Result};
use crate::ids::{RowId, SessionNumber};
use crate::store::queue::{self, Order};
use crate::store::{Read, Tx, record, tables};
use crate::time::Timestamp;
use crate::wa::message::Progress as Reached;

/// How often the world is told how far a campaign has come, at most.
const TOLD_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// How long nothing goes after WhatsApp asked to slow down, the first time; doubled each time after.
const SLOWED: std::time::Duration = std::time::Duration::from_secs(30);

/// How long the next try waits after nobody knows what became of one; doubled for each that WhatsApp
/// took and said nothing of.
const UNHEARD: std::time::Duration = std::time::Duration::from_secs(1);

/// How often a message is handed to a WhatsApp that says nothing of it.
const MOST_UNHEARD: u32 = 10;

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
    find(read, session, id)?.ok_or_else(|| Error::not_found("Campaign not found"))
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
    removal::of_roster(tx, campaign.roster);
}

/// Removes campaigns of a session, as many as the budget allows.
pub(in crate::domain) fn delete_some(
    tx: &mut Tx,
    session: SessionNumber,
    budget: &mut removal::Budget,
) -> Result<()> {
    let prefix = session.0.to_be_bytes();
    budget.delete(tx, tables::LIVE_CAMPAIGNS, &prefix)?;
    for (_, row) in tx.prefix(tables::CAMPAIGNS, &prefix, None, budget.left())? {
        // A damaged row must not keep the others.
        if let Ok(campaign) = record::decode::<Campaign>(&row) {
            removal::of_roster(tx, campaign.roster);
        }
    }
    budget.delete(tx, tables::CAMPAIGNS, &prefix)
}

/// A recipient's message came a step further: its row and the campaign's counts follow.
pub(in crate::domain) fn moved(
    tx: &mut Tx,
    gateway: &Arc<Gateway>,
    session: &Session,
    part: &Part,
    reached: Reached,
    now: Timestamp,
    error: Option<&str>,
) -> Result<Option<u64>> {
    let stage = match reached {
        Reached::Sending => Stage::Sending,
        Reached::Failed => Stage::Failed,
        Reached::Sent => Stage::Sent,
        Reached::Delivered => Stage::Delivered,
        Reached::Read | Reached::Played => Stage::Read,
    };
    let Some(campaign) = find(tx, session.number, &part.campaign)? else {
        return Ok(None);
    };
    let mut state = state(tx, part.roster, part.place)?;
    let mut progress = progress(tx, part.roster)?;
    // A receipt may come for a message whose acknowledgement was lost and that waits to be tried
    // again: it arrived, so there is nothing left to try.
    progress.counts.shift(state.stage, stage);
    state.stage = stage;
    if matches!(stage, Stage::Sent | Stage::Failed) || state.at.is_none() {
        state.at = Some(now);
    }
    state.error = error.map(str::to_owned);
    // One that went beside others that were too many says nothing yet.
    if stage == Stage::Sent && progress.not_before.is_none_or(|at| at <= now) {
        (progress.slowed, progress.not_before) = (0, None);
    }
    put_state(tx, part.roster, part.place, &state)?;
    tell(
        tx,
        gateway,
        session,
        &part.campaign,
        &campaign,
        &mut progress,
        now,
    )
}

/// What is to be done with a message that was not sent.
pub(in crate::domain) enum Missed {
    /// WhatsApp refused it, for a reason that may pass.
    Refused(String),
    /// WhatsApp refused it because too many were sent.
    TooMany(String),
    /// Nobody knows whether it arrived: something came in between.
    Unknown,
    /// Nobody knows whether it arrived: nothing came in between, and WhatsApp said nothing.
    Unheard,
}

/// A recipient's message was not sent. Answers whether it will be tried again; otherwise it has
/// failed, which the caller records.
pub(in crate::domain) fn missed(
    tx: &mut Tx,
    session: SessionNumber,
    part: &Part,
    missed: &Missed,
    now: Timestamp,
) -> Result<bool> {
    let Some(campaign) = find(tx, session, &part.campaign)? else {
        return Ok(false);
    };
    let settings = &campaign.settings;
    let mut state = state(tx, part.roster, part.place)?;
    if state.stage != Stage::Sending {
        return Ok(false);
    }
    let mut progress = progress(tx, part.roster)?;
    let due = match missed {
        Missed::Refused(why) => {
            state.error = Some(why.clone());
            if state.tries > settings.max_retries {
                return Ok(false);
            }
            now.after(settings.backoff(state.tries))
        }
        Missed::TooMany(why) => {
            // It says nothing about this recipient: the whole campaign waits, and no try is counted.
            state.error = Some(why.clone());
            state.tries = state.tries.saturating_sub(1);
            let wait = SLOWED * 2u32.pow(progress.slowed.min(6));
            let until = now.after(wait);
            if progress.not_before.is_none_or(|at| at <= now) {
                progress.slowed += 1;
                progress.not_before = Some(until);
            }
            progress.not_before.unwrap_or(until)
        }
        Missed::Unknown | Missed::Unheard => {
            if matches!(missed, Missed::Unheard) {
                state.unheard += 1;
                if state.unheard >= MOST_UNHEARD {
                    put_state(tx, part.roster, part.place, &state)?;
                    return Ok(false);
                }
            }
            state.error = Some("not acknowledged yet; it is sent again with the same id".into());
            state.tries = state.tries.saturating_sub(1);
            now.after(UNHEARD * 2u32.pow(state.unheard.saturating_sub(1)))
        }
    };
    progress.counts.shift(Stage::Sending, Stage::Pending);
    progress.waiting += 1;
    state.stage = Stage::Pending;
    put_state(tx, part.roster, part.place, &state)?;
    put_progress(tx, part.roster, &progress)?;
    queue::enqueue(
        tx,
        QUEUE,
        &lane(part.roster),
        Order::ByDue,
        due,
        &part.place.to_be_bytes(),
    )?;
    Ok(true)
}

/// Writes the progress, and an event about it when the last one is old enough or this is the end.
/// Receipts come long after the end: they are no end of their own.
pub(super) fn tell(
    tx: &mut Tx,
    gateway: &Arc<Gateway>,
    session: &Session,
    id: &RowId,
    campaign: &Campaign,
    progress: &mut Progress,
    now: Timestamp,
) -> Result<Option<u64>> {
    let is_over = |counts: &Counts| counts.pending(campaign.total) + counts.sending == 0;
    let quiet = progress
        .told_at
        .is_some_and(|at| now.since(at) < TOLD_EVERY && at <= now);
    if quiet {
        let before = self::progress(tx, campaign.roster)?.counts;
        let ends = is_over(&progress.counts) && !is_over(&before);
        if !ends {
            put_progress(tx, campaign.roster, progress)?;
            return Ok(None);
        }
    }
    progress.told_at = Some(now);
    put_progress(tx, campaign.roster, progress)?;
    let data = EventData::CampaignProgress(CampaignProgress {
        id: id.clone(),
        name: campaign.name.clone(),
        status: campaign.status,
        statistics: Statistics::of(&progress.counts, campaign.total),
    });
    let entry = gateway.event(session, data);
    event::append(tx, session.number, &entry)
}

/// Moves a campaign to another status and tells the world.
pub(super) fn change_status(
    tx: &mut Tx,
    gateway: &Arc<Gateway>,
    session: &Session,
    id: &RowId,
    campaign: &mut Campaign,
    status: Status,
) -> Result<Option<u64>> {
    campaign.status = status;
    campaign.updated_at = Some(gateway.clock.now());
    put(tx, session.number, id, campaign)?;
    let counts = progress(tx, campaign.roster)?.counts;
    let data = EventData::CampaignStatus(CampaignStatus {
        id: id.clone(),
        name: campaign.name.clone(),
        status,
        detail: campaign.detail.clone(),
        statistics: Statistics::of(&counts, campaign.total),
    });
    let entry = gateway.event(session, data);
    event::append(tx, session.number, &entry)
}
