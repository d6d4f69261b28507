//! Events in v1's JSON, for webhooks and streams alike: the original program's
//! `{"event","sessionId","data","timestamp"}`, with the event's number as `id`, and its data extended.

use serde_json::{Value, json};

use super::campaigns::statistics;
use super::sessions::status_word;
use crate::domain::event::delivery::{Due, Payload};
use crate::domain::event::webhook::sign;
use crate::domain::event::{
    Event, EventData, FetchOutcome, FileInfo, Heading, MessageReceived, ReceivedContent,
};
use crate::ids::MessageId;
use crate::time::Timestamp;

/// What a webhook of v1 gets. The first signature does not cover the time, as in the original
/// program; the second one does, against replay.
pub(in crate::api) fn delivery(due: &Due, secret: Option<&str>, now: Timestamp) -> Payload {
    let body = body(due.seq, &due.event).to_string().into_bytes();
    let sent = now.as_ms().to_string();
    let mut headers = vec![
        ("x-webhook-event", due.event.kind().as_str().to_owned()),
        ("x-webhook-id", format!("{}-{}", due.event.session, due.seq)),
        ("x-webhook-timestamp", sent.clone()),
    ];
    if let Some(secret) = secret {
        let dated = sign(secret, &[sent.as_bytes(), b".", &body]);
        headers.push(("x-webhook-signature", sign(secret, &[&body])));
        headers.push(("x-webhook-signature-v2", format!("t={sent},v2={dated}")));
    }
    let headers = headers.into_iter();
    Payload {
        headers: headers
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        body,
    }
}

/// One event.
pub(super) fn body(number: u64, event: &Event) -> Value {
    json!({
        "id": number,
        "event": event.kind().as_str(),
        "sessionId": event.session,
        "data": data(event),
        "timestamp": event.at.to_string(),
    })
}

fn data(event: &Event) -> Value {
    match &event.data {
        EventData::SessionUpdate(update) => json!({
            "status": status_word(update.state), "detail": update.detail,
        }),
        EventData::MessageReceived(message) => received(&event.session, message),
        EventData::MessageStatus(status) => json!({
            "id": status.id, "remoteJid": status.chat, "status": status.progress.as_str(),
            "participant": status.by, "timestamp": status.at.as_secs(), "error": status.refusal,
        }),
        EventData::MessageEdited(edited) => merged(
            about(&edited.heading),
            json!({ "messageId": edited.target, "text": edited.text }),
        ),
        EventData::MessageDeleted(deleted) => merged(
            about(&deleted.heading),
            json!({ "messageId": deleted.target }),
        ),
        EventData::MessageReaction(reaction) => merged(
            about(&reaction.heading),
            json!({ "messageId": reaction.target, "emoji": reaction.emoji }),
        ),
        EventData::MessageMedia(media) => merged(
            json!({ "messageId": media.id, "from": media.chat }),
            fetched(&media.outcome),
        ),
        EventData::PollVote(vote) => merged(
            about(&vote.heading),
            json!({ "messageId": vote.poll, "options": vote.options }),
        ),
        EventData::CampaignProgress(progress) => json!({
            "campaignId": progress.id, "name": progress.name, "status": progress.status.as_str(),
            "statistics": statistics(&progress.statistics),
        }),
        EventData::CampaignStatus(status) => json!({
            "campaignId": status.id, "name": status.name, "status": status.status.as_str(),
            "detail": status.detail, "statistics": statistics(&status.statistics),
        }),
        EventData::ContactOptOut(contact) => json!({
            "number": contact.number, "suppressed": contact.suppressed,
        }),
        EventData::CallOffer(call) => json!({
            "id": call.id, "from": call.from, "number": call.person.number,
            "lid": call.person.lid, "video": call.video, "timestamp": call.at.as_secs(),
        }),
        EventData::GroupUpdate(update) => json!({
            "id": update.group, "action": update.action, "by": update.by,
            "participants": update.participants, "subject": update.subject,
            "timestamp": update.at.as_secs(),
        }),
    }
}

/// Where a message came from, as every event about one tells it.
fn about(heading: &Heading) -> Value {
    json!({
        "id": heading.id,
        "from": heading.chat,
        "isGroup": heading.chat.is_group(),
        "sender": heading.sender,
        "senderNumber": heading.person.number,
        "senderLid": heading.person.lid,
        "senderName": heading.push_name,
        "timestamp": heading.at.as_secs(),
    })
}

fn received(session: &str, message: &MessageReceived) -> Value {
    let mut data = about(&message.heading);
    data["type"] = json!(message.kind);
    // Of what could not be read nothing more is known.
    if !matches!(message.content, ReceivedContent::Unreadable(_)) {
        data["quotedId"] = json!(message.quoted);
        data["mentions"] = json!(message.mentions);
        data["mentionsAll"] = json!(message.mentions_all);
    }
    if let Some(inner) = &message.inner_kind {
        data["innerType"] = json!(inner);
    }
    if let Some(target) = &message.comments_on {
        data["commentsOn"] = json!(target);
    }
    merged(
        data,
        content(session, &message.heading.id, &message.content),
    )
}

fn content(session: &str, id: &MessageId, content: &ReceivedContent) -> Value {
    let media = |file: &FileInfo| described(session, id, file);
    match content {
        ReceivedContent::Text(text) => json!({ "text": text }),
        ReceivedContent::Media { caption, file } => {
            json!({ "text": caption, "media": media(file) })
        }
        ReceivedContent::Location(place) => json!({ "text": place.name, "location": {
            "latitude": place.latitude, "longitude": place.longitude,
            "name": place.name, "address": place.address,
        }}),
        ReceivedContent::Contacts(cards) => json!({ "text": null, "contacts": cards }),
        ReceivedContent::Poll { question, options } => {
            json!({ "text": question, "poll": { "question": question, "options": options } })
        }
        ReceivedContent::Special { text, what, file } => {
            let told = merged(json!({ "text": text }), json!(what));
            match file {
                Some(file) => merged(told, json!({ "media": media(file) })),
                None => told,
            }
        }
        ReceivedContent::Other { caption, raw, size } => {
            json!({ "text": caption, "raw": raw, "rawSize": size })
        }
        ReceivedContent::Unreadable(why) => json!({ "text": null, "reason": why.as_str() }),
    }
}

/// What is known of a file before it is fetched, and where that is done.
fn described(session: &str, id: &MessageId, file: &FileInfo) -> Value {
    let id = percent_encoding::utf8_percent_encode(id.as_str(), percent_encoding::NON_ALPHANUMERIC);
    json!({
        "kind": file.kind.as_str(), "mimetype": file.mimetype, "size": file.size,
        "fileName": file.name, "width": file.width, "height": file.height,
        "seconds": file.seconds, "thumbnail": file.thumbnail, "viewOnce": file.view_once,
        "url": format!("/api/v1/messages/{id}/media?sessionId={session}"),
    })
}

fn fetched(outcome: &FetchOutcome) -> Value {
    match outcome {
        FetchOutcome::Failed(error) => json!({ "mediaId": null, "error": error }),
        FetchOutcome::Fetched {
            id,
            mimetype,
            name,
            size,
        } => {
            let mut data = json!({
                "mediaId": id, "mimetype": mimetype, "fileName": name, "size": size,
            });
            if let Some(id) = id {
                data["url"] = json!(format!("/media/{id}"));
            }
            data
        }
    }
}

fn merged(mut data: Value, more: Value) -> Value {
    if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
        data.extend(more);
    }
    data
}
