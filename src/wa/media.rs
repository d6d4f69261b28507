//! A link's files: sealing and uploading them, fetching and opening them, asking for them again.

use std::fs::File;
use std::io::{BufWriter, ErrorKind as IoError, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use whatsapp_rust::download::DownloadParams;
use whatsapp_rust::error::ErrorChainExt as _;
use whatsapp_rust::features::{MediaRetryResult, MediaReuploadRequest};
use whatsapp_rust::wacore::download::DownloadWriter;
use whatsapp_rust::wacore::upload::{UploadSource, encrypt_media_streaming};

use super::connection::Connection;
use super::convert;
use super::direct_path::DirectPath;
use super::media_places::DownloadSlot;
use super::message::{MediaKind, Pointer};
use crate::bytes64::Bytes64;
use crate::error::{Code, Error, Result};
use crate::ids::{Hash, MessageId};
use crate::jid::Jid;
use crate::tasks::blocking;

/// A sealed file on disk.
struct EncryptedFile {
    path: PathBuf,
    length: u64,
    /// Given back when the library is done, also when nobody waits for it any more.
    _place: DownloadSlot,
}

impl UploadSource for EncryptedFile {
    fn len(&self) -> u64 {
        self.length
    }

    fn reader_from(&self, offset: u64) -> std::io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }
}

/// A file that is being fetched. What its message says of its length and hash may be wrong: it takes no
/// more than so many bytes, and hashes what it takes.
struct Download {
    file: BufWriter<File>,
    most: u64,
    hash: Sha256,
    /// How many bytes were taken: all of the file, in order.
    size: u64,
    /// Where in the file the next byte goes.
    at: u64,
    /// Given back when the library is done, also when nobody waits for it any more.
    _place: DownloadSlot,
}

impl Download {
    fn new(file: File, most: u64, place: DownloadSlot) -> Self {
        Self {
            file: BufWriter::with_capacity(64 * 1024, file),
            most,
            hash: Sha256::new(),
            size: 0,
            at: 0,
            _place: place,
        }
    }
}

impl Write for Download {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.at != self.size {
            // The hash would be of something else than what lies in the file.
            return Err(IoError::Unsupported.into());
        }
        if self.size + bytes.len() as u64 > self.most {
            return Err(IoError::FileTooLarge.into());
        }
        let many = self.file.write(bytes)?;
        self.hash.update(&bytes[..many]);
        self.size += many as u64;
        self.at = self.size;
        Ok(many)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Download {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.at = self.file.seek(to)?;
        Ok(self.at)
    }
}

impl DownloadWriter for Download {
    /// The library empties the file before each try, and shortens it in no other way.
    fn truncate(&mut self, length: u64) -> std::io::Result<()> {
        if length != 0 {
            return Err(IoError::Unsupported.into());
        }
        self.file.flush()?;
        self.file.get_mut().set_len(0)?;
        self.hash = Sha256::new();
        self.size = 0;
        Ok(())
    }
}

/// A file that was fetched and opened: what it is, whatever its message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownloadedFile {
    /// SHA-256 of its bytes.
    pub hash: Hash,
    /// How many there are.
    pub size: u64,
}

/// Which message a file came in, to ask the account's phone for it again.
pub struct MessageRef<'a> {
    /// The message.
    pub id: &'a MessageId,
    /// Its chat.
    pub chat: &'a Jid,
    /// Who sent it; `None` when we did.
    pub sender: Option<&'a Jid>,
}

impl Connection {
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
        let (info, length) = blocking(move || {
            let mut sealed = std::io::BufWriter::with_capacity(64 * 1024, sealed);
            let info = encrypt_media_streaming(plain, &mut sealed, media_type)?;
            let sealed = sealed.into_inner().map_err(|e| e.into_error())?;
            Ok::<_, whatsapp_rust::anyhow::Error>((info, sealed.metadata()?.len()))
        })
        .await?
        .map_err(|e| {
            Error::new(Code::StoreUnavailable, "the file could not be sealed")
                .because(e.to_string())
        })?;
        let source = EncryptedFile {
            path: path.to_owned(),
            length,
            _place: self.places.to_leave().await?,
        };
        self.learn_media_hosts().await?;
        let response = self
            .client()
            .upload_stream(source, info, media_type)
            .await
            .map_err(|e| {
                Error::new(
                    Code::WhatsappRefused,
                    "WhatsApp's media server did not take the file",
                )
                .because(format!("{e:?}"))
            })?;
        Ok(Pointer {
            url: Some(response.url),
            direct_path: DirectPath::parse(&response.direct_path).ok_or_else(odd_path)?,
            key: Bytes64(response.media_key.to_vec()),
            keyed_at: response.media_key_timestamp,
            sha256: Bytes64(response.file_sha256.to_vec()),
            sealed_sha256: Bytes64(response.file_enc_sha256.to_vec()),
            length: response.file_length,
            sidecar: response.streaming_sidecar.map(Bytes64),
        })
    }

    /// Fetches and opens a file of at most `most` bytes into `into`, and tells what it is: that may be
    /// something else than the pointer says. [`Code::FileGone`] when WhatsApp has it no more.
    pub async fn download(
        &self,
        pointer: &Pointer,
        kind: MediaKind,
        into: File,
        most: u64,
    ) -> Result<DownloadedFile> {
        if pointer.direct_path.leads_nowhere() {
            return Err(odd_path());
        }
        let params = DownloadParams::encrypted(
            pointer.direct_path.as_str(),
            &pointer.key.0,
            &pointer.sha256.0,
            &pointer.sealed_sha256.0,
            pointer.length,
            convert::media_type(kind),
        );
        let place = self.places.to_fetch().await?;
        self.learn_media_hosts().await?;
        let fetched = self
            .client()
            .download_from_params_to_writer(&params, Download::new(into, most, place))
            .await;
        let taken = fetched.map_err(|e| {
            if is_too_large(&e) {
                return Error::from(Code::FileNotAsDescribed);
            }
            let gone = matches!(e.http_status(), Some(403 | 404 | 410));
            let failed = if gone {
                Error::new(Code::FileGone, "WhatsApp does not have the file any more")
            } else {
                Error::new(
                    Code::WhatsappRefused,
                    "WhatsApp's media server did not give the file",
                )
            };
            failed.because(format!("{e:?}"))
        })?;
        Ok(DownloadedFile {
            hash: Hash(taken.hash.finalize().into()),
            size: taken.size,
        })
    }

    /// Asks the account's own phone to upload a file again; answers its new path.
    pub async fn request_reupload(
        &self,
        message: MessageRef<'_>,
        pointer: &Pointer,
    ) -> Result<DirectPath> {
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
            Ok(MediaRetryResult::Success { direct_path }) => {
                DirectPath::parse(&direct_path).ok_or_else(odd_path)
            }
            Ok(_) => Err(Error::new(
                Code::FileGone,
                "The file is gone: WhatsApp does not keep it, and the account's phone does not have it any more",
            )),
            Err(e) => Err(Error::from(Code::FileExpired).because(format!("{e:?}"))),
        }
    }
}

/// Whether a file was more than it was to be.
fn is_too_large(error: &whatsapp_rust::anyhow::Error) -> bool {
    let of_io = |cause: &(dyn std::error::Error + 'static)| {
        let cause = cause.downcast_ref::<std::io::Error>();
        cause.is_some_and(|cause| cause.kind() == IoError::FileTooLarge)
    };
    error.chain().any(of_io)
}

/// A file whose path is none of WhatsApp's cannot be asked for.
fn odd_path() -> Error {
    Error::new(
        Code::FileNotAsDescribed,
        "The file has no path at WhatsApp's media server",
    )
}
