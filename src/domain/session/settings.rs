//! What a session's owner may choose.

use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};

use super::Session;
use crate::domain::Gateway;
use crate::domain::optout::Words;
use crate::domain::pacing::QuietHours;
use crate::domain::zone::Zone;
use crate::error::Result;

/// What a session's owner may choose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Whether files that arrive are fetched by themselves.
    pub auto_download: bool,
    /// What its campaigns together may send.
    pub limits: Limits,
    /// Words by which people leave campaigns; the usual ones when `None`.
    pub opt_out_words: Option<Vec<String>>,
    /// Words by which people come back; the usual ones when `None`.
    pub opt_in_words: Option<Vec<String>>,
}

impl Settings {
    /// The words that it listens to.
    pub(in crate::domain) fn words(&self) -> Words {
        let usual = Words::default();
        if self.opt_out_words.is_none() && self.opt_in_words.is_none() {
            return usual;
        }
        usual.replaced(self.opt_out_words.as_deref(), self.opt_in_words.as_deref())
    }
}

/// What the campaigns of a session together may send.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// How many messages a day.
    pub daily_cap: Option<NonZeroU32>,
    /// When nothing is sent.
    pub quiet: Option<QuietHours>,
    /// Whose days and hours count.
    pub zone: Zone,
}

impl Gateway {
    /// Changes what the session's owner chose; answers all that is chosen now.
    pub async fn change_settings(
        &self,
        session: &Arc<Session>,
        change: impl FnOnce(&mut Settings) + Send + 'static,
    ) -> Result<Settings> {
        // Two changes at once must end in one order.
        let _alone = session.link.lock().await;
        let mut settings = session.settings();
        change(&mut settings);
        let chosen = settings.clone();
        self.change_row(session, move |row| row.settings = chosen)
            .await?;
        *session
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = settings.clone();
        Ok(settings)
    }
}
