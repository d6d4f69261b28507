//! What a client asks to be sent, and what becomes of it: references looked up, files uploaded.

mod album;
mod contacts;
mod mentions;
mod place;
mod poll;
mod text;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::Message;
use crate::bytes64::Bytes64;
use crate::domain::Gateway;
use crate::domain::media::{FileSource, KeepOptions, LocalFile, WaUpload};
use crate::domain::session::Session;
use crate::error::{Code, Error, Result};
use crate::ids::MessageId;
use crate::jid::Jid;
use crate::wa::message::{AttachedFile, Context, OutgoingContent, Quote, QuotedContent};
pub use crate::wa::message::{ContactCard, Location, MediaKind};

pub use album::{Album, MAX_ALBUM};
pub use contacts::{Contacts, MAX_CARDS};
pub use mentions::Mentions;
pub use poll::{MAX_OPTION, MAX_OPTIONS, MAX_QUESTION, Poll};
pub use text::{Emoji, FileName, MAX_TEXT, MimeType, Text};

/// A message as a client asks for it, before what it refers to was looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Whom to.
    pub to: Jid,
    /// What it says.
    pub content: DraftContent,
    /// Who is mentioned.
    pub mentions: Mentions,
    /// The message that is answered.
    pub quoted: Option<MessageId>,
}

/// What a draft says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DraftContent {
    /// Words.
    Text(Text),
    /// A file.
    Media(Box<DraftMedia>),
    /// A location.
    Location(Location),
    /// Contact cards.
    Contacts(Contacts),
    /// A question with answers to choose from.
    Poll(Poll),
    /// An emoji on a message.
    Reaction {
        /// The message.
        target: MessageId,
        /// The emoji; empty removes it.
        emoji: Emoji,
    },
    /// New words for a message of ours.
    Edit {
        /// The message.
        target: MessageId,
        /// The new words.
        body: Text,
    },
    /// Takes a message of ours back.
    Revoke {
        /// The message.
        target: MessageId,
    },
}

/// A file as a client asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftMedia {
    /// How it is shown.
    pub kind: MediaKind,
    /// Where it comes from.
    pub source: FileSource,
    /// The type of a document, when another than its content shows is to be told.
    pub mimetype: Option<MimeType>,
    /// The name of a document.
    pub file_name: Option<FileName>,
    /// The words below it.
    pub caption: Option<Text>,
    /// What of it is left as it came.
    pub keep: KeepOptions,
    /// Which album of the request it belongs to.
    pub album: Option<usize>,
}

impl Draft {
    /// A message without mentions and quote.
    pub fn new(to: Jid, content: DraftContent) -> Self {
        Self {
            to,
            content,
            mentions: Mentions::None,
            quoted: None,
        }
    }

    /// How many bytes of a file it holds itself.
    pub fn inline_bytes(&self) -> usize {
        match &self.content {
            DraftContent::Media(media) => match &media.source {
                FileSource::Inline(text) => text.len(),
                FileSource::Stored { .. } | FileSource::Link(_) => 0,
            },
            _ => 0,
        }
    }

    /// Words, checked.
    pub fn text(to: Jid, body: &str) -> Result<Self> {
        Ok(Self::new(to, DraftContent::Text(Text::new(body)?)))
    }
}

impl DraftMedia {
    /// A file as it is, without words below it.
    pub fn new(kind: MediaKind, source: FileSource) -> Self {
        Self {
            kind,
            source,
            mimetype: None,
            file_name: None,
            caption: None,
            keep: KeepOptions::default(),
            album: None,
        }
    }
}

/// Files of one request, so that one that several messages show is brought here once.
#[derive(Default)]
pub(in crate::domain) struct Sources(Mutex<HashMap<FileSource, Arc<FetchedSource>>>);

type FetchedSource = OnceCell<Result<LocalFile, (Code, String)>>;

impl Sources {
    async fn find(
        &self,
        gateway: &Arc<Gateway>,
        session: &Session,
        source: &FileSource,
    ) -> Result<LocalFile> {
        let cell = {
            let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            cells.entry(source.clone()).or_default().clone()
        };
        let found = cell.get_or_init(|| async {
            let found = gateway.find_file(session, source).await;
            found.map_err(|error| {
                tracing::debug!(session = %session.id, ?error, "a file could not be brought here");
                (error.code(), error.detail().to_owned())
            })
        });
        let found = found.await.as_ref();
        found
            .cloned()
            .map_err(|(code, why)| Error::new(*code, why.clone()))
    }
}

/// A draft with everything it refers to.
pub(in crate::domain) struct ComposedMessage {
    pub(in crate::domain) what: OutgoingContent,
    /// The uploaded file that it shows.
    pub(in crate::domain) file: Option<Arc<WaUpload>>,
    /// What the client should know about it.
    pub(in crate::domain) note: Option<String>,
}

impl From<OutgoingContent> for ComposedMessage {
    fn from(what: OutgoingContent) -> Self {
        Self {
            what,
            file: None,
            note: None,
        }
    }
}

impl Gateway {
    /// Looks up what the draft refers to and uploads its file.
    pub(in crate::domain) async fn compose(
        self: &Arc<Self>,
        session: &Session,
        draft: Draft,
        sources: &Sources,
    ) -> Result<ComposedMessage> {
        let Draft {
            to,
            content,
            mentions,
            quoted,
        } = draft;
        let context = Context {
            mentions: self.mentioned(session, &to, mentions).await?,
            quote: quoted.map(|id| self.quote(session, &to, id)).transpose()?,
        };
        Ok(match content {
            DraftContent::Text(body) => OutgoingContent::Text {
                body: body.into(),
                mentions: context.mentions,
                quote: context.quote,
            },
            DraftContent::Media(media) => {
                return self.enclose(session, *media, context, sources).await;
            }
            DraftContent::Location(place) => OutgoingContent::Location { place, context },
            DraftContent::Contacts(contacts) => OutgoingContent::Contacts {
                cards: contacts.into(),
                context,
            },
            DraftContent::Poll(poll) => OutgoingContent::Poll {
                question: poll.question,
                options: poll.options,
                selectable: poll.selectable,
                secret: Bytes64(self.ids.bytes::<32>().to_vec()),
                context,
            },
            DraftContent::Reaction { target, emoji } => {
                self.reaction(session, &to, target, emoji)?
            }
            DraftContent::Edit { target, body } => {
                self.own_text(session, &to, &target)?;
                OutgoingContent::Edit {
                    mentions: context.mentions,
                    target,
                    body: body.into(),
                }
            }
            DraftContent::Revoke { target } => OutgoingContent::Revoke { target },
        }
        .into())
    }

    /// The reaction to a message, whose writer it names.
    fn reaction(
        &self,
        session: &Session,
        to: &Jid,
        target: MessageId,
        emoji: Emoji,
    ) -> Result<OutgoingContent> {
        let message = self.message_in(session, &target, to)?.ok_or_else(|| {
            Error::new(
                Code::MessageNotFound,
                "The message to react to is not known in this chat",
            )
        })?;
        Ok(OutgoingContent::Reaction {
            target,
            target_from_me: message.sender.is_none(),
            target_sender: message.sender,
            emoji: emoji.into(),
        })
    }

    async fn enclose(
        self: &Arc<Self>,
        session: &Session,
        media: DraftMedia,
        context: Context,
        sources: &Sources,
    ) -> Result<ComposedMessage> {
        let found = sources.find(self, session, &media.source).await?;
        let (file, uploaded) = self
            .uploaded(session, &found, media.kind, media.keep)
            .await?;
        let what = OutgoingContent::Media {
            file,
            kind: uploaded.kind,
            // What is converted has the type that the conversion gives it.
            mimetype: media
                .mimetype
                .filter(|_| media.kind == MediaKind::Document)
                .map(String::from),
            file_name: media
                .file_name
                .map(String::from)
                .or(found.name)
                .filter(|_| uploaded.kind == MediaKind::Document),
            caption: media.caption.map(String::from),
            album: None,
            context,
        };
        Ok(ComposedMessage {
            what,
            note: uploaded.note.clone(),
            file: Some(uploaded),
        })
    }

    async fn mentioned(&self, session: &Session, to: &Jid, mentions: Mentions) -> Result<Vec<Jid>> {
        match mentions {
            Mentions::None => Ok(Vec::new()),
            Mentions::These(people) => Ok(people),
            Mentions::All if !to.is_group() => Err(Error::from(Code::MentionsNeedGroup)),
            Mentions::All => session.require_connection()?.group_members(to).await,
        }
    }

    fn quote(&self, session: &Session, to: &Jid, id: MessageId) -> Result<Quote> {
        let message = self.message_in(session, &id, to)?.ok_or_else(|| {
            Error::new(
                Code::MessageNotFound,
                "The quoted message is not known in this chat",
            )
        })?;
        Ok(Quote {
            id,
            shown: self.shown(session, &message)?,
            sender: message.sender,
            text: message.text.unwrap_or_default(),
        })
    }

    /// What a message shows besides words, for an answer to it. What may be looked at once only is
    /// not shown again.
    fn shown(&self, session: &Session, message: &Message) -> Result<Option<QuotedContent>> {
        if let Some(held) = &message.enclosed {
            let shown = (!held.enclosed.view_once)
                .then(|| QuotedContent::File(Box::new(held.enclosed.clone())));
            return Ok(shown);
        }
        Ok(match &message.sent {
            Some(OutgoingContent::Media {
                file,
                kind,
                mimetype,
                file_name,
                caption,
                ..
            }) => self.known_upload(session, file)?.map(|uploaded| {
                let mut file = uploaded.file;
                if let Some(mimetype) = mimetype {
                    file.mimetype.clone_from(mimetype);
                }
                QuotedContent::File(Box::new(AttachedFile {
                    kind: *kind,
                    file,
                    name: file_name.clone(),
                    caption: caption.clone(),
                    view_once: false,
                }))
            }),
            Some(OutgoingContent::Location { place, .. }) => {
                Some(QuotedContent::Place(place.clone()))
            }
            Some(OutgoingContent::Contacts { cards, .. }) => {
                Some(QuotedContent::Cards(cards.clone()))
            }
            _ => None,
        })
    }

    fn own_text(&self, session: &Session, to: &Jid, id: &MessageId) -> Result<()> {
        match self.message_in(session, id, to)? {
            Some(Message {
                sender: None,
                sent: Some(OutgoingContent::Text { .. }),
                ..
            }) => Ok(()),
            Some(_) => Err(Error::from(Code::MessageNotEditable)),
            None => Err(Error::new(
                Code::MessageNotFound,
                "The message to edit is not known in this chat",
            )),
        }
    }
}
