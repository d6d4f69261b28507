//! Whether the program still runs whose folder is to move in. Two clients of one account knock each other
//! out, and a database that is written to cannot be read.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{find, super_light};

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

/// Looks for signs. `own_port` is where a gateway listens that runs. What this user may not see is not seen.
pub fn look(folder: &Path, own_port: Option<u16>) -> Vec<Sign> {
    let Ok((root, _)) = find(folder) else {
        return Vec::new();
    };
    let mut signs = processes(&root);
    let env = super_light::env(&root).unwrap_or_default();
    if let Ok(Some(database)) = super_light::database(&root, &env) {
        signs.extend(locks(&database));
    }
    let port = super_light::variable(&env, "PORT");
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
    let project = project_of(&root);
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
        if let Some((program, certain)) = works_on(&root, project, &works_in, &program) {
            signs.push(Sign {
                certain,
                said: format!("process {id} ({program}) works in {}", works_in.display()),
            });
        }
    }
    signs
}

/// The nearest folder around this one, or it itself, that holds a program: what such a program works in when its
/// keys lie in a folder of their own.
fn project_of(root: &Path) -> Option<&Path> {
    let mut around = root.ancestors().take_while(|folder| is_deep(folder));
    around.find(|folder| folder.join("package.json").is_file())
}

/// Much of the machine lies below the first folders.
fn is_deep(folder: &Path) -> bool {
    folder.components().count() > 2
}

/// The name of a program of the kind that works in the folder or in one around it, and whether that is certain:
/// it works in the folder itself, or in the one of its project.
fn works_on<'p>(
    root: &Path,
    project: Option<&Path>,
    works_in: &Path,
    program: &'p Path,
) -> Option<(&'p str, bool)> {
    let program = program.file_name()?.to_str()?;
    // So the system writes what was replaced on the disk meanwhile, as by an update.
    let program = program.strip_suffix(" (deleted)").unwrap_or(program);
    let is_around = root.starts_with(works_in) && is_deep(works_in);
    let works = RUNTIMES.contains(&program) && (works_in == root || is_around);
    let certain = works_in == root || Some(works_in) == project;
    works.then_some((program, certain))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_works_in_the_folder_is_certain_wherever_it_lies() {
        let cases = [
            ("/app", "/app", "/usr/bin/node", Some(("node", true))),
            (
                "/app",
                "/app",
                "/usr/bin/node (deleted)",
                Some(("node", true)),
            ),
            ("/srv/wa/toko", "/srv/wa", "/opt/bun", Some(("bun", false))),
            ("/srv/wa", "/srv", "/usr/bin/node", None),
            ("/srv/wa", "/srv/other", "/usr/bin/node", None),
            ("/srv/wa", "/srv/wa/below", "/usr/bin/node", None),
            ("/app", "/app", "/usr/bin/vim", None),
        ];
        for (root, works_in, program, expected) in cases {
            let paths = [root, works_in, program].map(Path::new);
            let found = works_on(paths[0], None, paths[1], paths[2]);
            assert_eq!(found, expected, "{root} {works_in} {program}");
        }
        let (bun, project) = (Path::new("/opt/bun"), Path::new("/srv/wa"));
        let keys = Path::new("/srv/wa/auth/toko");
        let in_project = works_on(keys, Some(project), project, bun);
        assert_eq!(in_project, Some(("bun", true)));
        let between = works_on(keys, Some(project), Path::new("/srv/wa/auth"), bun);
        assert_eq!(between, Some(("bun", false)));
    }

    #[test]
    fn the_project_of_keys_is_the_nearest_with_a_program() {
        let folder = tempfile::tempdir().expect("a folder");
        let (app, keys) = (
            folder.path().join("app"),
            folder.path().join("app/auth/toko"),
        );
        std::fs::create_dir_all(&keys).expect("made");
        for place in [folder.path(), &app] {
            std::fs::write(place.join("package.json"), "{}").expect("written");
        }
        assert_eq!(project_of(&keys), Some(&*app));
        assert_eq!(project_of(&app), Some(&*app));
        assert_eq!(project_of(Path::new("/srv")), None);
    }
}
