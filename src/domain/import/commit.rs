//! The one transaction, and what the sessions do before and after it.

use std::sync::Arc;
use std::time::Duration;

use super::arrival::Arrival;
use crate::domain::Gateway;
use crate::domain::event::webhook;
use crate::domain::media::imported::{self as media, ImportedFile};
use crate::domain::session::imported::{ImportedSession, Stopped};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::SessionId;
use crate::store::{Durability, Tx};
use crate::time::Timestamp;

/// How long an import waits for a store that failed, to say what came of it.
const PATIENCE: Duration = Duration::from_secs(10);

impl Arrival {
    /// Writes all of it.
    fn put(self, tx: &mut Tx, gateway: &Gateway, now: Timestamp) -> Result<()> {
        let number = self.session.number();
        self.session.put(tx, gateway.config().max_sessions)?;
        if let Some(there) = &self.there {
            gateway.keep_what_stays(tx, there, number)?;
        }
        if let Some(device) = self.device {
            device.put(tx)?;
        }
        if let Some(hook) = &self.webhook {
            webhook::put_imported(tx, number, hook)?;
        }
        for list in self.lists {
            list.put(tx, number)?;
        }
        for campaign in self.campaigns {
            campaign.put(tx, number, now)?;
        }
        for file in &self.files {
            media::put(tx, number, file)?;
        }
        Ok(())
    }
}

/// What an import has done when its write is answered.
struct Written {
    /// The sessions that give way.
    stopped: Vec<Stopped>,
    new: Vec<ImportedSession>,
    files: Vec<ImportedFile>,
    connect: bool,
}

impl Gateway {
    /// Writes everything, and tells the sessions. Answers which of them cannot be read now.
    pub(super) async fn take_in(
        self: &Arc<Self>,
        mut arrivals: Vec<Arrival>,
        mut files: Vec<ImportedFile>,
        connect: bool,
    ) -> Result<Vec<SessionId>> {
        self.sync_imported(&mut files).await?;
        let mut stopped = Vec::new();
        for Arrival { session, there, .. } in &mut arrivals {
            if let Some(there) = there {
                stopped.push(self.stop_to_give_way(there.session.clone()).await);
                session.replace(&there.session, there.keeps_token, &self.vault);
            }
        }
        let new = arrivals.iter().map(|one| one.session.clone()).collect();
        let outcome = match self.take_over(arrivals).await {
            Ok(arrivals) => self.put_all(arrivals, &files).await,
            Err(error) => Err(error),
        };
        let written = Written {
            stopped,
            new,
            files,
            connect,
        };
        match outcome {
            Ok(()) => Ok(self.replace_sessions(written.stopped, written.new, connect)),
            Err(error) => self.after_failure(written, error).await,
        }
    }

    /// Names the files and writes the rows.
    async fn put_all(
        self: &Arc<Self>,
        arrivals: Vec<Arrival>,
        files: &[ImportedFile],
    ) -> Result<()> {
        let (gateway, now) = (self.clone(), self.clock().now());
        // No file comes or goes before the rows are there that name it.
        let _alone = self.media.change().await;
        self.name_imported(files).await?;
        let write = move |tx: &mut Tx| {
            let mut arrivals = arrivals.into_iter();
            arrivals.try_for_each(|arrival| arrival.put(tx, &gateway, now))
        };
        self.store.write(Durability::Sync, write).await
    }

    /// Undoes an import that could not be written, or takes it up when it is there after all. Whoever asked
    /// hears what came of it if that is known soon.
    async fn after_failure(
        self: &Arc<Self>,
        written: Written,
        error: Error,
    ) -> Result<Vec<SessionId>> {
        let (gateway, refused) = (self.clone(), error.kind() != ErrorKind::Unavailable);
        let settling = self.tasks.spawn(async move {
            let landed = match &written.new[..] {
                [first, ..] if !refused => gateway.has_landed(first).await,
                _ => Some(false),
            };
            match landed {
                Some(true) => {
                    let Written { stopped, new, .. } = written;
                    return Some(gateway.replace_sessions(stopped, new, written.connect));
                }
                Some(false) => {
                    gateway.unname_imported(&written.files).await;
                    for session in written.stopped {
                        session.resume(&gateway, written.connect);
                    }
                }
                // The gateway ends: the sessions that would give way stay stopped.
                None => {}
            }
            None
        });
        match tokio::time::timeout(PATIENCE, settling).await {
            Ok(Ok(Some(unreadable))) => Ok(unreadable),
            _ => Err(error),
        }
    }
}
