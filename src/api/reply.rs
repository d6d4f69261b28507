//! Answers in the envelope that v1, legacy and the admin routes share.

use std::time::Duration;

use serde::Serialize;

use crate::domain::pacing::QuietHours;
use crate::error::{Error, ErrorKind};
use crate::http::{Reply, StatusCode};

/// Seconds after which a refused client may try again: what is under way ends soon.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// An answer that says what was done, or why not.
#[derive(Serialize)]
struct Said<'a> {
    status: &'static str,
    message: &'a str,
}

/// The envelope of an answer that says only what was done.
pub(super) fn success(message: &str) -> Reply {
    let said = Said {
        status: "success",
        message,
    };
    Reply::json(StatusCode::OK, &said)
}

/// Renders any refusal.
pub(super) fn refuse(error: &Error) -> Reply {
    refuse_in_words(error, error.detail())
}

/// The same for a dialect that words the error itself.
pub(super) fn refuse_in_words(error: &Error, words: &str) -> Reply {
    if matches!(error.kind(), ErrorKind::Internal | ErrorKind::Unavailable) {
        tracing::error!(?error, "a request failed");
    }
    let said = Said {
        status: "error",
        message: words,
    };
    let reply = Reply::json(status_of(error.kind()), &said);
    match error.kind() {
        ErrorKind::RateLimited => {
            let wait = error.retry_after().unwrap_or(RETRY_AFTER);
            reply.header("retry-after", whole_seconds(wait).to_string())
        }
        // The one scheme of these routes that has a name (RFC 9110, section 11.6.1).
        ErrorKind::Unauthorized => reply.header("www-authenticate", "Bearer"),
        _ => reply,
    }
}

/// Seconds, rounded up: who waits so long has waited long enough.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// The status for a kind of failure.
pub(super) fn status_of(kind: ErrorKind) -> StatusCode {
    use ErrorKind as Kind;
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        // The original program answers 404 for a session that is not connected.
        Kind::NotFound | Kind::NotConnected => StatusCode::NOT_FOUND,
        Kind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        Kind::Upstream => StatusCode::BAD_GATEWAY,
        Kind::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Quiet hours as they are written.
#[derive(Serialize)]
pub(super) struct HoursView {
    from: String,
    to: String,
}

pub(super) fn hours(quiet: QuietHours) -> HoursView {
    let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    HoursView {
        from: clock(quiet.from()),
        to: clock(quiet.to()),
    }
}
