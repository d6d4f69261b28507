//! Campaigns of a store that was made of a backup: they wait until somebody knows who was written to since.

use std::sync::Arc;

use super::{CampaignState, LIVE};
use crate::domain::Gateway;
use crate::error::{ErrorKind, Result};
use crate::store::{Durability, RESTORED, Read, tables, unless_damaged};

/// What such a campaign says of itself.
const WHY: &str =
    "restored from a backup: resume it when you know who was written to or opted out since";

impl Gateway {
    /// Pauses what runs or would start by itself, if the store was made of a backup. It comes before
    /// the campaigns run; a crash in between leaves the rest to the next start.
    pub async fn pause_restored(self: &Arc<Self>) -> Result<()> {
        let restored = self
            .store
            .read(|read| read.exists(tables::META, RESTORED))?;
        if !restored {
            return Ok(());
        }
        let live = self
            .store
            .read(|read| LIVE.rows(()).readable(read, usize::MAX))?;
        let mut campaigns = 0;
        for ((number, id), ()) in live {
            // A session that is being removed runs none.
            let Some(session) = self.sessions.by_number(number) else {
                continue;
            };
            let paused = self.move_campaign(&session, &id, |campaign| {
                campaign.detail = Some(WHY.into());
                Ok(CampaignState::Paused)
            });
            match paused.await {
                Ok(_) => campaigns += 1,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                // One that is damaged does not run, and must not keep the program from starting.
                Err(error) => {
                    unless_damaged::<()>(Err(error))?;
                }
            }
        }
        tracing::warn!(
            campaigns,
            "the store was restored from a backup; campaigns that ran or were scheduled are paused: \
             resume each when you know who was written to or opted out since"
        );
        self.store
            .write(Durability::Sync, |tx| {
                tx.delete(tables::META, RESTORED);
                Ok(())
            })
            .await
    }
}
