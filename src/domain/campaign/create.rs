//! Making campaigns: from recipients in the request, a sheet, or a list.

use std::sync::Arc;

use super::message::{CampaignName, NewMedia, NewMessage};
use super::{
    CAMPAIGNS, Campaign, CampaignKey, CampaignMedia, CampaignMessage, CampaignSettings,
    CampaignState, Counts, REFUSED, RecipientState, RecipientStatus, SendProgress, rows,
};
use crate::domain::Gateway;
use crate::domain::list;
use crate::domain::media::FileSource;
use crate::domain::media::files;
use crate::domain::pending_removal;
use crate::domain::recipient::RecipientRows;
use crate::domain::roster::{self, EncodedRoster, Roster};
use crate::domain::session::{Session, ensure_session_exists};
use crate::domain::stored::{refuse_beyond, refuse_more_than};
use crate::error::{Code, Error, Result};
use crate::ids::{MediaId, RowId, SessionNumber};
use crate::store::{Durability, Tx};
use crate::time::Timestamp;

/// How many campaigns a session may have.
pub(in crate::domain) const MAX_CAMPAIGNS: usize = 1000;

/// Whom a campaign writes to.
pub enum Audience {
    /// These people, and the rows that were refused.
    These(RecipientRows),
    /// The people that a list has now, and whose it is.
    List(SessionNumber, RowId),
    /// These people as a backup tells of them, and what became of those of whom it is known, by their
    /// positions.
    Restored(RecipientRows, Vec<(u32, RecipientState)>),
}

/// A campaign as a client asks for it.
pub struct NewCampaign {
    /// What it is called.
    pub name: CampaignName,
    /// What it says.
    pub message: NewMessage,
    /// Whom it writes to.
    pub audience: Audience,
    /// How it sends.
    pub settings: CampaignSettings,
    /// When it starts by itself.
    pub scheduled_at: Option<Timestamp>,
    /// Where it stood, when it comes from a backup.
    pub restored: Option<RestoredCampaign>,
}

/// Where a campaign of a backup stood.
pub struct RestoredCampaign {
    status: CampaignState,
    started_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
    media: Option<CampaignMedia>,
}

impl RestoredCampaign {
    /// Where it stood, when it was started first, when the last recipient was done, and the file that
    /// it showed. The file may have to be
    /// uploaded again; the campaign says so when it is resumed.
    pub fn of(
        status: CampaignState,
        started_at: Option<Timestamp>,
        completed_at: Option<Timestamp>,
        media: Option<NewMedia>,
    ) -> Self {
        let media = media.and_then(|media| match media.source {
            FileSource::Stored { id, .. } => Some(CampaignMedia {
                kind: media.kind,
                id,
                link: None,
                file_name: media.file_name.map(String::from),
            }),
            _ => None,
        });
        Self {
            status: status.when_moved(),
            started_at,
            completed_at,
            media,
        }
    }
}

/// The most characters of an error that a backup tells of.
const MAX_ERROR: usize = 300;

/// The most tries that a backup tells of.
const MAX_TRIES: u64 = 100;

impl RecipientState {
    /// What a backup tells of a recipient. One that was on its way is tried again, with the id that it
    /// had.
    pub fn of_backup(told: Self, error: Option<&str>, tries: u64) -> Self {
        Self {
            status: match told.status {
                RecipientStatus::Sending => RecipientStatus::Pending,
                status => status,
            },
            error: error.map(|text| text.chars().take(MAX_ERROR).collect()),
            tries: tries.min(MAX_TRIES) as u32,
            ..told
        }
    }
}

/// People on their way into the store.
pub(super) enum RosterSource {
    New {
        rows: EncodedRoster,
        end: u32,
        states: Vec<(u32, RecipientState)>,
        refused: Vec<RecipientState>,
    },
    List(SessionNumber, RowId),
}

impl Gateway {
    /// Makes a campaign. One with a time starts by itself; one without waits to be started.
    pub async fn create_campaign(
        self: &Arc<Self>,
        session: &Session,
        mut new: NewCampaign,
    ) -> Result<(CampaignKey, Campaign)> {
        if let Audience::List(owner, id) = &new.audience {
            self.store.read(|read| list::get(read, *owner, id))?;
        }
        let media = match new.message.media.take() {
            Some(media) => Some(self.campaign_media(session, media).await?),
            None => None,
        };
        let now = self.clock.now();
        let id = self.ids.row_id("campaign", now);
        let (campaign, source) = first_row(new, media, now);
        let (gateway, row_id) = (self.clone(), id.clone());
        let (name, number) = (session.id.clone(), session.number);
        let campaign = self
            .store
            .write(Durability::Sync, move |tx| {
                ensure_session_exists(tx, name.as_str(), number)?;
                refuse_more_than(tx, &CAMPAIGNS.rows(number), MAX_CAMPAIGNS, "campaigns")?;
                let quota = gateway.config.store_quota;
                let campaign = fill(tx, number, campaign, source, quota, gateway.clock.now())?;
                rows::put(tx, number, &row_id, &campaign)?;
                Ok(campaign)
            })
            .await?;
        self.campaigns.wake();
        let session = session.number;
        Ok((CampaignKey { session, id }, campaign))
    }

    /// Copies a campaign: a new draft to the same people.
    pub async fn clone_campaign(
        &self,
        session: &Session,
        id: &RowId,
        name: Option<CampaignName>,
    ) -> Result<(CampaignKey, Campaign)> {
        let now = self.clock.now();
        let new_id = self.ids.row_id("campaign", now);
        let (from, to, number) = (id.clone(), new_id.clone(), session.number);
        let quota = self.config.store_quota;
        let campaign = self
            .store
            .write(Durability::Sync, move |tx| {
                let original = rows::get(tx, number, &from)?;
                refuse_more_than(tx, &CAMPAIGNS.rows(number), MAX_CAMPAIGNS, "campaigns")?;
                let bytes = roster::bytes(tx, original.roster)?;
                refuse_beyond(tx, number, bytes, quota)?;
                let before = rows::progress(tx, original.roster)?;
                let campaign = Campaign {
                    roster: roster::number(tx)?,
                    name: name
                        .unwrap_or_else(|| CampaignName::of_copy(&original.name))
                        .into(),
                    status: CampaignState::Draft,
                    scheduled_at: None,
                    created_at: now,
                    started_at: None,
                    completed_at: None,
                    updated_at: None,
                    detail: None,
                    bytes: Some(bytes),
                    ..original.clone()
                };
                roster::copy(tx, original.roster, campaign.roster)?;
                let refused = rows::refused(tx, original.roster, usize::MAX)?;
                let progress = SendProgress {
                    end: before.end,
                    counts: Counts {
                        failed: refused.len() as u32,
                        ..Counts::default()
                    },
                    ..SendProgress::default()
                };
                rows::put_progress(tx, campaign.roster, &progress)?;
                put_refused(tx, campaign.roster, &refused)?;
                rows::put(tx, number, &to, &campaign)?;
                Ok(campaign)
            })
            .await?;
        let session = session.number;
        Ok((
            CampaignKey {
                session,
                id: new_id,
            },
            campaign,
        ))
    }

    /// Brings a campaign's file among the session's files; a link is fetched now, once.
    pub(super) async fn campaign_media(
        &self,
        session: &Session,
        media: NewMedia,
    ) -> Result<CampaignMedia> {
        let (id, link, named) = match &media.source {
            FileSource::Stored { id, owner } => {
                let file = self.share_file(session, *owner, id).await?;
                (id.clone(), None, file.name)
            }
            source => {
                let found = self.find_file(session, source).await?;
                let named = found.name.clone();
                let (id, _) = self.keep_found(session, found).await?;
                let link = match source {
                    FileSource::Link(link) => Some(link.clone()),
                    _ => None,
                };
                (id, link, named)
            }
        };
        Ok(CampaignMedia {
            kind: media.kind,
            id,
            link,
            file_name: media.file_name.map(String::from).or(named),
        })
    }

    /// Replaces who a campaign writes to, as long as nobody was written to.
    pub(super) fn refill(
        tx: &mut Tx,
        session: SessionNumber,
        campaign: Campaign,
        audience: PreparedAudience,
        quota: u64,
        now: Timestamp,
    ) -> Result<Campaign> {
        let old = campaign.roster;
        let filled = fill(tx, session, campaign, audience.0, quota, now)?;
        pending_removal::of_roster(tx, old);
        Ok(filled)
    }
}

/// An audience ready to be written.
pub(super) struct PreparedAudience(pub(super) RosterSource);

/// Encodes an audience before the writer is busy with it.
pub(super) fn prepare(audience: Audience, now: Timestamp) -> PreparedAudience {
    PreparedAudience(roster_source(audience, now))
}

fn roster_source(audience: Audience, now: Timestamp) -> RosterSource {
    match audience {
        Audience::List(owner, id) => RosterSource::List(owner, id),
        Audience::These(parsed) => new_roster(parsed, Vec::new(), now),
        Audience::Restored(parsed, states) => new_roster(parsed, states, now),
    }
}

fn new_roster(
    parsed: RecipientRows,
    states: Vec<(u32, RecipientState)>,
    now: Timestamp,
) -> RosterSource {
    RosterSource::New {
        end: parsed.recipients.len() as u32,
        states,
        rows: roster::encode(&parsed.recipients),
        refused: parsed
            .rejected
            .into_iter()
            .map(|row| RecipientState {
                status: RecipientStatus::Failed,
                at: Some(now),
                error: Some(row.reason.into_owned()),
                input: Some(row.input),
                ..RecipientState::default()
            })
            .collect(),
    }
}

/// A new campaign before its people are written, and where they come from.
fn first_row(
    new: NewCampaign,
    media: Option<CampaignMedia>,
    now: Timestamp,
) -> (Campaign, RosterSource) {
    let source = roster_source(new.audience, now);
    let mut campaign = Campaign {
        roster: Roster(0),
        name: new.name.into(),
        status: CampaignState::before(new.scheduled_at, now),
        message: CampaignMessage {
            media,
            ..new.message.words()
        },
        settings: new.settings,
        list: None,
        scheduled_at: new.scheduled_at,
        created_at: now,
        started_at: None,
        completed_at: None,
        updated_at: None,
        total: 0,
        detail: None,
        bytes: None,
    };
    if let Some(restored) = new.restored {
        campaign.status = restored.status;
        campaign.started_at = restored.started_at;
        campaign.completed_at = restored.completed_at;
        campaign.message.media = campaign.message.media.or(restored.media);
        if restored.status == CampaignState::Paused {
            campaign.detail = Some("restored from a backup; resume it to go on".into());
        }
    }
    (campaign, source)
}

/// Writes the people of a new campaign; answers the campaign that knows them.
pub(super) fn fill(
    tx: &mut Tx,
    session: SessionNumber,
    mut campaign: Campaign,
    source: RosterSource,
    quota: u64,
    now: Timestamp,
) -> Result<Campaign> {
    campaign.roster = roster::number(tx)?;
    let (end, people, states, refused) = match source {
        RosterSource::New {
            rows,
            end,
            states,
            refused,
        } => {
            refuse_beyond(tx, session, rows.bytes(), quota)?;
            campaign.bytes = Some(rows.bytes());
            roster::write(tx, campaign.roster, rows);
            campaign.list = None;
            (end, end, states, refused)
        }
        RosterSource::List(owner, id) => {
            let list = list::get(tx, owner, &id)?;
            if list.count == 0 {
                return Err(Error::new(
                    Code::ListEmpty,
                    "recipientListId: the list is empty",
                ));
            }
            let bytes = roster::bytes(tx, list.roster)?;
            refuse_beyond(tx, session, bytes, quota)?;
            campaign.bytes = Some(bytes);
            roster::copy(tx, list.roster, campaign.roster)?;
            list::note_use(tx, owner, &id, now)?;
            campaign.list = Some(id);
            let end = roster::end(tx, list.roster)?;
            (end, list.count, Vec::new(), Vec::new())
        }
    };
    campaign.total = people + refused.len() as u32;
    let mut progress = SendProgress {
        end,
        next: if campaign.status == CampaignState::Completed {
            end
        } else {
            0
        },
        counts: Counts {
            failed: refused.len() as u32,
            ..Counts::default()
        },
        ..SendProgress::default()
    };
    put_states(tx, campaign.roster, &states, &mut progress)?;
    rows::put_progress(tx, campaign.roster, &progress)?;
    put_refused(tx, campaign.roster, &refused)?;
    Ok(campaign)
}

/// Writes what became of recipients before, and counts it.
fn put_states(
    tx: &mut Tx,
    roster: Roster,
    states: &[(u32, RecipientState)],
    progress: &mut SendProgress,
) -> Result<()> {
    for (position, state) in states {
        progress
            .counts
            .shift(RecipientStatus::Pending, state.status);
        rows::put_state(tx, roster, *position, state)?;
    }
    Ok(())
}

fn put_refused(tx: &mut Tx, roster: Roster, refused: &[RecipientState]) -> Result<()> {
    for (position, state) in (REFUSED..).zip(refused) {
        rows::put_state(tx, roster, position, state)?;
    }
    Ok(())
}

/// Whether a campaign's file is still there.
pub(super) fn media_exists(
    read: &impl crate::store::Read,
    session: &Session,
    id: &MediaId,
) -> Result<bool> {
    files::exists(read, session.number, id)
}
