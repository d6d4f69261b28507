//! Messages (S8, S9 of the dialects' table): sending, how far they came, their files, revoking.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, Serialize};

use super::admission::admitted;
use super::elements::{self, Element};
use crate::api::admit::{Caller, Where, only};
use crate::api::read::{object, text};
use crate::api::reply::{status_of, success, whole_seconds};
use crate::domain::Gateway;
use crate::domain::access::{Principal, Scope};
use crate::domain::message::draft::{Draft, DraftContent};
use crate::domain::message::idempotency::IdempotencyKey;
use crate::domain::message::poll::Tally;
use crate::domain::message::send::{MAX_BATCH, too_many};
use crate::domain::message::settlement::SendOutcome;
use crate::domain::session::Session;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::http::{Method, Reply, Request, Route, StatusCode};
use crate::ids::MessageId;
use crate::jid::{Jid, recipient, unreadable};
use crate::json::{Members, Passed};

pub(super) fn routes(gateway: &Arc<Gateway>) -> Vec<Route> {
    use {Method as M, Scope as S};
    let file_path = "/messages/{messageId}/media";
    vec![
        admitted(gateway, &[S::Send], M::POST, "/messages", send).body_limit(MAX_BODY),
        admitted(gateway, &[S::Read], M::GET, "/messages/{messageId}", show),
        // It may fetch the file, which a client that hangs up must not cut in half.
        admitted(gateway, &[S::Read], M::GET, file_path, file).detached(),
        admitted(gateway, &[S::Send], M::DELETE, "/message", revoke),
    ]
}

/// The largest request: files in base64 are meant to be small, larger ones are uploaded or linked.
const MAX_BODY: u64 = 16 << 20;

/// The query; the body does not count here, but may not name another.
fn in_query(request: &Request) -> Where<'_> {
    let names = [request.query("sessionId"), None];
    Where::one_of(names, "sessionId query parameter is required")
}

async fn send(caller: Caller, mut request: Request) -> Result<Reply> {
    let session = caller.session(in_query(&request))?;
    let body = request.document().await?;
    let key = request
        .header_text("idempotency-key")?
        .map(|key| IdempotencyKey::of_pieces(key, body.pieces()))
        .transpose()?;
    let batch = Batch::new(&caller, &session);
    let (read, mut held) = body.json(batch).await?;
    let Elements {
        drafts,
        slots,
        alone,
    } = read?;
    held.shrink_to(drafts.iter().map(Draft::inline_bytes).sum());
    let hung_up = request.hung_up();
    // What was read is not kept for as long as WhatsApp takes.
    drop(request);
    let sent = caller.gateway.send(&session, drafts, key, &hung_up);
    let sent = sent.await?;
    match sent.iter().find_map(SendOutcome::held_back) {
        // Whoever sends one message finds the answer where others look for it.
        Some(error) if alone => Err(error),
        _ => Ok(Reply::json(StatusCode::OK, &rows(slots, sent))),
    }
}

/// What a request asks for.
struct Elements {
    drafts: Vec<Draft>,
    slots: Vec<Slot>,
    /// Whether the body is one message, and no array.
    alone: bool,
}

/// The results in the order of the elements.
fn rows(slots: Vec<Slot>, outcomes: Vec<SendOutcome>) -> Vec<Option<ResultView>> {
    let mut outcomes = outcomes.into_iter();
    let row = |slot| match slot {
        Slot::Refused(error) => {
            let why = error.detail().to_owned();
            Some(ResultView::refused(error.kind(), why))
        }
        Slot::Messages(1) => outcomes.next().map(|outcome| result(&outcome)),
        Slot::Messages(count) => Some(album_result(outcomes.by_ref().take(count))),
    };
    slots.into_iter().map(row).collect()
}

/// What became of an element when it was read.
enum Slot {
    /// So many messages were made of it.
    Messages(usize),
    /// No message could be made of it.
    Refused(Error),
}

/// Reads elements into drafts, one at a time; the slot of those that cannot be read is kept.
struct Batch {
    gateway: Arc<Gateway>,
    who: Principal,
    session: Arc<Session>,
    drafts: Vec<Draft>,
    slots: Vec<Slot>,
    /// How many elements there are.
    count: usize,
    /// Why none of them is sent.
    wrong: Option<Error>,
}

impl Batch {
    fn new(caller: &Caller, session: &Arc<Session>) -> Self {
        Self {
            gateway: caller.gateway.clone(),
            who: caller.principal.clone(),
            session: session.clone(),
            drafts: Vec::new(),
            slots: Vec::new(),
            count: 0,
            wrong: None,
        }
    }

    /// Whether the rest is only counted.
    fn is_over(&self) -> bool {
        self.wrong.is_some() || self.count >= MAX_BATCH || self.drafts.len() > MAX_BATCH
    }

    fn add(&mut self, element: Element) {
        let number = self.count;
        self.count += 1;
        if let Err(error) = only(&self.session, element.text("sessionId")) {
            self.wrong = Some(error);
            return;
        }
        self.slots.push(
            match elements::drafts(&self.gateway, &self.who, element, number) {
                Ok(more) => {
                    let count = more.len();
                    self.drafts.extend(more);
                    Slot::Messages(count)
                }
                Err(error) => Slot::Refused(error),
            },
        );
    }

    fn finish(self, alone: bool) -> Read {
        if self.count > MAX_BATCH || self.drafts.len() > MAX_BATCH {
            return Err(too_many());
        }
        match self.wrong {
            Some(error) => Err(error),
            None => Ok(Elements {
                drafts: self.drafts,
                slots: self.slots,
                alone,
            }),
        }
    }
}

type Read = Result<Elements>;

fn neither() -> Read {
    Err(Error::new(
        Code::MalformedBody,
        "The request body must be a message or an array of messages",
    ))
}

impl<'de> DeserializeSeed<'de> for Batch {
    type Value = Read;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Read, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Batch {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("messages")
    }

    fn visit_unit<E>(self) -> Result<Read, E> {
        Ok(neither())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Read, E> {
        Ok(neither())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Read, E> {
        Ok(neither())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Read, E> {
        Ok(neither())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Read, E> {
        Ok(neither())
    }

    fn visit_str<E>(self, _: &str) -> Result<Read, E> {
        Ok(neither())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<Read, A::Error> {
        let element = Members(Element::default()).visit_map(map)?;
        self.add(element.unwrap_or_default());
        Ok(self.finish(true))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Read, A::Error> {
        loop {
            if self.is_over() {
                match seq.next_element_seed(Passed)? {
                    Some(()) => self.count += 1,
                    None => return Ok(self.finish(false)),
                }
            } else {
                match seq.next_element_seed(Members(Element::default()))? {
                    Some(element) => self.add(element.unwrap_or_default()),
                    None => return Ok(self.finish(false)),
                }
            }
        }
    }
}

/// One result, in the original program's words.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct ResultView {
    status: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<MessageId>,
    /// What the request would be answered with if it held only this.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// Seconds after which it may be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    /// One for each file of an album.
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<ResultView>>,
}

impl ResultView {
    fn is_error(&self) -> bool {
        self.code.is_some()
    }

    /// The result for what is not sent.
    fn refused(kind: ErrorKind, why: String) -> Self {
        Self {
            status: "error",
            message: why,
            message_id: None,
            code: Some(status_of(kind).as_u16()),
            note: None,
            retry_after: None,
            messages: None,
        }
    }
}

/// The result for an album: one for the whole, and one for each of its files.
fn album_result(outcomes: impl Iterator<Item = SendOutcome>) -> ResultView {
    let rows: Vec<_> = outcomes.map(|outcome| result(&outcome)).collect();
    let failed = rows.iter().filter(|row| row.is_error()).count();
    let first = match failed {
        0 => rows.first(),
        _ => rows.iter().find(|row| row.is_error()),
    };
    let none = || ResultView::refused(ErrorKind::Internal, "No file was sent".to_owned());
    let mut whole = first.cloned().unwrap_or_else(none);
    if failed > 0 {
        whole.message = format!("{failed} of {} files were not sent", rows.len());
        (whole.message_id, whole.note, whole.retry_after) = (None, None, None);
    }
    whole.messages = Some(rows);
    whole
}

/// What became of one message.
pub(in crate::api) fn result(outcome: &SendOutcome) -> ResultView {
    let row = match &outcome.failure {
        None => ResultView {
            status: "success",
            message: format!("Message sent to {}", outcome.to),
            message_id: None,
            code: None,
            note: None,
            retry_after: None,
            messages: None,
        },
        Some(why) => ResultView::refused(
            outcome.reason.unwrap_or(ErrorKind::Upstream),
            format!("Failed to send message to {}. Reason: {why}", outcome.to),
        ),
    };
    ResultView {
        message_id: outcome.id.clone(),
        note: outcome.note.clone(),
        retry_after: outcome.retry_after.map(whole_seconds),
        ..row
    }
}

/// How far a message has come.
async fn show(caller: Caller, request: Request) -> Result<Reply> {
    let session = caller.session(in_query(&request))?;
    let id = MessageId::parse(request.param("messageId"))?;
    let message = caller.gateway.message(&session, &id)?;
    let tallies = caller.gateway.poll_votes(&session, &id)?;
    let answer = MessageView {
        status: "success",
        message_id: &id,
        remote_jid: &message.chat,
        from_me: message.sender.is_none(),
        sender: message.sender.as_ref(),
        delivery: message.progress.map(|progress| progress.as_str()),
        error: message.refusal.as_deref(),
        timestamp: message.at.to_string(),
        poll: tallies.as_ref().map(|tallies| PollView {
            question: message.text.as_deref(),
            options: tallies.iter().map(OptionView::of).collect(),
        }),
    };
    Ok(Reply::json(StatusCode::OK, &answer))
}

/// A message and how far it has come.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageView<'a> {
    status: &'static str,
    message_id: &'a MessageId,
    remote_jid: &'a Jid,
    from_me: bool,
    sender: Option<&'a Jid>,
    delivery: Option<&'static str>,
    error: Option<&'a str>,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    poll: Option<PollView<'a>>,
}

/// How a poll stands.
#[derive(Serialize)]
struct PollView<'a> {
    question: Option<&'a str>,
    options: Vec<OptionView<'a>>,
}

/// One of its options, and who chose it.
#[derive(Serialize)]
struct OptionView<'a> {
    name: &'a str,
    votes: usize,
    voters: &'a [Jid],
}

impl<'a> OptionView<'a> {
    fn of(tally: &'a Tally) -> Self {
        Self {
            name: &tally.option,
            votes: tally.voters.len(),
            voters: &tally.voters,
        }
    }
}

/// The file of a message, fetched from WhatsApp when it is not here yet.
async fn file(caller: Caller, request: Request) -> Result<Reply> {
    let session = caller.session(in_query(&request))?;
    let id = MessageId::parse(request.param("messageId"))?;
    let file = caller.gateway.message_file(&session, &id).await?;
    super::media::served(&request, file)
}

async fn revoke(caller: Caller, mut request: Request) -> Result<Reply> {
    const NEEDED: &str = "sessionId, messageId, and remoteJid are required.";
    let body = object(&mut request).await?;
    let field = |name| text(&body, name).map(|value| value.filter(|v| !v.is_empty()));
    let names = [request.query("sessionId"), field("sessionId")?];
    let session = caller.session(Where::one_of(names, NEEDED))?;
    let needed = || Error::invalid(NEEDED);
    let target = MessageId::parse(field("messageId")?.ok_or_else(needed)?)?;
    let jid = field("remoteJid")?.ok_or_else(needed)?;
    let country = caller.gateway.country();
    let to = recipient(jid, false, country)
        .ok_or_else(|| unreadable(jid, country, Code::RecipientInvalid))?;
    let done = success(&format!("Attempted to delete message {target}"));
    let draft = Draft::new(to, DraftContent::Revoke { target });
    let hung_up = request.hung_up();
    let sent = caller.gateway.send(&session, vec![draft], None, &hung_up);
    let sent = sent.await?;
    let failed = sent.first().and_then(|outcome| {
        let why = outcome.failure.as_ref()?;
        let text = format!("Failed to delete message. Reason: {why}");
        Some(Error::new(
            outcome.code.unwrap_or(Code::MessageRefused),
            text,
        ))
    });
    failed.map_or(Ok(done), Err)
}
