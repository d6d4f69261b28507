//! A link's files: sealing and uploading them, fetching and opening them, asking for them again.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tokio::sync::{Semaphore, SemaphorePermit};
use whatsapp_rust::download::DownloadParams;
use whatsapp_rust::error::ErrorChainExt as _;
use whatsapp_rust::features::{MediaRetryResult, MediaReuploadRequest};
use whatsapp_rust::wacore::download::DownloadWriter;
use whatsapp_rust::wacore::upload::{UploadSource, encrypt_media_streaming};

use super::convert;
use super::link::Link;
use super::message::{MediaKind, Pointer};
use crate::bytes64::Bytes64;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::MessageId;
use crate::jid::Jid;

/// A sealed file on disk.
struct Sealed {
    path: PathBuf,
    length: u64,
}

impl UploadSource for Sealed {
    fn len(&self) -> u64 {
        self.length
    }

    fn reader_from(&self, offset: u64) -> std::io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }
}

/// A file that takes no more than so many bytes: what a message says of its length may be wrong.
struct Limited {
    file: File,
    most: u64,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.file.stream_position()? + bytes.len() as u64 > self.most {
            return Err(std::io::Error::from(std::io::ErrorKind::FileTooLarge));
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Limited {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.file.seek(to)
    }
}

impl DownloadWriter for Limited {
    fn truncate(&mut self, length: u64) -> std::io::Result<()> {
        self.file.set_len(length)
    }
}

/// Which message a file came in, to ask the account's phone for it again.
pub struct CameIn<'a> {
    /// The message.
    pub id: &'a MessageId,
    /// Its chat.
    pub chat: &'a Jid,
    /// Who sent it; `None` when we did.
    pub sender: Option<&'a Jid>,
}

/// How many files of all sessions travel at once. The library keeps a thread for blocking work busy
/// for the whole way of a file, slow as the line may be; `main.rs` has more of them, because reads
/// of the store, uploads over HTTP and pictures need some too.
static TRAVELLING: Semaphore = Semaphore::const_new(6);

async fn place() -> Result<SemaphorePermit<'static>> {
    TRAVELLING.acquire().await.map_err(Error::internal)
}

impl Link {
    /// Seals a file into `sealed`, which lies at `path`, and uploads it. Memory does not grow with
    /// the file.
    pub async fn upload(
        &self,
        plain: impl Read + Send + 'static,
        sealed: File,
        path: &Path,
        kind: MediaKind,
    ) -> Result<Pointer> {
        let media_type = convert::media_type(kind);
        let plain = std::io::BufReader::with_capacity(64 * 1024, plain);
        let (info, length) = tokio::task::spawn_blocking(move || {
            let mut sealed = std::io::BufWriter::with_capacity(64 * 1024, sealed);
            let info = encrypt_media_streaming(plain, &mut sealed, media_type)?;
            let sealed = sealed.into_inner().map_err(|e| e.into_error())?;
            Ok::<_, whatsapp_rust::anyhow::Error>((info, sealed.metadata()?.len()))
        })
        .await
        .map_err(Error::internal)?
        .map_err(|e| {
            Error::new(ErrorKind::Unavailable, "the file could not be sealed")
                .because(e.to_string())
        })?;
        let source = Sealed {
            path: path.to_owned(),
            length,
        };
        let _place = place().await?;
        let response = self
            .client()
            .upload_stream(source, info, media_type)
            .await
            .map_err(|e| {
                Error::new(
                    ErrorKind::Upstream,
                    "WhatsApp's media server did not take the file",
                )
                .because(format!("{e:?}"))
            })?;
        Ok(Pointer {
            url: Some(response.url),
            direct_path: response.direct_path,
            key: Bytes64(response.media_key.to_vec()),
            keyed_at: response.media_key_timestamp,
            sha256: Bytes64(response.file_sha256.to_vec()),
            sealed_sha256: Bytes64(response.file_enc_sha256.to_vec()),
            length: response.file_length,
            sidecar: response.streaming_sidecar.map(Bytes64),
        })
    }

    /// Fetches and opens a file of at most `most` bytes into `into`. [`ErrorKind::NotFound`] when
    /// WhatsApp has it no more.
    pub async fn download(
        &self,
        pointer: &Pointer,
        kind: MediaKind,
        into: File,
        most: u64,
    ) -> Result<()> {
        let params = DownloadParams::encrypted(
            pointer.direct_path.clone(),
            &pointer.key.0,
            &pointer.sha256.0,
            &pointer.sealed_sha256.0,
            pointer.length,
            convert::media_type(kind),
        );
        let _place = place().await?;
        let fetched = self
            .client()
            .download_from_params_to_writer(&params, Limited { file: into, most })
            .await;
        fetched.map(|_| ()).map_err(|e| {
            let gone = matches!(e.http_status(), Some(403 | 404 | 410));
            let (kind, detail) = if gone {
                (
                    ErrorKind::NotFound,
                    "WhatsApp does not have the file any more",
                )
            } else {
                (
                    ErrorKind::Upstream,
                    "WhatsApp's media server did not give the file",
                )
            };
            Error::new(kind, detail).because(format!("{e:?}"))
        })
    }

    /// Asks the account's own phone to upload a file again; answers its new path.
    pub async fn ask_again(&self, message: CameIn<'_>, pointer: &Pointer) -> Result<String> {
        let chat = convert::to_wire(message.chat)?;
        let sender = message
            .sender
            .filter(|_| message.chat.is_group())
            .map(convert::to_wire)
            .transpose()?;
        let request = MediaReuploadRequest {
            msg_id: message.id.as_str(),
            chat_jid: &chat,
            media_key: &pointer.key.0,
            is_from_me: message.sender.is_none(),
            participant: sender.as_ref(),
        };
        let answer = self.client().media_reupload().request(&request).await;
        match answer {
            Ok(MediaRetryResult::Success { direct_path }) => Ok(direct_path),
            Ok(_) => Err(Error::new(
                ErrorKind::NotFound,
                "The file is gone: WhatsApp does not keep it, and the account's phone does not have it any more",
            )),
            Err(e) => Err(Error::new(
                ErrorKind::UpstreamTimeout,
                "The file has expired at WhatsApp, and the account's phone did not upload it again; open WhatsApp there and try later",
            )
            .because(format!("{e:?}"))),
        }
    }
}
