//! Events in v1's JSON, for webhooks and streams alike: the original program's
//! `{"event","sessionId","data","timestamp"}`, with the event's number as `id`, and its data extended.

use serde_json::{Value, json};

use super::campaigns::statistics;
use super::sessions::status_word;
use crate::domain::event::delivery::{DueDelivery, Payload};
use crate::domain::event::webhook::sign;
use crate::domain::event::{
    Event, EventData, FetchOutcome, FileInfo, MessageHeading, MessageReceived, ReceivedContent,
};
use crate::ids::MessageId;
use crate::time::Timestamp;

/// What a webhook of v1 gets. The first signature does not cover the time, as in the original
/// program; the second one does, against replay.
pub(in crate::api) fn delivery(
    due: &DueDelivery,
    secret: Option<&str>,
    public_url: &str,
    now: Timestamp,
) -> Payload {
    let body = linked(body(due.seq, &due.event), public_url);
    let body = body.to_string().into_bytes();
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

/// The event with links that begin with this URL, where clients reach the gateway below a folder.
pub(super) fn linked(mut event: Value, public_url: &str) -> Value {
    if !public_url.is_empty() {
        for link in ["/data/url", "/data/media/url"] {
            if let Some(Value::String(path)) = event.pointer_mut(link)
                && path.starts_with('/')
            {
                path.insert_str(0, public_url);
            }
        }
    }
    event
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
fn about(heading: &MessageHeading) -> Value {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record;

    fn heading() -> Value {
        json!({
            "id": "3EB0A1", "from": "6281200000001@s.whatsapp.net", "isGroup": false,
            "sender": "6281200000001@s.whatsapp.net", "senderNumber": "6281200000001",
            "senderLid": "99@lid", "senderName": "Budi", "timestamp": 1_700_000_000,
        })
    }

    fn message(kind: &str, more: Value) -> (&'static str, Value) {
        let any = json!({
            "type": kind, "quotedId": null, "mentions": [], "mentionsAll": false,
        });
        ("message.received", merged(merged(heading(), any), more))
    }

    fn about_message(name: &'static str, more: Value) -> (&'static str, Value) {
        (name, merged(heading(), more))
    }

    fn file() -> Value {
        json!({
            "kind": "image", "mimetype": "image/jpeg", "size": 7, "fileName": null, "width": 640,
            "height": 480, "seconds": null, "thumbnail": "AAEC", "viewOnce": false,
        })
    }

    /// Events as version 1 of the log stored them, at least one of each kind.
    fn old() -> Vec<(&'static str, Value)> {
        let statistics = json!({
            "total": 9, "sent": 5, "failed": 1, "pending": 2, "sending": 1, "delivered": 3, "read": 1,
        });
        let campaign = json!({ "campaignId": "c1", "name": "Promo", "status": "sending",
            "statistics": statistics });
        let status = json!({ "id": "3EB0A1", "remoteJid": "6281200000001@s.whatsapp.net",
            "status": "delivered", "participant": "6281200000001@s.whatsapp.net",
            "timestamp": 1_700_000_000, "error": null });
        let mentions = json!({ "text": "hai @6281200000002", "quotedId": "3EB0", "mentionsAll": true,
            "mentions": ["6281200000002@s.whatsapp.net"], "innerType": "conversation",
            "commentsOn": "3EB1" });
        let special = [
            json!({ "selection": { "id": "a", "title": "A", "description": null } }),
            json!({ "selection": { "id": null, "title": null, "description": null, "params": "{}" } }),
            json!({ "menu": { "title": "M", "footer": null, "button": "B", "options":
                [{ "id": "1", "title": "T" }, { "id": null, "title": null, "url": "https://x.example" }] } }),
            json!({ "invite": { "groupId": "1@g.us", "groupName": "G", "code": "c", "expires": 7 } }),
            json!({ "location": { "latitude": -6.25, "longitude": 106.5, "accuracy": 4, "live": true } }),
            json!({ "appointment": { "title": "T", "description": null, "starts": 1, "ends": null,
                "place": null, "link": null, "call": true, "canceled": false } }),
            json!({ "order": { "id": "o", "title": null, "items": 2, "total1000": 5000,
                "currency": "IDR", "token": "t" } }),
            json!({ "product": { "id": "p", "retailerId": null, "title": "P", "description": null,
                "price1000": 9, "currency": "IDR", "url": null } }),
            json!({ "payment": { "amount1000": 1, "currency": "IDR", "messageId": "3EB2" } }),
            json!({ "stickerPack": { "id": "s", "name": "S", "publisher": null, "stickers": 3 } }),
            json!({ "album": { "images": 2, "videos": 1 } }),
            json!({ "pin": { "messageId": "3EB3", "pinned": true } }),
            json!({ "keep": { "messageId": "3EB4", "kept": false } }),
            json!({ "disappearing": { "seconds": 86400 } }),
        ];
        let mut old = vec![
            (
                "session.update",
                json!({ "status": "CONNECTED", "detail": "Connected as Toko" }),
            ),
            (
                "session.update",
                json!({ "status": "DISCONNECTED", "detail": "Logged out" }),
            ),
            message("conversation", json!({ "text": "hai" })),
            message("extendedTextMessage", mentions),
            message("imageMessage", json!({ "text": "lihat", "media": file() })),
            message(
                "locationMessage",
                json!({ "text": "Monas", "location":
                { "latitude": -6.175, "longitude": 106.827, "name": "Monas", "address": null } }),
            ),
            message(
                "contactMessage",
                json!({ "text": null, "contacts": [{ "name": "Ani", "vcard": "V" }] }),
            ),
            message(
                "pollCreationMessageV3",
                json!({ "text": "?", "poll": { "question": "?", "options": ["a", "b"] } }),
            ),
            message(
                "newMessage",
                json!({ "text": null, "raw": "AAEC", "rawSize": 3 }),
            ),
            message(
                "productMessage",
                json!({ "text": "P", "media": file(), "product": { "id": "p",
                "retailerId": null, "title": "P", "description": null, "price1000": null,
                "currency": null, "url": null } }),
            ),
            about_message(
                "message.received",
                json!({ "type": "unreadable", "text": null, "reason": "viewOnce" }),
            ),
            ("message.status", status),
            about_message(
                "message.edited",
                json!({ "messageId": "3EB5", "text": "baru" }),
            ),
            about_message("message.deleted", json!({ "messageId": "3EB5" })),
            about_message(
                "message.reaction",
                json!({ "messageId": "3EB5", "emoji": "" }),
            ),
            (
                "message.media",
                json!({ "messageId": "3EB6", "from": "1@g.us", "mediaId": "m_1",
                "mimetype": "image/jpeg", "fileName": null, "size": 7 }),
            ),
            (
                "message.media",
                json!({ "messageId": "3EB6", "from": "1@g.us", "mediaId": null, "error": "gone" }),
            ),
            about_message(
                "poll.vote",
                json!({ "messageId": "3EB7", "options": ["a"] }),
            ),
            ("campaign.progress", campaign.clone()),
            (
                "campaign.status",
                merged(campaign, json!({ "detail": null })),
            ),
            (
                "contact.optout",
                json!({ "number": "6281200000001", "suppressed": false }),
            ),
            (
                "call.offer",
                json!({ "id": "c", "from": "99@lid", "number": null, "lid": "99@lid",
                "video": true, "timestamp": 1_700_000_000 }),
            ),
            (
                "group.update",
                json!({ "id": "1@g.us", "action": "subject", "by": "99@lid",
                "participants": ["98@lid"], "subject": "G", "timestamp": 1_700_000_000 }),
            ),
        ];
        old.extend(
            special
                .into_iter()
                .map(|what| message("anyMessage", merged(json!({ "text": null }), what))),
        );
        old
    }

    /// What version 1 added when it rendered.
    fn with_links(mut data: Value) -> Value {
        let id = data["id"].as_str().unwrap_or_default().to_owned();
        if let Some(media) = data.get_mut("media") {
            media["url"] = json!(format!("/api/v1/messages/{id}/media?sessionId=toko"));
        }
        if let Some(id) = data
            .get("mediaId")
            .and_then(Value::as_str)
            .map(str::to_owned)
        {
            data["url"] = json!(format!("/media/{id}"));
        }
        data
    }

    #[test]
    fn what_version_1_of_the_log_stored_is_told_as_it_was() {
        for (name, data) in old() {
            let row = json!({ "event": name, "session": "toko", "at": 1_700_000_000_500i64, "data": data });
            let row = [b"\x01", row.to_string().as_bytes()].concat();
            let event: Event = record::decode(&row).unwrap_or_else(|e| panic!("{data}: {e:?}"));
            let told = json!({
                "id": 7, "event": name, "sessionId": "toko", "data": with_links(data),
                "timestamp": event.at.to_string(),
            });
            assert_eq!(body(7, &event), told);
            // What is stored now is read as what it was.
            let again: Event =
                record::decode(&record::encode(&event).expect("a row")).expect("an event");
            assert_eq!(again, event);
        }
    }
}
