//! The protobuf message for what we send.

use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::waproto::whatsapp as wa;

use super::media;
use crate::error::{Error, Result};
use crate::ids::MessageId;
use crate::jid::Jid;
use crate::time::Timestamp;
use crate::wa::message::{
    Attachment, Context, DisappearingTimer, OutgoingContent, Quote, QuotedContent,
};

/// Where a message goes, as far as its content depends on it.
#[derive(Clone, Copy)]
pub(in crate::wa) struct OutgoingChat<'a> {
    /// The person or the group.
    pub(in crate::wa) to: &'a Jid,
    /// Our own address there.
    pub(in crate::wa) own: Option<&'a Jid>,
    /// After which time its messages disappear, ours too.
    pub(in crate::wa) timer: Option<DisappearingTimer>,
}

/// The message that says this; `file` is the uploaded file of one that shows a file.
pub(in crate::wa) fn message(
    chat: OutgoingChat<'_>,
    what: &OutgoingContent,
    file: Option<&Attachment>,
    now: Timestamp,
) -> Result<wa::Message> {
    let beside = |context: &Context| chat.context(&context.mentions, context.quote.as_ref());
    Ok(match what {
        OutgoingContent::Media {
            kind,
            mimetype,
            file_name,
            caption,
            album,
            context,
            ..
        } => {
            let file = file.ok_or_else(|| Error::internal("a file message without its file"))?;
            let beside = media::FileContext {
                mimetype: mimetype.as_deref(),
                file_name: file_name.as_deref(),
                caption: caption.as_deref(),
                context: beside(context),
            };
            let mut message = media::enclosing(*kind, file, beside);
            if let Some(album) = album {
                media::put_into_album(&mut message, chat.to, album);
            }
            message
        }
        OutgoingContent::Album { images, videos } => {
            media::album(*images, *videos, chat.context(&[], None))
        }
        OutgoingContent::Location { place, context } => media::location(place, beside(context)),
        OutgoingContent::Contacts { cards, context } => media::contacts(cards, beside(context)),
        OutgoingContent::Poll {
            question,
            options,
            selectable,
            secret,
            context,
        } => media::poll(question, options, *selectable, secret, beside(context)),
        OutgoingContent::Text {
            body,
            mentions,
            quote,
        } => text(body, chat.context(mentions, quote.as_ref())),
        OutgoingContent::Reaction {
            target,
            target_from_me,
            target_sender,
            emoji,
        } => {
            let sender = target_sender.as_ref().filter(|_| !target_from_me);
            reaction(chat.key(target, *target_from_me, sender), emoji, now)
        }
        OutgoingContent::Edit {
            target,
            body,
            mentions,
        } => {
            // The new words disappear with the message, by its own time.
            let lasting = OutgoingChat {
                timer: None,
                ..chat
            };
            change(wa::message::ProtocolMessage {
                key: MessageField::some(chat.key(target, true, chat.own)),
                r#type: Some(wa::message::protocol_message::Type::MessageEdit),
                edited_message: MessageField::some(text(body, lasting.context(mentions, None))),
                timestamp_ms: Some(now.as_ms()),
                ..Default::default()
            })
        }
        OutgoingContent::Revoke { target } => change(wa::message::ProtocolMessage {
            key: MessageField::some(chat.key(target, true, None)),
            r#type: Some(wa::message::protocol_message::Type::Revoke),
            ..Default::default()
        }),
    })
}

impl OutgoingChat<'_> {
    /// Who is mentioned, what is answered, and when the message disappears; none where it is nothing of that.
    fn context(&self, mentions: &[Jid], quote: Option<&Quote>) -> MessageField<wa::ContextInfo> {
        if mentions.is_empty() && quote.is_none() && self.timer.is_none() {
            return MessageField::none();
        }
        let mut context = wa::ContextInfo {
            mentioned_jid: mentions.iter().map(Jid::to_string).collect(),
            expiration: self.timer.map(|timer| timer.seconds),
            ephemeral_setting_timestamp: self.timer.map(|timer| timer.set),
            ..Default::default()
        };
        if let Some(quote) = quote {
            context.stanza_id = Some(quote.id.to_string());
            let writer = quote
                .sender
                .as_ref()
                .or(self.own)
                .or_else(|| (!self.to.is_group()).then_some(self.to));
            context.participant = writer.map(Jid::to_string);
            context.quoted_message = MessageField::some(quoted(quote));
        }
        MessageField::some(context)
    }

    /// Names an earlier message of the chat; its sender is told in a group.
    fn key(&self, id: &MessageId, from_me: bool, sender: Option<&Jid>) -> wa::MessageKey {
        wa::MessageKey {
            remote_jid: Some(self.to.to_string()),
            from_me: Some(from_me),
            id: Some(id.to_string()),
            participant: sender.filter(|_| self.to.is_group()).map(Jid::to_string),
        }
    }
}

/// An emoji on the message that the key names.
fn reaction(key: wa::MessageKey, emoji: &str, now: Timestamp) -> wa::Message {
    wa::Message {
        reaction_message: MessageField::some(wa::message::ReactionMessage {
            key: MessageField::some(key),
            text: Some(emoji.to_owned()),
            sender_timestamp_ms: Some(now.as_ms()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A change to an earlier message of ours.
fn change(change: wa::message::ProtocolMessage) -> wa::Message {
    wa::Message {
        protocol_message: MessageField::some(change),
        ..Default::default()
    }
}

/// Plain words travel as `conversation`; with a context they are another kind of message.
fn text(body: &str, context: MessageField<wa::ContextInfo>) -> wa::Message {
    if !context.is_set() {
        return wa::Message {
            conversation: Some(body.to_owned()),
            ..Default::default()
        };
    }
    wa::Message {
        extended_text_message: MessageField::some(wa::message::ExtendedTextMessage {
            text: Some(body.to_owned()),
            context_info: context,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The message that an answer shows above itself.
fn quoted(quote: &Quote) -> wa::Message {
    match &quote.shown {
        Some(QuotedContent::File(shown)) => {
            let beside = media::FileContext {
                mimetype: None,
                file_name: shown.name.as_deref(),
                caption: shown.caption.as_deref(),
                context: MessageField::none(),
            };
            media::enclosing(shown.kind, &shown.file, beside)
        }
        Some(QuotedContent::Place(place)) => media::location(place, MessageField::none()),
        Some(QuotedContent::Cards(cards)) => media::contacts(cards, MessageField::none()),
        None => wa::Message {
            conversation: Some(quote.text.clone()),
            ..Default::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds::{base, context_of};
    use super::*;
    use crate::bytes64::Bytes64;
    use crate::ids::Hash;
    use crate::wa::direct_path::DirectPath;
    use crate::wa::message::{
        ContactCard, Degrees, FileKey, Location, MediaInfo, MediaKind, Pointer,
    };

    fn id(text: &str) -> MessageId {
        MessageId::parse(text).expect("an id")
    }

    /// One of each kind of content, each from the one before. A new kind does not compile here.
    fn after(what: Option<&OutgoingContent>) -> Option<OutgoingContent> {
        let context = Context::default();
        Some(match what {
            None => OutgoingContent::Text {
                body: "words".into(),
                mentions: vec![],
                quote: None,
            },
            Some(OutgoingContent::Text { .. }) => OutgoingContent::Reaction {
                target: id("A"),
                target_from_me: true,
                target_sender: None,
                emoji: "+".into(),
            },
            Some(OutgoingContent::Reaction { .. }) => OutgoingContent::Edit {
                target: id("A"),
                body: "words".into(),
                mentions: vec![],
            },
            Some(OutgoingContent::Edit { .. }) => OutgoingContent::Revoke { target: id("A") },
            Some(OutgoingContent::Revoke { .. }) => OutgoingContent::Media {
                file: FileKey {
                    sha256: Hash([0; 32]),
                    purpose: "image".into(),
                },
                kind: MediaKind::Document,
                mimetype: None,
                file_name: None,
                // In a wrapper of its own.
                caption: Some("words".into()),
                album: None,
                context,
            },
            Some(OutgoingContent::Media { .. }) => OutgoingContent::Album {
                images: 2,
                videos: 0,
            },
            Some(OutgoingContent::Album { .. }) => OutgoingContent::Location {
                place: Location {
                    latitude: Degrees::new(1.0, 90.0)?,
                    longitude: Degrees::new(1.0, 180.0)?,
                    name: None,
                    address: None,
                },
                context,
            },
            Some(OutgoingContent::Location { .. }) => OutgoingContent::Contacts {
                cards: vec![ContactCard {
                    name: "Budi".into(),
                    vcard: String::new(),
                }],
                context,
            },
            Some(OutgoingContent::Contacts { .. }) => OutgoingContent::Poll {
                question: "which?".into(),
                options: vec!["a".into(), "b".into()],
                selectable: 1,
                secret: Bytes64(vec![0; 32]),
                context,
            },
            Some(OutgoingContent::Poll { .. }) => return None,
        })
    }

    fn file() -> Attachment {
        Attachment {
            pointer: Pointer {
                url: None,
                direct_path: DirectPath::parse("/v/t62/1").expect("a path"),
                key: Bytes64(vec![0; 32]),
                keyed_at: 0,
                sha256: Bytes64(vec![0; 32]),
                sealed_sha256: Bytes64(vec![0; 32]),
                length: 1,
                sidecar: None,
            },
            mimetype: "text/plain".into(),
            look: MediaInfo::default(),
        }
    }

    #[test]
    fn whatever_we_send_disappears_with_its_chat() {
        let to = Jid::parse("6281234567890@s.whatsapp.net").expect("a JID");
        let timer = DisappearingTimer {
            seconds: 86_400,
            set: 5,
        };
        let (mut what, mut count) = (after(None), 0);
        while let Some(content) = &what {
            let of = |timer| {
                let (own, to) = (None, &to);
                let chat = OutgoingChat { to, own, timer };
                message(chat, content, Some(&file()), Timestamp::from_ms(0)).expect("a message")
            };
            let (lasting, sent) = (of(None), of(Some(timer)));
            // What is about another message goes with that one.
            let changes = matches!(
                content,
                OutgoingContent::Reaction { .. }
                    | OutgoingContent::Edit { .. }
                    | OutgoingContent::Revoke { .. }
            );
            let told = context_of(base(&sent).body);
            let told = told.map(|told| (told.expiration, told.ephemeral_setting_timestamp));
            let expected = (!changes).then_some((Some(86_400), Some(5)));
            assert_eq!(told, expected, "{content:?}");
            assert_eq!(lasting == sent, changes, "{content:?}");
            assert!(context_of(base(&lasting).body).is_none(), "{content:?}");
            what = after(what.as_ref());
            count += 1;
        }
        assert_eq!(count, 9);
    }
}
