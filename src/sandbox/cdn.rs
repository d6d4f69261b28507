//! The media host as its clients see it: uploads with probes and the rest of one that broke off,
//! downloads in parts, keys that are refused, and misfortunes; without a word of HTTP.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::{Sleep, sleep};

use super::base64;
use super::faults::TransferFault;
use super::media::{FileContent, StoredMedia};
use super::network::Network;
use super::stats::{add, add_many};
use crate::error::{Code, Error, Result};
use crate::http::{RequestedRange, wanted};

/// The largest file that can be left, sealed; WhatsApp's own bound for most kinds is near it.
pub(super) const LARGEST_FILE: u64 = (100 << 20) + 1024;
/// How much is sent at once by a host that is slow.
const CHUNK: usize = 64 << 10;

/// The key with which clients leave and fetch files.
#[derive(Default)]
pub(super) struct MediaKey(Mutex<(u32, Option<u16>)>);

impl MediaKey {
    /// The key that is good now.
    pub(super) fn current(&self) -> String {
        format!("sandbox-{}", self.state().0)
    }

    /// Makes every key that was given out useless; they are answered with this status.
    pub(super) fn change(&self, status: u16) {
        let mut state = self.state();
        *state = (state.0 + 1, Some(status));
    }

    fn state(&self) -> std::sync::MutexGuard<'_, (u32, Option<u16>)> {
        self.0
            .lock()
            .expect("Invariant: nothing panics under this lock")
    }

    /// How a key is refused.
    fn refusal(&self, key: Option<&str>) -> Option<u16> {
        (key != Some(self.current().as_str())).then(|| self.state().1.unwrap_or(401))
    }
}

/// A file that is left, or a question about one.
#[derive(Debug, Default, Clone, Copy)]
pub struct CdnUpload<'a> {
    /// `image`, `video`, ...
    pub kind: &'a str,
    /// The SHA-256 of the sealed file in base64.
    pub token: &'a str,
    /// The key that the client got with the names of the media hosts.
    pub auth: Option<&'a str>,
    /// Asks how much of the file is there, and leaves nothing.
    pub resume: bool,
    /// Where in the file the body begins.
    pub offset: Option<u64>,
}

/// A file that is fetched.
#[derive(Debug, Default, Clone, Copy)]
pub struct CdnDownload<'a> {
    /// The direct path, with or without a query.
    pub path: &'a str,
    /// The key that the client got with the names of the media hosts; it may do without.
    pub auth: Option<&'a str>,
    /// The part that is wanted, as in HTTP's `Range`.
    pub range: Option<&'a str>,
    /// Only how large the file is.
    pub head: bool,
}

/// What the media host answers.
#[derive(Debug, Default)]
pub struct MediaAnswer {
    /// As in HTTP.
    pub status: u16,
    /// JSON for an upload, the file or a part of it for a download.
    pub(super) body: TransferBody,
    /// Which part of the file this is.
    pub content_range: Option<String>,
    /// After so many bytes of the body the connection breaks.
    pub cut: Option<usize>,
    /// How slowly the body comes; for an upload, how late.
    pub(super) pace: Option<Pace>,
}

/// What an answer carries: bytes, or a part of a file that is read while it is sent.
#[derive(Debug, Clone)]
pub(super) struct TransferBody {
    content: FileContent,
    part: Range<usize>,
}

impl Default for TransferBody {
    fn default() -> Self {
        Bytes::new().into()
    }
}

impl From<Bytes> for TransferBody {
    fn from(bytes: Bytes) -> Self {
        let part = 0..bytes.len();
        let content = FileContent::Memory(bytes);
        Self { content, part }
    }
}

impl TransferBody {
    pub(super) fn len(&self) -> usize {
        self.part.len()
    }

    /// The whole body, if it is short or in memory anyway.
    pub(super) fn at_hand(&self) -> Option<Bytes> {
        match &self.content {
            FileContent::Memory(bytes) => Some(bytes.slice(self.part.clone())),
            FileContent::File(..) if self.len() <= CHUNK => {
                self.content.part(self.part.clone()).ok()
            }
            FileContent::File(..) => None,
        }
    }
}

/// How slow the media host is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) chunk: usize,
    pub(super) delay: Duration,
}

impl Pace {
    pub(super) fn new(bytes_per_second: Option<u32>, delay: Option<u64>) -> Self {
        match bytes_per_second {
            Some(rate) => {
                let chunk = (rate as usize / 20).clamp(1, CHUNK);
                let delay = Duration::from_secs_f64(chunk as f64 / f64::from(rate.max(1)));
                Self { chunk, delay }
            }
            None => Self {
                chunk: CHUNK,
                delay: Duration::from_millis(delay.unwrap_or(0)),
            },
        }
    }

    /// How long so many bytes take.
    pub(super) fn time_for(&self, bytes: usize) -> Duration {
        let chunks = u32::try_from(bytes.div_ceil(self.chunk)).unwrap_or(u32::MAX);
        self.delay.saturating_mul(chunks)
    }
}

impl MediaAnswer {
    /// The whole body; `None` if it cannot be read.
    pub fn bytes(&self) -> Option<Bytes> {
        self.body.content.part(self.body.part.clone()).ok()
    }

    fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    fn json(value: &Value) -> Self {
        Self {
            status: 200,
            body: Bytes::from(value.to_string()).into(),
            ..Self::default()
        }
    }
}

impl Network {
    /// Keeps a file in the host, unless it is there; whether it is new.
    pub(super) fn leave_file(
        &self,
        kind: &str,
        sum: &[u8],
        file: Bytes,
    ) -> Result<(StoredMedia, bool)> {
        let (life, now) = (self.faults.media_life(), self.now());
        if let Some(path) = self.media.find(kind, sum, life, now) {
            return Ok((self.stored(&path), false));
        }
        let path = self.media.put_sealed(kind, sum, file, now)?;
        Ok((self.stored(&path), true))
    }

    /// Answers a client that leaves a file, or asks how much of it is there.
    pub fn take_upload(&self, upload: &CdnUpload<'_>, body: Bytes) -> Result<MediaAnswer> {
        if self.faults.media_is_cut() {
            return Ok(MediaAnswer::status(503));
        }
        // A kind becomes a part of a path.
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if upload.kind.is_empty() || !upload.kind.chars().all(plain) {
            return Err(Error::invalid("there is no such kind of file"));
        }
        let sum = base64::decode(upload.token).filter(|sum| sum.len() == 32);
        let sum = sum.ok_or_else(|| Error::invalid("the token is not a SHA-256 in base64"))?;
        if let Some(status) = self.media_key.refusal(upload.auth) {
            return Ok(MediaAnswer::status(status));
        }
        if upload.resume {
            return Ok(MediaAnswer::json(&self.resumable(upload.kind, &sum)));
        }
        let trouble = self.faults.on_upload();
        let late = |mut answer: MediaAnswer| {
            answer.pace = trouble.pace;
            Ok(answer)
        };
        if let Some(status) = trouble.status {
            return late(MediaAnswer::status(status));
        }
        let file = self.whole(upload, &sum, body.clone())?;
        add_many(&self.counters.media_bytes_in, body.len() as u64);
        if let Some(length) = trouble.cut_after.filter(|length| *length < file.len()) {
            self.media
                .keep_part(upload.kind, &sum, file.slice(..length));
            let mut answer = MediaAnswer::status(200);
            answer.cut = Some(0);
            return late(answer);
        }
        if file.len() as u64 > LARGEST_FILE {
            return Err(Error::new(Code::FileTooLarge, "the file is too large"));
        }
        if Sha256::digest(&file)[..] != *sum {
            return Err(Error::invalid("the file is not what its token says"));
        }
        let (stored, new) = self.leave_file(upload.kind, &sum, file)?;
        add(match new {
            true => &self.counters.media_uploads,
            false => &self.counters.media_uploads_again,
        });
        let stored = serde_json::to_value(&stored).map_err(Error::internal)?;
        late(MediaAnswer::json(&stored))
    }

    /// How much of a file is there.
    fn resumable(&self, kind: &str, sum: &[u8]) -> Value {
        let (life, now) = (self.faults.media_life(), self.now());
        if let Some(path) = self.media.find(kind, sum, life, now) {
            let file = self.stored(&path);
            return json!({
                "resume": "complete", "url": file.url, "direct_path": file.direct_path,
            });
        }
        let part = self.media.part(kind, sum).unwrap_or_default();
        json!({ "resume": part.len().to_string() })
    }

    /// The body, behind what was there before.
    fn whole(&self, upload: &CdnUpload<'_>, sum: &[u8], body: Bytes) -> Result<Bytes> {
        let offset = upload.offset.unwrap_or(0);
        if offset == 0 {
            return Ok(body);
        }
        let part = self.media.part(upload.kind, sum).unwrap_or_default();
        let offset = usize::try_from(offset)
            .ok()
            .filter(|offset| *offset <= part.len());
        let offset = offset.ok_or_else(|| Error::invalid("there is not so much of the file"))?;
        Ok([&part[..offset], &body[..]].concat().into())
    }

    /// Answers a client that fetches a file.
    pub fn take_download(&self, download: &CdnDownload<'_>) -> MediaAnswer {
        if self.faults.media_is_cut() {
            return MediaAnswer::status(503);
        }
        // The real host asks for no key, and does not take a bad one.
        if let Some(key) = download.auth
            && let Some(status) = self.media_key.refusal(Some(key))
        {
            return MediaAnswer::status(status);
        }
        let trouble = match download.head {
            true => TransferFault::default(),
            false => self.faults.on_download(),
        };
        let life = self.faults.media_life();
        let found = match trouble.status {
            Some(status) => Err(status),
            None => self.media.fetch(download.path, life, self.now()),
        };
        let file = match found {
            Ok(file) => file,
            Err(status) => {
                let mut answer = MediaAnswer::status(status);
                answer.pace = trouble.pace;
                return answer;
            }
        };
        let length = file.len();
        let (status, part) = match wanted(download.range, length as u64) {
            RequestedRange::Whole => (200, 0..length),
            RequestedRange::Part(part) => (206, part.start as usize..part.end as usize),
            RequestedRange::Beyond => {
                let mut answer = MediaAnswer::status(416);
                answer.content_range = Some(format!("bytes */{length}"));
                return answer;
            }
        };
        let said = || format!("bytes {}-{}/{length}", part.start, part.end - 1);
        let mut answer = MediaAnswer {
            status,
            content_range: (status == 206).then(said),
            body: TransferBody {
                content: file,
                part,
            },
            ..MediaAnswer::default()
        };
        answer.cut = trouble
            .cut_after
            .filter(|length| *length < answer.body.len());
        answer.pace = trouble.pace;
        if !download.head {
            let sent = answer.cut.unwrap_or(answer.body.len());
            add(&self.counters.media_downloads);
            add_many(&self.counters.media_bytes_out, sent as u64);
        }
        answer
    }

    /// A file as it can be fetched now, by its path with or without a query.
    pub fn file(&self, path: &str) -> Option<Bytes> {
        if self.faults.media_is_cut() {
            return None;
        }
        let life = self.faults.media_life();
        let file = self.media.fetch(path, life, self.now()).ok()?;
        file.whole()
    }
}

/// A body that comes slowly, or breaks off.
pub(super) struct ThrottledBody {
    content: FileContent,
    rest: Range<usize>,
    pace: Pace,
    breaks: bool,
    flushed: bool,
    waits: Option<Pin<Box<Sleep>>>,
}

impl ThrottledBody {
    pub(super) fn new(answer: &MediaAnswer) -> Self {
        let length = answer.cut.unwrap_or(answer.body.len());
        let start = answer.body.part.start;
        let pace = answer.pace.unwrap_or(Pace {
            chunk: CHUNK,
            delay: Duration::ZERO,
        });
        Self {
            content: answer.body.content.clone(),
            rest: start..start + length.min(answer.body.len()),
            pace,
            breaks: answer.cut.is_some(),
            // With nothing to give out, not even the head of the answer comes.
            flushed: length == 0,
            waits: None,
        }
    }
}

impl Stream for ThrottledBody {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let flow = self.get_mut();
        if flow.rest.is_empty() {
            if !flow.breaks {
                return Poll::Ready(None);
            }
            if !std::mem::replace(&mut flow.flushed, true) {
                // What was given out before has to be on its way when the connection ends.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            flow.breaks = false;
            let broken = Error::new(Code::PathUnusable, "the media host broke off");
            return Poll::Ready(Some(Err(broken)));
        }
        if !flow.pace.delay.is_zero() {
            let waits = flow
                .waits
                .get_or_insert_with(|| Box::pin(sleep(flow.pace.delay)));
            ready!(waits.as_mut().poll(cx));
            flow.waits = None;
        }
        let end = flow.rest.start + flow.pace.chunk.min(flow.rest.len());
        let part = flow.content.part(flow.rest.start..end);
        flow.rest.start = end;
        Poll::Ready(Some(part.map_err(Error::internal)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slowness_is_what_was_ordered() {
        let pace = Pace::new(Some(1000), None);
        assert_eq!(pace.time_for(500), Duration::from_millis(500));
        let pace = Pace::new(None, Some(20));
        assert_eq!(pace.time_for(2 * CHUNK), Duration::from_millis(40));
    }
}
