//! Messages (S8, S9 of the dialects' table): sending, how far they came, their files, revoking.

use std::fmt;
use std::sync::Arc;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::admission::admitted;
use super::elements::{self, Element};
use crate::api::admit::{Caller, Where, only};
use crate::api::read::{object, text};
use crate::api::reply::{status_of, success, whole_seconds};
use crate::domain::Gateway;
use crate::domain::access::Scope;
use crate::domain::message::draft::{Draft, DraftContent};
use crate::domain::message::idempotency::IdempotencyKey;
use crate::domain::message::send::{MAX_BATCH, too_many};
use crate::domain::message::settlement::SendOutcome;
use crate::domain::session::Session;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::http::{Method, Reply, Request, Route, StatusCode};
use crate::ids::MessageId;
use crate::jid::{recipient, unreadable};
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
    let body = request.whole().await?;
    let key = request
        .header_text("idempotency-key")?
        .map(|key| IdempotencyKey::of_pieces(key, body.pieces()))
        .transpose()?;
    let batch = Batch::new(&caller.gateway, &session);
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
fn rows(slots: Vec<Slot>, outcomes: Vec<SendOutcome>) -> Vec<Value> {
    let mut outcomes = outcomes.into_iter();
    let row = |slot| match slot {
        Slot::Refused(error) => refused(error.kind(), error.detail()),
        Slot::Messages(1) => outcomes.next().map_or(Value::Null, |o| result(&o)),
        Slot::Messages(count) => album_result(outcomes.by_ref().take(count)),
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
    session: Arc<Session>,
    drafts: Vec<Draft>,
    slots: Vec<Slot>,
    /// How many elements there are.
    count: usize,
    /// Why none of them is sent.
    wrong: Option<Error>,
}

impl Batch {
    fn new(gateway: &Arc<Gateway>, session: &Arc<Session>) -> Self {
        Self {
            gateway: gateway.clone(),
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
        self.slots
            .push(match elements::drafts(&self.gateway, element, number) {
                Ok(more) => {
                    let count = more.len();
                    self.drafts.extend(more);
                    Slot::Messages(count)
                }
                Err(error) => Slot::Refused(error),
            });
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

/// The result for an element that is not sent. `code` is what the request would be answered with
/// if it held only this.
fn refused(kind: ErrorKind, why: &str) -> Value {
    json!({ "status": "error", "message": why, "code": status_of(kind).as_u16() })
}

/// The result for an album: one for the whole, and one for each of its files.
fn album_result(outcomes: impl Iterator<Item = SendOutcome>) -> Value {
    let rows: Vec<Value> = outcomes.map(|outcome| result(&outcome)).collect();
    let failed = rows.iter().filter(|row| row["status"] == "error").count();
    let mut whole = match failed {
        0 => rows.first().cloned().unwrap_or_default(),
        _ => {
            let first = rows.iter().find(|row| row["status"] == "error");
            let message = format!("{failed} of {} files were not sent", rows.len());
            json!({
                "status": "error", "message": message,
                "code": first.map_or(Value::Null, |row| row["code"].clone()),
            })
        }
    };
    whole["messages"] = Value::Array(rows);
    whole
}

/// One result, in the original program's words.
pub(in crate::api) fn result(outcome: &SendOutcome) -> Value {
    let mut row = match &outcome.failure {
        None => json!({
            "status": "success",
            "message": format!("Message sent to {}", outcome.to),
        }),
        Some(why) => refused(
            outcome.reason.unwrap_or(ErrorKind::Upstream),
            &format!("Failed to send message to {}. Reason: {why}", outcome.to),
        ),
    };
    if let Some(id) = &outcome.id {
        row["messageId"] = json!(id);
    }
    if let Some(note) = &outcome.note {
        row["note"] = json!(note);
    }
    if let Some(wait) = outcome.retry_after {
        row["retryAfter"] = json!(whole_seconds(wait));
    }
    row
}

/// How far a message has come.
async fn show(caller: Caller, request: Request) -> Result<Reply> {
    let session = caller.session(in_query(&request))?;
    let id = MessageId::parse(request.param("messageId"))?;
    let message = caller.gateway.message(&session, &id)?;
    let mut answer = json!({
        "status": "success",
        "messageId": id,
        "remoteJid": message.chat,
        "fromMe": message.sender.is_none(),
        "sender": message.sender,
        "delivery": message.progress.map(|p| p.as_str()),
        "error": message.refusal,
        "timestamp": message.at.to_string(),
    });
    if let Some(tallies) = caller.gateway.poll_votes(&session, &id)? {
        let options: Vec<Value> = tallies
            .iter()
            .map(|t| json!({ "name": t.option, "votes": t.voters.len(), "voters": t.voters }))
            .collect();
        answer["poll"] = json!({ "question": message.text, "options": options });
    }
    Ok(Reply::json(StatusCode::OK, &answer))
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
