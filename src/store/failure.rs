//! Failures of redb, and what the rest of the program reads of them.

use crate::error::{Code, Error};

/// Anything redb refuses.
#[derive(Debug)]
pub(super) struct Failure(redb::Error);

impl Failure {
    /// Whether the medium failed (or the file was closed under us): reopening may help.
    pub(super) fn is_disk(&self) -> bool {
        use redb::Error as E;
        matches!(
            self.0,
            E::Io(_) | E::PreviousIo | E::DatabaseClosed | E::LockPoisoned(_)
        )
    }
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        if failure.is_disk() {
            unavailable().because(failure.0)
        } else {
            Self::internal(failure.0)
        }
    }
}

/// What a caller reads while the disk does not work.
pub(super) fn unavailable() -> Error {
    Error::from(Code::StoreUnavailable)
}

/// What a caller reads after the store was closed.
pub(super) fn closed() -> Error {
    Error::from(Code::ShuttingDown)
}
