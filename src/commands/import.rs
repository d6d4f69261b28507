//! `warung import`: into the running gateway as an archive, else into the data folder itself.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::process::geteuid;
use tokio::sync::mpsc;

use super::running::Running;
use super::{absolute, complain, say};
use crate::config::{Config, ImportCommand};
use crate::domain::import::ImportOptions;
use crate::error::{Code, Error, Result};
use crate::ids::{IdSource, SessionId};
use crate::import::tar::Parcel;
use crate::import::{self, Reading, running};
use crate::net::client::OutBody;
use crate::server::{Deps, open_gateway, refuse_lost_key, store_file};
use crate::store::Disk;
use crate::tasks::blocking;

/// Moves in what another program left, and prints the report. It fails when problems held it up.
pub async fn import(config: &Config, what: &ImportCommand) -> Result<ExitCode> {
    let reading = Reading {
        country: config.default_country_code.clone(),
        session: what.session.as_deref().map(SessionId::parse).transpose()?,
        is_named: true,
    };
    let gateway = Running::find_for_long(config)?;
    let own_port = gateway.as_ref().and_then(Running::port);
    let folder = absolute(&what.folder);
    look_for_the_other(folder.clone(), own_port, what).await?;
    match gateway {
        Some(gateway) => hand_over(&gateway, folder, what, reading).await,
        None => take_in(config, folder, what, reading).await,
    }
}

/// Refuses when the other program runs: two clients of one account knock each other out.
async fn look_for_the_other(
    folder: PathBuf,
    own_port: Option<u16>,
    what: &ImportCommand,
) -> Result<()> {
    let signs = blocking(move || running::look(&folder, own_port)).await?;
    let only_said = what.even_if_running || what.dry_run;
    let (certain, maybe): (Vec<_>, Vec<_>) = signs.into_iter().partition(|sign| sign.certain);
    for sign in maybe.iter().chain(certain.iter().filter(|_| only_said)) {
        say(&format!(
            "note      the other program may run: {}",
            sign.said
        ));
    }
    match certain.first() {
        Some(sign) if !only_said => Err(Error::new(
            Code::ImportHeldUp,
            format!(
                "the other program runs: {}; stop it first, for good: two clients of one account knock each \
                 other out (--even-if-running imports all the same)",
                sign.said
            ),
        )),
        _ => Ok(()),
    }
}

/// Hands the folder to the running gateway.
async fn hand_over(
    gateway: &Running,
    folder: PathBuf,
    what: &ImportCommand,
    reading: Reading,
) -> Result<ExitCode> {
    let named = folder.clone();
    let parcel = blocking(move || Parcel::of(&named, &reading)).await?;
    let parcel = parcel.map_err(|error| about(&folder, &error))?;
    let mut path = format!(
        "/admin/import?dryRun={}&replace={}&skipProblems={}",
        what.dry_run, what.replace, what.skip_problems
    );
    if let Some(session) = &parcel.session {
        path.push_str(&format!("&session={session}"));
    }
    let known = parcel.report.text();
    let (length, (sender, pieces)) = (parcel.length(), mpsc::channel(4));
    let packing = blocking(move || {
        let mut hand_on = |piece: Vec<u8>| sender.blocking_send(Ok(piece.into())).is_ok();
        let packed = parcel.pack(&mut hand_on);
        if packed.is_err() {
            let _ = sender.blocking_send(Err(std::io::ErrorKind::Other.into()));
        }
        packed
    });
    let answer = gateway
        .upload(&path, OutBody::Pieces { length, pieces })
        .await;
    // What could not be packed is why the gateway got no whole archive.
    packing.await?.map_err(|error| about(&folder, &error))?;
    let answer = answer?;
    for line in known.lines() {
        say(line);
    }
    for line in answer["lines"].as_array().into_iter().flatten() {
        let word = |name: &str| line[name].as_str().unwrap_or_default();
        let (outcome, about, detail) = (word("outcome"), word("about"), word("detail"));
        say(&format!("{outcome:<8}  {about}: {detail}"));
    }
    let summary = answer["message"].as_str().unwrap_or_default().to_owned();
    Ok(end(answer["status"] == "error", summary))
}

/// Refuses to write into another user's data folder: the gateway could not read what is new there.
fn refuse_foreign(data: &Path) -> Result<()> {
    let own = geteuid().as_raw();
    match std::fs::metadata(data).map(|there| there.uid()) {
        Ok(owner) if owner != own => Err(Error::new(
            Code::PathUnusable,
            format!(
                "the data folder {} belongs to user {owner}, and this runs as user {own}: the gateway could not read \
                 what comes; run it as that user (sudo -u '#{owner}' warung import ...), or start the gateway and run \
                 this again",
                absolute(data).display()
            ),
        )),
        _ => Ok(()),
    }
}

/// Takes the folder in without a gateway.
async fn take_in(
    config: &Config,
    folder: PathBuf,
    what: &ImportCommand,
    reading: Reading,
) -> Result<ExitCode> {
    let scratch = what
        .dry_run
        .then(|| Scratch::for_dry_run(config))
        .transpose()?;
    let (config, deps) = match &scratch {
        Some(scratch) => scratch.in_place_of(config),
        None => (config.clone(), Deps::default()),
    };
    if !what.dry_run {
        refuse_foreign(&config.data)?;
    }
    let named = folder.clone();
    let read = blocking(move || import::read(&named, &reading)).await?;
    let incoming = read.map_err(|error| about(&folder, &error))?;
    let made = Scratch::to_be_made(&config.data);
    let (gateway, made_key) = open_gateway(config, deps).await?;
    let options = ImportOptions {
        dry_run: what.dry_run,
        replace: what.replace,
        skip_problems: what.skip_problems,
        connect: false,
    };
    let done = gateway.import(incoming, options).await;
    gateway.tasks().close();
    gateway.tasks().wait().await;
    gateway.store().close().await;
    let result = done?;
    say(&result.report.text());
    if !result.held_up
        && let Some(made) = made
    {
        made.keep();
    }
    if made_key && !what.dry_run && !result.held_up {
        let file = gateway.config().data.join("master.key");
        say(&format!(
            "a master key was made; it is in {}",
            file.display()
        ));
    }
    Ok(end(result.held_up, result.summary()))
}

/// A refusal, with the folder that it is about.
fn about(folder: &Path, error: &Error) -> Error {
    let text = format!("{}: {}", folder.display(), error.detail());
    Error::new(error.code(), text)
}

/// The last line, and the exit code.
fn end(held_up: bool, summary: String) -> ExitCode {
    match held_up {
        true => {
            complain(&Error::new(Code::ImportHeldUp, summary));
            ExitCode::FAILURE
        }
        false => {
            say(&summary);
            ExitCode::SUCCESS
        }
    }
}

/// A data folder that goes with the value: that of a dry run, or one that was made for an import which was
/// then stopped by a problem.
struct Scratch(PathBuf);

/// The files of the data folder that a dry run reads.
const SECRETS: [&str; 2] = ["secret.key", "master.key"];

impl Scratch {
    /// The folder that would have to be made for this data folder; `None` where it is there.
    fn to_be_made(data: &Path) -> Option<Self> {
        let data = absolute(data);
        let missing = data.ancestors().take_while(|folder| !folder.exists());
        missing.last().map(|folder| Self(folder.to_owned()))
    }

    /// Leaves it where it is.
    fn keep(self) {
        std::mem::forget(self);
    }

    /// One for a dry run: nothing in the real one is changed. It lies where a kill leaves nothing for long, and
    /// holds no secret but those that it makes itself.
    fn for_dry_run(config: &Config) -> Result<Self> {
        refuse_lost_key(config)?;
        let data = absolute(&config.data);
        // Each start empties this folder.
        let arriving = data.join("media/arriving");
        let around = [&*arriving].into_iter().chain(data.ancestors().skip(1));
        let around = around.into_iter().find(|folder| folder.is_dir());
        let name = hex::encode(IdSource::random().bytes::<8>());
        let scratch = around
            .unwrap_or(Path::new("/"))
            .join(format!(".warung-dry-run-{name}"));
        let made = DirBuilder::new().mode(0o700).create(&scratch);
        let scratch = Self(scratch);
        let linked = made.and_then(|()| {
            let there = SECRETS.iter().filter(|name| data.join(name).exists());
            there
                .into_iter()
                .try_for_each(|name| symlink(data.join(name), scratch.0.join(name)))
        });
        linked.map(|()| scratch).map_err(|why| {
            let text = "a dry run cannot make a folder for itself: run this as the owner of the data folder";
            Error::new(Code::PathUnusable, text).because(why)
        })
    }

    /// What opens the gateway here, with the real store if there is one.
    fn in_place_of(&self, config: &Config) -> (Config, Deps) {
        let store = Some(absolute(&store_file(config))).filter(|file| file.exists());
        let deps = Deps {
            disk: store.map(Disk::Unchanged),
            ..Deps::default()
        };
        let config = Config {
            data: self.0.clone(),
            ..config.clone()
        };
        (config, deps)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
