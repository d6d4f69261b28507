//! What one session may bring: judged before anything is written, so that a dry run finds it too.

use crate::config::Config;
use crate::domain::campaign::create::MAX_CAMPAIGNS;
use crate::domain::list::MAX_LISTS;
use crate::domain::stored::NO_QUOTA;

/// What a session that comes may still bring. It begins with nothing: whoever it replaces goes with all rows.
pub(super) struct Room {
    lists: usize,
    campaigns: usize,
    /// Bytes of the store, and the setting that they follow from.
    stored: u64,
    store_quota: u64,
    /// Bytes of files.
    files: u64,
    media_quota: u64,
}

impl Room {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            lists: MAX_LISTS,
            campaigns: MAX_CAMPAIGNS,
            stored: match config.store_quota {
                NO_QUOTA => u64::MAX,
                quota => quota,
            },
            store_quota: config.store_quota,
            files: config.media_quota,
            media_quota: config.media_quota,
        }
    }

    /// Takes room for a list, or says why there is none.
    pub(super) fn take_list(&mut self, bytes: u64) -> Result<(), String> {
        let Some(left) = self.lists.checked_sub(1) else {
            return Err(format!(
                "it may have {MAX_LISTS} recipient lists: delete others there first"
            ));
        };
        self.store(bytes)?;
        self.lists = left;
        Ok(())
    }

    /// Takes room for a campaign, or says why there is none.
    pub(super) fn take_campaign(&mut self, bytes: u64) -> Result<(), String> {
        let Some(left) = self.campaigns.checked_sub(1) else {
            return Err(format!(
                "it may have {MAX_CAMPAIGNS} campaigns: delete others there first"
            ));
        };
        self.store(bytes)?;
        self.campaigns = left;
        Ok(())
    }

    /// Takes room for an uploaded file, or says why there is none.
    pub(super) fn take_file(&mut self, bytes: u64) -> Result<(), String> {
        let Some(left) = self.files.checked_sub(bytes) else {
            let mib = self.media_quota >> 20;
            return Err(format!("its files may take {mib} MiB: raise media_quota"));
        };
        self.files = left;
        Ok(())
    }

    fn store(&mut self, bytes: u64) -> Result<(), String> {
        let Some(left) = self.stored.checked_sub(bytes) else {
            let mib = self.store_quota >> 20;
            return Err(format!(
                "its lists and campaigns may take {mib} MiB: raise store_quota"
            ));
        };
        self.stored = left;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(store_quota: u64, media_quota: u64) -> Room {
        Room::of(&Config {
            store_quota,
            media_quota,
            ..Config::default()
        })
    }

    #[test]
    fn what_does_not_fit_takes_no_room() {
        let mut room = room(100, 10);
        room.take_list(60).expect("room");
        let why = room.take_campaign(41).expect_err("no room");
        assert!(why.contains("store_quota"), "{why}");
        room.take_campaign(40).expect("room");
        room.take_list(1).expect_err("no room");
        let why = room.take_file(11).expect_err("no room");
        assert!(why.contains("media_quota"), "{why}");
        room.take_file(10).expect("room");
    }

    #[test]
    fn lists_and_campaigns_are_counted_each() {
        let mut room = room(NO_QUOTA, 0);
        for _ in 0..MAX_LISTS {
            room.take_list(1 << 40).expect("room");
        }
        let why = room.take_list(0).expect_err("no room");
        assert!(why.contains("1000 recipient lists"), "{why}");
        for _ in 0..MAX_CAMPAIGNS {
            room.take_campaign(0).expect("room");
        }
        let why = room.take_campaign(0).expect_err("no room");
        assert!(why.contains("1000 campaigns"), "{why}");
    }
}
