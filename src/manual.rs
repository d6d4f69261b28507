//! Completions and man pages, written of the command line as it is read.
//!
//! Only sandbox builds have it: they are made beside each release on the machine that packs it, and
//! what writes the pages stays out of the release.

use std::fs;
use std::path::Path;

use clap::builder::{Resettable, StyledStr};
use clap_complete::Shell;

use crate::config::command_line;
use crate::error::{Code, Error, Result};

/// Commands and flags that a release does not have.
const SANDBOX_ONLY: [&str; 4] = ["sandbox", "network", "manual", "whatsapp_url"];

/// The command line of a release. What help does not show is left out: completions would repeat all
/// settings for each command.
fn of_a_release(ours: &clap::Command) -> clap::Command {
    let commands = ours.get_subcommands();
    let commands = commands.filter(|command| !SANDBOX_ONLY.contains(&command.get_name()));
    let flags = ours.get_arguments().filter(|flag| !flag.is_hide_set());
    let flags = flags.filter(|flag| !SANDBOX_ONLY.contains(&flag.get_id().as_str()));
    clap::Command::new(ours.get_name().to_owned())
        .version(env!("CARGO_PKG_VERSION"))
        .about(Resettable::<StyledStr>::from(ours.get_about().cloned()))
        .after_help(Resettable::<StyledStr>::from(
            ours.get_after_help().cloned(),
        ))
        .subcommand_required(ours.is_subcommand_required_set())
        .args(flags.cloned())
        .subcommands(commands.map(of_a_release))
}

/// Writes `warung.1` and a page for each command, and completions for bash, zsh and fish, into a
/// folder, which is made.
pub fn write(folder: &Path) -> Result<()> {
    let cannot = |error: std::io::Error| {
        let text = format!("cannot write into {}: {error}", folder.display());
        Error::new(Code::PathUnusable, text)
    };
    fs::create_dir_all(folder).map_err(cannot)?;
    let release = of_a_release(&command_line());
    clap_mangen::generate_to(release.clone(), folder).map_err(cannot)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut release.clone(), "warung", folder)
            .map_err(cannot)?;
    }
    Ok(())
}
