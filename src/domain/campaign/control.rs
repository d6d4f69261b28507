//! What a campaign's owner does with it: start, pause, resume, try again, change, delete.

use std::sync::Arc;

use super::create::{self, Audience};
use super::message::{CampaignName, NewMessage};
use super::{
    Campaign, CampaignMessage, CampaignSettings, CampaignState, RecipientStatus, rows, steps,
};
use crate::domain::Gateway;
use crate::domain::queues::RETRIES;
use crate::domain::session::Session;
use crate::error::{Code, Error, Result};
use crate::ids::RowId;
use crate::store::queue::{self, LaneOrder};
use crate::store::{Durability, Tx, bytes_of};
use crate::time::Timestamp;

/// How many failed recipients one transaction takes up again.
const RETRIED_AT_ONCE: usize = 2000;

/// What can be changed of a campaign that does not run; `None` leaves it.
#[derive(Default)]
pub struct CampaignChange {
    /// What it is called.
    pub name: Option<CampaignName>,
    /// What it says: all of it, the file too.
    pub message: Option<NewMessage>,
    /// Whom it writes to.
    pub audience: Option<Audience>,
    /// How it sends.
    pub settings: Option<CampaignSettings>,
    /// When it starts by itself; `Some(None)` takes the time away.
    pub scheduled_at: Option<Option<Timestamp>>,
}

fn conflict(text: &'static str) -> Error {
    Error::new(Code::CampaignStatusForbids, text)
}

impl Gateway {
    fn existing_session(&self, session: &Session) -> Result<Arc<Session>> {
        let kept = self.sessions.by_number(session.number);
        kept.ok_or_else(|| Error::from(Code::SessionNotFound))
    }

    /// Moves a campaign to the status that `next` decides on.
    pub(super) async fn move_campaign(
        self: &Arc<Self>,
        session: &Session,
        id: &RowId,
        next: impl FnOnce(&mut Campaign) -> Result<CampaignState> + Send + 'static,
    ) -> Result<Campaign> {
        let session = self.existing_session(session)?;
        let (gateway, id) = (self.clone(), id.clone());
        let moved = self
            .record(Durability::Sync, move |tx| {
                let mut campaign = rows::get(tx, session.number, &id)?;
                let status = next(&mut campaign)?;
                let event_seq =
                    steps::change_status(tx, &gateway, &session, &id, &mut campaign, status)?;
                Ok((campaign, event_seq))
            })
            .await?;
        self.campaigns.wake();
        Ok(moved)
    }

    /// Starts a campaign now, whatever its time.
    pub async fn start_campaign(
        self: &Arc<Self>,
        session: &Session,
        id: &RowId,
    ) -> Result<Campaign> {
        let now = self.clock.now();
        self.move_campaign(session, id, move |campaign| match campaign.status {
            CampaignState::Draft | CampaignState::Ready => {
                campaign.started_at = Some(now);
                Ok(CampaignState::Sending)
            }
            CampaignState::Sending => Err(conflict("Campaign is already running")),
            CampaignState::Paused => Err(conflict("Campaign is paused; resume it")),
            CampaignState::Completed => Err(conflict("Campaign is completed")),
        })
        .await
    }

    /// Pauses a campaign. What is being handed to WhatsApp in this moment still goes.
    pub async fn pause_campaign(
        self: &Arc<Self>,
        session: &Session,
        id: &RowId,
    ) -> Result<Campaign> {
        self.move_campaign(session, id, |campaign| match campaign.status {
            CampaignState::Sending | CampaignState::Ready => {
                campaign.detail = None;
                Ok(CampaignState::Paused)
            }
            _ => Err(conflict("Campaign not running")),
        })
        .await
    }

    /// Goes on where a campaign was paused.
    pub async fn resume_campaign(
        self: &Arc<Self>,
        session: &Session,
        id: &RowId,
    ) -> Result<Campaign> {
        let now = self.clock.now();
        self.move_campaign(session, id, move |campaign| {
            if campaign.status != CampaignState::Paused {
                return Err(conflict("Campaign is not paused"));
            }
            campaign.detail = None;
            let waits = campaign.scheduled_at.is_some_and(|at| at > now);
            if campaign.started_at.is_none() && waits {
                return Ok(CampaignState::Ready);
            }
            campaign.started_at = campaign.started_at.or(Some(now));
            Ok(CampaignState::Sending)
        })
        .await
    }

    /// Takes up again all recipients that failed, except refused rows. Answers how many.
    pub async fn retry_campaign(self: &Arc<Self>, session: &Session, id: &RowId) -> Result<usize> {
        let session = self.existing_session(session)?;
        let mut count = 0;
        let mut from = 0;
        loop {
            let (gateway, session, id) = (self.clone(), session.clone(), id.clone());
            let (more, next) = self
                .record(Durability::Sync, move |tx| {
                    take_up(tx, &gateway, &session, &id, from)
                })
                .await?;
            count += more;
            match next {
                Some(next) => from = next,
                None => break,
            }
        }
        self.campaigns.wake();
        Ok(count)
    }

    /// Changes a campaign that does not run.
    pub async fn change_campaign(
        &self,
        session: &Session,
        id: &RowId,
        change: CampaignChange,
    ) -> Result<Campaign> {
        let words = change.message.as_ref().map(NewMessage::words);
        let message = match change.message {
            Some(message) => Some(CampaignMessage {
                media: match message.media {
                    Some(media) => Some(self.campaign_media(session, media).await?),
                    None => None,
                },
                ..words.unwrap_or_default()
            }),
            None => None,
        };
        let now = self.clock.now();
        let audience = change.audience.map(|a| create::prepare(a, now));
        let (id, number, quota) = (id.clone(), session.number, self.config.store_quota);
        let changed = self
            .store
            .write(Durability::Sync, move |tx| {
                let mut campaign = rows::get(tx, number, &id)?;
                if matches!(
                    campaign.status,
                    CampaignState::Sending | CampaignState::Completed
                ) {
                    return Err(conflict(
                        "Only a campaign that does not run and is not completed can be changed",
                    ));
                }
                if let Some(audience) = audience {
                    if campaign.started_at.is_some() {
                        return Err(conflict(
                            "The recipients of a campaign that was started cannot be changed",
                        ));
                    }
                    campaign = Self::refill(tx, number, campaign, audience, quota, now)?;
                }
                campaign.name = change.name.map_or(campaign.name, String::from);
                campaign.message = message.unwrap_or(campaign.message);
                campaign.settings = change.settings.unwrap_or(campaign.settings);
                if let Some(at) = change.scheduled_at {
                    campaign.scheduled_at = at;
                    if campaign.started_at.is_none() && campaign.status != CampaignState::Paused {
                        campaign.status = CampaignState::before(at, now);
                    }
                }
                campaign.updated_at = Some(now);
                rows::put(tx, number, &id, &campaign)?;
                Ok(campaign)
            })
            .await?;
        self.campaigns.wake();
        Ok(changed)
    }

    /// Removes a campaign and all that is kept of it; one that runs stops.
    pub async fn delete_campaign(&self, session: &Session, id: &RowId) -> Result<()> {
        let (id, number) = (id.clone(), session.number);
        self.store
            .write(Durability::Sync, move |tx| rows::delete(tx, number, &id))
            .await?;
        self.campaigns.wake();
        Ok(())
    }
}

/// Puts some failed recipients back into the queue. Answers how many, where to go on, and the
/// number of the event.
///
/// Invariant: nobody waits in a completed campaign, so it runs again from the same transaction on.
#[expect(
    clippy::type_complexity,
    reason = "an answer, and what `record` asks for"
)]
fn take_up(
    tx: &mut Tx,
    gateway: &Arc<Gateway>,
    session: &Session,
    id: &RowId,
    from: u32,
) -> Result<((usize, Option<u32>), Option<u64>)> {
    let mut campaign = rows::get(tx, session.number, id)?;
    if !matches!(
        campaign.status,
        CampaignState::Sending | CampaignState::Paused | CampaignState::Completed
    ) {
        return Err(conflict("Campaign was not started"));
    }
    let now = gateway.clock.now();
    let mut progress = rows::progress(tx, campaign.roster)?;
    let states = rows::states(tx, campaign.roster, from, RETRIED_AT_ONCE)?;
    let next = match states.last() {
        Some((last, _)) if states.len() == RETRIED_AT_ONCE => Some(last + 1),
        _ => None,
    };
    let mut due = Vec::new();
    for (position, mut state) in states {
        if state.status != RecipientStatus::Failed || position >= super::REFUSED {
            continue;
        }
        progress
            .counts
            .shift(RecipientStatus::Failed, RecipientStatus::Pending);
        progress.waiting += 1;
        state.status = RecipientStatus::Pending;
        (state.tries, state.unacknowledged) = (0, 0);
        rows::put_state(tx, campaign.roster, position, &state)?;
        due.push((now, bytes_of(position)));
    }
    let count = due.len();
    queue::enqueue_all(
        tx,
        RETRIES,
        &rows::lane(campaign.roster),
        LaneOrder::ByDue,
        due,
    )?;
    rows::put_progress(tx, campaign.roster, &progress)?;
    let mut event_seq = None;
    if campaign.status == CampaignState::Completed && progress.waiting > 0 {
        campaign.completed_at = None;
        event_seq = steps::change_status(
            tx,
            gateway,
            session,
            id,
            &mut campaign,
            CampaignState::Sending,
        )?;
    }
    Ok(((count, next), event_seq))
}
