//! Moving in: what another program left becomes ours, all of it in one transaction or nothing.
//!
//! A session that is here is not touched, unless it is to be replaced: so the same import again changes
//! nothing. Whatever stands in the way of one thing holds up the whole import until somebody has seen to
//! it or said that it may be left out.

mod devices;
mod incoming;
mod report;

pub use incoming::{Belongs, Incoming, IncomingFile, IncomingSession};
pub use report::{Outcome, Report, ReportLine, account_of};

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::Mutex;

use self::devices::{Identity, second_clients};
use super::Gateway;
use super::campaign::imported::ImportedCampaign;
use super::event::webhook::{self, Webhook};
use super::list::imported::ImportedList;
use super::media::files::MediaFile;
use super::media::imported::{self as media, ImportedFile};
use super::session::Session;
use super::session::imported::ImportedSession;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::ids::{MediaId, SessionId, SessionNumber};
use crate::store::{Durability, Tx};
use crate::tasks::blocking;
use crate::time::Timestamp;
use crate::wa::account::{Account, NotAnAccount};
use crate::wa::backend::Backend;
use crate::wa::backend::adopt::DeviceRows;

/// How an import is to go.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImportOptions {
    /// Nothing is changed; the report is the same.
    pub dry_run: bool,
    /// Sessions that are here give way.
    pub replace: bool,
    /// What has a problem is left out, and does not hold up the rest.
    pub skip_problems: bool,
    /// Sessions connect as soon as they are here.
    pub connect: bool,
}

/// What came of an import.
#[derive(Debug)]
pub struct ImportResult {
    /// Line by line.
    pub report: Report,
    /// Whether anything is different now.
    pub changed: bool,
    /// Whether problems held it up.
    pub held_up: bool,
}

impl ImportResult {
    /// What came of it, in a sentence.
    pub fn summary(&self) -> String {
        let count = |outcome| self.report.count(outcome);
        let (taken, problems) = (count(Outcome::Taken), count(Outcome::Problem));
        match (self.held_up, self.changed, taken) {
            (true, ..) => format!(
                "nothing was changed, because of problems ({problems}): see to them, or import without what \
                 has them (--skip-problems, skipProblems=true)"
            ),
            (_, true, _) => {
                "imported; sessions with a linked phone connect when the gateway runs".into()
            }
            (.., 0) => "nothing was changed: there is nothing to import".into(),
            _ => "nothing was changed: this was a dry run".into(),
        }
    }
}

/// A session of the other program that comes.
struct Arrival {
    new: IncomingSession,
    number: SessionNumber,
    /// The one here that gives way.
    there: Option<Arc<Session>>,
    device: Option<DeviceRows>,
    lists: Vec<ImportedList>,
    campaigns: Vec<ImportedCampaign>,
    files: Vec<(MediaId, MediaFile)>,
}

/// What one transaction writes for a session.
struct Rows {
    session: ImportedSession,
    webhook: Option<Webhook>,
    device: Option<DeviceRows>,
    lists: Vec<ImportedList>,
    campaigns: Vec<ImportedCampaign>,
    files: Vec<(MediaId, MediaFile)>,
}

/// What an import may take of the settings.
#[derive(Clone, Copy)]
struct Quotas {
    sessions: usize,
    store: u64,
    media: u64,
}

impl Rows {
    fn put(self, tx: &mut Tx, quotas: Quotas, now: Timestamp) -> Result<ImportedSession> {
        let number = self.session.number();
        self.session.put(tx, quotas.sessions)?;
        if let Some(device) = &self.device {
            device.put(tx)?;
        }
        if let Some(hook) = &self.webhook {
            webhook::put_imported(tx, number, hook)?;
        }
        for list in self.lists {
            list.put(tx, number, quotas.store)?;
        }
        for campaign in self.campaigns {
            campaign.put(tx, number, quotas.store, now)?;
        }
        for file in &self.files {
            media::put(tx, number, file, quotas.media)?;
        }
        Ok(self.session)
    }
}

impl Gateway {
    /// Takes in what another program left. What did and what did not come is in the report; nothing has
    /// changed when this is an error.
    pub async fn import(
        self: &Arc<Self>,
        incoming: Incoming,
        options: ImportOptions,
    ) -> Result<ImportResult> {
        static TURN: Mutex<()> = Mutex::const_new(());
        let _turn = TURN.lock().await;
        let Incoming {
            sessions,
            lists,
            campaigns,
            files,
            mut report,
        } = incoming;
        let homes = Homes::of(&sessions);
        let mut arrivals = self.arrivals(sessions, options, &mut report).await?;
        self.adopt(&mut arrivals, &mut report).await?;
        let staged = self
            .stage(&mut arrivals, &homes, &campaigns, files, &mut report)
            .await?;
        let now = self.clock().now();
        for (belongs, list) in lists {
            let about = format!("list {} ({})", list.id, String::from(list.name.clone()));
            let people = list.people.recipients.len();
            let refused = list.people.rejected.len();
            let Some(home) = homes.find(&belongs, &about, &mut arrivals, &mut report) else {
                continue;
            };
            let mut said = format!("people: {people}; for session {}", home.new.id);
            if refused > 0 {
                said.push_str(&format!(
                    "; rows that are no phone numbers and stay out: {refused}"
                ));
            }
            report.add(Outcome::Taken, about, said);
            home.lists.push(ImportedList::of(list, now));
        }
        for (belongs, campaign) in campaigns {
            let name = String::from(campaign.name.clone());
            let about = format!("campaign {} ({name})", campaign.id);
            let said = campaign.said();
            let Some(home) = homes.find(&belongs, &about, &mut arrivals, &mut report) else {
                continue;
            };
            let said = format!("for session {}: {said}", home.new.id);
            report.add(Outcome::Taken, about, said);
            let ids = &self.ids;
            home.campaigns
                .push(ImportedCampaign::of(campaign, ids, now));
        }
        let held_up = !options.skip_problems && report.count(Outcome::Problem) > 0;
        let changed = !(arrivals.is_empty() || options.dry_run || held_up);
        if changed {
            self.take_in(arrivals, staged, options.connect, now).await?;
        }
        crate::memory::give_back();
        Ok(ImportResult {
            report,
            changed,
            held_up,
        })
    }

    /// Decides which sessions come.
    async fn arrivals(
        &self,
        sessions: Vec<IncomingSession>,
        options: ImportOptions,
        report: &mut Report,
    ) -> Result<Vec<Arrival>> {
        let (mut arrivals, mut tokens) = (Vec::new(), HashSet::new());
        let unreadable = self.sessions().unreadable();
        let there = self.sessions().all().len() + unreadable.len();
        let mut room = self.config().max_sessions.saturating_sub(there);
        let devices = self.devices().await;
        let second_clients = second_clients(&sessions, &devices, options.replace);
        for mut new in sessions {
            let about = format!("session {}", new.id);
            let there = self.sessions().get(&new.id);
            if unreadable.contains(&new.id) {
                let said = "one of this name is here and cannot be read: delete it first";
                report.add(Outcome::Problem, about, said);
                continue;
            }
            if there.is_some() && !options.replace {
                let said = "is here already and stays as it is, with all that belongs to it; to put this \
                            one in its place, replace it (--replace, replace=true)";
                report.add(Outcome::LeftOut, about, said);
                continue;
            }
            if let Some(other) = second_clients.get(&new.id) {
                let said = format!(
                    "its linked device is that of session {other}, and two clients of one device knock each \
                     other out: keep only one of them"
                );
                report.add(Outcome::Problem, about, said);
                continue;
            }
            if there.is_none() {
                let Some(left) = room.checked_sub(1) else {
                    let most = self.config().max_sessions;
                    let said = format!("there may be {most} sessions: raise max_sessions");
                    report.add(Outcome::Problem, about, said);
                    continue;
                };
                room = left;
            }
            let mut said = match (&there, &new.account) {
                (Some(_), Some(_)) => {
                    "replaces the one that is here, with all that belonged to it"
                }
                (Some(_), None) => {
                    "replaces the one that is here, with all that belonged to it and its linked phone: \
                     it has none itself, pair it here"
                }
                (None, Some(_)) => "goes on without a new QR code",
                (None, None) => "has no linked phone: pair it here",
            }
            .to_owned();
            self.judge_token(&mut new, there.as_deref(), &mut tokens, &mut said);
            report.add(Outcome::Taken, about.clone(), said);
            let device = new.account.as_ref().map(|account| account.identity.public);
            let gives_way = there.as_ref().filter(|there| there.status().paired);
            if gives_way.is_some_and(|there| devices.get(&there.id) != device.as_ref()) {
                // Told only to whoever reads it: nobody may be connected who could tell WhatsApp.
                let said = "the device that gives way is not logged out: it stays in its phone's list of linked \
                            devices until it is removed there";
                report.add(Outcome::Note, about.clone(), said);
            }
            let number = SessionNumber(0);
            self.judge_webhook(&mut new, &about, report);
            arrivals.push(Arrival {
                new,
                number,
                there,
                device: None,
                lists: Vec::new(),
                campaigns: Vec::new(),
                files: Vec::new(),
            });
        }
        if !options.dry_run {
            let numbers = self.session_numbers(arrivals.len()).await?;
            for (arrival, number) in arrivals.iter_mut().zip(numbers) {
                arrival.number = number;
            }
        }
        Ok(arrivals)
    }

    /// The linked devices of the sessions that are here, as far as they can be read.
    async fn devices(&self) -> HashMap<SessionId, Identity> {
        let mut devices = HashMap::new();
        for session in self.sessions().all() {
            let (number, clock) = (session.number.0, self.clock.clone());
            let backend = Backend::new(self.store.clone(), number, clock, self.seal.clone());
            match backend.identity_key().await {
                Ok(Some(identity)) => drop(devices.insert(session.id.clone(), identity)),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(session = %session.id, ?error, "its linked device cannot be read");
                }
            }
        }
        devices
    }

    /// Lets a session keep its token where nobody else has it.
    fn judge_token(
        &self,
        new: &mut IncomingSession,
        there: Option<&Session>,
        tokens: &mut HashSet<String>,
        said: &mut String,
    ) {
        let legal = |token: &str| {
            (8..=256).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_graphic())
        };
        let why = match &new.token {
            None => "its token is not known",
            Some(token) if !legal(token) => "its token cannot be shown in a header",
            Some(token) if self.is_token_taken(token, there) || tokens.contains(token) => {
                "another session has its token"
            }
            Some(_) => "",
        };
        if why.is_empty() {
            said.push_str("; keeps its token");
        } else {
            said.push_str(&format!("; {why}, so it has a new one"));
            new.token = None;
        }
        tokens.extend(new.token.clone());
    }

    /// Lets a session keep its webhook where the policy allows it.
    fn judge_webhook(&self, new: &mut IncomingSession, about: &str, report: &mut Report) {
        let Some(url) = new.webhook.clone() else {
            return;
        };
        let about = format!("webhook of {about}");
        match self.imported_webhook(SessionNumber(0), url) {
            Ok(_) => {
                let said = "gets session.update and message.received, as before; deliveries are signed now";
                report.add(Outcome::Taken, about, said);
            }
            Err(error) => {
                report.add(Outcome::LeftOut, about, error.detail());
                new.webhook = None;
            }
        }
    }

    /// Turns linked devices into rows. One that cannot go on is a problem.
    async fn adopt(&self, arrivals: &mut Vec<Arrival>, report: &mut Report) -> Result<()> {
        let mut wrong = HashSet::new();
        for arrival in arrivals.iter_mut() {
            let Some(account) = arrival.new.account.take() else {
                continue;
            };
            let about = account_of(&arrival.new.id);
            let (number, clock) = (arrival.number.0, self.clock.clone());
            let backend = Backend::new(self.store.clone(), number, clock, self.seal.clone());
            let adopted = blocking(move || {
                let adopted = backend.adopt(&account);
                (account, adopted)
            });
            let (account, adopted) = adopted.await?;
            match adopted {
                Ok((rows, left_out)) => {
                    report.add(Outcome::Taken, about.clone(), what_of(&account));
                    report.add_left_out(&arrival.new.id, left_out);
                    arrival.device = Some(rows);
                    arrival.new.account = Some(account);
                }
                Err(NotAnAccount(why)) => {
                    report.add(Outcome::Problem, about, why);
                    wrong.insert(arrival.new.id.clone());
                }
            }
        }
        arrivals.retain(|arrival| !wrong.contains(&arrival.new.id));
        Ok(())
    }

    /// Copies the uploaded files beside the media folder and decides whose they are.
    async fn stage(
        &self,
        arrivals: &mut [Arrival],
        homes: &Homes,
        campaigns: &[(Belongs, super::campaign::imported::IncomingCampaign)],
        files: Vec<IncomingFile>,
        report: &mut Report,
    ) -> Result<Vec<ImportedFile>> {
        if arrivals.is_empty() || files.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = files.iter().map(|file| file.size).sum::<u64>();
        self.need_room(bytes)?;
        let (mut staged, mut used, mut ownerless) = (Vec::new(), vec![0; arrivals.len()], 0);
        let (mut count, mut taken) = (0_u64, 0_u64);
        for file in files {
            let homes_of: Vec<usize> = match homes.one_owner {
                // As before, every session may send every file.
                true => (0..arrivals.len()).collect(),
                false => {
                    let shows =
                        |(_, campaign): &&(Belongs, _)| shown_file(campaign) == Some(&file.id);
                    let shown = campaigns.iter().filter(shows);
                    let shown: HashSet<_> = shown
                        .filter_map(|(belongs, _)| homes.of_row(belongs))
                        .collect();
                    let of = |at: &usize| shown.contains(&arrivals[*at].new.id);
                    (0..arrivals.len()).filter(of).collect()
                }
            };
            if homes_of.is_empty() {
                ownerless += 1;
                continue;
            }
            let about = format!("file {}", file.id);
            match self.stage_file(file.id, &file.path).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                Err(error) => report.add(Outcome::LeftOut, about, error.detail()),
                Ok(file) => {
                    for at in homes_of {
                        if used[at] + file.size() > self.config().media_quota {
                            let said = format!(
                                "does not fit into the files that session {} may have: raise media_quota",
                                arrivals[at].new.id
                            );
                            report.add(Outcome::Problem, about.clone(), said);
                            continue;
                        }
                        used[at] += file.size();
                        arrivals[at].files.push(file.row());
                    }
                    (count, taken) = (count + 1, taken + file.size());
                    staged.push(file);
                }
            }
        }
        if count > 0 {
            let kib = taken.div_ceil(1024);
            let whose = match homes.one_owner {
                true => "for every session that comes",
                false => "for the sessions whose campaigns show them",
            };
            let said = format!("{count} in number ({kib} KiB), {whose}, under their ids");
            report.add(Outcome::Taken, "uploaded files", said);
        }
        if ownerless > 0 {
            let said = format!(
                "{ownerless} in number: the sessions belong to several people, and nothing says whose these are; \
                 upload them again"
            );
            report.add(Outcome::LeftOut, "uploaded files", said);
        }
        Ok(staged)
    }

    /// Refuses to fill the disk up.
    fn need_room(&self, bytes: u64) -> Result<()> {
        let free = self.free_bytes();
        // As much again is left for the store.
        if free / 2 >= bytes {
            return Ok(());
        }
        Err(Error::new(
            Code::StoreUnavailable,
            format!(
                "{} MiB of files come, and {} MiB are free in {}: make room there first",
                bytes.div_ceil(1 << 20),
                free >> 20,
                self.config().data.display()
            ),
        ))
    }

    /// Writes everything, and tells the sessions.
    async fn take_in(
        self: &Arc<Self>,
        arrivals: Vec<Arrival>,
        staged: Vec<ImportedFile>,
        connect: bool,
        now: Timestamp,
    ) -> Result<()> {
        let (mut rows, mut giving_way) = (Vec::new(), Vec::new());
        for mut arrival in arrivals {
            let there = arrival.there.take();
            let mut row = self.rows_of(arrival, now)?;
            if let Some(there) = there {
                row.session.replace(&there);
                giving_way.push(there);
            }
            rows.push(row);
        }
        let mut gone = Vec::new();
        for session in giving_way {
            gone.push(self.stop_for_import(session).await);
        }
        let quotas = Quotas {
            sessions: self.config().max_sessions,
            store: self.config().store_quota,
            media: self.config().media_quota,
        };
        let written = {
            // No file comes or goes before the rows are there that name it.
            let _alone = self.media.change().await;
            let written = match self.name_imported(&staged).await {
                Err(error) => Err(error),
                Ok(()) => {
                    let write = move |tx: &mut Tx| {
                        let put = rows.into_iter().map(|row| row.put(tx, quotas, now));
                        put.collect::<Result<Vec<_>>>()
                    };
                    self.store.write(Durability::Sync, write).await
                }
            };
            if written.is_err() {
                self.unname_imported(&staged).await;
            }
            written
        };
        match written {
            Ok(new) => self.replace_sessions(gone, new, connect),
            Err(error) => {
                gone.into_iter().for_each(|one| self.go_on(one, connect));
                Err(error)
            }
        }
    }

    /// The rows of a session.
    fn rows_of(&self, arrival: Arrival, now: Timestamp) -> Result<Rows> {
        let (new, number) = (arrival.new, arrival.number);
        let webhook = new.webhook.map(|url| self.imported_webhook(number, url));
        let token = new.token.unwrap_or_else(|| self.ids.token());
        let created_at = new.created_at.unwrap_or(now);
        let account = new.account.as_deref();
        Ok(Rows {
            session: ImportedSession::of(new.id, number, &token, created_at, account, &self.vault),
            webhook: webhook.transpose()?,
            device: arrival.device,
            lists: arrival.lists,
            campaigns: arrival.campaigns,
            files: arrival.files,
        })
    }
}

/// What of an account comes, in numbers.
fn what_of(account: &Account) -> String {
    format!(
        "its keys, {} prekeys, {} Signal sessions, {} sender keys of groups, {} LIDs",
        account.prekeys.len(),
        account.sessions.len(),
        account.sender_keys.len(),
        account.lids.len()
    )
}

/// The uploaded file that a campaign shows.
fn shown_file(campaign: &super::campaign::imported::IncomingCampaign) -> Option<&MediaId> {
    campaign.media.as_ref()?.source.as_ref().ok()
}

/// Which session gets what belonged to people there.
///
/// It follows from the folder alone: also when some of its sessions are here already, so that an import
/// of the rest gives nobody the lists a second time.
struct Homes {
    /// Names and owners: those with a linked phone first, in the order of the names.
    sessions: Vec<(SessionId, Option<String>)>,
    /// Whether all sessions belong to the same person, or to nobody.
    one_owner: bool,
}

impl Homes {
    fn of(sessions: &[IncomingSession]) -> Self {
        let owners: HashSet<_> = sessions.iter().map(|one| &one.owner).collect();
        let mut order: Vec<_> = sessions.iter().collect();
        // One that nobody can write from is a poor home.
        order.sort_by_key(|one| one.account.is_none());
        Self {
            one_owner: owners.len() <= 1,
            sessions: order
                .into_iter()
                .map(|one| (one.id.clone(), one.owner.clone()))
                .collect(),
        }
    }

    /// The session of a campaign or a list: the one that it names, else the first of who made it. The first
    /// of all only where it names nobody: what is another's must not go out from this number.
    fn of_row(&self, belongs: &Belongs) -> Option<&SessionId> {
        let named = |(id, _): &&(SessionId, _)| Some(id) == belongs.session.as_ref();
        let owned =
            |(_, owner): &&(SessionId, Option<String>)| owner.is_some() && *owner == belongs.owner;
        let all = || self.sessions.iter();
        let found = all().find(named).or_else(|| all().find(owned));
        let is_anybodys = belongs.session.is_none() && (belongs.owner.is_none() || self.one_owner);
        found
            .or_else(|| all().next().filter(|_| is_anybodys))
            .map(|(id, _)| id)
    }

    /// The same among those that come; says why it does not come with them.
    fn find<'a>(
        &self,
        belongs: &Belongs,
        about: &str,
        arrivals: &'a mut [Arrival],
        report: &mut Report,
    ) -> Option<&'a mut Arrival> {
        let Some(home) = self.of_row(belongs) else {
            report.add(
                Outcome::LeftOut,
                about,
                "there is no session that it could be of",
            );
            return None;
        };
        let found = arrivals.iter_mut().find(|arrival| arrival.new.id == *home);
        if found.is_none() {
            report.add(
                Outcome::LeftOut,
                about,
                format!("it belongs to session {home}, which does not come"),
            );
        }
        found
    }
}
