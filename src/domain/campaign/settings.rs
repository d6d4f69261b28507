//! How a campaign sends: what its owner may choose, within which bounds, and what holds otherwise.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::pacing::{Pacing, bounded};
use crate::domain::queues::RETRY_WAIT;
use crate::error::Result;

/// The most tries that a client may ask for.
const MAX_RETRIES: u64 = 20;

/// The longest wait before the first retry, in milliseconds.
const MAX_RETRY_DELAY: u64 = 3_600_000;

/// How a campaign sends. Stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignSettings {
    /// When the next message may go.
    pub pacing: Pacing,
    /// How often a failed recipient is tried again.
    pub max_retries: u32,
    /// How long the first retry waits; each further one waits four times as long.
    pub retry_delay_ms: u64,
    /// Whether numbers are asked for at WhatsApp before they are written to.
    pub check_numbers: bool,
    /// Whether the receiver sees that somebody types.
    pub typing: bool,
    /// Whether `{a|b}` in the words stands for one of its variants. It always did in what was stored before
    /// this could be chosen.
    #[serde(default = "always")]
    pub variants: bool,
}

fn always() -> bool {
    true
}

impl Default for CampaignSettings {
    fn default() -> Self {
        Self {
            pacing: Pacing::default(),
            max_retries: 3,
            retry_delay_ms: 5000,
            check_numbers: false,
            typing: false,
            variants: false,
        }
    }
}

impl CampaignSettings {
    /// The usual ones of a backup, whose version may not know yet that variants are a choice.
    pub fn of_backup() -> Self {
        Self {
            variants: always(),
            ..Self::default()
        }
    }

    /// How often a failed recipient is tried again: up to 20 times.
    pub fn set_retries(&mut self, many: u64) -> Result<()> {
        self.max_retries = bounded(many, MAX_RETRIES)?;
        Ok(())
    }

    /// How long the first retry waits: up to an hour, in milliseconds.
    pub fn set_retry_delay(&mut self, ms: u64) -> Result<()> {
        self.retry_delay_ms = bounded(ms, MAX_RETRY_DELAY)?;
        Ok(())
    }

    /// How long the try after this many waits.
    pub(super) fn backoff(&self, tries: u32) -> Duration {
        let factor = 4u64.saturating_pow(tries.saturating_sub(1));
        Duration::from_millis(self.retry_delay_ms.saturating_mul(factor)).min(RETRY_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_were_stored_before_variants_were_a_choice_have_them() {
        let mut stored = serde_json::to_value(CampaignSettings::default()).expect("JSON");
        stored
            .as_object_mut()
            .expect("an object")
            .remove("variants");
        let read: CampaignSettings = serde_json::from_value(stored).expect("settings");
        assert!(read.variants && !CampaignSettings::default().variants);
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_and_changes_nothing() {
        let mut settings = CampaignSettings::default();
        assert!(settings.set_retries(21).is_err());
        let error = settings.set_retry_delay(3_600_001).expect_err("refused");
        assert_eq!(error.detail(), "must be a whole number from 0 to 3600000");
        assert!(settings.pacing.set_delay(u64::MAX).is_err());
        assert!(settings.pacing.set_jitter(101).is_err());
        assert!(settings.pacing.set_daily_cap(0).is_err());
        assert!(settings.pacing.set_daily_cap(1_000_001).is_err());
        assert_eq!(settings, CampaignSettings::default());
        settings.set_retries(20).expect("allowed");
        settings.set_retry_delay(3_600_000).expect("allowed");
        settings.pacing.set_delay(3_600_000).expect("allowed");
        settings.pacing.set_jitter(100).expect("allowed");
        settings.pacing.set_daily_cap(1_000_000).expect("allowed");
        assert_eq!(
            (settings.max_retries, settings.retry_delay_ms),
            (20, 3_600_000)
        );
        assert_eq!(settings.pacing.delay, Duration::from_secs(3600));
        assert_eq!(settings.pacing.jitter, 100);
        assert_eq!(settings.pacing.daily_cap.map(u32::from), Some(1_000_000));
    }
}
