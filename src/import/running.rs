//! Whether the program still runs whose folder is to move in. Two clients of one account knock each other
//! out, and a database that is written to cannot be read.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{find, small_file, super_light};

/// What shows that it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// Whether it can be nothing else.
    pub certain: bool,
    /// What was seen: a sentence without its end.
    pub said: String,
}

/// Programs that the original and others on Baileys are run by.
const RUNTIMES: [&str; 4] = ["node", "nodejs", "bun", "deno"];

/// Looks for signs. `own_port` is where the gateway listens. What this user may not see is not seen.
pub fn look(folder: &Path, own_port: Option<u16>) -> Vec<Sign> {
    let Ok((root, _)) = find(folder) else {
        return Vec::new();
    };
    let mut signs = processes(&root);
    if let Ok(database) = super_light::database(&root) {
        signs.extend(locks(&database));
    }
    let env = small_file(&root.join(super_light::ENV), 1 << 20).unwrap_or_default();
    let port = super_light::variable(&String::from_utf8_lossy(&env), "PORT");
    let port = port.and_then(|port| port.parse().ok());
    if let Some(port) = port.filter(|port| Some(*port) != own_port && is_listened_on(*port)) {
        signs.push(Sign {
            certain: false,
            said: format!("something listens on port {port}, the PORT of its .env"),
        });
    }
    signs
}

/// Programs of the kind that work in the folder, or in one around it.
fn processes(root: &Path) -> Vec<Sign> {
    let (Ok(root), Ok(all)) = (root.canonicalize(), std::fs::read_dir("/proc")) else {
        return Vec::new();
    };
    let mut signs = Vec::new();
    for process in all.flatten() {
        let name = process.file_name();
        let Some(id) = name.to_str().and_then(|id| id.parse::<u32>().ok()) else {
            continue;
        };
        let link = |what: &str| std::fs::read_link(process.path().join(what)).ok();
        let (Some(works_in), Some(program)) = (link("cwd"), link("exe")) else {
            continue;
        };
        let program = program.file_name().and_then(|name| name.to_str());
        let around = root.starts_with(&works_in) && works_in.components().count() > 2;
        if let Some(program) = program.filter(|program| RUNTIMES.contains(program))
            && around
        {
            signs.push(Sign {
                certain: works_in == root,
                said: format!("process {id} ({program}) works in {}", works_in.display()),
            });
        }
    }
    signs
}

/// Programs that hold the database open, by their locks on it and on its log.
fn locks(database: &Path) -> Vec<Sign> {
    let held = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let mut signs = Vec::new();
    for suffix in ["", "-shm", "-wal"] {
        let mut name = database.as_os_str().to_owned();
        name.push(suffix);
        let Ok(there) = std::fs::metadata(&name) else {
            continue;
        };
        let (major, minor) = (
            rustix::fs::major(there.dev()),
            rustix::fs::minor(there.dev()),
        );
        let file = format!("{major:02x}:{minor:02x}:{}", there.ino());
        let by = held.lines().find_map(|line| {
            let mut words = line.split_whitespace().skip(4);
            let process = words.next()?;
            (words.next()? == file).then(|| process.to_owned())
        });
        if let Some(process) = by {
            signs.push(Sign {
                certain: true,
                said: format!("process {process} holds its database open"),
            });
            break;
        }
    }
    signs
}

/// Whether any program listens on this port of this machine.
fn is_listened_on(port: u16) -> bool {
    let wanted = format!("{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        let table = std::fs::read_to_string(table).unwrap_or_default();
        table.lines().skip(1).any(|line| {
            let mut words = line.split_whitespace().skip(1);
            let here = words.next().and_then(|address| address.rsplit(':').next());
            // 0A: it listens.
            here == Some(&wanted) && words.nth(1) == Some("0A")
        })
    })
}
