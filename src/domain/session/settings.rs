//! What a session's owner may choose.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::domain::guard::Guard;
use crate::domain::optout::OptOutKeywords;
use crate::domain::pacing::QuietHours;
use crate::domain::zone::Zone;

/// What a session's owner may choose. Stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionSettings {
    /// Whether files that arrive are fetched by themselves.
    pub auto_download: bool,
    /// What its campaigns together may send.
    pub limits: CampaignLimits,
    /// How many new contacts it may write to; as the gateway's setting says when `None`.
    pub guard: Option<Guard>,
    /// Words by which people leave campaigns; the usual ones when `None`.
    pub opt_out_words: Option<Vec<String>>,
    /// Words by which people come back; the usual ones when `None`.
    pub opt_in_words: Option<Vec<String>>,
}

impl SessionSettings {
    /// The words that it listens to.
    pub(in crate::domain) fn opt_out_keywords(&self) -> OptOutKeywords {
        let usual = OptOutKeywords::default();
        if self.opt_out_words.is_none() && self.opt_in_words.is_none() {
            return usual;
        }
        usual.replaced(self.opt_out_words.as_deref(), self.opt_in_words.as_deref())
    }
}

/// What the campaigns of a session together may send. Stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CampaignLimits {
    /// How many messages a day.
    pub daily_cap: Option<NonZeroU32>,
    /// When nothing is sent.
    pub quiet: Option<QuietHours>,
    /// Whose days and hours count.
    pub zone: Zone,
}

/// What somebody changes of a session's settings; `None` leaves what is there.
#[derive(Debug, Default)]
pub struct SettingsChange {
    /// Whether files that arrive are fetched by themselves.
    pub auto_download: Option<bool>,
    /// How many new contacts it may write to; `Some(None)` is as the gateway's setting says.
    pub guard: Option<Option<Guard>>,
    /// How many messages its campaigns may send a day; `Some(None)` is any number.
    pub daily_cap: Option<Option<NonZeroU32>>,
    /// When its campaigns send nothing; `Some(None)` is never.
    pub quiet: Option<Option<QuietHours>>,
    /// Whose days and hours count.
    pub zone: Option<Zone>,
    /// Words by which people leave campaigns; `Some(None)` brings the usual ones back.
    pub opt_out_words: Option<Option<Vec<String>>>,
    /// Words by which people come back; `Some(None)` brings the usual ones back.
    pub opt_in_words: Option<Option<Vec<String>>>,
}

impl SettingsChange {
    pub(super) fn apply(self, to: &mut SessionSettings) {
        fn set<T>(new: Option<T>, place: &mut T) {
            if let Some(new) = new {
                *place = new;
            }
        }
        set(self.auto_download, &mut to.auto_download);
        set(self.guard, &mut to.guard);
        set(self.daily_cap, &mut to.limits.daily_cap);
        set(self.quiet, &mut to.limits.quiet);
        set(self.zone, &mut to.limits.zone);
        set(self.opt_out_words, &mut to.opt_out_words);
        set(self.opt_in_words, &mut to.opt_in_words);
    }
}
