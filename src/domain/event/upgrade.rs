//! Events as version 1 of the log stored them: by name, with the JSON that v1's clients get.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::log::EVENTS;
use super::{
    CallOffer, CampaignProgress, CampaignStatus, Event, EventData, EventKind, FetchOutcome,
    FileInfo, GroupUpdate, MessageDeleted, MessageEdited, MessageHeading, MessageMedia,
    MessageReaction, MessageReceived, MessageStatus, PollVote, ReceivedContent, SessionUpdate,
};
use crate::bytes64::Bytes64;
use crate::domain::session::SessionState;
use crate::domain::{Gateway, campaign};
use crate::error::{Error, Result};
use crate::ids::{MediaId, MessageId, RowId, SessionNumber};
use crate::jid::Jid;
use crate::store::record::Record;
use crate::store::{Durability, Read, Reader, Tx, tables};
use crate::time::Timestamp;
use crate::wa::message::{
    ContactCard, Degrees, Location, MediaKind, MessageState, Person, UnreadableReason,
};
use crate::wa::special::Special;

/// The row of [`tables::META`] that says that no event of version 1 is left.
const DONE: &[u8] = b"events_typed";

/// How many rows are rewritten at a time.
const PAGE: usize = 500;

impl Gateway {
    /// Writes all events of version 1 anew, once per store, while everything runs: whoever reads one
    /// before that reads it as well. What a stop leaves is done by the next start. Events that cannot be
    /// read stay as they are: `warung check` names them.
    pub async fn upgrade_events(&self, stop: &CancellationToken) -> Result<()> {
        if self.store.read(|read| read.exists(tables::META, DONE))? {
            return Ok(());
        }
        let (mut after, mut rewritten) = (None, 0);
        while !stop.is_cancelled() {
            let from = after;
            let page = move |read: &Reader| page(read, from);
            let rows = self.store.read_slow(page).await?;
            let Some((last, _)) = rows.last() else {
                return self.note_upgraded(rewritten).await;
            };
            after = Some(*last);
            let old = rows.into_iter().filter(|(_, version)| *version == Some(1));
            let old: Vec<_> = old.map(|(key, _)| key).collect();
            if !old.is_empty() {
                let page = move |tx: &mut Tx| old.into_iter().map(|key| rewrite(tx, key)).sum();
                rewritten += self.store.write::<u64>(Durability::Lazy, page).await?;
            }
        }
        Ok(())
    }

    async fn note_upgraded(&self, rewritten: u64) -> Result<()> {
        let done = |tx: &mut Tx| {
            tx.put(tables::META, DONE, *b"1");
            Ok(())
        };
        self.store.write(Durability::Sync, done).await?;
        if rewritten > 0 {
            tracing::info!(rewritten, "events of an older version were written anew");
        }
        Ok(())
    }
}

/// The key of an event: its session, its number in the log.
type Key = (SessionNumber, u64);

/// Some events after one, and in which version they are stored.
fn page(read: &Reader, after: Option<Key>) -> Result<Vec<(Key, Option<u8>)>> {
    let mut page = Vec::new();
    EVENTS.rows(()).after(after).find(read, |row| {
        page.push((row.key()?, row.bytes().first().copied()));
        Ok((page.len() == PAGE).then_some(()))
    })?;
    Ok(page)
}

/// Writes one row anew; answers how many that were.
fn rewrite(tx: &mut Tx, key: Key) -> Result<u64> {
    match EVENTS.get(tx, key) {
        Ok(None) => Ok(0),
        Ok(Some(event)) => {
            EVENTS.put(tx, key, &event)?;
            Ok(1)
        }
        Err(error) => {
            tracing::warn!(?error, "an event of an older version cannot be read");
            Ok(0)
        }
    }
}

#[derive(Deserialize)]
struct OldEvent {
    event: EventKind,
    session: String,
    at: Timestamp,
    data: Value,
}

impl Record for Event {
    const VERSION: u8 = 2;

    fn upgrade(version: u8, json: &[u8]) -> Result<Self> {
        event(version, json)
    }
}

/// Reads an event of an older version.
fn event(version: u8, json: &[u8]) -> Result<Event> {
    if version != 1 {
        let text = format!("value of unknown version {version}");
        return Err(Error::internal(text));
    }
    let old: OldEvent = serde_json::from_slice(json).map_err(damaged)?;
    Ok(Event {
        data: data(old.event, &old.data)?,
        session: old.session,
        at: old.at,
    })
}

/// serde's own text would bring what people wrote into the log.
fn damaged(error: serde_json::Error) -> Error {
    Error::internal(format!("damaged event ({:?} error)", error.classify()))
}

fn read<T: DeserializeOwned>(data: &Value) -> Result<T> {
    typed(data).map_err(damaged)
}

/// By way of the text: a second reader of every type, for values, would be 60 KB of the program.
fn typed<T: DeserializeOwned>(value: &Value) -> serde_json::Result<T> {
    serde_json::from_slice(&serde_json::to_vec(value)?)
}

fn data(kind: EventKind, data: &Value) -> Result<EventData> {
    Ok(match kind {
        EventKind::SessionUpdate => EventData::SessionUpdate(read::<OldUpdate>(data)?.into()),
        EventKind::MessageReceived => {
            EventData::MessageReceived(Box::new(read::<OldReceived>(data)?.into()))
        }
        EventKind::MessageStatus => EventData::MessageStatus(read::<OldStatus>(data)?.into()),
        EventKind::MessageEdited => EventData::MessageEdited(read::<OldEdited>(data)?.into()),
        EventKind::MessageDeleted => EventData::MessageDeleted(read::<OldDeleted>(data)?.into()),
        EventKind::MessageReaction => EventData::MessageReaction(read::<OldReaction>(data)?.into()),
        EventKind::MessageMedia => EventData::MessageMedia(read::<OldMedia>(data)?.into()),
        EventKind::PollVote => EventData::PollVote(read::<OldVote>(data)?.into()),
        EventKind::CampaignProgress => {
            EventData::CampaignProgress(read::<OldCampaign>(data)?.progress()?)
        }
        EventKind::CampaignStatus => {
            EventData::CampaignStatus(read::<OldCampaign>(data)?.status()?)
        }
        EventKind::ContactOptOut => EventData::ContactOptOut(read(data)?),
        EventKind::CallOffer => EventData::CallOffer(read::<OldCall>(data)?.into()),
        EventKind::GroupUpdate => EventData::GroupUpdate(read::<OldGroup>(data)?.into()),
    })
}

#[derive(Deserialize)]
struct OldUnreadable {
    session: String,
    data: OldReceived,
}

/// Reads what an older version kept of a message that could not be read.
pub(in crate::domain) fn unreadable(
    version: u8,
    json: &[u8],
) -> Result<(String, MessageHeading, UnreadableReason)> {
    if version != 1 {
        let text = format!("value of unknown version {version}");
        return Err(Error::internal(text));
    }
    let old: OldUnreadable = serde_json::from_slice(json).map_err(damaged)?;
    let why = old.data.reason.as_deref().and_then(UnreadableReason::parse);
    let why = why.unwrap_or(UnreadableReason::Undecryptable);
    Ok((old.session, old.data.heading.into(), why))
}

#[derive(Deserialize)]
struct OldUpdate {
    status: String,
    detail: String,
}

impl From<OldUpdate> for SessionUpdate {
    fn from(old: OldUpdate) -> Self {
        let state = match old.status.as_str() {
            "CREATING" => SessionState::Created,
            "CONNECTING" => SessionState::Connecting,
            "GENERATING_QR" => SessionState::Pairing,
            "CONNECTED" => SessionState::Connected,
            _ => SessionState::Disconnected,
        };
        Self {
            state,
            detail: old.detail,
        }
    }
}

/// What every event about a message told.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldHeading {
    id: MessageId,
    from: Jid,
    sender: Jid,
    sender_number: Option<String>,
    sender_lid: Option<Jid>,
    sender_name: String,
    timestamp: i64,
}

impl From<OldHeading> for MessageHeading {
    fn from(old: OldHeading) -> Self {
        Self {
            id: old.id,
            chat: old.from,
            sender: old.sender,
            person: Person {
                number: old.sender_number,
                lid: old.sender_lid,
            },
            push_name: old.sender_name,
            at: Timestamp::from_secs(old.timestamp),
            // What the owner wrote was no event.
            from_me: false,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldReceived {
    #[serde(flatten)]
    heading: OldHeading,
    r#type: String,
    inner_type: Option<String>,
    quoted_id: Option<MessageId>,
    #[serde(default)]
    mentions: Vec<Jid>,
    #[serde(default)]
    mentions_all: bool,
    comments_on: Option<MessageId>,
    text: Option<String>,
    media: Option<OldFile>,
    contacts: Option<Vec<ContactCard>>,
    raw: Option<Bytes64>,
    raw_size: Option<usize>,
    reason: Option<String>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

impl From<OldReceived> for MessageReceived {
    fn from(old: OldReceived) -> Self {
        let file = old.media.map(FileInfo::from);
        let text = old.text;
        let content = if let Some(why) = old.reason.as_deref().and_then(UnreadableReason::parse) {
            ReceivedContent::Unreadable(why)
        } else if let Some(size) = old.raw_size {
            let (caption, raw) = (text, old.raw);
            ReceivedContent::Other { caption, raw, size }
        } else if let Some(what) = special(&old.more) {
            let what = Box::new(what);
            ReceivedContent::Special { text, what, file }
        } else if let Some(file) = file {
            let caption = text;
            ReceivedContent::Media { caption, file }
        } else if let Some(place) = known::<OldPlace>(&old.more, "location") {
            ReceivedContent::Location(place.into())
        } else if let Some(cards) = old.contacts {
            ReceivedContent::Contacts(cards)
        } else if let Some(poll) = known::<OldPoll>(&old.more, "poll") {
            let (question, options) = (poll.question, poll.options);
            ReceivedContent::Poll { question, options }
        } else {
            ReceivedContent::Text(text.unwrap_or_default())
        };
        Self {
            heading: old.heading.into(),
            kind: old.r#type,
            inner_kind: old.inner_type,
            quoted: old.quoted_id,
            mentions: old.mentions,
            mentions_all: old.mentions_all,
            comments_on: old.comments_on,
            content,
        }
    }
}

fn known<T: DeserializeOwned>(more: &Map<String, Value>, name: &str) -> Option<T> {
    typed(more.get(name)?).ok()
}

/// What of a rarer kind the message said: its one field that is named as a kind is. A place that
/// stays has the same name as one that moves, and other fields.
fn special(more: &Map<String, Value>) -> Option<Special> {
    let one = |(name, value): (&String, &Value)| {
        let tagged = Value::Object([(name.clone(), value.clone())].into_iter().collect());
        typed(&tagged).ok()
    };
    more.iter().find_map(one)
}

#[derive(Deserialize)]
struct OldPlace {
    latitude: Degrees,
    longitude: Degrees,
    name: Option<String>,
    address: Option<String>,
}

impl From<OldPlace> for Location {
    fn from(old: OldPlace) -> Self {
        Self {
            latitude: old.latitude,
            longitude: old.longitude,
            name: old.name,
            address: old.address,
        }
    }
}

#[derive(Deserialize)]
struct OldPoll {
    question: String,
    options: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldFile {
    kind: MediaKind,
    mimetype: String,
    size: u64,
    file_name: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    seconds: Option<u32>,
    thumbnail: Option<Bytes64>,
    view_once: bool,
}

impl From<OldFile> for FileInfo {
    fn from(old: OldFile) -> Self {
        Self {
            kind: old.kind,
            mimetype: old.mimetype,
            size: old.size,
            name: old.file_name,
            width: old.width,
            height: old.height,
            seconds: old.seconds,
            thumbnail: old.thumbnail,
            view_once: old.view_once,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldStatus {
    id: MessageId,
    remote_jid: Jid,
    status: String,
    participant: Option<Jid>,
    timestamp: i64,
    error: Option<String>,
}

impl From<OldStatus> for MessageStatus {
    fn from(old: OldStatus) -> Self {
        Self {
            id: old.id,
            chat: old.remote_jid,
            progress: MessageState::parse(&old.status).unwrap_or(MessageState::Sent),
            by: old.participant,
            at: Timestamp::from_secs(old.timestamp),
            refusal: old.error,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldEdited {
    #[serde(flatten)]
    heading: OldHeading,
    message_id: MessageId,
    text: String,
}

impl From<OldEdited> for MessageEdited {
    fn from(old: OldEdited) -> Self {
        Self {
            heading: old.heading.into(),
            target: old.message_id,
            text: old.text,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldDeleted {
    #[serde(flatten)]
    heading: OldHeading,
    message_id: MessageId,
}

impl From<OldDeleted> for MessageDeleted {
    fn from(old: OldDeleted) -> Self {
        Self {
            heading: old.heading.into(),
            target: old.message_id,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldReaction {
    #[serde(flatten)]
    heading: OldHeading,
    message_id: MessageId,
    emoji: String,
}

impl From<OldReaction> for MessageReaction {
    fn from(old: OldReaction) -> Self {
        Self {
            heading: old.heading.into(),
            target: old.message_id,
            emoji: old.emoji,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldMedia {
    message_id: MessageId,
    from: Jid,
    media_id: Option<MediaId>,
    mimetype: Option<String>,
    file_name: Option<String>,
    size: Option<u64>,
    error: Option<String>,
}

impl From<OldMedia> for MessageMedia {
    fn from(old: OldMedia) -> Self {
        let outcome = match old.error {
            Some(error) => FetchOutcome::Failed(error),
            None => FetchOutcome::Fetched {
                id: old.media_id,
                mimetype: old.mimetype.unwrap_or_default(),
                name: old.file_name,
                size: old.size.unwrap_or_default(),
            },
        };
        Self {
            id: old.message_id,
            chat: old.from,
            outcome,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldVote {
    #[serde(flatten)]
    heading: OldHeading,
    message_id: MessageId,
    options: Vec<String>,
}

impl From<OldVote> for PollVote {
    fn from(old: OldVote) -> Self {
        Self {
            heading: old.heading.into(),
            poll: old.message_id,
            options: old.options,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldCampaign {
    campaign_id: RowId,
    name: String,
    status: String,
    detail: Option<String>,
    statistics: campaign::Statistics,
}

impl OldCampaign {
    fn campaign_state(&self) -> Result<campaign::CampaignState> {
        let status = campaign::CampaignState::parse(&self.status);
        status.ok_or_else(|| Error::internal("damaged event (a campaign's status)"))
    }

    fn progress(self) -> Result<CampaignProgress> {
        Ok(CampaignProgress {
            status: self.campaign_state()?,
            id: self.campaign_id,
            name: self.name,
            statistics: self.statistics,
        })
    }

    fn status(self) -> Result<CampaignStatus> {
        Ok(CampaignStatus {
            status: self.campaign_state()?,
            id: self.campaign_id,
            name: self.name,
            detail: self.detail,
            statistics: self.statistics,
        })
    }
}

#[derive(Deserialize)]
struct OldCall {
    id: String,
    from: Jid,
    number: Option<String>,
    lid: Option<Jid>,
    video: bool,
    timestamp: i64,
}

impl From<OldCall> for CallOffer {
    fn from(old: OldCall) -> Self {
        Self {
            id: old.id,
            from: old.from,
            person: Person {
                number: old.number,
                lid: old.lid,
            },
            video: old.video,
            at: Timestamp::from_secs(old.timestamp),
        }
    }
}

#[derive(Deserialize)]
struct OldGroup {
    id: Jid,
    action: String,
    by: Option<Jid>,
    participants: Vec<Jid>,
    subject: Option<String>,
    timestamp: i64,
}

impl From<OldGroup> for GroupUpdate {
    fn from(old: OldGroup) -> Self {
        Self {
            group: old.id,
            action: old.action,
            by: old.by,
            participants: old.participants,
            subject: old.subject,
            at: Timestamp::from_secs(old.timestamp),
        }
    }
}
