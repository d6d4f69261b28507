//! The control API: JSON in, JSON out, without a word of HTTP.
//!
//! - `GET /sandbox`, `GET /sandbox/stats`: the network at a glance, and its counters; among them
//!   `mediaUploads` (files that were new), `mediaUploadsAgain`, `mediaDownloads`, `mediaBytesIn`,
//!   `mediaBytesOut` of the media host. What phones themselves leave and fetch is not counted.
//! - `POST /sandbox/scan {"qr", "phone"?}`, `POST /sandbox/pair-code {"phone", "code"}`: linking.
//!   `POST /sandbox/look {"qr"}`: what a client says of itself before, `{"platform", "name"}`.
//! - `GET/PUT /sandbox/phones/{phone}`: `{"registered", "name", "online", "receipts", "echo",
//!   "keepsMedia", "trustedOnly", "takesTokens": ["given", "computed"], "sharesSalt": ["history",
//!   "settings"]}`. A phone that keeps no media does not leave an expired file once more: when a
//!   companion of the same account asks for it, the answer is that it is not found.
//! - `GET .../messages`: what the phone received, each message an object; `GET .../copies`: what its
//!   companions sent. Besides `id from device chat timestamp type text caption mimetype fileName
//!   size sha256 opened mentions quotedId edited revoked fromMe reactions` there are, where they
//!   apply, `quotedType expiration width height seconds voice gifPlayback animated viewOnce albumId`,
//!   `decoded: {"format", "width", "height", "animated"}` (what the phone sees in the file),
//!   `thumbnail: {"size", "width", "height"}`, `location: {"latitude", "longitude", "name",
//!   "address"}`, `contacts: [{"name", "vcard"}]`, `poll: {"name", "options", "selectable",
//!   "votes": {phone: [option]}}` and `album: {"images", "videos"}`.
//! - `GET .../messages/{id}/file`: the decrypted file; over HTTP as it is, with the type that the
//!   message names, here as `{"mimetype", "size", "data"}` with base64.
//! - `POST .../messages`: the phone sends `{"to"}` with one of `text`; `image`, `video`, `audio`,
//!   `document`, `sticker` (`{"data", "mimetype", "caption", "fileName", "width", "height",
//!   "seconds", "voice" or "ptt", "gifPlayback", "animated", "thumbnail"}`, all but `data` optional,
//!   a picture's measures and thumbnail are made from it); `location` (`[latitude, longitude]` or
//!   `{"latitude", "longitude", "name", "address"}`); `contact` or `contacts` (`{"name", "phone" or
//!   "vcard"}`); `poll` (`{"name", "options", "selectable"}`); `album` (`{"images", "videos"}`); and
//!   with `quotedId`, `mentions`, `albumId`, `viewOnce`, `ephemeral` (seconds); a story
//!   (`"to": "status@broadcast"`) with its `readers`. Or `{"to", "protobuf"}`: base64 of a serialized message, which is encrypted and sent as it is.
//!   with `quotedId`, `mentions`, `albumId`, `viewOnce`, `ephemeral` (seconds).
//!   A hostile phone adds `raw`, whose fields are said in place of the truth: of a file
//!   `fileSha256`, `fileEncSha256`, `mediaKey` (in hexadecimal digits), `directPath`, `url`,
//!   `fileLength`, `mimetype`, `fileName`, `pageCount`, `seconds`, `width`, `height`, where its kind
//!   has them; of any message `pushName` and `id`.
//! - `GET .../sent`: what the phone sent and what became of it, with the votes in its polls.
//! - `POST .../vote {"messageId", "options"}`: a vote, which replaces the one before.
//! - `POST .../read`, `typing`, `react`, `edit`, `revoke`, `call`, `contacts`, `logout`,
//!   `lose-sessions`; `GET .../notices`.
//!   `react {"id", "emoji"}`, `edit {"id", "text"}` and `revoke {"id"}` may aim at any message in any
//!   chat: `{"to", "raw": {"key": {"remoteJid", "fromMe", "id", "participant"}}}` instead of `id`,
//!   with `pushName` and `id` in `raw` as above.
//! - `POST .../block {"phone", "blocked"}`: whoever is blocked
//!   may write, and is not heard.
//! - `GET/POST /sandbox/groups {"subject", "participants", "by", "addressing"}`: members are called by
//!   phone number (`pn`) or, if nothing is said, by hidden id (`lid`), as WhatsApp does today.
//! - `GET/POST/DELETE /sandbox/faults`: misfortunes, as in [`Fault`](super::Fault). For files:
//!   `cutMedia: true`, `expireMedia: {"directPath" | "messageId", "status"}` (at once; all files if
//!   none is named), `mediaLife: seconds`, `slowMedia: {"bytesPerSecond" | "delay"}`,
//!   `failUploads`/`failDownloads: {"status"}`, `cutUploads`/`cutDownloads: {"afterBytes"}`,
//!   `rejectMediaAuth: {"status"}` (without `count`: every key given out so far is refused).

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::base64;
use super::claims::Claims;
use super::drafts::PhoneDraft;
use super::message_actions::TargetMessage;
use super::network::Network;
use super::number::Form;
use super::profile::Profile;
use super::user_actions::Typing;
use crate::error::{Code, Error, Result};

/// Every call: its method and path, with the phone's number as a parameter.
pub const ROUTES: &[(&str, &str)] = &[
    ("GET", "/sandbox"),
    ("GET", "/sandbox/stats"),
    ("POST", "/sandbox/scan"),
    ("POST", "/sandbox/look"),
    ("POST", "/sandbox/pair-code"),
    ("GET", "/sandbox/groups"),
    ("POST", "/sandbox/groups"),
    ("GET", "/sandbox/faults"),
    ("POST", "/sandbox/faults"),
    ("DELETE", "/sandbox/faults"),
    ("GET", "/sandbox/phones/{phone}"),
    ("PUT", "/sandbox/phones/{phone}"),
    ("GET", "/sandbox/phones/{phone}/messages"),
    ("POST", "/sandbox/phones/{phone}/messages"),
    ("GET", "/sandbox/phones/{phone}/messages/{id}/file"),
    ("GET", "/sandbox/phones/{phone}/copies"),
    ("GET", "/sandbox/phones/{phone}/sent"),
    ("GET", "/sandbox/phones/{phone}/notices"),
    ("POST", "/sandbox/phones/{phone}/read"),
    ("POST", "/sandbox/phones/{phone}/typing"),
    ("POST", "/sandbox/phones/{phone}/react"),
    ("POST", "/sandbox/phones/{phone}/vote"),
    ("POST", "/sandbox/phones/{phone}/edit"),
    ("POST", "/sandbox/phones/{phone}/revoke"),
    ("POST", "/sandbox/phones/{phone}/call"),
    ("POST", "/sandbox/phones/{phone}/contacts"),
    ("POST", "/sandbox/phones/{phone}/block"),
    ("POST", "/sandbox/phones/{phone}/logout"),
    ("POST", "/sandbox/phones/{phone}/lose-sessions"),
];

/// The answer to a call: a status code and a body.
pub type ControlResponse = (u16, Value);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Scan {
    qr: String,
    phone: Option<String>,
}

#[derive(Deserialize)]
struct LookRequest {
    qr: String,
}

#[derive(Deserialize)]
struct PairCode {
    phone: String,
    code: String,
}

#[derive(Deserialize)]
struct Send {
    to: String,
    #[serde(flatten)]
    draft: Value,
}

#[derive(Deserialize)]
struct OfMessage {
    id: String,
}

/// What is done to an earlier message; a hostile phone may name any, in any chat.
#[derive(Deserialize, Default)]
#[serde(default)]
struct MessageAction {
    id: String,
    /// The sign of a reaction is written as `emoji`, too.
    #[serde(alias = "emoji")]
    text: String,
    to: Option<String>,
    raw: Claims,
}

impl MessageAction {
    fn target(&self) -> TargetMessage<'_> {
        TargetMessage {
            id: &self.id,
            to: self.to.as_deref(),
            claims: &self.raw,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VoteRequest {
    #[serde(alias = "id")]
    message_id: String,
    options: Vec<String>,
}

#[derive(Deserialize)]
struct TypingRequest {
    to: String,
    #[serde(default = "composing")]
    state: Typing,
}

fn composing() -> Typing {
    Typing::Composing
}

#[derive(Deserialize)]
struct CallRequest {
    to: String,
    #[serde(default)]
    video: bool,
    /// Of a call that is to end.
    id: Option<String>,
}

#[derive(Deserialize)]
struct ContactRequest {
    phone: String,
    name: String,
}

#[derive(Deserialize, Default)]
struct LogOut {
    device: Option<u16>,
}

#[derive(Deserialize)]
struct NewGroup {
    subject: String,
    participants: Vec<String>,
    /// Who makes it; the first participant, if nobody is named.
    by: Option<String>,
    /// By which names its members are called.
    addressing: Option<Form>,
    /// After how many seconds its messages disappear.
    #[serde(default)]
    ephemeral: u32,
}

#[derive(Deserialize)]
struct Block {
    phone: String,
    #[serde(default = "yes")]
    blocked: bool,
}

fn yes() -> bool {
    true
}

/// Does what a call of the control API asks for; the path may begin with `/sandbox`.
pub async fn handle(
    network: &Arc<Network>,
    method: &str,
    path: &str,
    body: &Value,
) -> Result<ControlResponse> {
    let path = path.trim_matches('/');
    let path = path.strip_prefix("sandbox").unwrap_or(path);
    let path: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (method, path.as_slice()) {
        ("GET", [""]) => shown(&network.overview()),
        ("GET", ["stats"]) => shown(&network.stats()),
        ("POST", ["scan"]) => {
            let Scan { qr, phone } = read(body)?;
            shown(&network.scan(&qr, phone.as_deref()).await?)
        }
        ("POST", ["look"]) => {
            let LookRequest { qr } = read(body)?;
            shown(&network.look(&qr)?)
        }
        ("POST", ["pair-code"]) => {
            let PairCode { phone, code } = read(body)?;
            shown(&network.pair_code(&phone, &code).await?)
        }
        ("GET", ["groups"]) => shown(&network.groups()),
        ("POST", ["groups"]) => {
            let NewGroup {
                subject,
                participants,
                by,
                addressing,
                ephemeral,
            } = read(body)?;
            let by = by.as_ref().or(participants.first());
            let by = by.ok_or_else(|| Error::invalid("a group needs somebody who makes it"))?;
            let form = addressing.unwrap_or(network.form_of_groups);
            let id = network.create_group_with(by, &subject, &participants, form, ephemeral)?;
            Ok((200, json!({ "id": id })))
        }
        ("GET", ["faults"]) => shown(&network.faults()),
        ("POST", ["faults"]) => {
            let id = network.order_fault(read(body)?)?;
            Ok((200, json!({ "id": id })))
        }
        ("DELETE", ["faults"]) => {
            network.clear_faults(body.get("id").and_then(Value::as_u64));
            Ok((200, json!({})))
        }
        (method, ["phones", phone]) => profile(network, method, phone, body),
        ("GET", ["phones", phone, "messages", id, "file"]) => {
            let (file, kind) = network.attachment_with_type(phone, id)?;
            let data = base64::encode(&file);
            Ok((
                200,
                json!({ "mimetype": kind, "size": file.len(), "data": data }),
            ))
        }
        (method, ["phones", phone, what]) => message_action(network, method, phone, what, body),
        _ => Err(Error::not_found("no such call")),
    }
}

fn profile(
    network: &Arc<Network>,
    method: &str,
    phone: &str,
    body: &Value,
) -> Result<ControlResponse> {
    match method {
        "GET" => shown(&network.phone(phone)?),
        "PUT" => {
            // What is not mentioned stays as it was.
            let mut profile =
                serde_json::to_value(network.phone(phone)?).map_err(Error::internal)?;
            let (Some(old), Some(new)) = (profile.as_object_mut(), body.as_object()) else {
                return Err(Error::invalid("an object is expected"));
            };
            old.extend(new.clone());
            let profile: Profile = read(&profile)?;
            network.set_phone(phone, profile)?;
            shown(&network.phone(phone)?)
        }
        _ => Err(Error::new(Code::MethodNotAllowed, "GET, PUT")),
    }
}

fn message_action(
    network: &Arc<Network>,
    method: &str,
    phone: &str,
    what: &str,
    body: &Value,
) -> Result<ControlResponse> {
    let done = || Ok((200, json!({})));
    let named = |id: String| Ok((200, json!({ "id": id })));
    match (method, what) {
        ("GET", "messages") => shown(&network.messages(phone)?),
        ("GET", "copies") => shown(&network.copies(phone)?),
        ("GET", "sent") => shown(&network.sent(phone)?),
        ("GET", "notices") => shown(&network.notices(phone)?),
        ("POST", "messages") => {
            let Send { to, draft } = read(body)?;
            let draft: PhoneDraft = read(&draft)?;
            named(network.send(phone, &to, &draft)?)
        }
        ("POST", "read") => {
            network.read(phone, &read::<OfMessage>(body)?.id)?;
            done()
        }
        ("POST", "typing") => {
            let TypingRequest { to, state } = read(body)?;
            network.typing(phone, &to, state)?;
            done()
        }
        ("POST", "react") => {
            let deed: MessageAction = read(body)?;
            named(network.react_at(phone, &deed.target(), &deed.text)?)
        }
        ("POST", "vote") => {
            let VoteRequest {
                message_id,
                options,
            } = read(body)?;
            named(network.vote(phone, &message_id, &options)?)
        }
        ("POST", "edit") => {
            let deed: MessageAction = read(body)?;
            named(network.edit_at(phone, &deed.target(), &deed.text)?)
        }
        ("POST", "revoke") => {
            let deed: MessageAction = read(body)?;
            named(network.revoke_at(phone, &deed.target())?)
        }
        ("POST", "call") => {
            let CallRequest { to, video, id } = read(body)?;
            match id {
                Some(id) => {
                    network.hang_up(phone, &to, &id)?;
                    named(id)
                }
                None => named(network.call(phone, &to, video)?),
            }
        }
        ("POST", "logout") => {
            let LogOut { device } = if body.is_null() {
                LogOut::default()
            } else {
                read(body)?
            };
            network.log_out(phone, device)?;
            done()
        }
        ("POST", "contacts") => {
            let ContactRequest {
                phone: contact,
                name,
            } = read(body)?;
            network.save_contact(phone, &contact, &name)?;
            done()
        }
        ("POST", "block") => {
            let Block {
                phone: whom,
                blocked,
            } = read(body)?;
            network.block(phone, &whom, blocked)?;
            done()
        }
        ("POST", "lose-sessions") => {
            network.lose_sessions(phone)?;
            done()
        }
        _ => Err(Error::not_found("no such call")),
    }
}

fn read<T: DeserializeOwned>(body: &Value) -> Result<T> {
    T::deserialize(body).map_err(|error| Error::invalid(error.to_string()))
}

fn shown<T: serde::Serialize>(value: &T) -> Result<ControlResponse> {
    Ok((200, serde_json::to_value(value).map_err(Error::internal)?))
}
