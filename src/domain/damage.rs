//! What the damaged row of a list or of a campaign still says of its people.

use serde::Deserialize;

use super::campaign::CAMPAIGNS;
use super::list::LISTS;
use super::roster::Roster;
use crate::error::Result;
use crate::store::Read;

/// The people that the damaged row of a list or of a campaign still names as its own. `None` when it names
/// none, or when another row names the same: damage must not cost another its people.
pub(super) fn roster_in(read: &impl Read, row: &[u8]) -> Result<Option<Roster>> {
    let Some(roster) = named_in(row) else {
        return Ok(None);
    };
    let mut owners = 0;
    let mut count = |row: &[u8]| owners += u32::from(named_in(row) == Some(roster));
    LISTS.rows(()).each(read, |row| {
        count(row.bytes());
        Ok(())
    })?;
    CAMPAIGNS.rows(()).each(read, |row| {
        count(row.bytes());
        Ok(())
    })?;
    Ok((owners == 1).then_some(roster))
}

fn named_in(row: &[u8]) -> Option<Roster> {
    /// What alone is asked of a list's or a campaign's row. Stored.
    #[derive(Deserialize)]
    struct RosterOnly {
        roster: Roster,
    }
    let (_, json) = row.split_first()?;
    let row: RosterOnly = serde_json::from_slice(json).ok()?;
    Some(row.roster)
}
