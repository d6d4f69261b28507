//! Which sessions, lists and campaigns cannot be read: what `warung check` tells beside the store's own
//! findings.

use super::campaign::{CAMPAIGNS, rows};
use super::list::LISTS;
use super::roster;
use super::session;
use crate::error::Result;
use crate::ids::{RowId, SessionNumber};
use crate::store::typed::Value;
use crate::store::{Read, Rows};

/// What is wrong with a list or a campaign whose row can be read.
const PEOPLE: &str = " (its people)";
const PROGRESS: &str = " (how far it has come)";

/// A sentence for each of them.
pub fn unreadable(read: &impl Read) -> Result<Vec<String>> {
    let sessions = session::names(read)?;
    let lost = sessions.iter().filter(|(_, number)| number.is_none());
    let mut found: Vec<_> = lost
        .map(|(name, _)| format!("session {name} cannot be read; delete it and create it again"))
        .collect();
    let name_of = |number: SessionNumber| {
        let mut named = sessions.iter();
        let named = named.find(|(_, other)| *other == Some(number));
        named.map_or("unknown", |(name, _)| name.as_str())
    };
    let mut tell = |what: &str, part: &str, (number, id): (SessionNumber, RowId)| {
        let session = name_of(number);
        found.push(format!(
            "{what} {id} of session {session} cannot be read{part}; delete it and create it again"
        ));
    };
    each(&LISTS.rows(()), read, |key, list| {
        match list {
            None => tell("list", "", key),
            Some(list) if !roster::is_readable(read, list.roster)? => tell("list", PEOPLE, key),
            Some(_) => {}
        }
        Ok(())
    })?;
    each(&CAMPAIGNS.rows(()), read, |key, campaign| {
        let Some(campaign) = campaign else {
            tell("campaign", "", key);
            return Ok(());
        };
        if rows::progress(read, campaign.roster).is_err() {
            tell("campaign", PROGRESS, key);
        } else if !roster::is_readable(read, campaign.roster)? {
            tell("campaign", PEOPLE, key);
        }
        Ok(())
    })?;
    Ok(found)
}

/// Shows all rows whose keys can be read; the value of a damaged one is `None`.
fn each<V: Value>(
    rows: &Rows<(SessionNumber, RowId), V>,
    read: &impl Read,
    mut visit: impl FnMut((SessionNumber, RowId), Option<V>) -> Result<()>,
) -> Result<()> {
    rows.each(read, |row| match row.key() {
        Ok(key) => visit(key, row.value().ok()),
        Err(_) => Ok(()),
    })
}
