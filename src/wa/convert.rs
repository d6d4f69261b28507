//! Between the library's types and ours. Pure functions, no I/O.

mod addresses;
mod groups;
mod kinds;
mod media;
mod outgoing;
mod resent;
mod special;

use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::wacore::types::events::InboundMessage;
use whatsapp_rust::wacore::types::message::{MessageInfo, MessageSource};
use whatsapp_rust::wacore_binary as wire;
use whatsapp_rust::waproto::codec;
use whatsapp_rust::waproto::whatsapp as wa;

pub(super) use self::addresses::{from_wire, to_wire};
pub(super) use self::groups::group_change;
use self::kinds::{base, context_of, id_in, is_bookkeeping, is_internal, kind_of, target};
pub(super) use self::media::media_type;
use self::media::words;
pub use self::media::{VoteParties, open_vote};
pub(super) use self::outgoing::{OutgoingChat, message};
pub(super) use self::resent::resent;
use super::message::{DisappearingTimer, Incoming, IncomingContent, Person};
use crate::bytes64::Bytes64;
use crate::ids::MessageId;
use crate::jid::Jid;
use crate::names;
use crate::time::Timestamp;

/// How many mentions are taken from a message: as many as a group has members.
const MAX_MENTIONS: usize = 1024;

/// The most characters of a reaction; one emoji may take a dozen.
const MAX_EMOJI: usize = 32;

/// The largest message of an unknown kind that is told as it is.
const MAX_RAW: usize = 64 * 1024;

/// A message that arrived, or `None` when its id or addresses make no sense.
pub(super) fn incoming(inbound: &InboundMessage) -> Option<Incoming> {
    let heading = heading(&inbound.info)?;
    let whole = &*inbound.message;
    let base = base(whole);
    let context = context_of(base.body);
    let mut what = content_of(base.body);
    match &mut what {
        IncomingContent::Media(enclosed) => enclosed.view_once |= base.view_once,
        IncomingContent::Other { raw, size, .. } => {
            *size = codec::message_encoded_len(whole);
            *raw = (*size <= MAX_RAW).then(|| Bytes64(codec::message_to_vec(whole)));
        }
        _ => {}
    }
    let what = within(&inbound.info.source, base.body, what);
    let (kind, inner) = (kind_of(whole), kind_of(base.body));
    let comment = base.commented.or(inbound.info.comment_target.as_ref());
    Some(Incoming {
        kind,
        inner: (inner != kind).then_some(inner),
        timer: timer_of(base.body, context, heading.at),
        what,
        comments_on: comment.and_then(id_in),
        quoted: context
            .and_then(|c| c.stanza_id.as_deref())
            .and_then(|id| MessageId::parse(id).ok()),
        mentions: context
            .map(|c| {
                c.mentioned_jid
                    .iter()
                    .filter_map(|jid| Jid::parse(jid))
                    .take(MAX_MENTIONS)
                    .collect()
            })
            .unwrap_or_default(),
        mentions_all: context.and_then(|c| c.non_jid_mentions).unwrap_or_default() > 0,
        ..heading
    })
}

/// Where a message comes from, whatever it says; `None` when its id or addresses make no sense.
pub(super) fn heading(info: &MessageInfo) -> Option<Incoming> {
    let source = &info.source;
    Some(Incoming {
        id: MessageId::parse(&info.id).ok()?,
        chat: chat_of(source)?,
        person: person_of(&source.sender, source.sender_alt.as_ref()),
        sender: from_wire(&source.sender)?,
        from_me: source.is_from_me,
        at: Timestamp::from_secs(info.timestamp.timestamp()),
        push_name: names::of_person(&info.push_name),
        kind: "unknown",
        inner: None,
        what: IncomingContent::Nothing,
        comments_on: None,
        quoted: None,
        mentions: Vec::new(),
        mentions_all: false,
        timer: None,
    })
}

/// What a message tells of the time after which its chat's messages disappear. Nobody may date it
/// after the message itself, or no later change would count.
fn timer_of(
    body: &wa::Message,
    context: Option<&wa::ContextInfo>,
    at: Timestamp,
) -> Option<DisappearingTimer> {
    use wa::message::protocol_message::Type;
    let (seconds, set) = match body.protocol_message.as_option() {
        Some(change) if change.r#type == Some(Type::EPHEMERAL_SETTING) => (
            change.ephemeral_expiration.unwrap_or_default(),
            change.ephemeral_setting_timestamp,
        ),
        _ => {
            let context = context?;
            (context.expiration?, context.ephemeral_setting_timestamp)
        }
    };
    let at = at.as_secs();
    let set = set.map_or(at, |set| set.min(at));
    Some(DisappearingTimer { seconds, set })
}

/// What a message says, unless it is about one that it puts into another group. In a chat of two the
/// key's chat is the sender's view of it, which means nothing here; it is always this chat.
fn within(source: &MessageSource, body: &wa::Message, what: IncomingContent) -> IncomingContent {
    let key = match &what {
        IncomingContent::Reaction { .. } => body.reaction_message.as_option().map(|m| &m.key),
        IncomingContent::Edit { .. } | IncomingContent::Revoke { .. } => {
            body.protocol_message.as_option().map(|m| &m.key)
        }
        _ => return what,
    };
    let named = key.and_then(|key| key.as_option()?.remote_jid.as_deref());
    let elsewhere = |chat: &str| source.is_group && Jid::parse(chat) != from_wire(&source.chat);
    match named.filter(|chat| elsewhere(chat)) {
        Some(_) => IncomingContent::Nothing,
        None => what,
    }
}

/// The chat's name: a person's by number when the number is known.
pub(super) fn chat_of(source: &MessageSource) -> Option<Jid> {
    if source.chat.is_lid() && !source.is_group {
        let alt = if source.is_from_me {
            &source.recipient_alt
        } else {
            &source.sender_alt
        };
        if let Some(pn) = alt.as_ref().filter(|jid| jid.is_pn()) {
            return from_wire(pn);
        }
    }
    from_wire(&source.chat)
}

/// Both names of a person, as far as the stanza tells them.
pub(super) fn person_of(jid: &wire::Jid, alt: Option<&wire::Jid>) -> Person {
    let both = [Some(jid), alt];
    let names = || both.iter().flatten();
    Person {
        number: names().find(|j| j.is_pn()).map(|j| j.user.to_string()),
        lid: names().find(|j| j.is_lid()).and_then(|j| from_wire(j)),
    }
}

/// What the bytes of a decrypted message say, and its type; `None` when they are no message.
#[cfg(feature = "sandbox")]
pub fn parse_content(bytes: &[u8]) -> Option<(&'static str, IncomingContent)> {
    let message = <wa::Message as whatsapp_rust::buffa::Message>::decode_from_slice(bytes).ok()?;
    Some((kind_of(&message), content_of(base(&message).body)))
}

/// Who wrote the message that a key names, when that is said to be somebody else than the key's writer.
fn author(key: &MessageField<wa::MessageKey>) -> Option<Jid> {
    let key = key.as_option().filter(|key| key.from_me == Some(false))?;
    Jid::parse(key.participant.as_deref().or(key.remote_jid.as_deref())?)
}

/// What a message says; one that is not understood is still told as [`IncomingContent::Other`].
fn content_of(body: &wa::Message) -> IncomingContent {
    if let Some(reaction) = body.reaction_message.as_option()
        && let Some(target) = target(&reaction.key)
    {
        let emoji = reaction.text.iter().flat_map(|text| text.chars());
        let emoji = emoji.take(MAX_EMOJI).collect();
        return IncomingContent::Reaction { target, emoji };
    }
    if let Some(change) = body.protocol_message.as_option() {
        use wa::message::protocol_message::Type;
        if is_bookkeeping(change) {
            return IncomingContent::Nothing;
        }
        match (change.r#type, target(&change.key)) {
            (Some(Type::Revoke), Some(target)) => {
                let author = author(&change.key);
                return IncomingContent::Revoke { target, author };
            }
            // Only who wrote a message can change it.
            (Some(Type::MessageEdit), Some(_)) if author(&change.key).is_some() => {
                return IncomingContent::Nothing;
            }
            (Some(Type::MessageEdit), Some(target)) => {
                let body = change.edited_message.as_option().and_then(words);
                let body = body.unwrap_or_default().to_owned();
                return IncomingContent::Edit { target, body };
            }
            _ => {}
        }
    }
    let text = body.conversation.as_deref().filter(|text| !text.is_empty());
    let extended = body.extended_text_message.as_option();
    if let Some(text) = text.or_else(|| extended?.text.as_deref()) {
        return IncomingContent::Text(text.to_owned());
    }
    if let Some(said) = media::content_of(body).or_else(|| special::content_of(body)) {
        return said;
    }
    if is_internal(kind_of(body)) {
        return IncomingContent::Nothing;
    }
    IncomingContent::Other {
        caption: words(body).map(str::to_owned),
        raw: None,
        size: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{OutgoingContent, Quote};
    use super::*;
    use crate::error::Result;

    fn jid(text: &str) -> Jid {
        Jid::parse(text).expect("a JID")
    }

    fn sent_to(to: &Jid, what: &OutgoingContent, now: Timestamp) -> Result<wa::Message> {
        let (own, timer) = (None, None);
        message(OutgoingChat { to, own, timer }, what, None, now)
    }

    #[test]
    fn plain_words_need_no_context_and_come_back_as_they_went() {
        let to = jid("6281234567890@s.whatsapp.net");
        let what = OutgoingContent::Text {
            body: "a & b < c".into(),
            mentions: vec![],
            quote: None,
        };
        let sent = sent_to(&to, &what, Timestamp::from_ms(0)).expect("a message");
        assert_eq!(sent.conversation.as_deref(), Some("a & b < c"));
        assert_eq!(content_of(&sent), IncomingContent::Text("a & b < c".into()));
        assert_eq!(kind_of(&sent), "conversation");
    }

    #[test]
    fn a_quote_names_its_message_and_its_writer() {
        let group = jid("120363021033254949@g.us");
        let quote = Quote {
            id: MessageId::parse("ABC").expect("an id"),
            sender: Some(jid("6281234567890@s.whatsapp.net")),
            text: "hi".into(),
            shown: None,
        };
        let what = OutgoingContent::Text {
            body: "yes".into(),
            mentions: vec![jid("62811111111@s.whatsapp.net")],
            quote: Some(quote),
        };
        let sent = sent_to(&group, &what, Timestamp::from_ms(0)).expect("a message");
        let context = context_of(&sent).expect("a context");
        assert_eq!(context.stanza_id.as_deref(), Some("ABC"));
        assert_eq!(
            context.participant.as_deref(),
            Some("6281234567890@s.whatsapp.net")
        );
        assert_eq!(context.mentioned_jid, ["62811111111@s.whatsapp.net"]);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_of_a_stranger_break_the_reading(bytes: Vec<u8>) {
            let _ = parse_content(&bytes);
        }
    }

    #[test]
    fn edits_revokes_and_reactions_are_read_back() {
        let to = jid("6281234567890@s.whatsapp.net");
        let target = MessageId::parse("ABC").expect("an id");
        let now = Timestamp::from_ms(5);
        let edit = OutgoingContent::Edit {
            target: target.clone(),
            body: "new".into(),
            mentions: vec![],
        };
        assert_eq!(
            content_of(&sent_to(&to, &edit, now).expect("a message")),
            IncomingContent::Edit {
                target: target.clone(),
                body: "new".into()
            }
        );
        let revoke = OutgoingContent::Revoke {
            target: target.clone(),
        };
        assert_eq!(
            content_of(&sent_to(&to, &revoke, now).expect("a message")),
            IncomingContent::Revoke {
                target: target.clone(),
                author: None,
            }
        );
        let react = OutgoingContent::Reaction {
            target: target.clone(),
            target_from_me: true,
            target_sender: None,
            emoji: "👍".into(),
        };
        assert_eq!(
            content_of(&sent_to(&to, &react, now).expect("a message")),
            IncomingContent::Reaction {
                target,
                emoji: "👍".into()
            }
        );
    }
}
