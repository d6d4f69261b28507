//! A folder of the original, Super-Light-Web-WhatsApp-API-Server, in both of its layouts.
//!
//! The older one (2025) keeps the tokens of its sessions in `session_tokens.enc`, campaigns and lists beside
//! its program, and webhooks nowhere. The newer one (from December 2025) keeps sessions and webhooks in a
//! SQLite database, campaigns and lists below `src/services`. Accounts lie in `auth_info_baileys` in
//! both, files in `media`. A folder that was upgraded has both; what the newer one knows counts.

mod broadcast;
mod cipher;
mod env;
mod uploads;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use self::cipher::FileKey;
pub(super) use self::env::variable;
pub(super) use self::uploads::uploads;
use super::sqlite::{Cell, Damaged, Database};
use super::{Reading, account, accounts_in, bad_name, entries, has_creds, is_absence, is_account};
use crate::config::country_code;
use crate::domain::import::{Incoming, IncomingSession, Outcome};
use crate::domain::schedule::parse_when;
use crate::domain::zone::Zone;
use crate::error::{Error, Result};
use crate::ids::{MediaId, RowId, SessionId};
use crate::plain_file::{self, Unread, refused};
use crate::time::Timestamp;

/// Where the accounts lie.
pub(super) const ACCOUNTS: &str = "auth_info_baileys";

/// Where the uploaded files lie, and those that came in messages.
pub(super) const MEDIA: &str = "media";

/// Where the database lies, unless `.env` says otherwise.
pub(super) const DATABASE: &str = "data/whatsapp.db";

/// The tokens of the older layout, encrypted and not.
pub(super) const TOKENS: [&str; 2] = ["session_tokens.enc", "session_tokens.json"];

/// Its settings.
pub(super) const ENV: &str = ".env";

/// Where campaigns and lists lie, the newer place first.
pub(super) const CAMPAIGNS: [&str; 2] = ["src/services/campaigns", "campaigns"];
pub(super) const LISTS: [&str; 2] = ["src/services/recipient_lists", "recipient_lists"];

/// The largest `.env` and file of tokens, in bytes.
const MAX_SMALL: u64 = 4 << 20;

/// The largest file of a campaign or a list, in bytes: twice its JSON.
const MAX_KEPT: u64 = 128 << 20;

/// What the database keeps that has no place here, and what is said of it.
const NO_PLACE: [(&str, &str, &str); 4] = [
    (
        "users",
        "people of the dashboard",
        "here the master key and keys take their place",
    ),
    (
        "auto_replies",
        "automatic replies",
        "there are none here; a webhook can answer",
    ),
    (
        "chat_messages",
        "messages of its inbox",
        "they stay on the phone",
    ),
    (
        "campaigns",
        "campaigns in its database",
        "the program itself does not use them",
    ),
];

/// Whether a folder is one of the original.
///
/// The folder of its accounts alone does not say so: guides for Baileys give the one account that name.
pub(super) fn is_root(folder: &Path) -> bool {
    let file = |name: &str| folder.join(name).is_file();
    if [DATABASE, TOKENS[0], TOKENS[1]].into_iter().any(file) {
        return true;
    }
    let accounts = folder.join(ACCOUNTS);
    let holds_none = || accounts_in(&accounts).is_ok_and(|found| found.is_empty());
    match has_creds(&accounts) {
        Ok(true) => false,
        Ok(false) if holds_none() => {
            let database = env(folder).and_then(|env| database(folder, &env));
            accounts.is_dir() && matches!(database, Ok(Some(_)))
        }
        // Also where this user cannot look into it: then that is what is said.
        _ => true,
    }
}

/// The words of its settings; none where it has none.
pub(super) fn env(root: &Path) -> std::result::Result<String, String> {
    match plain_file::read(&root.join(ENV), MAX_SMALL) {
        Ok(env) => Ok(String::from_utf8_lossy(&env).into_owned()),
        Err(Unread::Gone) => Ok(String::new()),
        Err(why) => Err(why.to_string()),
    }
}

/// The path of its database, if it has one: where its settings say, else where it is otherwise.
///
/// Hazard: `.env` is a stranger's: a path in it that leads out of the folder is not followed.
pub(super) fn database(root: &Path, env: &str) -> std::result::Result<Option<PathBuf>, String> {
    let folder = root.canonicalize().map_err(|error| refused(&error))?;
    let named = variable(env, "DATABASE_PATH");
    for place in named.as_deref().into_iter().chain([DATABASE]) {
        match root.join(place).canonicalize() {
            Ok(path) if !path.starts_with(&folder) => {
                return Err(format!(
                    "its path (DATABASE_PATH of its .env, or a link) leads out of the folder: copy the \
                     database to {DATABASE} and take that away"
                ));
            }
            Ok(path) if path.is_file() => return Ok(Some(path)),
            Ok(_) => {}
            Err(error) if is_absence(&error) => {}
            Err(error) => return Err(refused(&error)),
        }
    }
    Ok(None)
}

/// What is known of a session beside its account.
#[derive(Default)]
struct Known {
    token: Option<String>,
    owner: Option<String>,
    created_at: Option<Timestamp>,
    webhook: Option<String>,
}

/// Reads all of it.
pub(super) fn read(root: &Path, reading: &Reading, incoming: &mut Incoming) {
    let mut without_key = NO_KEY;
    let env = env(root).unwrap_or_else(|why| {
        incoming.report.add(Outcome::Problem, ENV, why);
        without_key = UNREAD_KEY;
        String::new()
    });
    let key = variable(&env, "TOKEN_ENCRYPTION_KEY");
    let key = key.as_deref().and_then(FileKey::parse).ok_or(without_key);
    // Its numbers were written for that country; the setting here wins.
    let country = variable(&env, "DEFAULT_COUNTRY_CODE");
    let country = country.and_then(|code| country_code(&code).ok());
    let mut known = BTreeMap::new();
    // A file of tokens of a folder that was upgraded is old.
    let has_database = match database(root, &env) {
        Ok(Some(path)) => {
            if let Err(Damaged(why)) = read_database(&path, &mut known, incoming) {
                let said = format!("it cannot be read: {why}");
                incoming.report.add(Outcome::Problem, "database", said);
            }
            let mut shared = path.into_os_string();
            shared.push("-shm");
            if Path::new(&shared).exists() {
                let said = "its program had it open when it ended or when this was packed: see that it is stopped \
                            for good";
                incoming.report.add(Outcome::Note, "database", said);
            }
            true
        }
        Ok(None) => false,
        Err(why) => {
            incoming.report.add(Outcome::Problem, "database", why);
            true
        }
    };
    if !has_database {
        read_tokens(root, &key, &mut known, incoming);
    }
    sessions(root, known, incoming);
    match uploads(root, &mut incoming.report) {
        Ok(files) => incoming.files = files,
        Err(why) => {
            let about = format!("folder {MEDIA}");
            incoming.report.add(Outcome::Problem, about, why);
        }
    }
    let mut kept = Kept {
        root,
        uploads: incoming.files.iter().map(|file| file.id.clone()).collect(),
        key: &key,
        country: reading.country.as_deref().or(country.as_deref()),
        incoming,
    };
    kept.read_all("list", LISTS, |kept, id, json| {
        let list = broadcast::list(id, json, kept.country)?;
        kept.incoming.lists.push(list);
        Ok(())
    });
    kept.read_all("campaign", CAMPAIGNS, |kept, id, json| {
        let about = format!("campaign {id}");
        let campaign = broadcast::campaign(id, json, kept.country, &kept.uploads)?;
        let media = campaign.1.media.as_ref();
        // A path on the server that it was uploaded to, and no link to another.
        if let Some(Err(link)) = media.map(|media| media.source.as_ref())
            && link.starts_with('/')
        {
            let said = "the file that it shows is not among the uploaded files: give it one before it is \
                        resumed";
            kept.incoming.report.add(Outcome::Note, about, said);
        }
        kept.incoming.campaigns.push(campaign);
        Ok(())
    });
    settings(&env, incoming);
}

/// Sessions and webhooks of the newer layout.
fn read_database(
    path: &Path,
    known: &mut BTreeMap<String, Known>,
    incoming: &mut Incoming,
) -> std::result::Result<(), Damaged> {
    let database = Database::open(path)?;
    let text = |cell: &Cell| {
        cell.text()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let columns = ["id", "token", "owner_email", "created_at"];
    let there = database.rows("whatsapp_sessions", &columns, &mut |cells| {
        if let [id, token, owner, created] = &cells[..]
            && let Some(id) = text(id)
        {
            let session = Known {
                token: text(token),
                owner: text(owner).map(|owner| owner.to_lowercase()),
                created_at: created
                    .text()
                    .and_then(|at| parse_when(at, &Zone::utc()).ok()),
                webhook: None,
            };
            known.insert(id, session);
        }
        true
    })?;
    if !there {
        return Err(Damaged("it has no table whatsapp_sessions"));
    }
    database.rows("webhook_configs", &["session_id", "url"], &mut |cells| {
        if let [id, url] = &cells[..]
            && let Some(session) = id.text().and_then(|id| known.get_mut(id))
        {
            session.webhook = text(url);
        }
        true
    })?;
    for (table, what, why) in NO_PLACE {
        let said = match database.count(table) {
            Ok(0) => continue,
            Ok(count) => format!("{what} ({count}): {why}"),
            // It is not taken, so nothing waits for it.
            Err(Damaged(damage)) => format!("{what} (not counted: {damage}): {why}"),
        };
        incoming.report.add(Outcome::LeftOut, "database", said);
    }
    Ok(())
}

/// Tokens of the older layout.
fn read_tokens(
    root: &Path,
    key: &Key,
    known: &mut BTreeMap<String, Known>,
    incoming: &mut Incoming,
) {
    for name in TOKENS {
        let kept = plain_file::read(&root.join(name), MAX_SMALL);
        if let Err(Unread::Gone) = kept {
            continue;
        }
        let tokens = kept
            .map_err(|why| Error::invalid(why.to_string()))
            .and_then(|kept| opened(&kept, key))
            .and_then(|json| {
                let tokens = serde_json::from_slice::<BTreeMap<String, Value>>(&json);
                tokens.map_err(|_| Error::invalid(WRONG_KEY))
            });
        match tokens {
            Ok(tokens) => {
                for (id, token) in tokens {
                    let token = token.as_str().map(str::to_owned);
                    if token.is_none() {
                        let id = crate::names::excerpt(&id, 80);
                        let said = format!("what it has for session {id} is no token");
                        incoming.report.add(Outcome::LeftOut, name, said);
                    }
                    let session = Known {
                        token,
                        ..Known::default()
                    };
                    known.insert(id, session);
                }
            }
            Err(error) => incoming.report.add(Outcome::Problem, name, error.detail()),
        }
        return;
    }
}

/// What is said of a file that the key does not open.
const WRONG_KEY: &str =
    "it is damaged, or was kept under another TOKEN_ENCRYPTION_KEY than that of .env";

/// What is said of an encrypted file where there is no key.
const NO_KEY: &str = "it is encrypted, and .env has no TOKEN_ENCRYPTION_KEY of 64 hex digits: put the one there \
                      that it was kept under";

/// The same where nobody knows whether there is one.
const UNREAD_KEY: &str =
    "it is encrypted, and .env, which has its key, cannot be read: run this as the owner of .env";

/// The key of encrypted files, or what is said of them without it.
type Key = std::result::Result<FileKey, &'static str>;

/// The words of a file that may be encrypted.
fn opened(kept: &[u8], key: &Key) -> Result<Vec<u8>> {
    let kept = std::str::from_utf8(kept).map_err(|_| Error::invalid(WRONG_KEY))?;
    if kept.trim_start().starts_with('{') {
        return Ok(kept.as_bytes().to_vec());
    }
    let key = key.as_ref().map_err(|why| Error::invalid(*why))?;
    key.open(kept).ok_or_else(|| Error::invalid(WRONG_KEY))
}

/// All sessions: those that are known, and those that only have a folder, as the original finds them.
fn sessions(root: &Path, mut known: BTreeMap<String, Known>, incoming: &mut Incoming) {
    let folder = root.join(ACCOUNTS);
    match accounts_in(&folder) {
        Ok(accounts) => {
            for (name, _) in accounts {
                known.entry(name).or_default();
            }
        }
        Err(why) => {
            let about = format!("folder {ACCOUNTS}");
            incoming.report.add(Outcome::Problem, about, why);
        }
    }
    for (name, session) in known {
        let Ok(id) = SessionId::parse(&name) else {
            bad_name(&name, incoming);
            continue;
        };
        let path = folder.join(&name);
        let account = match is_account(&path) {
            true => account(&path, &id, incoming),
            false => Ok(None),
        };
        incoming.sessions.push(IncomingSession {
            id,
            token: session.token,
            owner: session.owner,
            created_at: session.created_at,
            webhook: session.webhook,
            account,
        });
    }
}

/// Reads what lies encrypted, a file each.
struct Kept<'r> {
    root: &'r Path,
    uploads: HashSet<MediaId>,
    key: &'r Key,
    country: Option<&'r str>,
    incoming: &'r mut Incoming,
}

impl Kept<'_> {
    /// Reads all files of such folders; one that is in both counts once.
    fn read_all(
        &mut self,
        what: &str,
        folders: [&str; 2],
        take: fn(&mut Self, RowId, &[u8]) -> Result<()>,
    ) {
        let mut seen = std::collections::HashSet::new();
        for folder in folders {
            let inside = entries(&self.root.join(folder)).unwrap_or_else(|why| {
                let about = format!("folder {folder}");
                self.incoming.report.add(Outcome::Problem, about, why);
                Vec::new()
            });
            for (name, path) in inside {
                let about = format!("{what} {}", crate::names::excerpt(&name, 80));
                let Some(id) = name.strip_suffix(".json").and_then(RowId::parse) else {
                    let said = "no file of Super-Light";
                    self.incoming.report.add(Outcome::LeftOut, about, said);
                    continue;
                };
                if !seen.insert(id.clone()) {
                    continue;
                }
                let read = plain_file::read(&path, MAX_KEPT)
                    .map_err(|why| Error::invalid(why.to_string()))
                    .and_then(|kept| opened(&kept, self.key))
                    .and_then(|json| {
                        self.incoming.count(json.len() as u64)?;
                        take(self, id, &json)
                    });
                if let Err(error) = read {
                    let said = error.detail();
                    self.incoming.report.add(Outcome::Problem, about, said);
                }
            }
        }
    }
}

/// What of its settings has a place here.
fn settings(env: &str, incoming: &mut Incoming) {
    let told = [
        (
            "MASTER_API_KEY",
            "not taken over: set MASTER_API_KEY for warung too, and clients need no other",
        ),
        (
            "WEBHOOK_URL",
            "not taken over: it is for sessions without a webhook of their own; set WEBHOOK_URL for warung \
             if it is your receiver",
        ),
    ];
    for (name, said) in told {
        if variable(env, name).is_some() {
            incoming.report.add(Outcome::Note, name, said);
        }
    }
}
