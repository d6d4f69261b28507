//! Campaigns of another program: they come as they stood, but none goes on by itself.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use super::create::{Audience, PreparedAudience, RosterSource, fill, prepare};
use super::message::CampaignName;
use super::{
    Campaign, CampaignMedia, CampaignMessage, CampaignSettings, CampaignState, REFUSED,
    RecipientState, RecipientStatus, rows,
};
use crate::domain::recipient::{AddresseeKey, RecipientRows};
use crate::domain::roster::{self, Roster};
use crate::domain::stored::{NO_QUOTA, of_campaign};
use crate::error::Result;
use crate::ids::{IdSource, MediaId, RowId, SessionNumber};
use crate::store::{Read, Reader, Store, Tx};
use crate::time::Timestamp;
use crate::wa::message::MediaKind;

/// What a campaign says of itself that ran where it comes from.
const WHY: &str = "moved in while it ran or waited for its time: resume it when the other program is \
                   stopped for good";

/// What one says that showed a file which was fetched from a link.
const NO_FILE: &str = "its file was fetched from a link at each message: give it the file before it \
                       is resumed";

/// What one says that went on here before it was replaced.
const WENT_ON: &str = "went on here before an import replaced it: resume it to go on";

/// A campaign.
pub struct IncomingCampaign {
    /// Its id, which it keeps.
    pub id: RowId,
    /// What it is called.
    pub name: CampaignName,
    /// The words, or those below the file.
    pub content: String,
    /// The file that it shows.
    pub media: Option<IncomingMedia>,
    /// How it sends.
    pub settings: CampaignSettings,
    /// Where it stood.
    pub status: CampaignState,
    /// When it was to start by itself.
    pub scheduled_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it was started first.
    pub started_at: Option<Timestamp>,
    /// When the last recipient was done.
    pub completed_at: Option<Timestamp>,
    /// Whom it writes to.
    pub people: RecipientRows,
    /// What became of those of whom it is known, by their positions.
    pub states: Vec<(u32, RecipientState)>,
}

impl IncomingCampaign {
    /// What it is called in a report.
    pub(in crate::domain) fn about(&self) -> String {
        format!("campaign {} ({})", self.id, String::from(self.name.clone()))
    }

    /// What is told of it: numbers, where it stood, and why it does not go on by itself.
    pub(in crate::domain) fn said(&self) -> String {
        let of = |status| {
            self.states
                .iter()
                .filter(|(_, state)| state.status == status)
                .count()
        };
        let (sent, failed) = (of(RecipientStatus::Sent), of(RecipientStatus::Failed));
        let (people, refused) = (self.people.recipients.len(), self.people.rejected.len());
        let mut said = format!(
            "people: {people}, written to: {sent}, failed: {failed}; {}",
            self.status.as_str()
        );
        if self.status.is_live() {
            said.push_str(
                " there, so it is paused: resume it when the other program is stopped for good",
            );
        }
        if refused > 0 {
            said.push_str(&format!(
                "; rows that are no phone numbers and count as failed: {refused}"
            ));
        }
        if matches!(&self.media, Some(media) if media.source.is_err()) {
            said.push_str("; its file comes from a link: give it the file before it is resumed");
        }
        said
    }
}

/// The file of a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingMedia {
    /// How it is shown.
    pub kind: MediaKind,
    /// The uploaded file, or the link that it was fetched from at each message.
    pub source: Result<MediaId, String>,
    /// The name of a document.
    pub file_name: Option<String>,
}

/// A campaign that is ready to be written.
pub(in crate::domain) struct ImportedCampaign {
    id: RowId,
    row: Campaign,
    people: PreparedAudience,
}

impl ImportedCampaign {
    /// Makes the rows of it.
    pub(in crate::domain) fn of(new: IncomingCampaign, ids: &IdSource, now: Timestamp) -> Self {
        let linked = matches!(&new.media, Some(media) if media.source.is_err());
        let status = new.status.when_moved();
        let detail = match status {
            CampaignState::Completed => None,
            _ if linked => Some(NO_FILE),
            _ => new.status.is_live().then_some(WHY),
        };
        let media = new.media.map(|media| {
            let (id, link) = match media.source {
                Ok(id) => (id, None),
                // No file has this id, so that none is sent without it.
                Err(link) => (ids.media_id("link"), Some(link)),
            };
            CampaignMedia {
                kind: media.kind,
                id,
                link,
                file_name: media.file_name,
            }
        });
        Self {
            id: new.id,
            row: Campaign {
                roster: Roster(0),
                name: new.name.into(),
                status,
                message: CampaignMessage {
                    content: new.content,
                    caption: None,
                    is_html: true,
                    media,
                },
                settings: new.settings,
                list: None,
                scheduled_at: new.scheduled_at,
                created_at: new.created_at.unwrap_or(now),
                started_at: new.started_at,
                completed_at: new.completed_at,
                updated_at: None,
                total: 0,
                detail: detail.map(str::to_owned),
                bytes: None,
            },
            people: prepare(Audience::Restored(new.people, new.states), now),
        }
    }

    /// Its id.
    pub(in crate::domain) fn id(&self) -> &RowId {
        &self.id
    }

    /// Goes on from where the campaign of the same id stands in a session that gives way: whom that one wrote
    /// to, or gave up, is not written to anew. Answers the campaign, and how many more it has written to then.
    ///
    /// # Errors
    /// `internal`: what is known of that campaign is damaged.
    pub(in crate::domain) async fn go_on_from(
        mut self,
        there: SessionNumber,
        store: &Store,
    ) -> Result<(Self, usize)> {
        let read = move |read: &Reader| {
            let Some(campaign) = rows::find(read, there, &self.id)? else {
                return Ok((self, 0));
            };
            let known = known_of(read, campaign.roster)?;
            let reached = self.lay_over(&campaign, known)?;
            Ok((self, reached))
        };
        store.read_slow(read).await
    }

    /// Lays what became of recipients here over what the other program knew of them.
    fn lay_over(
        &mut self,
        there: &Campaign,
        mut known: HashMap<AddresseeKey, RecipientState>,
    ) -> Result<usize> {
        let RosterSource::New {
            rows, end, states, ..
        } = &mut self.people.0
        else {
            return Ok(0);
        };
        let mut merged: BTreeMap<_, _> = std::mem::take(states).into_iter().collect();
        let (mut went_on, mut reached) = (false, 0);
        let laid_over = rows.visit(|position, recipient| {
            let Some(here) = known.remove(&recipient.number.key()) else {
                return;
            };
            let before = merged.get(&position).map(|state| state.status);
            let before = before.unwrap_or_default();
            let is_new = here.status.is_sent() && !before.is_sent();
            if is_new || before == RecipientStatus::Pending {
                reached += usize::from(is_new);
                merged.insert(position, here);
                went_on = true;
            }
        });
        let waits = |state: &RecipientState| state.status == RecipientStatus::Pending;
        let over = merged.len() == *end as usize && !merged.values().any(waits);
        *states = merged.into_iter().collect();
        laid_over?;
        if self.row.status == CampaignState::Completed || !went_on {
            return Ok(reached);
        }
        self.row.started_at = self.row.started_at.or(there.started_at);
        (self.row.status, self.row.detail) = match over {
            true => (CampaignState::Completed, None),
            false => (
                CampaignState::Paused,
                self.row.detail.take().or(Some(WENT_ON.into())),
            ),
        };
        if over {
            self.row.completed_at = there.completed_at.or(self.row.completed_at);
        }
        Ok(reached)
    }

    /// How many bytes of the store it counts for.
    pub(in crate::domain) fn bytes(&self) -> u64 {
        match &self.people.0 {
            RosterSource::New {
                rows, end, refused, ..
            } => of_campaign(rows.bytes(), end + refused.len() as u32),
            RosterSource::List(..) => 0,
        }
    }

    /// Writes it for a session.
    ///
    /// Invariant: that there is room for it was judged before; the session has nothing but what comes with
    /// it.
    pub(in crate::domain) fn put(
        self,
        tx: &mut Tx,
        session: SessionNumber,
        now: Timestamp,
    ) -> Result<()> {
        let row = fill(tx, session, self.row, self.people.0, NO_QUOTA, now)?;
        rows::put(tx, session, &self.id, &row)
    }
}

/// What became of the recipients of a campaign of whom anything is known, by whom they are. Who was on the way is
/// tried again under the same id, which WhatsApp shows once.
fn known_of(read: &impl Read, roster: Roster) -> Result<HashMap<AddresseeKey, RecipientState>> {
    let states = rows::states(read, roster, 0, usize::MAX)?;
    let states = states
        .into_iter()
        .filter(|(position, _)| *position < REFUSED);
    let mut states: HashMap<_, _> = states.collect();
    let mut known = HashMap::new();
    roster::visit(read, roster, 0, |position, recipient| {
        if let Some(mut state) = states.remove(&position) {
            if state.status == RecipientStatus::Sending {
                state.status = RecipientStatus::Pending;
            }
            known.insert(recipient.number.key(), state);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(known)
}
