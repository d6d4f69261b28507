//! What happens to a campaign: the steps that keep its rows, its counts and its events in agreement.

use std::sync::Arc;
use std::time::Duration;

use super::{
    Campaign, CampaignRef, CampaignSettings, CampaignState, Counts, RecipientState,
    RecipientStatus, SendProgress, Statistics, rows,
};
use crate::domain::Gateway;
use crate::domain::event::publish;
use crate::domain::event::{CampaignProgress, CampaignStatus, EventData};
use crate::domain::message::settlement::Settlement;
use crate::domain::queues::RETRIES;
use crate::domain::session::Session;
use crate::error::Result;
use crate::ids::{RowId, SessionNumber};
use crate::store::queue::{self, LaneOrder};
use crate::store::{Tx, bytes_of};
use crate::time::Timestamp;
use crate::wa::message::MessageState;

/// Minimum interval between two `campaign.progress` events.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// How long nothing goes after WhatsApp asked to slow down, the first time; doubled each time after.
const RATE_LIMIT_DELAY: Duration = Duration::from_secs(30);

/// How long the next try waits after nobody knows what became of one; doubled for each that WhatsApp
/// took and said nothing of.
const UNACKNOWLEDGED_DELAY: Duration = Duration::from_secs(1);

/// How often a message is handed to a WhatsApp that says nothing of it.
const MAX_UNACKNOWLEDGED: u32 = 10;

/// A recipient's message came a step further: its row and the campaign's counts follow.
pub(in crate::domain) fn update_recipient(
    tx: &mut Tx,
    gateway: &Arc<Gateway>,
    session: &Session,
    part: &CampaignRef,
    reached: MessageState,
    now: Timestamp,
    error: Option<&str>,
) -> Result<Option<u64>> {
    let status = match reached {
        MessageState::Sending => RecipientStatus::Sending,
        MessageState::Failed => RecipientStatus::Failed,
        MessageState::Sent => RecipientStatus::Sent,
        MessageState::Delivered => RecipientStatus::Delivered,
        MessageState::Read | MessageState::Played => RecipientStatus::Read,
    };
    let Some(campaign) = rows::find(tx, session.number, &part.campaign)? else {
        return Ok(None);
    };
    let mut state = rows::state(tx, part.roster, part.position)?;
    let mut progress = rows::progress(tx, part.roster)?;
    // A receipt may come for a message whose acknowledgement was lost and that waits to be tried
    // again: it arrived, so there is nothing left to try.
    progress.counts.shift(state.status, status);
    state.status = status;
    if matches!(status, RecipientStatus::Sent | RecipientStatus::Failed) || state.at.is_none() {
        state.at = Some(now);
    }
    if matches!(status, RecipientStatus::Delivered | RecipientStatus::Read) {
        // Whoever read it has it, also when their phone does not say so.
        state.delivered_at = state.delivered_at.or(Some(now));
    }
    if status == RecipientStatus::Read {
        state.read_at = state.read_at.or(Some(now));
    }
    state.error = error.map(str::to_owned);
    // Ignore successes from a batch that was also rate-limited: they do not prove that the limit is over.
    if status == RecipientStatus::Sent && progress.not_before.is_none_or(|at| at <= now) {
        (progress.slowed, progress.not_before) = (0, None);
    }
    rows::put_state(tx, part.roster, part.position, &state)?;
    publish_progress(
        tx,
        gateway,
        session,
        &part.campaign,
        &campaign,
        &mut progress,
        now,
    )
}

/// A recipient's message was not sent. Answers whether it will be tried again; otherwise it has
/// failed, which the caller records.
pub(in crate::domain) fn retry_or_fail(
    tx: &mut Tx,
    session: SessionNumber,
    part: &CampaignRef,
    settlement: &Settlement,
    now: Timestamp,
) -> Result<bool> {
    let Some(campaign) = rows::find(tx, session, &part.campaign)? else {
        return Ok(false);
    };
    let settings = &campaign.settings;
    let mut state = rows::state(tx, part.roster, part.position)?;
    if state.status != RecipientStatus::Sending {
        return Ok(false);
    }
    let mut progress = rows::progress(tx, part.roster)?;
    let unacknowledged = state.unacknowledged;
    let Some(due) = next_try(settings, &mut state, &mut progress, settlement, now) else {
        if state.unacknowledged != unacknowledged {
            rows::put_state(tx, part.roster, part.position, &state)?;
        }
        return Ok(false);
    };
    progress
        .counts
        .shift(RecipientStatus::Sending, RecipientStatus::Pending);
    progress.waiting += 1;
    state.status = RecipientStatus::Pending;
    rows::put_state(tx, part.roster, part.position, &state)?;
    rows::put_progress(tx, part.roster, &progress)?;
    queue::enqueue(
        tx,
        RETRIES,
        &rows::lane(part.roster),
        LaneOrder::ByDue,
        due,
        &bytes_of(part.position),
    )?;
    Ok(true)
}

/// When a recipient whose message was not sent is tried again; `None` when never. Notes in state and
/// progress why, and what was tried.
fn next_try(
    settings: &CampaignSettings,
    state: &mut RecipientState,
    progress: &mut SendProgress,
    settlement: &Settlement,
    now: Timestamp,
) -> Option<Timestamp> {
    match settlement {
        Settlement::Acknowledged | Settlement::Received { .. } => None,
        Settlement::Refused { why, .. } => {
            state.error = Some(why.clone());
            (state.tries <= settings.max_retries).then(|| now.after(settings.backoff(state.tries)))
        }
        Settlement::RateLimited { why } => {
            // It says nothing about this recipient: the whole campaign waits, and no try is counted.
            state.error = Some(why.clone());
            state.tries = state.tries.saturating_sub(1);
            let wait = RATE_LIMIT_DELAY * 2u32.pow(progress.slowed.min(6));
            let until = now.after(wait);
            if progress.not_before.is_none_or(|at| at <= now) {
                progress.slowed += 1;
                progress.not_before = Some(until);
            }
            Some(progress.not_before.unwrap_or(until))
        }
        Settlement::Unacknowledged { .. } | Settlement::LoggedOut => {
            let held = Settlement::Unacknowledged {
                connection_held: true,
            };
            if *settlement == held {
                state.unacknowledged += 1;
                if state.unacknowledged >= MAX_UNACKNOWLEDGED {
                    return None;
                }
            }
            state.error = Some("not acknowledged yet; it is sent again with the same id".into());
            state.tries = state.tries.saturating_sub(1);
            let doubled = state.unacknowledged.saturating_sub(1);
            Some(now.after(UNACKNOWLEDGED_DELAY * 2u32.pow(doubled)))
        }
    }
}

/// Writes the progress, and an event about it when the last one is old enough or this is the end.
/// Receipts come long after the end: they are no end of their own.
pub(super) fn publish_progress(
    tx: &mut Tx,
    gateway: &Arc<Gateway>,
    session: &Session,
    id: &RowId,
    campaign: &Campaign,
    progress: &mut SendProgress,
    now: Timestamp,
) -> Result<Option<u64>> {
    let is_over = |counts: &Counts| counts.pending(campaign.total) + counts.sending == 0;
    let quiet = progress
        .last_event_at
        .is_some_and(|at| now.since(at) < PROGRESS_INTERVAL && at <= now);
    if quiet {
        let before = rows::progress(tx, campaign.roster)?.counts;
        let ends = is_over(&progress.counts) && !is_over(&before);
        if !ends {
            rows::put_progress(tx, campaign.roster, progress)?;
            return Ok(None);
        }
    }
    progress.last_event_at = Some(now);
    rows::put_progress(tx, campaign.roster, progress)?;
    let data = EventData::CampaignProgress(CampaignProgress {
        id: id.clone(),
        name: campaign.name.clone(),
        status: campaign.status,
        statistics: Statistics::of(&progress.counts, campaign.total),
    });
    let entry = gateway.event(session, data);
    publish::append(tx, session.number, &entry)
}

/// Moves a campaign to another status and tells the world.
pub(super) fn change_status(
    tx: &mut Tx,
    gateway: &Arc<Gateway>,
    session: &Session,
    id: &RowId,
    campaign: &mut Campaign,
    status: CampaignState,
) -> Result<Option<u64>> {
    campaign.status = status;
    campaign.updated_at = Some(gateway.clock.now());
    rows::put(tx, session.number, id, campaign)?;
    let counts = rows::progress(tx, campaign.roster)?.counts;
    let data = EventData::CampaignStatus(CampaignStatus {
        id: id.clone(),
        name: campaign.name.clone(),
        status,
        detail: campaign.detail.clone(),
        statistics: Statistics::of(&counts, campaign.total),
    });
    let entry = gateway.event(session, data);
    publish::append(tx, session.number, &entry)
}
