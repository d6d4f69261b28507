//! Making campaigns: from recipients in the request, a sheet, or a list.

use std::sync::Arc;

use super::{
    Address, CAMPAIGNS, Campaign, Counts, MediaPart, Message, Progress, REFUSED, Settings, Stage,
    State, Status, rows,
};
use crate::domain::Gateway;
use crate::domain::doomed;
use crate::domain::list;
use crate::domain::media::Source;
use crate::domain::media::files;
use crate::domain::message::draft::FileName;
use crate::domain::recipient::Parsed;
use crate::domain::roster::{self, Encoded, Roster};
use crate::domain::session::{Session, must_be_kept};
use crate::domain::stored::{refuse_beyond, refuse_more_than};
use crate::error::{Code, Error, Result};
use crate::ids::{MediaId, RowId};
use crate::store::{Durability, Tx};
use crate::time::Timestamp;
use crate::wa::message::MediaKind;

/// How many campaigns a session may have.
const MAX_CAMPAIGNS: usize = 1000;

/// Whom a campaign writes to.
pub enum Audience {
    /// These people, and the rows that were refused.
    These(Parsed),
    /// The people that a list has now.
    List(RowId),
    /// These people as a backup tells of them, and what became of those of whom it is known, by their
    /// places.
    Restored(Parsed, Vec<(u32, State)>),
}

/// A file of a campaign as a client asks for it.
pub struct NewMedia {
    /// How it is shown.
    pub kind: MediaKind,
    /// Where it comes from: a stored file or a link.
    pub source: Source,
    /// The name of a document.
    pub file_name: Option<FileName>,
}

/// A campaign as a client asks for it.
pub struct NewCampaign {
    /// What it is called.
    pub name: String,
    /// The text, or the caption below the file.
    pub content: String,
    /// The file, if there is one.
    pub media: Option<NewMedia>,
    /// Whom it writes to.
    pub audience: Audience,
    /// How it sends.
    pub settings: Settings,
    /// When it starts by itself.
    pub scheduled_at: Option<Timestamp>,
    /// Where it stood, when it comes from a backup.
    pub restored: Option<Restored>,
}

/// Where a campaign of a backup stood.
pub struct Restored {
    /// Its status. One that ran is paused: two servers must not send it.
    pub status: Status,
    /// When it was started first.
    pub started_at: Option<Timestamp>,
    /// When the last recipient was done.
    pub completed_at: Option<Timestamp>,
    /// The file that it showed, which may have to be uploaded again.
    pub media: Option<MediaPart>,
}

/// People on their way into the store.
enum Crowd {
    New {
        rows: Encoded,
        end: u32,
        states: Vec<(u32, State)>,
        refused: Vec<State>,
    },
    List(RowId),
}

impl Gateway {
    /// Makes a campaign. One with a time starts by itself; one without waits to be started.
    pub async fn create_campaign(
        self: &Arc<Self>,
        session: &Session,
        new: NewCampaign,
    ) -> Result<(Address, Campaign)> {
        if let Audience::List(id) = &new.audience {
            self.list(session, id)?;
        }
        let media = match new.media {
            Some(media) => Some(self.campaign_media(session, media).await?),
            None => None,
        };
        let now = self.clock.now();
        let id = self.ids.row_id("campaign", now);
        let crowd = crowd(new.audience, now);
        let mut campaign = Campaign {
            roster: Roster(0),
            name: new.name,
            status: if new.scheduled_at.is_some() {
                Status::Ready
            } else {
                Status::Draft
            },
            message: Message {
                content: new.content,
                media,
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
            if restored.status == Status::Paused {
                campaign.detail = Some("restored from a backup; resume it to go on".into());
            }
        }
        let (gateway, row_id) = (self.clone(), id.clone());
        let (name, number) = (session.id.clone(), session.number);
        let campaign = self
            .store
            .write(Durability::Sync, move |tx| {
                must_be_kept(tx, name.as_str(), number)?;
                refuse_more_than(tx, &CAMPAIGNS.rows(number), MAX_CAMPAIGNS, "campaigns")?;
                let quota = gateway.config.store_quota;
                let campaign = fill(tx, number, campaign, crowd, quota, gateway.clock.now())?;
                rows::put(tx, number, &row_id, &campaign)?;
                Ok(campaign)
            })
            .await?;
        self.campaigns.wake();
        let session = session.number;
        Ok((Address { session, id }, campaign))
    }

    /// Copies a campaign: a new draft to the same people.
    pub async fn clone_campaign(
        &self,
        session: &Session,
        id: &RowId,
        name: Option<String>,
    ) -> Result<(Address, Campaign)> {
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
                    name: name.unwrap_or_else(|| format!("{} (Copy)", original.name)),
                    status: Status::Draft,
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
                let progress = Progress {
                    end: before.end,
                    counts: Counts {
                        failed: refused.len() as u32,
                        ..Counts::default()
                    },
                    ..Progress::default()
                };
                rows::put_progress(tx, campaign.roster, &progress)?;
                put_refused(tx, campaign.roster, &refused)?;
                rows::put(tx, number, &to, &campaign)?;
                Ok(campaign)
            })
            .await?;
        let session = session.number;
        Ok((
            Address {
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
    ) -> Result<MediaPart> {
        let (id, link, named) = match &media.source {
            Source::Stored(id) => {
                let file = self.media_file(session, id)?;
                (id.clone(), None, file.name)
            }
            source => {
                let found = self.find_file(session, source).await?;
                let named = found.name.clone();
                let (id, _) = self.keep_found(session, found).await?;
                let link = match source {
                    Source::Link(link) => Some(link.clone()),
                    _ => None,
                };
                (id, link, named)
            }
        };
        Ok(MediaPart {
            kind: media.kind,
            id,
            link,
            file_name: media.file_name.map(String::from).or(named),
        })
    }

    /// Replaces who a campaign writes to, as long as nobody was written to.
    pub(super) fn refill(
        tx: &mut Tx,
        session: crate::ids::SessionNumber,
        campaign: Campaign,
        audience: Prepared,
        quota: u64,
        now: Timestamp,
    ) -> Result<Campaign> {
        let old = campaign.roster;
        let filled = fill(tx, session, campaign, audience.0, quota, now)?;
        doomed::of_roster(tx, old);
        Ok(filled)
    }
}

/// An audience ready to be written.
pub(super) struct Prepared(Crowd);

/// Encodes an audience before the writer is busy with it.
pub(super) fn prepare(audience: Audience, now: Timestamp) -> Prepared {
    Prepared(crowd(audience, now))
}

fn crowd(audience: Audience, now: Timestamp) -> Crowd {
    match audience {
        Audience::List(id) => Crowd::List(id),
        Audience::These(parsed) => new_crowd(parsed, Vec::new(), now),
        Audience::Restored(parsed, states) => new_crowd(parsed, states, now),
    }
}

fn new_crowd(parsed: Parsed, states: Vec<(u32, State)>, now: Timestamp) -> Crowd {
    Crowd::New {
        end: parsed.recipients.len() as u32,
        states,
        rows: roster::encode(&parsed.recipients),
        refused: parsed
            .rejected
            .into_iter()
            .map(|row| State {
                stage: Stage::Failed,
                at: Some(now),
                error: Some(row.reason.into_owned()),
                input: Some(row.input),
                ..State::default()
            })
            .collect(),
    }
}

/// Writes the people of a new campaign; answers the campaign that knows them.
fn fill(
    tx: &mut Tx,
    session: crate::ids::SessionNumber,
    mut campaign: Campaign,
    crowd: Crowd,
    quota: u64,
    now: Timestamp,
) -> Result<Campaign> {
    campaign.roster = roster::number(tx)?;
    let (end, people, states, refused) = match crowd {
        Crowd::New {
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
        Crowd::List(id) => {
            let list = list::get(tx, session, &id)?;
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
            list::note_use(tx, session, &id, now)?;
            campaign.list = Some(id);
            let end = roster::end(tx, list.roster)?;
            (end, list.count, Vec::new(), Vec::new())
        }
    };
    campaign.total = people + refused.len() as u32;
    let mut progress = Progress {
        end,
        next: if campaign.status == Status::Completed {
            end
        } else {
            0
        },
        counts: Counts {
            failed: refused.len() as u32,
            ..Counts::default()
        },
        ..Progress::default()
    };
    for (place, state) in &states {
        progress.counts.shift(Stage::Pending, state.stage);
        rows::put_state(tx, campaign.roster, *place, state)?;
    }
    rows::put_progress(tx, campaign.roster, &progress)?;
    put_refused(tx, campaign.roster, &refused)?;
    Ok(campaign)
}

fn put_refused(tx: &mut Tx, roster: Roster, refused: &[State]) -> Result<()> {
    for (place, state) in (REFUSED..).zip(refused) {
        rows::put_state(tx, roster, place, state)?;
    }
    Ok(())
}

/// Whether a campaign's file is still there.
pub(super) fn media_is_kept(
    read: &impl crate::store::Read,
    session: &Session,
    id: &MediaId,
) -> Result<bool> {
    files::exists(read, session.number, id)
}
