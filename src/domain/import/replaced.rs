//! What becomes of a session that gives way. What is its owner's and other people's word stays: settings, webhooks,
//! keys, who wants no more campaigns, and whom its campaigns wrote to. The rest goes as with a session that is
//! deleted, and the report says how much that is.

use super::arrival::{Arrival, GivesWay};
use super::report::{Outcome, Report};
use crate::domain::Gateway;
use crate::domain::campaign::CAMPAIGNS;
use crate::domain::event::webhook;
use crate::domain::list::LISTS;
use crate::domain::media::files;
use crate::error::Result;
use crate::ids::SessionNumber;
use crate::store::{Read, Reader, Table, Tx, bytes_of, tables};
use crate::tasks::blocking;

/// Tables whose rows stay as they are, under the number of the session that comes.
const STAY: [Table; 3] = [tables::SUPPRESSED, tables::KEYS, tables::DAY_COUNTS];

/// Gives the rows that stay to the session that comes. Those of the one that gives way go with its others.
pub(super) fn keep(tx: &mut Tx, from: SessionNumber, to: SessionNumber) -> Result<()> {
    let mut tables = STAY.into_iter();
    tables.try_for_each(|table| tx.copy_prefix(table, &bytes_of(from), &bytes_of(to)))
}

impl Arrival {
    /// What goes and what stays of the session that gives way, in numbers.
    fn what_becomes_of(&self, there: &GivesWay, read: &Reader) -> Result<String> {
        let session = there.session.number;
        let mut campaigns = CAMPAIGNS.rows(session).keys(read, usize::MAX)?;
        campaigns.retain(|id| !self.campaigns.iter().any(|campaign| campaign.id() == id));
        let mut lists = LISTS.rows(session).keys(read, usize::MAX)?;
        lists.retain(|id| !self.lists.iter().any(|list| list.id() == id));
        let mut files = files::uploaded(read, session)?;
        files.retain(|id| !self.file_ids.contains(id));
        let (campaigns, lists, files) = (campaigns.len(), lists.len(), files.len());
        let stay = |table| read.count(table, &bytes_of(session));
        let (people, keys) = (stay(tables::SUPPRESSED)?, stay(tables::KEYS)?);
        let hooks = match &self.webhook {
            Some(_) => String::new(),
            None => format!(", webhooks ({})", stay(tables::WEBHOOKS)?),
        };
        Ok(format!(
            "what the folder does not have of the one that is here goes: campaigns ({campaigns}), recipient \
             lists ({lists}), uploaded files ({files}), and all messages and events; its settings{hooks}, opt-outs \
             ({people}) and keys ({keys}) stay"
        ))
    }
}

impl Gateway {
    /// Says of each session that gives way what goes with it and what stays.
    pub(super) fn say_what_gives_way(
        &self,
        arrivals: &[Arrival],
        report: &mut Report,
    ) -> Result<()> {
        for arrival in arrivals {
            if let Some(there) = &arrival.there {
                let said = self
                    .store
                    .read(|read| arrival.what_becomes_of(there, read))?;
                report.add(Outcome::Note, format!("session {}", arrival.id()), said);
            }
        }
        Ok(())
    }

    /// Takes over what stays and can only be known now: the sessions that give way are stopped, so that
    /// nothing of it changes any more.
    pub(super) async fn take_over(&self, arrivals: Vec<Arrival>) -> Result<Vec<Arrival>> {
        let mut done = Vec::new();
        for mut arrival in arrivals {
            if let Some(there) = &arrival.there {
                let old = there.session.number;
                let mut campaigns = Vec::new();
                for campaign in std::mem::take(&mut arrival.campaigns) {
                    campaigns.push(campaign.go_on_from(old, &self.store).await?.0);
                }
                arrival.campaigns = campaigns;
                if there.keeps_device {
                    let (backend, new) = (self.backend_of(old), arrival.session.number().0);
                    arrival.device = Some(blocking(move || backend.moved_to(new)).await??);
                }
            }
            done.push(arrival);
        }
        Ok(done)
    }

    /// Writes what stays, in the transaction that writes what comes.
    pub(super) fn keep_what_stays(
        &self,
        tx: &mut Tx,
        there: &GivesWay,
        to: SessionNumber,
    ) -> Result<()> {
        let from = there.session.number;
        keep(tx, from, to)?;
        webhook::keep(tx, &self.vault, from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::faults::SimulatedDisk;
    use crate::store::{Disk, Durability, Store, StoreOptions};

    #[tokio::test]
    async fn what_stays_gets_the_new_number_and_the_rest_does_not() {
        let disk = Disk::Simulated(SimulatedDisk::new());
        let store = Store::open(disk, StoreOptions::default()).expect("a store");
        let (old, new) = (SessionNumber(3), SessionNumber(9));
        let row = |session, tail: &str| [bytes_of(session), tail.into()].concat();
        let write = move |tx: &mut Tx| {
            tx.put(tables::SUPPRESSED, row(old, "6281"), b"\x01stop");
            tx.put(
                tables::SUPPRESSED,
                row(SessionNumber(4), "6282"),
                b"\x01other",
            );
            tx.put(tables::DAY_COUNTS, bytes_of(old), b"\x01seven");
            tx.put(tables::KEYS, row(old, "key_1"), b"\x01key");
            tx.put(tables::LISTS, row(old, "list_1"), b"\x01list");
            keep(tx, old, new)
        };
        store.write(Durability::Sync, write).await.expect("written");
        let of_new = |table| {
            let rows = store.read(|read| read.prefix(table, &bytes_of(new), None, 10));
            let rows = rows.expect("read").into_iter();
            rows.map(|(key, value)| (key[4..].to_vec(), value))
                .collect::<Vec<_>>()
        };
        let one = |key: &[u8], value: &[u8]| vec![(key.to_vec(), value.to_vec())];
        assert_eq!(of_new(tables::SUPPRESSED), one(b"6281", b"\x01stop"));
        assert_eq!(of_new(tables::DAY_COUNTS), one(b"", b"\x01seven"));
        assert_eq!(of_new(tables::KEYS), one(b"key_1", b"\x01key"));
        assert_eq!(of_new(tables::LISTS), []);
    }
}
