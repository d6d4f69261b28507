//! The one error type: what went wrong, in words that may be shown, and the cause for the log.
//!
//! It knows no status codes and no JSON: each dialect renders a kind in its own shape.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// What went wrong, as far as anybody branches on it.
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
    /// Well-formed, understood and still not possible (a broken picture, say).
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

/// An error with a text that is safe to show and a cause that is only logged.
pub struct Error {
    kind: ErrorKind,
    detail: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error whose `detail` may be shown to the client: no secret, no message text.
    pub fn new(kind: ErrorKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            source: None,
        }
    }

    /// Shorthand for [`ErrorKind::Invalid`].
    pub fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Invalid, detail)
    }

    /// Shorthand for [`ErrorKind::NotFound`].
    pub fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::NotFound, detail)
    }

    /// A failure on our side: the client reads a fixed sentence, the log gets `source`.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self {
            kind: ErrorKind::Internal,
            detail: Cow::Borrowed("Internal server error"),
            source: Some(source.into()),
        }
    }

    /// Attaches the cause, which is logged and never shown.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The sentence for the client.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.detail)?;
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
