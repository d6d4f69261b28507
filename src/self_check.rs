//! `warung self-check`: what this host lacks for the gateway, and what to do about it.
//!
//! It changes nothing: what it writes for a trial it removes, and it sends nothing to anybody but
//! one request to WhatsApp's front page.

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

use crate::commands;
use crate::config::{Config, Legacy};
use crate::error::{Error, Result};
use crate::http::{Listen, Method};
use crate::net::client::{Client, Dialer, OutBody, OutgoingRequest};
use crate::server::{Policies, refuse_lost_key, store_file};
use crate::store;
use crate::time::{Clock, Timestamp};
use crate::version;

/// Less free space than this will not last, and less than that not for a day.
const SPACE_LOW: u64 = 500 << 20;
const SPACE_OUT: u64 = 50 << 20;
/// A slow card; the gateway works on it, but not fast.
const FSYNC_SLOW: Duration = Duration::from_millis(100);
/// Certificates forgive minutes, people expect less.
const CLOCK_OFF: Duration = Duration::from_secs(120);
/// What the program needs with a few sessions.
const MEMORY_LOW: u64 = 64 << 20;
const FILES_LOW: u64 = 256;
/// For a gateway that runs here already.
const ANSWER: Duration = Duration::from_secs(2);

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Good,
    /// It works, and there is something to know.
    Note,
    /// The gateway cannot work like this.
    Bad,
}

struct Finding(Mark, &'static str, String);

fn good(about: &'static str, text: impl Into<String>) -> Finding {
    Finding(Mark::Good, about, text.into())
}

fn note(about: &'static str, text: impl Into<String>) -> Finding {
    Finding(Mark::Note, about, text.into())
}

fn bad(about: &'static str, text: impl Into<String>) -> Finding {
    Finding(Mark::Bad, about, text.into())
}

/// Checks everything, a line each as it is found; answers whether the gateway can work here. With
/// a URL (of a webhook, say) it also tries whether that can be reached.
pub async fn run(config: &Config, url: Option<&str>) -> Result<bool> {
    let mut works = true;
    let mut tell = |Finding(mark, about, text): Finding| {
        let mark_word = match mark {
            Mark::Good => "ok",
            Mark::Note => "note",
            Mark::Bad => "FAIL",
        };
        works &= mark != Mark::Bad;
        commands::say(&format!("{mark_word:<5}{about:<9}{text}"));
    };
    tell(good("program", version::line()));
    tell(data_folder(config));
    tell(disk_space(&config.data));
    tell(memory(Path::new("/proc/meminfo")));
    tell(open_files());
    tell(clock(&Clock::system()));
    tell(listener(config).await);
    tell(legacy(config));
    let policies = Policies::of(config)?;
    tell(whatsapp(config, &policies).await);
    if let Some(url) = url {
        tell(reach(url, &policies).await);
    }
    commands::say(if works {
        "this host will do"
    } else {
        "the gateway cannot work here before the lines marked FAIL are mended"
    });
    Ok(works)
}

/// The data folder, or the nearest folder above it that exists.
fn existing(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let found = absolute.ancestors().find(|p| p.exists());
    found.unwrap_or(Path::new("/")).to_owned()
}

fn data_folder(config: &Config) -> Finding {
    let about = "data";
    let shown = config.data.display();
    match store::is_in_use(&store_file(config)) {
        Ok(true) => return good(about, format!("{shown} is in use by a gateway that runs")),
        Ok(false) => {}
        Err(error) => {
            return bad(
                about,
                format!(
                    "{shown} cannot be read: {error}; run this as the user who runs the gateway"
                ),
            );
        }
    }
    if let Err(error) = refuse_lost_key(config) {
        return bad(about, error.detail().to_owned());
    }
    let folder = existing(&config.data);
    match fsync_time(&folder) {
        Err(error) => bad(
            about,
            format!(
                "{} cannot be written: {error}; give it to the user who runs the gateway, or name another folder with --data",
                folder.display()
            ),
        ),
        Ok(_) if is_network(&folder) => note(
            about,
            format!(
                "{shown} is on a network file system, whose locks and fsyncs cannot be relied on"
            ),
        ),
        Ok(time) if time > FSYNC_SLOW => note(
            about,
            format!(
                "an fsync on {shown} takes {} ms: a slow disk; messages will be slow too",
                time.as_millis()
            ),
        ),
        Ok(time) => good(
            about,
            format!(
                "{shown} can be written; an fsync takes {:.1} ms",
                time.as_secs_f64() * 1e3
            ),
        ),
    }
}

/// How long one fsync of a small file takes, the middle of three.
fn fsync_time(folder: &Path) -> io::Result<Duration> {
    use std::io::Write as _;
    let name = folder.join(format!(".warung-self-check-{}", std::process::id()));
    let mut file = std::fs::File::create_new(&name)?;
    let mut times = Vec::new();
    let tried = (0..3).try_for_each(|_| {
        file.write_all(&[0; 4096])?;
        let began = Instant::now();
        file.sync_data()?;
        times.push(began.elapsed());
        Ok(())
    });
    std::fs::remove_file(&name)?;
    times.sort_unstable();
    tried.map(|()| times[times.len() / 2])
}

/// Whether the folder is on NFS, SMB, CIFS, AFS, Ceph or 9p.
fn is_network(folder: &Path) -> bool {
    const NETWORK: [u64; 6] = [
        0x6969,
        0xFE53_4D42,
        0xFF53_4D42,
        0x5346_414F,
        0x00C3_6400,
        0x0102_1997,
    ];
    // The field's type differs between processors.
    #[allow(clippy::unnecessary_cast, clippy::cast_sign_loss)]
    rustix::fs::statfs(folder).is_ok_and(|fs| NETWORK.contains(&(fs.f_type as u32 as u64)))
}

fn disk_space(data: &Path) -> Finding {
    let about = "disk";
    let folder = existing(data);
    let free = match rustix::fs::statvfs(&folder) {
        Ok(fs) if fs.f_files > 0 && fs.f_favail == 0 => {
            return bad(
                about,
                "no file can be made any more: the disk has no free inodes",
            );
        }
        Ok(fs) => fs.f_bavail.saturating_mul(fs.f_frsize),
        Err(error) => return note(about, format!("free space is not known: {error}")),
    };
    let text = format!("{} MB free for {}", free >> 20, data.display());
    match free {
        _ if free < SPACE_OUT => bad(
            about,
            format!("{text}; make room, or name another disk with --data"),
        ),
        _ if free < SPACE_LOW => note(about, format!("{text}, which will not last")),
        _ => good(about, text),
    }
}

fn memory(meminfo: &Path) -> Finding {
    let text = std::fs::read_to_string(meminfo).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"));
    let Some(kib) = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()) else {
        return note("memory", "how much is free is not known");
    };
    let free = kib << 10;
    if free < MEMORY_LOW {
        return note("memory", format!("only {} MB are free", free >> 20));
    }
    good("memory", format!("{} MB are free", free >> 20))
}

fn open_files() -> Finding {
    match getrlimit(Resource::Nofile).current {
        Some(most) if most < FILES_LOW => note(
            "files",
            format!("only {most} files and connections may be open at once (ulimit -n)"),
        ),
        Some(most) => good(
            "files",
            format!("{most} files and connections may be open at once"),
        ),
        None => good("files", "as many as wanted may be open at once"),
    }
}

fn clock(clock: &Clock) -> Finding {
    let now = clock.now();
    match clock.doubt() {
        Some(why) => bad(
            "clock",
            format!(
                "it shows {now} and is wrong: {why}; set it, and let the network keep it right (timedatectl set-ntp true)"
            ),
        ),
        None => good("clock", format!("it shows {now}")),
    }
}

async fn listener(config: &Config) -> Finding {
    let about = "listen";
    let listen: Listen = match config.listen.parse() {
        Ok(listen) => listen,
        Err(error) => return bad(about, error.detail().to_owned()),
    };
    // Whoever holds the port may be no gateway, and never answer.
    let asked = tokio::time::timeout(ANSWER, commands::healthcheck(config)).await;
    if matches!(asked, Ok(Ok(()))) {
        return good(about, format!("a gateway answers at {listen} already"));
    }
    match listen.try_bind() {
        Ok(()) => good(about, format!("{listen} is free")),
        Err(error) => bad(
            about,
            format!("{}; choose another address with --listen", error.detail()),
        ),
    }
}

fn legacy(config: &Config) -> Finding {
    let local = config
        .listen
        .parse()
        .is_ok_and(|listen: Listen| listen.is_private());
    match config.legacy {
        Legacy::Open => note(
            "legacy",
            "legacy = open: whoever reaches the port can send from every session",
        ),
        Legacy::Auto if local => note(
            "legacy",
            "programs on this machine can send without a token; if strangers have accounts here, set legacy = token",
        ),
        Legacy::Auto | Legacy::Token => good("legacy", "legacy sends need a token"),
        Legacy::Off => good("legacy", "legacy sends are switched off"),
    }
}

/// Whether WhatsApp can be reached, and what its server thinks of our clock.
async fn whatsapp(config: &Config, policies: &Policies) -> Finding {
    let about = "whatsapp";
    if cfg!(feature = "sandbox") {
        return note(about, "a sandbox build never reaches the real WhatsApp");
    }
    let Ok((host, _, _)) = config.whatsapp_server() else {
        return bad(about, "its address is not understood");
    };
    match date_of(&host, policies).await {
        Ok(Some(theirs)) => {
            let ours = Clock::system().now();
            let off = ours.since(theirs).max(theirs.since(ours));
            if off > CLOCK_OFF {
                return bad(
                    about,
                    format!("{host} says that it is {theirs}, this machine {ours}: set the clock"),
                );
            }
            good(about, format!("{host} answers, encrypted and verified"))
        }
        Ok(None) => good(about, format!("{host} answers, encrypted and verified")),
        Err(error) => bad(about, format!("{host}: {}", explain(&error))),
    }
}

async fn date_of(host: &str, policies: &Policies) -> Result<Option<Timestamp>> {
    let request = OutgoingRequest {
        method: Method::GET,
        url: format!("https://{host}/"),
        headers: Vec::new(),
        body: OutBody::default(),
    };
    let response = Client::new(policies.whatsapp.clone())?
        .send(request)
        .await?;
    let date = response.header("date").unwrap_or_default();
    let date = httpdate::parse_http_date(date).ok();
    let since_epoch = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
    Ok(since_epoch.map(|since| Timestamp::default().after(since)))
}

/// Whether a webhook's server can be reached; nothing is sent to it.
async fn reach(url: &str, policies: &Policies) -> Finding {
    match try_reach(url, policies).await {
        Ok(()) => good("url", format!("{url} can be reached")),
        Err(error) => bad("url", format!("{url}: {}", explain(&error))),
    }
}

async fn try_reach(url: &str, policies: &Policies) -> Result<()> {
    let target = Client::new(policies.webhooks.clone())?.check_url(url)?;
    let dialer = Dialer::new(policies.webhooks.clone())?;
    dialer.reach(&target).await
}

/// The error with its causes, and what may help.
fn explain(error: &Error) -> String {
    let mut text = error.detail().to_owned();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    let advice = if text.contains("resolved") {
        "; name servers stand in /etc/resolv.conf, or in the setting dns_servers"
    } else if text.contains("certificate") {
        "; is the clock right? does something in between open encrypted connections (its certificate goes into the setting trusted_roots)?"
    } else if text.contains("reached") || text.contains("in time") {
        "; does a firewall let this machine out on that port?"
    } else {
        ""
    };
    text + advice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_probably_wrong_is_a_failure() {
        let manual = Clock::manual(Timestamp::from_secs(0));
        assert_eq!(clock(&manual).0, Mark::Good);
        manual.set_doubted(true);
        let Finding(mark, _, text) = clock(&manual);
        assert!(mark == Mark::Bad && text.contains("1970-01-01"), "{text}");
    }

    #[test]
    fn little_memory_is_worth_a_note() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mark = |text: &str| {
            std::fs::write(file.path(), text).expect("written");
            memory(file.path()).0
        };
        assert_eq!(mark("MemTotal: 9\nMemAvailable:   524288 kB\n"), Mark::Good);
        assert_eq!(mark("MemAvailable:   20000 kB\n"), Mark::Note);
        assert_eq!(mark("nothing"), Mark::Note);
    }
}
