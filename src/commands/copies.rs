//! `warung check`, `backup` and `restore`: the store and its files as a whole.

use std::fs::Metadata;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::running::Running;
use super::{absolute, complain, say};
use crate::at_rest;
use crate::config::Config;
use crate::domain::media::blobs;
use crate::domain::media::keeping::BACKUPS;
use crate::domain::media::staged::Staged;
use crate::domain::retention::COPY_DAYS;
use crate::domain::unreadable::unreadable;
use crate::domain::vault::Vault;
use crate::error::{Code, Error, Result};
use crate::http::Method;
use crate::ids::IdSource;
use crate::seal::{Seal, file::is_sealed};
use crate::server::store_file;
use crate::store::{self, tables};

/// Verifies the store, the files and `secret.key`, and says what is wrong.
pub fn check(config: &Config) -> Result<ExitCode> {
    let file = store_file(config);
    let mut problems = store::check(&file)?;
    // A store that is not in order does not tell which files there must be.
    let named = match problems.is_empty() {
        true => store::keys(&file, tables::BLOBS)?,
        false => Vec::new(),
    };
    let named = named.into_iter().filter_map(|key| key.try_into().ok());
    let named: Vec<_> = named.map(crate::ids::Hash).collect();
    let files = blobs::check(&config.data.join("media"), &named)?;
    problems.extend(files.problems);
    let mut proof = None;
    if problems.is_empty() {
        if files.unnamed > 0 {
            say(&format!(
                "files that the store does not know, left by a crash: {}; the next start removes them",
                files.unnamed
            ));
        }
        let found = store::reading(&file, |read| {
            Ok((unreadable(read)?, at_rest::proof_in(read)?))
        })?;
        let (unreadable, found) = found.unwrap_or_default();
        problems.extend(unreadable);
        proof = found;
    }
    problems.extend(at_rest::key_problems(config, proof.as_deref()));
    for (_, copy) in store::older_copies(&file)? {
        say(&format!(
            "{} is a copy from before an upgrade, with what was deleted since; the gateway removes it \
             after {COPY_DAYS} days",
            copy.display()
        ));
    }
    if problems.is_empty() {
        say(&format!("{} is in order", file.display()));
        let space = store::space(&file)?;
        let (size, free) = (space.file >> 20, space.free() >> 20);
        say(&format!("it has {size} MiB, {free} MiB of them free"));
        return Ok(ExitCode::SUCCESS);
    }
    problems.iter().for_each(|problem| say(problem));
    Ok(ExitCode::FAILURE)
}

/// Asks the running gateway for a copy and moves it to `file`.
pub async fn backup(config: &Config, file: &Path) -> Result<()> {
    refuse_target(&config.data, file)?;
    let running = Running::find(config)?;
    if running.is_none() && !store_file(config).exists() {
        return Err(no_store(&config.data));
    }
    let staged = Staged::begin(file)?;
    let made = match running {
        Some(running) => {
            let name = format!("backup-{}.redb", std::process::id());
            let wanted = json!({ "name": name });
            running
                .ask(Method::POST, "/admin/backup", Some(wanted))
                .await?;
            // The name is ours: what an answer names is not opened, and not removed.
            Some(config.data.join(BACKUPS).join(name))
        }
        // Nobody runs: the store can be read from here.
        None => None,
    };
    match made {
        Some(made) => {
            let copied = staged.copy(&made);
            // It goes also when there was no room for the copy: it takes that of the data folder.
            let gone = std::fs::remove_file(&made)
                .and_then(|()| std::fs::remove_dir_all(blobs::media_folder_of(&made)));
            copied?;
            gone.map_err(|e| {
                let text = format!("cannot remove {}: {e}", made.display());
                Error::new(Code::PathUnusable, text)
            })?;
        }
        None => {
            let ids = IdSource::random();
            let key = at_rest::key_of(config, &ids)?;
            let (vault, seal) = (Vault::new(&key, ids), Seal::new(&key));
            let (disk, options) = (store::Disk::File(store_file(config)), Default::default());
            let store = at_rest::open_store(disk, options, &vault, &seal).await?;
            let media = config.data.join("media");
            let copied = async {
                let used = store.space().await?.used;
                staged.refuse_without_room(used, &media, &config.data)?;
                let room = config.data.clone();
                let copy = staged.store();
                store.sealed_backup(seal.clone(), room, &copy).await
            };
            let copied = copied.await;
            store.close().await;
            copied?;
            staged.seal_files(&media, &seal)?;
        }
    }
    staged.publish()?;
    let files = blobs::media_folder_of(file);
    say(&format!("wrote {} and {}", file.display(), files.display()));
    Ok(())
}

/// What is said where there is nothing to back up: most often it is another folder than the gateway's.
fn no_store(data: &Path) -> Error {
    let what = match data.is_dir() {
        true => "holds no store",
        false => "does not exist",
    };
    let text = format!(
        "nothing to back up: the data folder {} {what}; run this where the gateway was started, or name its folder with \
         --data (or --config, as the gateway has it)",
        absolute(data).display()
    );
    Error::new(Code::PathUnusable, text)
}

/// Refuses to replace what is no backup: the gateway's own files, devices, links, folders.
fn refuse_target(data: &Path, file: &Path) -> Result<()> {
    let refused = |why: &str| {
        let text = format!("{} {why}", file.display());
        Err(Error::new(Code::PathUnusable, text))
    };
    let parent = file.parent().filter(|p| !p.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new(".")).canonicalize().ok();
    if let (Some(parent), Ok(data)) = (parent, data.canonicalize())
        && parent.starts_with(&data)
        && parent != data.join(BACKUPS)
    {
        return refused(
            "lies in the data folder: a backup belongs elsewhere, or in its folder backups",
        );
    }
    let is = |path: &Path, wanted: fn(&Metadata) -> bool| {
        std::fs::symlink_metadata(path).map_or(true, |there| wanted(&there))
    };
    if !is(file, Metadata::is_file) {
        return refused("is there and no plain file: name another place");
    }
    if !may_be_backup(file) {
        return refused("is there and no backup: name another place, or remove it first");
    }
    if !is(&blobs::media_folder_of(file), Metadata::is_dir) {
        return refused(
            "needs a folder of its name and .media, where something else is: name another place",
        );
    }
    Ok(())
}

/// Whether what is there is a backup, empty, or nothing.
fn may_be_backup(file: &Path) -> bool {
    let is_empty = std::fs::metadata(file).map_or(true, |there| there.len() == 0);
    is_empty || is_sealed(file)
}

/// How many of the files that are lost a sentence names.
const NAMED: usize = 3;

/// Makes a store of a backup; the data folder holds the key and no store yet. That files are missing
/// is told on standard error and is no failure: the store is there.
pub fn restore(config: &Config, file: &Path) -> Result<()> {
    let lost = at_rest::restore(config, file)?;
    say(&format!("{} is restored", store_file(config).display()));
    say(
        "the first start pauses campaigns that were running or scheduled; resume each when you know \
         who was written to or opted out since the backup",
    );
    let files = blobs::media_folder_of(file);
    if !files.exists() {
        say(&format!(
            "{} is not there: the files of messages and campaigns are missing; `warung check` names them",
            files.display()
        ));
    }
    for (hashes, what) in [(&lost.missing, "missing"), (&lost.damaged, "damaged")] {
        if hashes.is_empty() {
            continue;
        }
        let named: Vec<_> = hashes.iter().take(NAMED).map(ToString::to_string).collect();
        let more = match hashes.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        complain(&Error::new(
            Code::FileDamaged,
            format!(
                "files of the backup are {what} ({}): {}{more}; everything else is restored",
                hashes.len(),
                named.join(", ")
            ),
        ));
    }
    if config.master_key.is_none() && !config.data.join("master.key").exists() {
        say("the first start makes a new master key; put the old master.key back to keep it");
    }
    Ok(())
}
