//! Recipient lists: people to write to, kept for many campaigns.

pub mod imported;
mod row;
mod words;

pub use super::roster::PageSize;
pub(super) use row::LISTS;
pub use row::List;
pub use words::{ListDescription, ListName};

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::recipient::{EncodedRecipients, MAX_RECIPIENTS, Recipient, RecipientRows, too_many};
use super::roster::{self, Position, Roster};
use super::session::{Session, ensure_session_exists, first_that_has};
use super::sheet::MAX_CUSTOM_COLUMNS;
use super::stored::{refuse_beyond, refuse_more_than};
use super::{Gateway, damage, pending_removal};
use crate::error::{Code, Error, Result};
use crate::ids::{RowId, SessionNumber};
use crate::store::{
    Durability, Read, Reader, Tx, bytes_of, refused_if_damaged, tables, unless_damaged,
};
use crate::time::Timestamp;

/// How many lists a session may have.
pub(super) const MAX_LISTS: usize = 1000;
const WHAT: &str = "recipient lists";

/// How many bytes of recipients a search finds at most.
const FOUND_BYTES: usize = 4 << 20;

/// How many tags a list may have.
const MAX_TAGS: usize = 50;

/// The longest of them, in characters.
const MAX_TAG: usize = 64;

/// Words to find a list by, without the spaces around them; none is empty.
pub fn tags<'t>(tags: impl ExactSizeIterator<Item = &'t str>) -> Result<Vec<String>> {
    let wrong = || {
        let text = format!(
            "tags must be an array of up to {MAX_TAGS} texts of up to {MAX_TAG} characters"
        );
        Error::new(Code::TagsInvalid, text)
    };
    if tags.len() > MAX_TAGS {
        return Err(wrong());
    }
    let legal = |tag: &&str| !tag.trim().is_empty() && tag.chars().count() <= MAX_TAG;
    let tags: Option<Vec<String>> = tags
        .map(|tag| Some(tag).filter(legal).map(|tag| tag.trim().to_owned()))
        .collect();
    tags.ok_or_else(wrong)
}

/// What can be changed of a list; `None` leaves it.
#[derive(Debug, Default)]
pub struct ListChange {
    /// What it is called.
    pub name: Option<ListName>,
    /// What it is for.
    pub description: Option<ListDescription>,
    /// Words to find it by.
    pub tags: Option<Vec<String>>,
    /// Its recipients, which replace those that are there.
    pub recipients: Option<EncodedRecipients>,
}

/// Some people of a list, in order.
pub struct ListPage {
    /// They.
    pub people: Vec<Recipient>,
    /// The position of the first that comes after them; `None` at the end.
    pub next: Option<u32>,
}

/// People from a position on, after `skip` others.
fn page(
    read: &impl Read,
    list: &List,
    (first, skip): (Position, usize),
    size: PageSize,
) -> Result<ListPage> {
    let (mut left, mut bytes) = (skip, 0);
    let (mut people, mut next) = (Vec::new(), None);
    roster::visit(read, list.roster, first, |position, recipient| {
        if left > 0 {
            left -= 1;
        } else if people.len() < size.rows && bytes < size.bytes {
            bytes += recipient.size();
            people.push(recipient);
        } else {
            next = Some(position);
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(ListPage { people, next })
}

/// How much all lists of some sessions hold, and how often they were used.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ListTotals {
    /// How many lists there are.
    pub lists: usize,
    /// Their people; whoever is in two counts twice.
    pub recipients: u64,
    /// How often campaigns used them.
    pub usage: u64,
}

impl ListTotals {
    /// Those of these lists.
    pub fn of<'l>(lists: impl Iterator<Item = &'l List>) -> Self {
        lists.fold(Self::default(), |sum, list| Self {
            lists: sum.lists + 1,
            recipients: sum.recipients + u64::from(list.count),
            usage: sum.usage + u64::from(list.usage_count),
        })
    }

    /// How many people a list has on average, rounded down; 0 where there is none.
    pub fn average_size(&self) -> u64 {
        self.recipients.checked_div(self.lists as u64).unwrap_or(0)
    }
}

fn not_found() -> Error {
    Error::from(Code::ListNotFound)
}

pub(super) fn get(read: &impl Read, session: SessionNumber, id: &RowId) -> Result<List> {
    let list = LISTS.get(read, (session, id));
    refused_if_damaged(list, Code::ListUnreadable)?.ok_or_else(not_found)
}

/// Notes that a campaign uses the list.
pub(super) fn note_use(
    tx: &mut Tx,
    session: SessionNumber,
    id: &RowId,
    now: Timestamp,
) -> Result<()> {
    let mut list = get(tx, session, id)?;
    list.last_used = Some(now);
    list.usage_count += 1;
    LISTS.put(tx, (session, id), &list)
}

/// Removes lists of a session, as many as the budget allows.
pub(super) fn delete_some(
    tx: &mut Tx,
    session: SessionNumber,
    budget: &mut pending_removal::RemovalBudget,
) -> Result<()> {
    let lists = LISTS.rows(session).values(tx, budget.left())?;
    for list in lists.into_iter().flatten() {
        pending_removal::of_roster(tx, list.roster);
    }
    budget.delete(tx, tables::LISTS, &bytes_of(session))
}

impl Gateway {
    /// Makes a list.
    pub async fn create_list(
        &self,
        session: &Session,
        change: ListChange,
    ) -> Result<(RowId, List)> {
        let recipients = change.recipients.unwrap_or_default();
        let now = self.clock.now();
        let id = self.ids.row_id("list", now);
        let mut list = List {
            roster: Roster(0),
            name: change.name.unwrap_or_default().into(),
            description: change.description.unwrap_or_default().into(),
            tags: change.tags.unwrap_or_default(),
            count: recipients.len() as u32,
            created_at: now,
            updated_at: None,
            last_used: None,
            usage_count: 0,
            bytes: None,
        };
        let rows = roster::encode(&recipients);
        drop(recipients);
        list.bytes = Some(rows.bytes());
        let (row_id, name, number) = (id.clone(), session.id.clone(), session.number);
        let quota = self.config.store_quota;
        let list = self
            .store
            .write(Durability::Sync, move |tx| {
                ensure_session_exists(tx, name.as_str(), number)?;
                refuse_more_than(tx, &LISTS.rows(number), MAX_LISTS, WHAT)?;
                refuse_beyond(tx, number, rows.bytes(), quota)?;
                list.roster = roster::number(tx)?;
                roster::write(tx, list.roster, rows);
                LISTS.put(tx, (number, &row_id), &list)?;
                Ok(list)
            })
            .await?;
        Ok((id, list))
    }

    /// The list of one of these sessions, without its recipients, and the session.
    pub fn find_list(&self, among: &[Arc<Session>], id: &RowId) -> Result<(Arc<Session>, List)> {
        first_that_has(among, Code::ListNotFound, |session| self.list(session, id))
    }

    /// The session, of these, that has the list; the list may be damaged.
    pub fn owner_of_list(&self, among: &[Arc<Session>], id: &RowId) -> Result<Arc<Session>> {
        let found = first_that_has(among, Code::ListNotFound, |session| {
            let place = (session.number, id);
            match self.store.read(|read| LISTS.exists(read, place))? {
                true => Ok(()),
                false => Err(not_found()),
            }
        });
        Ok(found?.0)
    }

    /// A list without its recipients.
    pub fn list(&self, session: &Session, id: &RowId) -> Result<List> {
        self.store.read(|read| get(read, session.number, id))
    }

    /// All lists of a session, the most recently used or made first.
    pub fn lists(&self, session: &Session) -> Result<Vec<(RowId, List)>> {
        let of_session = LISTS.rows(session.number);
        let mut lists = self
            .store
            .read(|read| of_session.readable(read, usize::MAX))?;
        lists.sort_by_key(|(_, list)| std::cmp::Reverse(list.last_used.unwrap_or(list.created_at)));
        Ok(lists)
    }

    /// A list, and some of its people after `skip` others, as they are at one moment.
    pub async fn list_with_people(
        &self,
        session: &Session,
        id: &RowId,
        skip: usize,
        size: PageSize,
    ) -> Result<(List, ListPage)> {
        let (id, number) = (id.clone(), session.number);
        let shown = self.scan(number, move |read| {
            let list = get(read, number, &id)?;
            let page = page(read, &list, (0, skip), size)?;
            Ok((list, page))
        });
        refused_if_damaged(shown.await, Code::ListUnreadable)
    }

    /// The first people of a list that was just written.
    pub async fn first_people(
        &self,
        session: &Session,
        list: &List,
        size: PageSize,
    ) -> Result<ListPage> {
        let list = list.clone();
        let read = move |read: &Reader| page(read, &list, (0, 0), size);
        self.scan(session.number, read).await
    }

    /// People of a list from a position on. If the list is not any more what `before` was, pages would
    /// not fit together: that is [`Code::ChangedWhileRead`].
    pub async fn list_people(
        &self,
        session: &Session,
        id: &RowId,
        before: &List,
        first: u32,
        size: PageSize,
    ) -> Result<ListPage> {
        let (id, number, before) = (id.clone(), session.number, before.clone());
        self.scan(number, move |read| {
            let now = LISTS.get(read, (number, &id))?;
            match now.filter(|now| now.has_people_of(&before)) {
                Some(list) => page(read, &list, (first, 0), size),
                None => Err(Code::ChangedWhileRead.into()),
            }
        })
        .await
    }

    /// The names of the custom fields that the people of a list have, of all together, in the order
    /// of the alphabet. More than a sheet has columns for are an error.
    pub async fn custom_fields(&self, session: &Session, list: &List) -> Result<BTreeSet<String>> {
        let roster = list.roster;
        self.scan(session.number, move |read| {
            let mut names = BTreeSet::new();
            roster::visit(read, roster, 0, |_, recipient| {
                names.extend(recipient.fields.into_keys());
                Ok(match names.len() > MAX_CUSTOM_COLUMNS {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })
            })?;
            if names.len() > MAX_CUSTOM_COLUMNS {
                return Err(Error::new(
                    Code::TooManyColumns,
                    format!(
                        "The recipients have more than {MAX_CUSTOM_COLUMNS} different custom \
                         fields: too many for a sheet"
                    ),
                ));
            }
            Ok(names)
        })
        .await
    }

    /// Changes a list.
    pub async fn change_list(
        &self,
        session: &Session,
        id: &RowId,
        change: ListChange,
    ) -> Result<List> {
        let now = self.clock.now();
        let count = change.recipients.as_ref().map(|r| r.len() as u32);
        let rows = change.recipients.as_ref().map(roster::encode);
        drop(change.recipients);
        let (id, number, quota) = (id.clone(), session.number, self.config.store_quota);
        self.store
            .write(Durability::Sync, move |tx| {
                let mut list = get(tx, number, &id)?;
                if let Some(name) = change.name {
                    list.name = name.into();
                }
                if let Some(description) = change.description {
                    list.description = description.into();
                }
                if let Some(tags) = change.tags {
                    list.tags = tags;
                }
                if let (Some(rows), Some(count)) = (rows, count) {
                    let before = roster::bytes(tx, list.roster)?;
                    refuse_beyond(tx, number, rows.bytes().saturating_sub(before), quota)?;
                    list.bytes = Some(rows.bytes());
                    pending_removal::of_roster(tx, list.roster);
                    list.roster = roster::number(tx)?;
                    roster::write(tx, list.roster, rows);
                    list.count = count;
                }
                list.updated_at = Some(now);
                LISTS.put(tx, (number, &id), &list)?;
                Ok(list)
            })
            .await
    }

    /// Removes a list, also a damaged one, with its people as far as the row still says who they are.
    /// Campaigns that were made from it have their own recipients.
    pub async fn delete_list(&self, session: &Session, id: &RowId) -> Result<()> {
        let (id, number) = (id.clone(), session.number);
        self.store
            .write(Durability::Sync, move |tx| {
                let roster = match get(tx, number, &id) {
                    Err(error) if error.code() == Code::ListUnreadable => {
                        let row = LISTS.view(tx, (number, &id), <[u8]>::to_vec)?;
                        damage::roster_in(tx, &row.unwrap_or_default())?
                    }
                    list => Some(list?.roster),
                };
                if let Some(roster) = roster {
                    pending_removal::of_roster(tx, roster);
                }
                LISTS.delete(tx, (number, &id));
                Ok(())
            })
            .await
    }

    /// Copies a list under a new name.
    pub async fn clone_list(
        &self,
        session: &Session,
        id: &RowId,
        name: Option<ListName>,
    ) -> Result<(RowId, List)> {
        let now = self.clock.now();
        let new_id = self.ids.row_id("list", now);
        let (from, to, number) = (id.clone(), new_id.clone(), session.number);
        let quota = self.config.store_quota;
        let list = self
            .store
            .write(Durability::Sync, move |tx| {
                let original = get(tx, number, &from)?;
                refuse_more_than(tx, &LISTS.rows(number), MAX_LISTS, WHAT)?;
                let bytes = roster::bytes(tx, original.roster)?;
                refuse_beyond(tx, number, bytes, quota)?;
                let list = List {
                    bytes: Some(bytes),
                    roster: roster::number(tx)?,
                    name: name
                        .unwrap_or_else(|| ListName::of_copy(&original.name))
                        .into(),
                    created_at: now,
                    updated_at: None,
                    last_used: None,
                    usage_count: 0,
                    ..original.clone()
                };
                roster::copy(tx, original.roster, list.roster)?;
                LISTS.put(tx, (number, &to), &list)?;
                Ok(list)
            })
            .await?;
        Ok((new_id, list))
    }

    /// Notes by hand that a list was used.
    pub async fn mark_list_used(&self, session: &Session, id: &RowId) -> Result<()> {
        let (id, number, now) = (id.clone(), session.number, self.clock.now());
        self.store
            .write(Durability::Sync, move |tx| note_use(tx, number, &id, now))
            .await
    }

    /// Adds one person to a list.
    pub async fn add_recipient(
        &self,
        session: &Session,
        id: &RowId,
        recipient: Recipient,
    ) -> Result<List> {
        let now = self.clock.now();
        let (id, number, quota) = (id.clone(), session.number, self.config.store_quota);
        let bytes = recipient.stored_bytes();
        self.store
            .write(Durability::Sync, move |tx| {
                let mut list = get(tx, number, &id)?;
                refuse_beyond(tx, number, bytes, quota)?;
                if list.count as usize >= MAX_RECIPIENTS {
                    return Err(too_many());
                }
                if roster::find(tx, list.roster, recipient.number.as_str())?.is_some() {
                    return Err(Code::RecipientExists.into());
                }
                let place = roster::end(tx, list.roster)?;
                roster::set(tx, list.roster, place, Some(recipient))?;
                list.count += 1;
                list.weigh(bytes, 0);
                list.updated_at = Some(now);
                LISTS.put(tx, (number, &id), &list)?;
                Ok(list)
            })
            .await
    }

    /// Adds people to a list; those who are there already stay as they are, and are answered.
    pub async fn import_recipients(
        &self,
        session: &Session,
        id: &RowId,
        people: EncodedRecipients,
    ) -> Result<(List, Vec<String>)> {
        let now = self.clock.now();
        let (id, number, quota) = (id.clone(), session.number, self.config.store_quota);
        self.store
            .write(Durability::Sync, move |tx| {
                let mut list = get(tx, number, &id)?;
                let (new, known) = strangers(tx, list.roster, &people)?;
                drop(people);
                if list.count as usize + new.len() > MAX_RECIPIENTS {
                    return Err(too_many());
                }
                let bytes = roster::encode(&new).bytes();
                refuse_beyond(tx, number, bytes, quota)?;
                let first = roster::end(tx, list.roster)?;
                list.count += new.len() as u32;
                list.updated_at = Some(now);
                roster::extend(tx, list.roster, first, &new)?;
                list.weigh(bytes, 0);
                LISTS.put(tx, (number, &id), &list)?;
                Ok((list, known))
            })
            .await
    }

    /// Changes the person with this number; what `new` does not say stays.
    pub async fn change_recipient(
        &self,
        session: &Session,
        id: &RowId,
        old: String,
        new: Recipient,
    ) -> Result<List> {
        let change = move |mut old: Recipient| {
            let mut changed = new;
            old.number = changed.number.clone();
            changed.fill(old);
            Some(changed)
        };
        self.edit_recipient(session, id, old, change).await
    }

    /// Removes the person with this number.
    pub async fn remove_recipient(
        &self,
        session: &Session,
        id: &RowId,
        old: String,
    ) -> Result<List> {
        self.edit_recipient(session, id, old, |_| None).await
    }

    /// Changes or removes (`None`) the person with this number.
    async fn edit_recipient(
        &self,
        session: &Session,
        id: &RowId,
        old: String,
        change: impl FnOnce(Recipient) -> Option<Recipient> + Send + 'static,
    ) -> Result<List> {
        let now = self.clock.now();
        let (id, number) = (id.clone(), session.number);
        self.store
            .write(Durability::Sync, move |tx| {
                let mut list = get(tx, number, &id)?;
                let found = roster::find(tx, list.roster, &old)?;
                let (place, recipient) = found.ok_or(Code::RecipientNotFound)?;
                let before = recipient.stored_bytes();
                let changed = change(recipient);
                let after = changed.as_ref().map_or(0, Recipient::stored_bytes);
                match &changed {
                    None => list.count = list.count.saturating_sub(1),
                    Some(new) if new.number.as_str() != old => {
                        if roster::find(tx, list.roster, new.number.as_str())?.is_some() {
                            return Err(Code::RecipientExists.into());
                        }
                    }
                    Some(_) => {}
                }
                roster::set(tx, list.roster, place, changed)?;
                list.weigh(after, before);
                list.updated_at = Some(now);
                LISTS.put(tx, (number, &id), &list)?;
                Ok(list)
            })
            .await
    }

    /// People of all lists of a session whose number, name, company or job holds these words.
    pub async fn search_recipients(
        &self,
        session: &Session,
        words: &str,
        limit: usize,
    ) -> Result<Vec<(RowId, String, Recipient)>> {
        let lists = self.lists(session)?;
        let words = words.to_lowercase();
        self.scan(session.number, move |read| {
            let (mut found, mut bytes) = (Vec::new(), 0);
            for (id, list) in lists {
                let searched = roster::visit(read, list.roster, 0, |_, recipient| {
                    if found.len() == limit || bytes > FOUND_BYTES {
                        return Ok(ControlFlow::Break(()));
                    }
                    if matches(&recipient, &words) {
                        bytes += recipient.size();
                        found.push((id.clone(), list.name.clone(), recipient));
                    }
                    Ok(ControlFlow::Continue(()))
                });
                unless_damaged(searched)?;
            }
            Ok(found)
        })
        .await
    }
}

fn matches(recipient: &Recipient, words: &str) -> bool {
    [
        recipient.number.as_str(),
        &recipient.name,
        &recipient.company,
        &recipient.job_title,
    ]
    .iter()
    .any(|text| text.to_lowercase().contains(words))
}

/// The people who are not in the roster yet, and the numbers of those who are.
fn strangers(
    read: &impl Read,
    roster: Roster,
    people: &EncodedRecipients,
) -> Result<(EncodedRecipients, Vec<String>)> {
    let mut there = std::collections::HashSet::new();
    roster::visit(read, roster, 0, |_, recipient| {
        there.insert(recipient.number.key());
        Ok(ControlFlow::Continue(()))
    })?;
    let (mut new, mut known) = (EncodedRecipients::default(), Vec::new());
    for who in people.iter() {
        let who = who?;
        if there.contains(&who.number.key()) {
            known.push(who.number.to_string());
        } else {
            new.push(&who)?;
        }
    }
    Ok((new, known))
}

/// What a client sent as recipients, as far as it can be used.
///
/// Clients of the original expect that one bad number does not keep the others away; with `strict`
/// it does, and so does a text without a single good one.
pub fn usable(parsed: RecipientRows, strict: bool) -> Result<RecipientRows> {
    let refused = parsed.rejected.first();
    match refused {
        Some(first) if strict || parsed.recipients.is_empty() => Err(Error::new(
            Code::RecipientsInvalid,
            format!(
                "recipients: row {} ({}): {}{}",
                first.row,
                first.input,
                first.reason,
                match parsed.rejected.len() {
                    1 => String::new(),
                    more => format!("; {} rows are refused in all", more),
                }
            ),
        )),
        _ => Ok(parsed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_those_of_all_lists() {
        let list = |count, usage_count| List {
            roster: Roster(1),
            name: "VIP Customers".into(),
            description: "the best".into(),
            tags: vec!["Premium".into()],
            count,
            created_at: Timestamp::default(),
            updated_at: None,
            last_used: None,
            usage_count,
            bytes: Some(7),
        };
        let totals = ListTotals::of([list(3, 1), list(4, 0)].iter());
        assert_eq!((totals.lists, totals.recipients, totals.usage), (2, 7, 1));
        assert_eq!(totals.average_size(), 3);
        assert_eq!(ListTotals::default().average_size(), 0);
        let one = list(3, 1);
        assert!(one.is_found(Some("vip"), Some("premium")) && one.is_found(Some("BEST"), None));
        assert!(!one.is_found(Some("other"), None) && !one.is_found(None, Some("prem")));
        // Using a list changes nobody in it.
        let used = List {
            usage_count: 9,
            last_used: Some(Timestamp::default()),
            ..one.clone()
        };
        assert!(one.has_people_of(&used));
        assert!(!one.has_people_of(&List {
            count: 4,
            ..one.clone()
        }));
        assert!(!one.has_people_of(&List {
            roster: Roster(2),
            ..one.clone()
        }));
    }

    #[test]
    fn a_list_has_50_tags_without_spaces_around_them() {
        let taken = |words: &[&str]| tags(words.iter().copied()).map_err(|e| e.code());
        assert_eq!(taken(&[" vip "]), Ok(vec!["vip".to_owned()]));
        assert!(taken(&["x"; 50]).is_ok() && taken(&[&"x".repeat(64)]).is_ok());
        let long = "x".repeat(65);
        for wrong in [&["x"; 51][..], &[" "], &[long.as_str()]] {
            assert_eq!(taken(wrong), Err(Code::TagsInvalid), "{wrong:?}");
        }
    }
}
