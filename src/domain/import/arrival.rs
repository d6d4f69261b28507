//! Which sessions come: each is judged once, and its line is written when its fate is known.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::devices::{Identity, second_clients};
use super::incoming::IncomingSession;
use super::options::ImportOptions;
use super::report::{Outcome, Report, account_of};
use super::room::Room;
use crate::domain::Gateway;
use crate::domain::campaign::imported::ImportedCampaign;
use crate::domain::event::webhook::Webhook;
use crate::domain::list::imported::ImportedList;
use crate::domain::media::files::MediaFile;
use crate::domain::session::Session;
use crate::domain::session::imported::ImportedSession;
use crate::error::{Error, Result};
use crate::ids::{MediaId, SessionId, SessionNumber};
use crate::tasks::blocking;
use crate::wa::account::{Account, NotAnAccount};
use crate::wa::backend::Backend;
use crate::wa::backend::adopt::{self, DeviceRows};

/// A session of the other program that comes, with all that it brings, ready to be written.
pub(super) struct Arrival {
    pub(super) session: ImportedSession,
    /// The one here that gives way.
    pub(super) there: Option<GivesWay>,
    pub(super) webhook: Option<Webhook>,
    pub(super) device: Option<DeviceRows>,
    pub(super) lists: Vec<ImportedList>,
    pub(super) campaigns: Vec<ImportedCampaign>,
    /// Its files; in a dry run none are made.
    pub(super) files: Vec<(MediaId, MediaFile)>,
    /// Their ids, in a dry run too.
    pub(super) file_ids: HashSet<MediaId>,
    /// What it may still bring.
    pub(super) room: Room,
}

impl Arrival {
    /// Its name.
    pub(super) fn id(&self) -> &SessionId {
        self.session.id()
    }
}

/// A session that is here and gives way.
pub(super) struct GivesWay {
    pub(super) session: Arc<Session>,
    /// Its token stays: the folder brings none that could be used.
    pub(super) keeps_token: bool,
    /// Its linked device is the one that comes. Its keys have gone on here, and older ones would be used
    /// twice: so they stay.
    pub(super) keeps_device: bool,
}

/// A session that comes, before it has its number.
struct Admitted {
    id: SessionId,
    token: String,
    created_at: crate::time::Timestamp,
    account: Option<Box<Account>>,
    webhook: Option<Webhook>,
    there: Option<GivesWay>,
}

/// Which token a session has from now on.
struct JudgedToken {
    token: String,
    /// Whether it is that of the session that gives way.
    is_of_there: bool,
    /// What is said of it.
    said: String,
}

/// What keeps sessions out.
struct Gate {
    /// Names of sessions that are here and cannot be read.
    unreadable: Vec<SessionId>,
    second_clients: HashMap<SessionId, SessionId>,
    replace: bool,
    /// How many sessions there may be, and how many more that is.
    most: usize,
    room: usize,
}

impl Gate {
    /// Why a session does not come, with what that is about.
    fn refuses(
        &mut self,
        new: &IncomingSession,
        is_here: bool,
    ) -> Option<(Outcome, String, String)> {
        let about = format!("session {}", new.id);
        let problem = |said: String| Some((Outcome::Problem, about.clone(), said));
        if self.unreadable.contains(&new.id) {
            return problem("one of this name is here and cannot be read: delete it first".into());
        }
        if is_here && !self.replace {
            let said = "is here already and stays as it is, with all that belongs to it; to put this \
                        one in its place, replace it (--replace, replace=true)";
            return Some((Outcome::LeftOut, about, said.into()));
        }
        if let Err(why) = &new.account {
            return Some((Outcome::Problem, account_of(&new.id), why.clone()));
        }
        if let Some(other) = self.second_clients.get(&new.id) {
            return problem(format!(
                "its linked device is that of session {other}, and two clients of one device knock each \
                 other out: keep only one of them"
            ));
        }
        if !is_here {
            let Some(left) = self.room.checked_sub(1) else {
                let most = self.most;
                return problem(format!("there may be {most} sessions: raise max_sessions"));
            };
            self.room = left;
        }
        None
    }
}

impl Gateway {
    /// Decides which sessions come.
    pub(super) async fn arrivals(
        &self,
        sessions: Vec<IncomingSession>,
        options: ImportOptions,
        report: &mut Report,
    ) -> Result<Vec<Arrival>> {
        let sessions = blocking(move || with_judged_accounts(sessions)).await?;
        let devices = self.devices().await;
        let unreadable = self.sessions().unreadable();
        let here = self.sessions().all().len() + unreadable.len();
        let most = self.config().max_sessions;
        let mut gate = Gate {
            second_clients: second_clients(&sessions, &devices, options.replace),
            unreadable,
            replace: options.replace,
            most,
            room: most.saturating_sub(here),
        };
        let (mut admitted, mut tokens) = (Vec::new(), HashSet::new());
        for new in sessions {
            let there = self.sessions().get(&new.id);
            match gate.refuses(&new, there.is_some()) {
                Some((outcome, about, said)) => report.add(outcome, about, said),
                None => {
                    admitted.push(self.say_how_it_comes(new, there, &devices, &mut tokens, report))
                }
            }
        }
        let numbers = match options.dry_run {
            true => vec![SessionNumber(0); admitted.len()],
            false => self.session_numbers(admitted.len()).await?,
        };
        let mut arrivals = Vec::new();
        for (one, number) in admitted.into_iter().zip(numbers) {
            arrivals.push(self.arrival(one, number, report).await?);
        }
        Ok(arrivals)
    }

    /// The linked devices of the sessions that are here, as far as they can be read.
    async fn devices(&self) -> HashMap<SessionId, Identity> {
        let mut devices = HashMap::new();
        for session in self.sessions().all() {
            match self.backend_of(session.number).identity_key().await {
                Ok(Some(identity)) => drop(devices.insert(session.id.clone(), identity)),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(session = %session.id, ?error, "its linked device cannot be read");
                }
            }
        }
        devices
    }

    pub(super) fn backend_of(&self, session: SessionNumber) -> Backend {
        let (store, clock) = (self.store.clone(), self.clock.clone());
        Backend::new(store, session.0, clock, self.seal.clone())
    }

    /// Says how a session comes, with which token and webhook.
    fn say_how_it_comes(
        &self,
        new: IncomingSession,
        there: Option<Arc<Session>>,
        devices: &HashMap<SessionId, Identity>,
        tokens: &mut HashSet<String>,
        report: &mut Report,
    ) -> Admitted {
        let about = format!("session {}", new.id);
        let account = new.account.ok().flatten();
        let way = match (&there, &account) {
            (Some(_), Some(_)) => "replaces the one that is here",
            (Some(_), None) => {
                "replaces the one that is here and its linked phone: it has none itself, pair it here"
            }
            (None, Some(_)) => "goes on without a new QR code",
            (None, None) => "has no linked phone: pair it here",
        };
        let token = self.judge_token(new.token, there.as_deref(), tokens);
        report.add(
            Outcome::Taken,
            about.clone(),
            format!("{way}; {}", token.said),
        );
        let device = account.as_ref().map(|account| account.identity.public);
        let gives_way = there.as_ref().filter(|there| there.status().paired);
        let of_there = gives_way.map(|there| devices.get(&there.id));
        if of_there.is_some_and(|of_there| of_there != device.as_ref()) {
            // Told only to whoever reads it: nobody may be connected who could tell WhatsApp.
            let said = "the device that gives way is not logged out: it stays in its phone's list of linked \
                        devices until it is removed there";
            report.add(Outcome::Note, about.clone(), said);
        }
        Admitted {
            webhook: new
                .webhook
                .and_then(|url| self.judge_webhook(url, &about, report)),
            created_at: new.created_at.unwrap_or_else(|| self.clock().now()),
            id: new.id,
            there: there.map(|session| GivesWay {
                session,
                keeps_token: token.is_of_there,
                keeps_device: device.is_some() && of_there == Some(device.as_ref()),
            }),
            token: token.token,
            account,
        }
    }

    /// The token of a session, and what is said of it: it keeps its own where nobody else has it.
    fn judge_token(
        &self,
        token: Option<String>,
        there: Option<&Session>,
        tokens: &mut HashSet<String>,
    ) -> JudgedToken {
        let legal = |token: &str| {
            (8..=256).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_graphic())
        };
        let why = match token {
            None => "its token is not known",
            Some(token) if !legal(&token) => "its token cannot be shown in a header",
            Some(token) if self.is_token_taken(&token, there) || tokens.contains(&token) => {
                "another session has its token"
            }
            Some(token) => {
                tokens.insert(token.clone());
                return JudgedToken {
                    token,
                    is_of_there: false,
                    said: "keeps its token".into(),
                };
            }
        };
        let (token, what) = match there {
            Some(there) => (there.token(), "the one of the session that is here stays"),
            None => (self.ids.token(), "it has a new one"),
        };
        JudgedToken {
            token,
            is_of_there: there.is_some(),
            said: format!("{why}, so {what}"),
        }
    }

    /// Lets a session keep its webhook where the policy allows it.
    fn judge_webhook(&self, url: String, about: &str, report: &mut Report) -> Option<Webhook> {
        let about = format!("webhook of {about}");
        match self.imported_webhook(url) {
            Ok(webhook) => {
                let signed = match self.config().webhook_secret {
                    Some(_) => "signed with webhook_secret",
                    None => "not signed",
                };
                let said = format!(
                    "gets session.update and message.received, as before; they are {signed} until somebody sets \
                     the webhook again, which makes a secret and answers it"
                );
                report.add(Outcome::Taken, about, said);
                Some(webhook)
            }
            Err(error) => {
                report.add(Outcome::LeftOut, about, error.detail());
                None
            }
        }
    }

    /// Makes the rows of a session and its linked device.
    async fn arrival(
        &self,
        admitted: Admitted,
        number: SessionNumber,
        report: &mut Report,
    ) -> Result<Arrival> {
        let Admitted {
            id,
            token,
            created_at,
            account,
            webhook,
            there,
        } = admitted;
        let (linked, vault) = (account.as_deref(), &self.vault);
        let session = ImportedSession::of(id.clone(), number, &token, created_at, linked, vault);
        let keeps_device = there.as_ref().is_some_and(|there| there.keeps_device);
        let device = match account {
            Some(_) if keeps_device => {
                let said = "it is the linked device of the session that is here, whose keys have gone on since \
                            and stay; if the other program was connected since, log it out here and pair it";
                report.add(Outcome::LeftOut, account_of(&id), said);
                None
            }
            Some(account) => Some(self.device_rows(&id, number, account, report).await?),
            None => None,
        };
        Ok(Arrival {
            session,
            there,
            webhook,
            device,
            lists: Vec::new(),
            campaigns: Vec::new(),
            files: Vec::new(),
            file_ids: HashSet::new(),
            room: Room::of(self.config()),
        })
    }

    /// Turns a linked device into rows, and says what of it comes.
    async fn device_rows(
        &self,
        id: &SessionId,
        number: SessionNumber,
        account: Box<Account>,
        report: &mut Report,
    ) -> Result<DeviceRows> {
        report.add(Outcome::Taken, account_of(id), what_of(&account));
        let backend = self.backend_of(number);
        let adopted = blocking(move || backend.adopt(&account)).await?;
        // What is wrong with it was found before: this would be a fault of ours.
        let (rows, left_out) = adopted.map_err(|NotAnAccount(why)| Error::internal(why))?;
        report.add_left_out(id, left_out);
        Ok(rows)
    }
}

/// The same, with what is wrong with their accounts. It computes for a while with many.
fn with_judged_accounts(mut sessions: Vec<IncomingSession>) -> Vec<IncomingSession> {
    for session in &mut sessions {
        if let Ok(Some(account)) = &session.account
            && let Err(NotAnAccount(why)) = adopt::judge(account)
        {
            session.account = Err(why);
        }
    }
    sessions
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
