//! Files that came in messages: fetched and opened on demand, or by themselves where a session asks
//! for it, and kept as long as there is room.

use std::fs::File;
use std::time::Duration;

use super::blobs::CompleteFile;
use super::files::OpenFile;
use super::kind;
use crate::domain::Gateway;
use crate::domain::event::{EventData, FetchOutcome, MessageMedia};
use crate::domain::message::{self, MESSAGES, Message};
use crate::domain::queues::{DOWNLOAD_WAIT, DOWNLOADS};
use crate::domain::session::Session;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::ids::{MediaId, MessageId};
use crate::jid::Jid;
use crate::store::queue::{self, Claim, LaneOrder};
use crate::store::{Durability, Tx, bytes_of, parts_of};
use crate::tasks::blocking;
use crate::time::Timestamp;
use crate::wa::media::{DownloadedFile, MessageRef};
use crate::wa::message::{MediaKind, OutgoingContent, Pointer};

/// How often such a download is tried before it is given up; the file can still be asked for.
const ATTEMPTS: u32 = 8;

/// How long the second try waits after the first; doubled for each after.
const FIRST_WAIT: Duration = Duration::from_secs(10);

/// How long a download waits for the session to be connected.
const WAITS_FOR_CONNECTION: Duration = Duration::from_secs(24 * 3600);

/// Where a message's file lies, and what is known of it.
struct WantedFile {
    kind: MediaKind,
    pointer: Pointer,
    name: Option<String>,
    kept: Option<MediaId>,
}

/// Has the file of this message fetched, in the transaction that stores the message.
pub(in crate::domain) fn enqueue(
    tx: &mut Tx,
    message: &message::Key,
    now: Timestamp,
) -> Result<()> {
    let (lane, message) = (bytes_of(message.0), bytes_of(message));
    queue::enqueue(tx, DOWNLOADS, &lane, LaneOrder::ByDue, now, &message).map(|_| ())
}

impl Gateway {
    /// Whether a received file is tried for once more: a few times, and while the session is not
    /// connected, which is not the file's fault, for a day.
    fn is_tried_again(&self, error: &Error, attempts: u32, arrived: Timestamp) -> bool {
        let waits = error.kind() == ErrorKind::NotConnected
            && self.clock.age_of(arrived) < WAITS_FOR_CONNECTION;
        waits || error.kind().is_passing() && attempts + 1 < ATTEMPTS
    }

    /// The file of a message, fetched and opened when it is not here yet.
    pub async fn message_file(&self, session: &Session, id: &MessageId) -> Result<OpenFile> {
        let (key, message) = self.message_row(session, id)?;
        self.file_of(session, key, &message).await
    }

    async fn file_of(
        &self,
        session: &Session,
        key: message::Key,
        message: &Message,
    ) -> Result<OpenFile> {
        let lock = self.fetching.of(&bytes_of(&key));
        let _alone = lock.lock().await;
        let wanted = self.wanted(session, message)?;
        if let Some(kept) = &wanted.kept
            && let Ok(there) = self.media_file(session, kept)
            && let Ok(open) = self.opened(kept, there)
        {
            return Ok(open);
        }
        let (arrived, pointer) = self.fetch_file(session, &key.1, message, &wanted).await?;
        let file = File::open(arrived.path()).map_err(Error::internal)?;
        let path = arrived.path().to_owned();
        let found = blocking(move || kind::sniff(&path)).await??;
        let kept = self
            .keep_file(session, &arrived, found, wanted.name.clone(), true, None)
            .await;
        let kept = match kept {
            Ok((id, _)) => Some(id),
            Err(error) if error.kind() == ErrorKind::TooLarge => None,
            Err(error) => return Err(error),
        };
        self.record_download(key, pointer, kept.clone()).await?;
        Ok(OpenFile {
            file,
            size: arrived.size,
            // What it is, not what a stranger says it is.
            mime: found.mime().to_owned(),
            name: wanted.name,
            sha256: arrived.hash,
            kept,
        })
    }

    fn wanted(&self, session: &Session, message: &Message) -> Result<WantedFile> {
        if let Some(held) = &message.enclosed {
            let enclosed = &held.enclosed;
            return Ok(WantedFile {
                kind: enclosed.kind,
                pointer: enclosed.file.pointer.clone(),
                name: enclosed.name.clone(),
                kept: held.kept.clone(),
            });
        }
        let Some(OutgoingContent::Media {
            file,
            kind,
            file_name,
            ..
        }) = &message.sent
        else {
            return Err(Code::FileNotFound.into());
        };
        let uploaded = self.known_upload(session, file)?.ok_or(Code::FileGone)?;
        Ok(WantedFile {
            kind: *kind,
            pointer: uploaded.file.pointer,
            name: file_name.clone(),
            kept: None,
        })
    }

    /// Fetches a file from WhatsApp; one that expired there is asked for again.
    async fn fetch_file(
        &self,
        session: &Session,
        id: &MessageId,
        message: &Message,
        wanted: &WantedFile,
    ) -> Result<(CompleteFile, Pointer)> {
        if wanted.pointer.length > self.config.media_quota {
            return Err(Error::new(
                Code::MediaQuotaReached,
                "The file is larger than the media quota of this session",
            ));
        }
        let connection = session
            .connection()
            .filter(|_| session.is_connected())
            .ok_or_else(|| session.not_connected())?;
        let mut pointer = wanted.pointer.clone();
        let scratch = self.media.scratch()?;
        let into = || scratch.file.try_clone().map_err(Error::internal);
        let quota = self.config.media_quota;
        let most = match pointer.length {
            0 => quota,
            claimed => claimed.min(quota),
        };
        let fetched = match connection
            .download(&pointer, wanted.kind, into()?, most)
            .await
        {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let came_in = MessageRef {
                    id,
                    chat: &message.chat,
                    sender: message.sender.as_ref(),
                };
                tracing::info!(session = %session.id, "a file expired at WhatsApp and is asked for again");
                pointer.direct_path = connection.request_reupload(came_in, &pointer).await?;
                connection
                    .download(&pointer, wanted.kind, into()?, most)
                    .await?
            }
            other => other?,
        };
        if let Err(error) = must_agree(&pointer, fetched) {
            tracing::warn!(session = %session.id, "a received file is not what its message says and was refused");
            return Err(error);
        }
        Ok((scratch.arrived(fetched.hash, fetched.size), pointer))
    }

    /// Writes down where a message's file is now.
    async fn record_download(
        &self,
        key: message::Key,
        pointer: Pointer,
        kept: Option<MediaId>,
    ) -> Result<()> {
        self.store
            .write(Durability::Lazy, move |tx| {
                let Some(mut message) = MESSAGES.get(tx, &key)? else {
                    return Ok(());
                };
                if let Some(held) = &mut message.enclosed {
                    held.enclosed.file.pointer = pointer;
                    held.kept = kept;
                    message::put(tx, &key, &message)?;
                }
                Ok(())
            })
            .await
    }

    /// Makes one download that a session asked for, tells of it, and settles its row.
    pub async fn download_claimed(&self, claim: Claim) -> Result<()> {
        let number = parts_of(&claim.lane).ok();
        let session = number.and_then(|number| self.sessions.by_number(number));
        let key = parts_of::<message::Key>(&claim.payload);
        let stored = match &key {
            // Of a damaged message nobody knows where its file lies, now or later.
            Ok(key) => self.store.read(|read| MESSAGES.readable(read, key))?,
            Err(_) => None,
        };
        let (Some(session), Ok(key), Some(message)) = (session, key, stored) else {
            return self.settle_download(claim).await;
        };
        let id = key.1.clone();
        match self.file_of(&session, key, &message).await {
            Ok(file) => {
                let outcome = FetchOutcome::Fetched {
                    id: file.kept,
                    mimetype: file.mime,
                    name: file.name,
                    size: file.size,
                };
                self.publish_fetch(&session, id, message.chat, outcome)
                    .await;
                self.settle_download(claim).await
            }
            Err(error) if self.is_tried_again(&error, claim.attempts, message.at) => {
                tracing::debug!(session = %session.id, ?error, "a file is fetched later");
                let wait = (FIRST_WAIT * (1 << claim.attempts.min(10))).min(DOWNLOAD_WAIT);
                let when = self.clock.now().after(wait);
                self.store
                    .write(Durability::Lazy, move |tx| {
                        queue::retry_at(tx, &claim, when).map(|_| ())
                    })
                    .await
            }
            Err(error) => {
                tracing::warn!(session = %session.id, kind = ?error.kind(), "a received file could not be fetched");
                let outcome = FetchOutcome::Failed(error.detail().to_owned());
                self.publish_fetch(&session, id, message.chat, outcome)
                    .await;
                self.settle_download(claim).await
            }
        }
    }

    async fn publish_fetch(
        &self,
        session: &Session,
        id: MessageId,
        chat: Jid,
        outcome: FetchOutcome,
    ) {
        let data = EventData::MessageMedia(MessageMedia { id, chat, outcome });
        self.publish(session, data).await;
    }

    async fn settle_download(&self, claim: Claim) -> Result<()> {
        self.store
            .write(Durability::Lazy, move |tx| {
                queue::done(tx, &claim).map(|_| ())
            })
            .await
    }
}

/// Refuses a file that is not what its message says: the sender wrote the hash, and could name by it
/// a file that others have.
fn must_agree(pointer: &Pointer, fetched: DownloadedFile) -> Result<()> {
    let claimed = pointer.length;
    if fetched.hash.0[..] != pointer.sha256.0 || claimed > 0 && claimed != fetched.size {
        return Err(Code::FileNotAsDescribed.into());
    }
    Ok(())
}
