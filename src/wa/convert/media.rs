//! Between the library's types and ours for everything that is more than words: files, places,
//! cards, polls and votes.

use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::wacore::download::MediaType;
use whatsapp_rust::wacore::poll::{
    PollVoteAddressing, PollVoteCiphertext, compute_option_hash, decrypt_poll_vote_with_fallback,
};
use whatsapp_rust::waproto::whatsapp as wa;

use super::kinds::{base, target};
use crate::bytes64::Bytes64;
use crate::ids::MessageId;
use crate::jid::Jid;
use crate::names;
use crate::wa::direct_path::DirectPath;
use crate::wa::message::{
    AttachedFile, Attachment, ContactCard, Degrees, IncomingContent, Location, MediaInfo,
    MediaKind, Pointer, SealedVote,
};

/// The largest thumbnail that is taken from a stranger's message.
const MAX_THUMBNAIL: usize = 32 * 1024;

/// The largest file that is taken for one; WhatsApp's own limit is 2 GB.
const MAX_LENGTH: u64 = 4 << 30;

/// The most pixels of a side, and the longest play, that are believed.
const MAX_SIDE: u32 = 65_535;
const MAX_SECONDS: u32 = 31 * 24 * 3600;

/// How many cards and answers are taken from a message; WhatsApp's clients send 257 and 12 at most.
const MAX_CARDS: usize = 512;
const MAX_OPTIONS: usize = 64;

/// What the library seals and uploads such a file as.
pub(in crate::wa) fn media_type(kind: MediaKind) -> MediaType {
    match kind {
        MediaKind::Image => MediaType::Image,
        MediaKind::Video | MediaKind::Gif => MediaType::Video,
        MediaKind::Audio | MediaKind::Voice => MediaType::Audio,
        MediaKind::Document => MediaType::Document,
        MediaKind::Sticker => MediaType::Sticker,
    }
}

/// What stands beside a file in its message.
pub(super) struct FileContext<'a> {
    pub(super) mimetype: Option<&'a str>,
    pub(super) file_name: Option<&'a str>,
    pub(super) caption: Option<&'a str>,
    pub(super) context: MessageField<wa::ContextInfo>,
}

/// The message that shows an uploaded file.
pub(super) fn enclosing(
    kind: MediaKind,
    file: &Attachment,
    beside: FileContext<'_>,
) -> wa::Message {
    let (pointer, look) = (&file.pointer, &file.look);
    let context_info = beside.context;
    let caption = beside.caption.map(str::to_owned);
    let mimetype = Some(beside.mimetype.unwrap_or(&file.mimetype).to_owned());
    let thumbnail = look.thumbnail.as_ref().map(|t| t.0.clone());
    // Every kind of file has these fields, under these names.
    macro_rules! file {
        ($kind:ident { $($extra:tt)* }) => {
            MessageField::some(wa::message::$kind {
                url: pointer.url.clone(),
                direct_path: Some(pointer.direct_path.as_str().to_owned()),
                media_key: Some(pointer.key.0.clone()),
                media_key_timestamp: Some(pointer.keyed_at),
                file_sha256: Some(pointer.sha256.0.clone()),
                file_enc_sha256: Some(pointer.sealed_sha256.0.clone()),
                file_length: Some(pointer.length),
                mimetype,
                context_info,
                $($extra)*
                ..Default::default()
            })
        };
    }
    let sidecar = || pointer.sidecar.as_ref().map(|s| s.0.clone());
    let mut message = wa::Message::default();
    match kind {
        MediaKind::Image => {
            message.image_message = file!(ImageMessage {
                caption,
                jpeg_thumbnail: thumbnail,
                width: look.width,
                height: look.height,
            });
        }
        MediaKind::Video | MediaKind::Gif => {
            message.video_message = file!(VideoMessage {
                caption,
                jpeg_thumbnail: thumbnail,
                width: look.width,
                height: look.height,
                seconds: look.seconds,
                gif_playback: (kind == MediaKind::Gif).then_some(true),
                streaming_sidecar: sidecar(),
            });
        }
        MediaKind::Audio | MediaKind::Voice => {
            message.audio_message = file!(AudioMessage {
                seconds: look.seconds,
                ptt: Some(kind == MediaKind::Voice),
                streaming_sidecar: sidecar(),
            });
        }
        MediaKind::Sticker => {
            message.sticker_message = file!(StickerMessage {
                width: look.width,
                height: look.height,
                is_animated: Some(look.animated),
            });
        }
        MediaKind::Document => {
            let name = beside.file_name.map(str::to_owned);
            let wrapped = caption.is_some();
            message.document_message = file!(DocumentMessage {
                caption,
                title: name.clone(),
                file_name: name,
                jpeg_thumbnail: thumbnail,
            });
            // WhatsApp's clients show a document's caption only inside of this wrapper.
            if wrapped {
                message = wa::Message {
                    document_with_caption_message: MessageField::some(
                        wa::message::FutureProofMessage {
                            message: MessageField::some(message),
                        },
                    ),
                    ..Default::default()
                };
            }
        }
    }
    message
}

/// The message that shows a place.
pub(super) fn location(place: &Location, context: MessageField<wa::ContextInfo>) -> wa::Message {
    wa::Message {
        location_message: MessageField::some(wa::message::LocationMessage {
            degrees_latitude: Some(place.latitude.value()),
            degrees_longitude: Some(place.longitude.value()),
            name: place.name.clone(),
            address: place.address.clone(),
            context_info: context,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The message that hands people's cards over.
pub(super) fn contacts(
    cards: &[ContactCard],
    context: MessageField<wa::ContextInfo>,
) -> wa::Message {
    let card = |card: &ContactCard, context_info| wa::message::ContactMessage {
        display_name: Some(card.name.clone()),
        vcard: Some(card.vcard.clone()),
        context_info,
        ..Default::default()
    };
    match cards {
        [one] => wa::Message {
            contact_message: MessageField::some(card(one, context)),
            ..Default::default()
        },
        many => wa::Message {
            contacts_array_message: MessageField::some(wa::message::ContactsArrayMessage {
                display_name: Some(format!("{} contacts", many.len())),
                contacts: many
                    .iter()
                    .map(|one| card(one, MessageField::none()))
                    .collect(),
                context_info: context,
            }),
            ..Default::default()
        },
    }
}

/// The message that asks a question. With one choice it is the third form of the message, with
/// more the first, as WhatsApp's web client does it.
pub(super) fn poll(
    question: &str,
    options: &[String],
    selectable: u32,
    secret: &Bytes64,
    context: MessageField<wa::ContextInfo>,
) -> wa::Message {
    let poll = MessageField::some(wa::message::PollCreationMessage {
        name: Some(question.to_owned()),
        options: options
            .iter()
            .map(|name| wa::message::poll_creation_message::Option {
                option_name: Some(name.clone()),
                option_hash: None,
            })
            .collect(),
        selectable_options_count: Some(selectable),
        poll_content_type: Some(wa::message::PollContentType::TEXT),
        context_info: context,
        ..Default::default()
    });
    let mut message = wa::Message {
        message_context_info: MessageField::some(wa::MessageContextInfo {
            message_secret: Some(secret.0.clone()),
            ..Default::default()
        }),
        ..Default::default()
    };
    if selectable == 1 {
        message.poll_creation_message_v3 = poll;
    } else {
        message.poll_creation_message = poll;
    }
    message
}

/// The head of an album.
pub(super) fn album(
    images: u32,
    videos: u32,
    context: MessageField<wa::ContextInfo>,
) -> wa::Message {
    wa::Message {
        album_message: MessageField::some(wa::message::AlbumMessage {
            expected_image_count: Some(images),
            expected_video_count: Some(videos),
            context_info: context,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Marks a message as part of an album of ours.
pub(super) fn put_into_album(message: &mut wa::Message, to: &Jid, album: &MessageId) {
    use wa::message_association::AssociationType;
    let key = wa::MessageKey {
        remote_jid: Some(to.to_string()),
        from_me: Some(true),
        id: Some(album.to_string()),
        participant: None,
    };
    message.message_context_info = MessageField::some(wa::MessageContextInfo {
        message_association: MessageField::some(wa::MessageAssociation {
            association_type: Some(AssociationType::MEDIA_ALBUM),
            parent_message_key: MessageField::some(key),
            ..Default::default()
        }),
        ..Default::default()
    });
}

/// What a message says that is neither words nor a change to another message.
pub(super) fn content_of(body: &wa::Message) -> Option<IncomingContent> {
    if let Some(enclosed) = enclosed(body) {
        return Some(IncomingContent::Media(Box::new(enclosed)));
    }
    if let Some(m) = body.location_message.as_option() {
        return Some(IncomingContent::Location(Location {
            latitude: Degrees::new(m.degrees_latitude?, 90.0)?,
            longitude: Degrees::new(m.degrees_longitude?, 180.0)?,
            name: m.name.clone(),
            address: m.address.clone(),
        }));
    }
    let card = |m: &wa::message::ContactMessage| ContactCard {
        name: names::of_person(m.display_name.as_deref().unwrap_or_default()),
        vcard: m.vcard.clone().unwrap_or_default(),
    };
    if let Some(m) = body.contact_message.as_option() {
        return Some(IncomingContent::Contacts(vec![card(m)]));
    }
    if let Some(m) = body.contacts_array_message.as_option() {
        let cards = m.contacts.iter().take(MAX_CARDS);
        return Some(IncomingContent::Contacts(cards.map(card).collect()));
    }
    let polls = [
        &body.poll_creation_message,
        &body.poll_creation_message_v2,
        &body.poll_creation_message_v3,
        &body.poll_creation_message_v5,
        &body.poll_creation_message_v6,
    ];
    if let Some(m) = polls.into_iter().find_map(|poll| poll.as_option()) {
        return Some(IncomingContent::Poll {
            question: m.name.clone().unwrap_or_default(),
            options: m
                .options
                .iter()
                .filter_map(|option| option.option_name.clone())
                .take(MAX_OPTIONS)
                .collect(),
        });
    }
    if let Some(m) = body.poll_update_message.as_option() {
        let vote = m.vote.as_option()?;
        return Some(IncomingContent::Vote(Box::new(SealedVote {
            poll: target(&m.poll_creation_message_key)?,
            payload: vote.enc_payload.clone()?,
            nonce: vote.enc_iv.clone()?,
        })));
    }
    None
}

/// The file in a message, when what is needed to open it is all there.
pub(super) fn enclosed(body: &wa::Message) -> Option<AttachedFile> {
    let films = [&body.video_message, &body.ptv_message];
    let found = if let Some(m) = body.image_message.as_option() {
        image(m)
    } else if let Some(m) = films.into_iter().find_map(|m| m.as_option()) {
        film(m)
    } else if let Some(m) = body.audio_message.as_option() {
        sound(m)
    } else if let Some(m) = body.document_message.as_option() {
        document(m)
    } else {
        sticker(body.sticker_message.as_option()?)
    };
    Some(AttachedFile {
        caption: caption(body).map(str::to_owned),
        ..found?
    })
}

/// What every kind of file has, under the same names; without its caption.
macro_rules! enclosed {
    ($m:expr, $kind:expr, $usual:literal, $thumbnail:expr, $look:expr) => {{
        let m = $m;
        let look: MediaInfo = $look;
        Some(AttachedFile {
            kind: $kind,
            file: Attachment {
                pointer: Pointer {
                    // Never asked for: its host is whatever the sender likes.
                    url: None,
                    direct_path: path(&m.direct_path, &m.url)?,
                    key: of_32_bytes(&m.media_key)?,
                    keyed_at: m.media_key_timestamp.unwrap_or_default(),
                    sha256: of_32_bytes(&m.file_sha256)?,
                    sealed_sha256: of_32_bytes(&m.file_enc_sha256)?,
                    length: Some(m.file_length.unwrap_or_default())
                        .filter(|length| *length <= MAX_LENGTH)?,
                    sidecar: None,
                },
                mimetype: mimetype(&m.mimetype).unwrap_or($usual).to_owned(),
                look: MediaInfo {
                    thumbnail: thumbnail($thumbnail),
                    width: look.width.filter(|side| *side <= MAX_SIDE),
                    height: look.height.filter(|side| *side <= MAX_SIDE),
                    seconds: look.seconds.filter(|seconds| *seconds <= MAX_SECONDS),
                    ..look
                },
            },
            name: None,
            caption: None,
            view_once: false,
        })
    }};
}

fn size(width: Option<u32>, height: Option<u32>) -> MediaInfo {
    MediaInfo {
        width,
        height,
        ..MediaInfo::default()
    }
}

fn image(m: &wa::message::ImageMessage) -> Option<AttachedFile> {
    let look = size(m.width, m.height);
    let found = enclosed!(m, MediaKind::Image, "image/jpeg", &m.jpeg_thumbnail, look)?;
    Some(AttachedFile {
        view_once: m.view_once.unwrap_or_default(),
        ..found
    })
}

fn film(m: &wa::message::VideoMessage) -> Option<AttachedFile> {
    let kind = if m.gif_playback == Some(true) {
        MediaKind::Gif
    } else {
        MediaKind::Video
    };
    let look = MediaInfo {
        seconds: m.seconds,
        ..size(m.width, m.height)
    };
    let found = enclosed!(m, kind, "video/mp4", &m.jpeg_thumbnail, look)?;
    Some(AttachedFile {
        view_once: m.view_once.unwrap_or_default(),
        ..found
    })
}

fn sound(m: &wa::message::AudioMessage) -> Option<AttachedFile> {
    let kind = if m.ptt == Some(true) {
        MediaKind::Voice
    } else {
        MediaKind::Audio
    };
    let look = MediaInfo {
        seconds: m.seconds,
        ..MediaInfo::default()
    };
    let found = enclosed!(m, kind, "audio/ogg; codecs=opus", &None, look)?;
    Some(AttachedFile {
        view_once: m.view_once.unwrap_or_default(),
        ..found
    })
}

fn document(m: &wa::message::DocumentMessage) -> Option<AttachedFile> {
    let (usual, thumbnail) = (MediaInfo::default(), &m.jpeg_thumbnail);
    let kind = MediaKind::Document;
    let found = enclosed!(m, kind, "application/octet-stream", thumbnail, usual)?;
    let name = m.file_name.as_deref().or(m.title.as_deref());
    Some(AttachedFile {
        name: name.and_then(names::of_file),
        ..found
    })
}

fn sticker(m: &wa::message::StickerMessage) -> Option<AttachedFile> {
    let look = MediaInfo {
        animated: m.is_animated.unwrap_or_default(),
        ..size(m.width, m.height)
    };
    enclosed!(m, MediaKind::Sticker, "image/webp", &None, look)
}

/// The words of a message: itself, or below its file.
pub(super) fn words(message: &wa::Message) -> Option<&str> {
    let body = base(message).body;
    if let Some(text) = body.conversation.as_deref().filter(|text| !text.is_empty()) {
        return Some(text);
    }
    if let Some(m) = body.extended_text_message.as_option() {
        return m.text.as_deref();
    }
    caption(body)
}

/// The words below a file.
pub(super) fn caption(body: &wa::Message) -> Option<&str> {
    let videos = [&body.video_message, &body.ptv_message];
    let caption = if let Some(m) = body.image_message.as_option() {
        &m.caption
    } else if let Some(m) = videos.into_iter().find_map(|m| m.as_option()) {
        &m.caption
    } else {
        &body.document_message.as_option()?.caption
    };
    caption.as_deref().filter(|caption| !caption.is_empty())
}

/// Where a file lies: by its path, or by that of its address.
fn path(direct: &Option<String>, url: &Option<String>) -> Option<DirectPath> {
    match direct.as_deref().filter(|path| !path.is_empty()) {
        Some(path) => DirectPath::parse(path),
        None => DirectPath::of_url(url.as_deref()?),
    }
}

/// A key or a hash.
fn of_32_bytes(bytes: &Option<Vec<u8>>) -> Option<Bytes64> {
    let bytes = bytes.as_ref().filter(|bytes| bytes.len() == 32)?;
    Some(Bytes64(bytes.clone()))
}

/// A type as it may stand in a header.
fn mimetype(text: &Option<String>) -> Option<&str> {
    let legal = |b: u8| b.is_ascii_graphic() || b == b' ';
    let text = text.as_deref()?;
    (text.contains('/') && text.len() <= 255 && text.bytes().all(legal)).then_some(text)
}

fn thumbnail(bytes: &Option<Vec<u8>>) -> Option<Bytes64> {
    bytes
        .as_ref()
        .filter(|bytes| !bytes.is_empty() && bytes.len() <= MAX_THUMBNAIL)
        .map(|bytes| Bytes64(bytes.clone()))
}

/// Who may have asked and who may have answered: each person by both names. The seal of a vote
/// binds the names that its sender used, which may be the numbers or the hidden ids.
pub struct VoteParties<'a> {
    /// Our names: number and hidden id.
    pub asked: [Option<&'a Jid>; 2],
    /// The voter's names: number and hidden id.
    pub answered: [Option<&'a Jid>; 2],
}

/// Opens a vote. Answers which options were chosen, by their place; `None` when it cannot be opened.
pub fn open_vote(
    vote: &SealedVote,
    secret: &[u8],
    options: &[String],
    voting: &VoteParties<'_>,
) -> Option<Vec<usize>> {
    for asked in voting.asked.into_iter().flatten() {
        for answered in voting.answered.into_iter().flatten() {
            let ciphertext = PollVoteCiphertext {
                enc_payload: &vote.payload,
                enc_iv: &vote.nonce,
            };
            let names = (asked.to_string(), answered.to_string());
            let addressing = PollVoteAddressing {
                poll_creator_jid: &names.0,
                voter_jid: &names.1,
            };
            let opened = decrypt_poll_vote_with_fallback(
                ciphertext,
                secret,
                vote.poll.as_str(),
                addressing,
                None,
            );
            if let Ok(hashes) = opened {
                let chosen = |(place, name): (usize, &String)| {
                    let hash = compute_option_hash(name);
                    hashes.iter().any(|h| h[..] == hash).then_some(place)
                };
                return Some(options.iter().enumerate().filter_map(chosen).collect());
            }
        }
    }
    None
}
