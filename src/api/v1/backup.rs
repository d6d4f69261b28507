//! A session's lists, campaigns and suppressed numbers as one JSON document, and back.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, Serialize};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};

use super::admission::admitted;
use super::campaign_body::{MAX_BODY, Nullable, message, scheduled_at, settings};
use super::campaigns::{self, CampaignView, named_or_own};
use super::lists::{self, ListView, list_change};
use super::people::opened;
use crate::api::admit::Caller;
use crate::api::read::{about, text};
use crate::domain::Gateway;
use crate::domain::access::{Principal, Scope};
use crate::domain::campaign::create::{Audience, NewCampaign, RestoredCampaign};
use crate::domain::campaign::message::{CampaignName, NewMedia, NewMessage};
use crate::domain::campaign::{CampaignSettings, CampaignState, RecipientState, RecipientStatus};
use crate::domain::list::{ListChange, PageSize};
use crate::domain::recipient::{RecipientReader, RecipientRows};
use crate::domain::schedule::parse_when;
use crate::domain::session::Session;
use crate::domain::spool::Spooled;
use crate::domain::zone::Zone;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::http::{Method, Reply, Request, Route, StatusCode, read_json};
use crate::ids::{MessageId, RowId};
use crate::json::{Allowance, Bounded, Member, Members, Object, Passed};
use crate::tasks::blocking;
use crate::time::Timestamp;

/// The version of the document.
const VERSION: u64 = 1;

/// How many suppressed numbers are read at a time.
const PAGE: usize = 1000;

/// The largest document that is taken back: it holds all lists and campaigns of a session.
const MAX_DOCUMENT: u64 = 4 * MAX_BODY;

pub(super) fn routes(gateway: &Arc<Gateway>) -> Vec<Route> {
    let of = &[Scope::Broadcast];
    vec![
        admitted(gateway, of, Method::GET, "/backup", backup),
        admitted(gateway, of, Method::POST, "/restore", restore).body_limit(MAX_DOCUMENT),
    ]
}

/// The document, written while it is sent: no list is ever whole in memory.
async fn backup(caller: Caller, request: Request) -> Result<Reply> {
    let session = caller.session(named_or_own(request.query("sessionId"), None))?;
    let gateway = caller.gateway;
    let name = format!("{}-backup.json", session.id);
    let (feed, pieces) = tokio::sync::mpsc::channel(2);
    gateway.clone().tasks().spawn(async move {
        if let Err(error) = write(&gateway, &session, &feed).await {
            let _ = feed.send(Err(error)).await;
        }
    });
    let pieces = futures_util::stream::unfold(pieces, |mut pieces| async {
        pieces.recv().await.map(|piece| (piece, pieces))
    });
    let reply = Reply::try_stream("application/json", None, pieces);
    // People's numbers and names are in it.
    Ok(reply.attachment(&name).no_store())
}

type Feed = tokio::sync::mpsc::Sender<Result<bytes::Bytes>>;

/// Hands a piece on; an error means that the client hung up.
async fn say(feed: &Feed, piece: String) -> Result<()> {
    let sent = feed.send(Ok(piece.into())).await;
    sent.map_err(|_| Error::invalid("nobody listens"))
}

async fn write(gateway: &Arc<Gateway>, session: &Arc<Session>, feed: &Feed) -> Result<()> {
    let now = gateway.clock().now().to_string();
    say(
        feed,
        format!("{{\"version\":{VERSION},\"createdAt\":\"{now}\",\"lists\":["),
    )
    .await?;
    for (number, (id, list)) in gateway.lists(session)?.into_iter().enumerate() {
        begin(feed, &ListView::of(session, &id, &list), number).await?;
        let (mut at, mut comma) = (0, "");
        loop {
            let page = gateway.list_people(session, &id, &list, at, PageSize::PIECE);
            let rows = lists::json_rows(&page.await?)?;
            say(feed, format!("{comma}{}", rows.text)).await?;
            match rows.next {
                Some(next) => (at, comma) = (next, ","),
                None => break,
            }
        }
        say(feed, "]}".into()).await?;
    }
    say(feed, "],\"campaigns\":[".into()).await?;
    for (number, (id, campaign, sent)) in gateway.campaigns_of(session)?.into_iter().enumerate() {
        let view = CampaignView::of(session, &id, &campaign, &sent, gateway.clock().now());
        begin(feed, &view, number).await?;
        let (mut at, mut comma, of) = (0, "", (&id, &campaign));
        loop {
            let page = gateway.campaign_rows(session, of, at, PageSize::PIECE, |_| true);
            let rows = campaigns::json_rows(&page.await?)?;
            say(feed, format!("{comma}{}", rows.text)).await?;
            match rows.next {
                Some(next) => (at, comma) = (next, ","),
                None => break,
            }
        }
        say(feed, "]}".into()).await?;
    }
    let mut numbers = Vec::new();
    loop {
        let after = numbers.last().cloned();
        let page = gateway.suppressed(session, after.as_deref(), PAGE)?;
        let more = page.len() == PAGE;
        numbers.extend(page.into_iter().map(|(number, _)| number));
        if !more {
            break;
        }
    }
    let numbers = serde_json::to_string(&numbers).map_err(Error::internal)?;
    say(feed, format!("],\"suppressions\":{numbers}}}\n")).await
}

/// The beginning of a list or a campaign, up to its people.
async fn begin(feed: &Feed, head: &impl Serialize, number: usize) -> Result<()> {
    let comma = if number > 0 { "," } else { "" };
    say(feed, format!("{comma}{}", opened(head)?)).await
}

/// One document is read at a time: each is up to a list of everybody in memory, and all on the disk.
static READING: Semaphore = Semaphore::const_new(1);

/// Makes everything of a document anew, under new ids. All of it is read before anything is made.
async fn restore(caller: Caller, mut request: Request) -> Result<Reply> {
    let gateway = &caller.gateway;
    let mut spool = gateway.spool()?;
    while let Some(chunk) = request.chunk().await? {
        spool.write(&chunk).await?;
    }
    let spooled = Arc::new(spool.finish().await?);
    let _turn = READING.acquire().await.map_err(Error::internal)?;
    let judged = inspect(&caller, &spooled, None).await?;
    let body = text(&judged.fields, "sessionId")?;
    let session = caller.session(named_or_own(request.query("sessionId"), body))?;
    let suppressed = judged.finish()?;
    let mut made = Made::default();
    let restored = async {
        make_all(&caller, &session, &spooled, &mut made).await?;
        suppress(gateway, &session, suppressed).await
    };
    let restored = restored.await;
    crate::memory::give_back();
    let count = match restored {
        Ok(count) => count,
        Err(error) => return Err(made.taken_back(gateway, &session, error).await),
    };
    let answer = RestoredView {
        status: "success",
        made,
        suppressions: count,
    };
    Ok(Reply::json(StatusCode::CREATED, &answer))
}

/// What became of a document.
#[derive(Serialize)]
struct RestoredView {
    status: &'static str,
    #[serde(flatten)]
    made: Made,
    suppressions: usize,
}

/// What was made of a document: the ids of its lists and campaigns.
#[derive(Default, Serialize)]
struct Made {
    lists: Vec<RowId>,
    campaigns: Vec<RowId>,
}

impl Made {
    /// Removes it again, since the rest could not be made: a second try makes nothing twice. Answers the
    /// error, and what is still there.
    async fn taken_back(self, gateway: &Gateway, session: &Session, error: Error) -> Error {
        let is_left =
            |removed: Result<()>| removed.is_err_and(|error| error.kind() != ErrorKind::NotFound);
        let mut left = Vec::new();
        for id in self.lists {
            if is_left(gateway.delete_list(session, &id).await) {
                left.push(id);
            }
        }
        for id in self.campaigns {
            if is_left(gateway.delete_campaign(session, &id).await) {
                left.push(id);
            }
        }
        if left.is_empty() {
            return error;
        }
        let left: Vec<_> = left.iter().map(RowId::as_str).collect();
        let detail = format!(
            "{}; what was made before could not be removed again: {}",
            error.detail(),
            left.join(", ")
        );
        error.worded(detail)
    }
}

/// Suppresses the numbers of a document; answers how many.
async fn suppress(
    gateway: &Arc<Gateway>,
    session: &Session,
    suppressed: RecipientRows,
) -> Result<usize> {
    let people = suppressed.recipients.iter();
    let people = people.collect::<Result<Vec<_>>>()?;
    let numbers = people.iter().filter_map(|who| who.number.phone().cloned());
    let numbers: Vec<_> = numbers.collect();
    let count = numbers.len();
    gateway.suppress(session, numbers).await?;
    Ok(count)
}

/// What a document holds, one of them at a time.
enum DocumentItem {
    List(ListChange),
    Campaign(Box<NewCampaign>),
}

/// Makes the lists and campaigns of a document while it is read.
async fn make_all(
    caller: &Caller,
    session: &Session,
    spooled: &Arc<Spooled>,
    made: &mut Made,
) -> Result<()> {
    let (sink, read) = mpsc::channel(1);
    // What was read is dropped with its sink, or the other side would wait for more.
    let reading = async { inspect(caller, spooled, Some(sink)).await.map(drop) };
    // Neither is cut short by the other's error: what is being made then is known once it is made.
    let (read, making) = tokio::join!(reading, make(&caller.gateway, session, read, made));
    making.and(read)
}

/// Makes lists and campaigns as they are read.
async fn make(
    gateway: &Arc<Gateway>,
    session: &Session,
    mut read: mpsc::Receiver<DocumentItem>,
    made: &mut Made,
) -> Result<()> {
    while let Some(read) = read.recv().await {
        match read {
            DocumentItem::List(list) => {
                made.lists.push(gateway.create_list(session, list).await?.0);
            }
            DocumentItem::Campaign(new) => {
                let (address, _) = gateway.create_campaign(session, *new).await?;
                made.campaigns.push(address.id);
            }
        }
    }
    Ok(())
}

/// Reads the document once, and hands what it holds to the sink, if there is one.
async fn inspect(
    caller: &Caller,
    spooled: &Arc<Spooled>,
    sink: Option<mpsc::Sender<DocumentItem>>,
) -> Result<Document> {
    let (document, spooled) = (Document::new(caller, sink), spooled.clone());
    let read = move || read_json(spooled.read()?, Members(document));
    let read = blocking(read).await??;
    read.ok_or_else(|| Error::from(Code::MalformedBody))
}

/// How many values a document, a list and a campaign may hold beside their recipients.
const MAX_VALUES: usize = 2000;

/// Reads a document: what it holds is judged, handed on, and not kept.
struct Document {
    gateway: Arc<Gateway>,
    who: Principal,
    sink: Option<mpsc::Sender<DocumentItem>>,
    allowance: Allowance,
    fields: Object,
    /// What is wrong with the lists, the campaigns and the suppressed numbers.
    lists: Option<Result<()>>,
    campaigns: Option<Result<()>>,
    suppressed: Option<Result<RecipientRows>>,
}

impl Document {
    fn new(caller: &Caller, sink: Option<mpsc::Sender<DocumentItem>>) -> Self {
        Self {
            gateway: caller.gateway.clone(),
            who: caller.principal.clone(),
            sink,
            allowance: Allowance::new(MAX_VALUES),
            fields: Object::new(),
            lists: None,
            campaigns: None,
            suppressed: None,
        }
    }

    /// The suppressed numbers, of a document in which nothing is wrong.
    fn finish(self) -> Result<RecipientRows> {
        if self.allowance.is_exceeded() {
            let text = format!("a backup holds more than {MAX_VALUES} other values");
            return Err(Error::new(Code::BodyTooLarge, text));
        }
        if self.fields.get("version").and_then(Value::as_u64) != Some(VERSION) {
            return Err(Error::new(
                Code::BackupInvalid,
                "version must be 1: this is not a backup of lists and campaigns",
            ));
        }
        self.lists.unwrap_or(Ok(()))?;
        self.campaigns.unwrap_or(Ok(()))?;
        self.suppressed
            .unwrap_or_else(|| Ok(RecipientRows::default()))
    }
}

impl<'de> Member<'de> for Document {
    fn read<A: MapAccess<'de>>(&mut self, name: String, map: &mut A) -> Result<(), A::Error> {
        let (gateway, who, sink) = (&self.gateway, &self.who, self.sink.as_ref());
        match name.as_str() {
            "lists" | "campaigns" => {
                let each = Each {
                    gateway,
                    who,
                    sink,
                    of_lists: name == "lists",
                };
                let part = if name == "lists" {
                    &mut self.lists
                } else {
                    &mut self.campaigns
                };
                if part.is_some() {
                    map.next_value_seed(Passed)?;
                    *part = Some(Err(Error::new(
                        Code::BackupInvalid,
                        format!("{name} is there twice"),
                    )));
                } else {
                    *part = Some(map.next_value_seed(each)?);
                }
            }
            "suppressions" => {
                self.suppressed = None;
                self.suppressed = {
                    let rows = RecipientReader::new(None, |_: &Object| {}).people_only();
                    map.next_value_seed(Nullable(rows))?
                };
            }
            _ => {
                let value = map.next_value_seed(Bounded(&self.allowance))?;
                if !self.allowance.is_exceeded() {
                    self.fields.insert(name, value);
                }
            }
        }
        Ok(())
    }
}

/// Reads the lists or the campaigns of a document, one by one.
struct Each<'a> {
    gateway: &'a Arc<Gateway>,
    who: &'a Principal,
    sink: Option<&'a mpsc::Sender<DocumentItem>>,
    of_lists: bool,
}

impl Each<'_> {
    fn wrong(&self) -> Result<()> {
        let name = if self.of_lists { "lists" } else { "campaigns" };
        Err(Error::new(
            Code::BackupInvalid,
            format!("{name} must be an array of objects"),
        ))
    }

    fn take(&self, fields: Option<EntryReader>) -> Result<()> {
        let Some(fields) = fields else {
            return self.wrong();
        };
        let read = if self.of_lists {
            DocumentItem::List(read_list(fields)?)
        } else {
            DocumentItem::Campaign(Box::new(read_campaign(self.gateway, self.who, fields)?))
        };
        match self.sink {
            // Nobody takes it when one before could not be made, which is what is answered.
            Some(sink) => {
                let sent = sink.blocking_send(read);
                sent.map_err(|_| Error::internal("a restore broke off"))
            }
            None => Ok(()),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Each<'_> {
    type Value = Result<()>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Result<()>, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Each<'_> {
    type Value = Result<()>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lists or campaigns")
    }

    fn visit_unit<E>(self) -> Result<Result<()>, E> {
        Ok(Ok(()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Result<()>, E> {
        Ok(self.wrong())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Result<()>, E> {
        Ok(self.wrong())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Result<()>, E> {
        Ok(self.wrong())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Result<()>, E> {
        Ok(self.wrong())
    }

    fn visit_str<E>(self, _: &str) -> Result<Result<()>, E> {
        Ok(self.wrong())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Result<()>, A::Error> {
        Passed.visit_map(map)?;
        Ok(self.wrong())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Result<()>, A::Error> {
        loop {
            let fields = EntryReader::new(self.gateway, self.of_lists);
            let Some(fields) = seq.next_element_seed(Members(fields))? else {
                return Ok(Ok(()));
            };
            if let Err(error) = self.take(fields) {
                Passed.visit_seq(seq)?;
                return Ok(Err(error));
            }
        }
    }
}

/// One list or campaign: its fields, its people, and what became of them.
struct EntryReader {
    country: Option<String>,
    of_list: bool,
    allowance: Allowance,
    fields: Object,
    people: Option<Result<RecipientRows>>,
    states: Result<Vec<(u32, RecipientState)>>,
}

/// What a list or campaign said: its fields, its people, and what became of those of whom it is known.
type BackupEntry = (Object, RecipientRows, Vec<(u32, RecipientState)>);

/// What of a row is the person.
const PERSON: &[&str] = &["number", "name", "jobTitle", "companyName", "customFields"];

impl EntryReader {
    fn new(gateway: &Arc<Gateway>, of_list: bool) -> Self {
        Self {
            country: gateway.config().default_country_code.clone(),
            of_list,
            allowance: Allowance::new(MAX_VALUES),
            fields: Object::new(),
            people: None,
            states: Ok(Vec::new()),
        }
    }

    fn finish(self) -> Result<BackupEntry> {
        if self.allowance.is_exceeded() {
            let text = format!("a list or campaign holds more than {MAX_VALUES} other values");
            return Err(Error::new(Code::BodyTooLarge, text));
        }
        let people = self
            .people
            .unwrap_or_else(|| Ok(RecipientRows::default()))?;
        Ok((self.fields, people, self.states?))
    }
}

impl<'de> Member<'de> for EntryReader {
    fn read<A: MapAccess<'de>>(&mut self, name: String, map: &mut A) -> Result<(), A::Error> {
        if name != "recipients" {
            let value = map.next_value_seed(Bounded(&self.allowance))?;
            if !self.allowance.is_exceeded() {
                self.fields.insert(name, value);
            }
            return Ok(());
        }
        self.people = None;
        let (mut states, mut place, of_list) = (Ok(Vec::new()), 0, self.of_list);
        let see = |row: &Object| {
            if !of_list && let Ok(known) = &mut states {
                match state(row) {
                    Ok(state) if state == RecipientState::default() => {}
                    Ok(state) => known.push((place, state)),
                    Err(error) => states = Err(error),
                }
            }
            place += 1;
        };
        let rows = RecipientReader::new(self.country.as_deref(), see).only(PERSON);
        self.people = map.next_value_seed(Nullable(rows))?;
        self.states = states;
        Ok(())
    }
}

fn read_list(fields: EntryReader) -> Result<ListChange> {
    let (fields, parsed, _) = fields.finish()?;
    list_change(&fields, Some(parsed.recipients))
}

fn read_campaign(gateway: &Gateway, who: &Principal, fields: EntryReader) -> Result<NewCampaign> {
    let (fields, parsed, states) = fields.finish()?;
    let fields = &fields;
    let settings = settings(fields, CampaignSettings::of_backup())?;
    let said = fields.get("message").and_then(Value::as_object);
    let words = |name: &str| said.and_then(|said| said.get(name)?.as_str());
    let status = text(fields, "status")?.and_then(CampaignState::parse);
    let status =
        status.ok_or_else(|| Error::new(Code::BackupInvalid, "campaigns: an unknown status"))?;
    let name = text(fields, "name")?.unwrap_or_default();
    Ok(NewCampaign {
        name: CampaignName::of_backup(name).map_err(about("name"))?,
        message: NewMessage::of_backup(words("content").unwrap_or_default(), words("mediaCaption")),
        audience: Audience::Restored(parsed, states),
        scheduled_at: scheduled_at(fields, &settings.pacing.zone)?.flatten(),
        settings,
        restored: Some(RestoredCampaign::of(
            status,
            time(fields, "startedAt")?,
            time(fields, "completedAt")?,
            media(gateway, who, fields)?,
        )),
    })
}

/// The file that a campaign showed.
fn media(gateway: &Gateway, who: &Principal, fields: &Object) -> Result<Option<NewMedia>> {
    let mut fields = fields.clone();
    if let Some(Value::Object(said)) = fields.get_mut("message") {
        // The file was fetched from there once; it is named by its id since.
        said.remove("mediaUrl");
    }
    Ok(message(gateway, who, &fields)?.and_then(NewMessage::into_media))
}

fn time(row: &Object, name: &str) -> Result<Option<Timestamp>> {
    let text = text(row, name)?;
    text.map(|text| parse_when(text, &Zone::utc()))
        .transpose()
        .map_err(|e| Error::invalid(format!("{name}: {}", e.detail())))
}

/// What became of a recipient. Older versions wrote how far a message came in place of the status.
fn state(row: &Object) -> Result<RecipientState> {
    let word = |name| Ok::<_, Error>(text(row, name)?.and_then(RecipientStatus::parse));
    let status = word("status")?;
    let status =
        status.ok_or_else(|| Error::new(Code::BackupInvalid, "recipients: an unknown status"))?;
    let came = word("delivery")?.filter(|_| status.is_sent());
    let told = RecipientState {
        status: came.filter(|came| came.is_sent()).unwrap_or(status),
        message: text(row, "messageId")?.map(MessageId::parse).transpose()?,
        at: time(row, "sentAt")?.or(time(row, "failedAt")?),
        delivered_at: time(row, "deliveredAt")?,
        read_at: time(row, "readAt")?,
        ..RecipientState::default()
    };
    let tries = row.get("tries").and_then(Value::as_u64).unwrap_or(0);
    Ok(RecipientState::of_backup(told, text(row, "error")?, tries))
}
