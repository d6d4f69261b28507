//! A session's lists, campaigns and suppressed numbers as one JSON document, and back.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::campaign_body::{MAX_BODY, Object, message, scheduled_at, settings, short_text, usual};
use super::campaigns::{brief, person, session_of, shown};
use super::lists::{self, list_change};
use super::route;
use super::rules::{caller, object, text};
use crate::domain::Gateway;
use crate::domain::campaign::create::{Audience, NewCampaign, Restored};
use crate::domain::campaign::{MediaPart, Stage, State, Status};
use crate::domain::media::Source;
use crate::domain::recipient::Parsed;
use crate::domain::schedule::parse_when;
use crate::domain::session::Session;
use crate::domain::zone::Zone;
use crate::error::{Error, Result};
use crate::http::{Method, Reply, Request, Route, StatusCode};
use crate::ids::MessageId;
use crate::time::Timestamp;

/// The version of the document.
const VERSION: u64 = 1;

/// How many people are read at a time.
const PAGE: usize = 1000;

/// The largest document that is taken back: it holds all lists and campaigns of a session.
const MAX_DOCUMENT: u64 = 4 * MAX_BODY;

pub(super) fn routes(gateway: &Gateway) -> Vec<Route> {
    vec![
        route(gateway, Method::GET, "/backup", backup),
        route(gateway, Method::POST, "/restore", restore).body_limit(MAX_DOCUMENT),
    ]
}

/// The document, written while it is sent: no list is ever whole in memory.
async fn backup(gateway: Gateway, request: Request) -> Result<Reply> {
    let session = session_of(&gateway, &request, None)?;
    let name = format!("{}-backup.json", session.id);
    let (feed, pieces) = tokio::sync::mpsc::channel(2);
    gateway.clone().tasks.spawn(async move {
        if let Err(error) = write(&gateway, &session, &feed).await {
            let _ = feed.send(Err(error)).await;
        }
    });
    let pieces = futures_util::stream::unfold(pieces, |mut pieces| async {
        pieces.recv().await.map(|piece| (piece, pieces))
    });
    Ok(Reply::try_stream("application/json", None, pieces).attachment(&name))
}

type Feed = tokio::sync::mpsc::Sender<Result<bytes::Bytes>>;

/// Hands a piece on; an error means that the client hung up.
async fn say(feed: &Feed, piece: String) -> Result<()> {
    let sent = feed.send(Ok(piece.into())).await;
    sent.map_err(|_| Error::invalid("nobody listens"))
}

async fn write(gateway: &Gateway, session: &Arc<Session>, feed: &Feed) -> Result<()> {
    let now = gateway.clock.now().to_string();
    say(
        feed,
        format!("{{\"version\":{VERSION},\"createdAt\":\"{now}\",\"lists\":["),
    )
    .await?;
    for (number, (id, list)) in gateway.lists(session)?.into_iter().enumerate() {
        let head = opened(lists::brief(session, &id, &list), number)?;
        say(feed, head).await?;
        let mut skip = 0;
        loop {
            let page = gateway.list_recipients(&list, skip, PAGE).await?;
            let rows: Vec<Value> = page.iter().map(person).collect();
            say(feed, joined(&rows, skip)?).await?;
            skip += page.len();
            if page.len() < PAGE {
                break;
            }
        }
        say(feed, "]}".into()).await?;
    }
    say(feed, "],\"campaigns\":[".into()).await?;
    for (number, (id, campaign, progress)) in gateway.campaigns_of(session)?.into_iter().enumerate()
    {
        let head = opened(brief(session, &id, &campaign, &progress), number)?;
        say(feed, head).await?;
        let mut from = 0;
        loop {
            let page = gateway
                .campaign_rows(&campaign, from, PAGE, |_| true)
                .await?;
            let rows: Vec<Value> = page.iter().map(shown).collect();
            say(feed, joined(&rows, from as usize)?).await?;
            match page.last() {
                Some(last) if page.len() == PAGE => from = last.place + 1,
                _ => break,
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
    say(feed, format!("],\"suppressions\":{}}}", json!(numbers))).await
}

/// An object that is left open at its `recipients`.
fn opened(head: Value, number: usize) -> Result<String> {
    let mut text = serde_json::to_string(&head).map_err(Error::internal)?;
    text.pop();
    text.push_str(",\"recipients\":[");
    Ok(if number > 0 { format!(",{text}") } else { text })
}

/// Rows separated by commas, with one before them when others went before.
fn joined(rows: &[Value], before: usize) -> Result<String> {
    let mut text = serde_json::to_string(rows).map_err(Error::internal)?;
    text.pop();
    text.remove(0);
    Ok(if before > 0 && !rows.is_empty() {
        format!(",{text}")
    } else {
        text
    })
}

/// Makes everything of a document anew, under new ids. All of it is read before anything is made.
async fn restore(gateway: Gateway, mut request: Request) -> Result<Reply> {
    caller(&gateway, &request)?;
    let body = object(&mut request).await?;
    let session = session_of(&gateway, &request, text(&body, "sessionId")?)?;
    if body.get("version").and_then(Value::as_u64) != Some(VERSION) {
        return Err(Error::invalid(
            "version must be 1: this is not a backup of lists and campaigns",
        ));
    }
    let lists = each(&body, "lists")?
        .map(|list| read_list(&gateway, list?))
        .collect::<Result<Vec<_>>>()?;
    let campaigns = each(&body, "campaigns")?
        .map(|campaign| read_campaign(&gateway, campaign?))
        .collect::<Result<Vec<_>>>()?;
    let suppressed = match body.get("suppressions") {
        None | Some(Value::Null) => Parsed::default(),
        Some(numbers) => Parsed::from_json(numbers, None)?,
    };
    let (mut list_ids, mut campaign_ids) = (Vec::new(), Vec::new());
    for list in lists {
        list_ids.push(gateway.create_list(&session, list).await?.0);
    }
    for campaign in campaigns {
        campaign_ids.push(gateway.create_campaign(&session, campaign).await?.0.id);
    }
    let numbers: Vec<_> = suppressed
        .recipients
        .into_iter()
        .map(|who| who.number)
        .collect();
    let count = numbers.len();
    gateway.suppress(&session, numbers).await?;
    let answer = json!({
        "status": "success", "lists": list_ids, "campaigns": campaign_ids, "suppressions": count,
    });
    Ok(Reply::json(StatusCode::CREATED, &answer))
}

/// The objects of an array, which may be missing.
fn each<'a>(
    body: &'a Object,
    name: &'static str,
) -> Result<impl Iterator<Item = Result<&'a Object>>> {
    let wrong = move || Error::invalid(format!("{name} must be an array of objects"));
    let rows = match body.get(name) {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(rows)) => rows.as_slice(),
        Some(_) => return Err(wrong()),
    };
    Ok(rows
        .iter()
        .map(move |row| row.as_object().ok_or_else(wrong)))
}

fn recipients(fields: &Object) -> Result<Vec<&Object>> {
    each(fields, "recipients")?.collect()
}

/// What of a row is the person.
fn only_person(row: &Object) -> Value {
    let mut who = Map::new();
    for name in ["number", "name", "jobTitle", "companyName", "customFields"] {
        if let Some(value) = row.get(name).filter(|value| !value.is_null()) {
            who.insert(name.to_owned(), value.clone());
        }
    }
    Value::Object(who)
}

fn read_list(gateway: &Gateway, fields: &Object) -> Result<crate::domain::list::ListChange> {
    let country = gateway.config.default_country_code.as_deref();
    let rows: Vec<Value> = recipients(fields)?.into_iter().map(only_person).collect();
    let parsed = Parsed::from_json(&Value::Array(rows), country)?;
    list_change(fields, Some(&parsed))
}

fn read_campaign(gateway: &Gateway, fields: &Object) -> Result<NewCampaign> {
    let settings = settings(fields, usual())?;
    let rows = recipients(fields)?;
    let people: Vec<Value> = rows.iter().copied().map(only_person).collect();
    let country = gateway.config.default_country_code.as_deref();
    let parsed = Parsed::from_json(&Value::Array(people), country)?;
    let left_out: std::collections::HashSet<usize> = parsed
        .rejected
        .iter()
        .map(|row| row.row)
        .chain(parsed.merged.iter().map(|row| row.row))
        .collect();
    let states = (1..)
        .zip(&rows)
        .filter(|(row, _)| !left_out.contains(row))
        .map(|(_, row)| state(row))
        .collect::<Result<Vec<State>>>()?;
    let said = fields.get("message").and_then(Value::as_object);
    let content = said
        .and_then(|said| said.get("content"))
        .and_then(Value::as_str);
    let status = text(fields, "status")?.and_then(Status::of);
    let status = status.ok_or_else(|| Error::invalid("campaigns: an unknown status"))?;
    let name = short_text(fields, "name", 200)?.unwrap_or_default();
    Ok(NewCampaign {
        name,
        content: content.unwrap_or_default().to_owned(),
        media: None,
        audience: Audience::Restored(parsed, states),
        scheduled_at: scheduled_at(fields, &settings.pacing.zone)?.flatten(),
        settings,
        restored: Some(Restored {
            status: if status.is_live() {
                Status::Paused
            } else {
                status
            },
            started_at: time(fields, "startedAt")?,
            completed_at: time(fields, "completedAt")?,
            media: media(gateway, fields)?,
        }),
    })
}

/// The file that a campaign showed. It may not be here: the campaign says so when it is resumed.
fn media(gateway: &Gateway, fields: &Object) -> Result<Option<MediaPart>> {
    let mut fields = fields.clone();
    if let Some(Value::Object(said)) = fields.get_mut("message") {
        // The file was fetched from there once; it is named by its id since.
        said.remove("mediaUrl");
    }
    let media = message(gateway, &fields)?.and_then(|said| said.media);
    Ok(media.and_then(|media| match media.source {
        Source::Stored(id) => Some(MediaPart {
            kind: media.kind,
            id,
            link: None,
            file_name: media.file_name,
        }),
        _ => None,
    }))
}

fn time(row: &Object, name: &str) -> Result<Option<Timestamp>> {
    let text = text(row, name)?;
    text.map(|text| parse_when(text, &Zone::utc()))
        .transpose()
        .map_err(|e| Error::invalid(format!("{name}: {}", e.detail())))
}

/// What became of a recipient. One that was on its way is tried again, with the id that it had.
fn state(row: &Object) -> Result<State> {
    let stage = text(row, "status")?.and_then(Stage::of);
    let stage = stage.ok_or_else(|| Error::invalid("recipients: an unknown status"))?;
    Ok(State {
        stage: if stage == Stage::Sending {
            Stage::Pending
        } else {
            stage
        },
        message: text(row, "messageId")?.map(MessageId::parse).transpose()?,
        at: time(row, "sentAt")?.or(time(row, "failedAt")?),
        error: text(row, "error")?.map(|text| text.chars().take(300).collect()),
        tries: row
            .get("tries")
            .and_then(Value::as_u64)
            .unwrap_or(0)
            .min(100) as u32,
        ..State::default()
    })
}
