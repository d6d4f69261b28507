//! What each command of the program does: one file each.

mod copies;
mod import;
mod key;
mod pair;
mod running;
mod send;
mod serve;

pub use self::copies::{backup, check, restore};
pub use self::import::import;
pub use self::key::key;
pub use self::pair::pair;
pub use self::running::healthcheck;
pub use self::send::send;
pub use self::serve::{check_settings, serve};
#[cfg(feature = "sandbox")]
pub use self::serve::{network, sandbox};

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result};

/// Writes to standard output what was asked for; a reader that went away is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::new(
            Code::PathUnusable,
            format!("standard output cannot be written: {error}"),
        )),
        _ => Ok(()),
    }
}

/// Tells how it goes, on standard output. Nothing depends on whether it is heard.
pub fn say(text: &str) {
    let _ = print(text);
}

/// Writes an error to standard error.
pub fn complain(error: &Error) {
    for line in error.detail().lines() {
        let _ = writeln!(std::io::stderr(), "warung: {line}");
    }
}

/// The URL under which a program of this machine reaches a listener: one on all addresses is reached
/// on loopback.
fn local_url(url: &str) -> String {
    url.replace("//0.0.0.0:", "//127.0.0.1:")
        .replace("//[::]:", "//[::1]:")
}

/// A path that means the same in every folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_reached_on_loopback() {
        for (listens, url) in [
            ("http://0.0.0.0:80", "http://127.0.0.1:80"),
            ("http://[::]:80", "http://[::1]:80"),
            ("http://192.0.2.1:3000", "http://192.0.2.1:3000"),
            ("http://10.0.0.0:3000", "http://10.0.0.0:3000"),
        ] {
            assert_eq!(local_url(listens), url);
        }
    }
}
