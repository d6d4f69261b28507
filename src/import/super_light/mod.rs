//! A folder of the original, Super-Light-Web-WhatsApp-API-Server, in both of its layouts.
//!
//! The older one (2025) keeps the tokens of its sessions in `session_tokens.enc`, campaigns and lists beside
//! its program, and webhooks nowhere. The newer one (from December 2025) keeps sessions and webhooks in a
//! SQLite database, campaigns and lists below `src/services`. Accounts lie in `auth_info_baileys` in
//! both, files in `media`. A folder that was upgraded has both; what the newer one knows counts.

mod broadcast;
mod cipher;
mod env;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use self::cipher::FileKey;
pub(super) use self::env::variable;
use super::sqlite::{Cell, Damaged, Database};
use super::{Reading, account_of, bad_name, entries, is_account, small_file};
use crate::domain::import::{Incoming, IncomingFile, IncomingSession, Outcome};
use crate::domain::schedule::parse_when;
use crate::domain::zone::Zone;
use crate::error::{Error, Result};
use crate::ids::{MediaId, RowId, SessionId};
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

/// The folders that hold what is taken.
pub(super) fn folders() -> Vec<String> {
    let kept = CAMPAIGNS.into_iter().chain(LISTS);
    let all = ["data", ACCOUNTS, MEDIA].into_iter().chain(kept);
    all.map(str::to_owned).collect()
}

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
pub(super) fn is_root(folder: &Path) -> bool {
    let file = |name: &str| folder.join(name).is_file();
    let layout = [DATABASE, TOKENS[0], TOKENS[1]].into_iter().any(file);
    layout || folder.join(ACCOUNTS).is_dir()
}

/// The path of its database.
///
/// Hazard: `.env` is a stranger's: a path in it that leads out of the folder is not followed.
pub(super) fn database(root: &Path) -> std::result::Result<PathBuf, String> {
    let env = small_file(&root.join(ENV), MAX_SMALL).unwrap_or_default();
    let named = variable(&String::from_utf8_lossy(&env), "DATABASE_PATH");
    let path = root.join(named.as_deref().unwrap_or(DATABASE));
    let inside = |path: &Path| {
        Some(
            path.canonicalize()
                .ok()?
                .starts_with(root.canonicalize().ok()?),
        )
    };
    match inside(&path) {
        Some(true) => Ok(path),
        Some(false) => Err(format!(
            "DATABASE_PATH of its .env leads out of the folder: copy the database to {DATABASE} and take \
             the line away"
        )),
        // Where it is said to be there is none.
        None => Ok(root.join(DATABASE)),
    }
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
    let env = small_file(&root.join(ENV), MAX_SMALL).unwrap_or_default();
    let env = String::from_utf8_lossy(&env).into_owned();
    let key = variable(&env, "TOKEN_ENCRYPTION_KEY");
    let key = key.as_deref().and_then(FileKey::parse);
    let mut known = BTreeMap::new();
    // A file of tokens of a folder that was upgraded is old.
    let has_database = match database(root) {
        Ok(path) if path.is_file() => {
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
        Ok(_) => false,
        Err(why) => {
            incoming.report.add(Outcome::Problem, "database", why);
            true
        }
    };
    if !has_database {
        read_tokens(root, key.as_ref(), &mut known, incoming);
    }
    sessions(root, known, incoming);
    let mut kept = Kept {
        root,
        key: key.as_ref(),
        country: reading.country.as_deref(),
        incoming,
    };
    kept.read_all("list", LISTS, |kept, id, json| {
        let list = broadcast::list(id, json, kept.country)?;
        kept.incoming.lists.push(list);
        Ok(())
    });
    kept.read_all("campaign", CAMPAIGNS, |kept, id, json| {
        let campaign = broadcast::campaign(id, json, kept.country)?;
        kept.incoming.campaigns.push(campaign);
        Ok(())
    });
    files(root, incoming);
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
        let count = database.count(table)?;
        if count > 0 {
            let said = format!("{what} ({count}): {why}");
            incoming.report.add(Outcome::LeftOut, "database", said);
        }
    }
    Ok(())
}

/// Tokens of the older layout.
fn read_tokens(
    root: &Path,
    key: Option<&FileKey>,
    known: &mut BTreeMap<String, Known>,
    incoming: &mut Incoming,
) {
    for name in TOKENS {
        let path = root.join(name);
        if !path.exists() {
            continue;
        }
        let tokens = small_file(&path, MAX_SMALL)
            .ok_or_else(|| Error::invalid("it cannot be read"))
            .and_then(|kept| opened(&kept, key))
            .and_then(|json| {
                let tokens = serde_json::from_slice::<BTreeMap<String, String>>(&json);
                tokens.map_err(|_| Error::invalid(WRONG_KEY))
            });
        match tokens {
            Ok(tokens) => {
                known.extend(tokens.into_iter().map(|(id, token)| {
                    let session = Known {
                        token: Some(token),
                        ..Known::default()
                    };
                    (id, session)
                }));
            }
            Err(error) => incoming.report.add(Outcome::Problem, name, error.detail()),
        }
        return;
    }
}

/// What is said of a file that the key does not open.
const WRONG_KEY: &str =
    "it is damaged, or was kept under another TOKEN_ENCRYPTION_KEY than that of .env";

/// The words of a file that may be encrypted.
fn opened(kept: &[u8], key: Option<&FileKey>) -> Result<Vec<u8>> {
    let kept = std::str::from_utf8(kept).map_err(|_| Error::invalid(WRONG_KEY))?;
    if kept.trim_start().starts_with('{') {
        return Ok(kept.as_bytes().to_vec());
    }
    let key = key.ok_or_else(|| {
        Error::invalid(
            "it is encrypted, and .env has no TOKEN_ENCRYPTION_KEY of 64 hex digits: put the one there \
             that it was kept under",
        )
    })?;
    key.open(kept).ok_or_else(|| Error::invalid(WRONG_KEY))
}

/// All sessions: those that are known, and those that only have a folder, as the original finds them.
fn sessions(root: &Path, mut known: BTreeMap<String, Known>, incoming: &mut Incoming) {
    let folder = root.join(ACCOUNTS);
    for (name, path) in entries(&folder) {
        if is_account(&path) {
            known.entry(name).or_default();
        }
    }
    for (name, session) in known {
        let Ok(id) = SessionId::parse(&name) else {
            bad_name(&name, incoming);
            continue;
        };
        let (about, path) = (format!("session {id}"), folder.join(&name));
        let account = match is_account(&path) {
            true => account_of(&path, &about, incoming),
            false => Ok(None),
        };
        let account = account.unwrap_or_else(|why| {
            let about = format!("account of {about}");
            incoming.report.add(Outcome::Problem, about, why);
            None
        });
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
    key: Option<&'r FileKey>,
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
            for (name, path) in entries(&self.root.join(folder)) {
                let about = format!("{what} {}", crate::names::excerpt(&name, 80));
                let Some(id) = name.strip_suffix(".json").and_then(RowId::parse) else {
                    let said = "no file of Super-Light";
                    self.incoming.report.add(Outcome::LeftOut, about, said);
                    continue;
                };
                if !seen.insert(id.clone()) {
                    continue;
                }
                let read = small_file(&path, MAX_KEPT)
                    .ok_or_else(|| Error::invalid("it cannot be read, or is too large"))
                    .and_then(|kept| opened(&kept, self.key))
                    .and_then(|json| take(self, id, &json));
                if let Err(error) = read {
                    let said = error.detail();
                    self.incoming.report.add(Outcome::Problem, about, said);
                }
            }
        }
    }
}

/// The uploaded files. Those that came in messages have names that no id has.
fn files(root: &Path, incoming: &mut Incoming) {
    let mut received = 0_u64;
    for (name, path) in entries(&root.join(MEDIA)) {
        let Ok(there) = std::fs::symlink_metadata(&path) else {
            continue;
        };
        if name.starts_with('.') || !there.is_file() {
            continue;
        }
        match MediaId::parse(&name) {
            Ok(id) => incoming.files.push(IncomingFile {
                id,
                path,
                size: there.len(),
            }),
            Err(_) => received += 1,
        }
    }
    if received > 0 {
        let said = format!("files of its inbox ({received}): they stay on the phone");
        incoming
            .report
            .add(Outcome::LeftOut, "received files", said);
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
