//! The one error type: what went wrong, in words that may be shown, and the cause for the log.
//!
//! It knows no status codes and no JSON: each dialect renders a code and its kind in its own shape.
//! All codes are in one table (`codes.rs`).

mod codes;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

pub use codes::Code;

/// What went wrong, as far as anybody branches on it. Stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum ErrorKind {
    /// The request's content is not acceptable as it stands.
    Invalid,
    /// No credential, or none that means anything.
    Unauthorized,
    /// A good credential that does not open this.
    Forbidden,
    /// The thing that was named does not exist (or must not be known to exist).
    NotFound,
    /// The path exists, the method does not; the detail lists the methods that do.
    MethodNotAllowed,
    /// The state of the thing forbids it now.
    Conflict,
    /// The session exists but is not connected to WhatsApp.
    NotConnected,
    /// Too many requests; try again later.
    RateLimited,
    /// The body, or a part of it, is larger than allowed.
    TooLarge,
    /// The content type or the content is of a kind that is not taken here.
    UnsupportedMedia,
    /// Well-formed, understood and still not possible (a broken image, say).
    Unprocessable,
    /// The client was too slow in sending its request.
    RequestTimeout,
    /// WhatsApp or another server answered with a refusal.
    Upstream,
    /// WhatsApp or another server did not answer in time.
    UpstreamTimeout,
    /// This process cannot do it now (shutting down, store failed, disk full).
    Unavailable,
    /// A defect or a failure on our side; the detail says no more than that.
    Internal,
}

impl ErrorKind {
    /// Whether the same may succeed after a while, without anybody doing anything.
    pub fn is_passing(self) -> bool {
        matches!(
            self,
            Self::NotConnected | Self::Upstream | Self::UpstreamTimeout | Self::Unavailable
        )
    }
}

/// An error with a text that is safe to show and a cause that is only logged.
pub struct Error {
    code: Code,
    detail: Cow<'static, str>,
    /// How long to wait before trying again makes sense, when that is known.
    retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error whose `detail` may be shown to the client: no secret, no message text.
    /// Where the table's sentence says it all, `Error::from(code)` does.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_after: None,
            source: None,
        }
    }

    /// A field of a request, or its form, that is not as it must be: [`Code::InvalidRequest`].
    pub fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, detail)
    }

    /// A path or a thing without a name of its own that is not there: [`Code::NotFound`].
    pub fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::NotFound, detail)
    }

    /// A failure on our side: the client reads a fixed sentence, the log gets `source`.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::from(Code::Internal).because(source)
    }

    /// Attaches the cause, which is logged and never shown.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What went wrong, for whoever words it or branches on it.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What kind of failure that is.
    pub fn kind(&self) -> ErrorKind {
        self.code.kind()
    }

    /// The same failure in other words: those of a dialect, or with the field that it is about.
    #[must_use]
    pub fn worded(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    /// The same failure, with how long to wait before trying again.
    #[must_use]
    pub fn again_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// How long to wait before trying again, when that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The sentence for the client.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl From<Code> for Error {
    fn from(code: Code) -> Self {
        Self::new(code, code.text())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)?;
        if let Some(source) = &self.source {
            write!(f, " ({source})")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|s| s as &(dyn StdError + 'static))
    }
}
