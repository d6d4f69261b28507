//! A folder as an archive, on its way to a running gateway.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::BLOCK;
use crate::domain::import::Report;
use crate::error::{Code, Error, Result};
use crate::ids::SessionId;
use crate::import::{Kind, Reading, accounts_in, entries, find, super_light};
use crate::names::excerpt;
use crate::plain_file::{self, Unread};

/// How much is read at once.
const AT_ONCE: usize = 64 * 1024;

/// A file on its way.
struct Part {
    name: String,
    path: PathBuf,
    size: u64,
}

/// What of a folder is data.
pub struct Parcel {
    parts: Vec<Part>,
    /// The name of the session that its one account becomes: nothing in the archive says it.
    pub session: Option<SessionId>,
    /// What is not packed, and why.
    pub report: Report,
}

impl Parcel {
    /// Looks for what is packed. It blocks.
    ///
    /// # Errors
    /// It is no folder, nothing in it is known, its account has no name, or something in it cannot be read.
    pub fn of(folder: &Path, reading: &Reading) -> Result<Self> {
        let (root, kind) = find(folder)?;
        let mut parcel = Self {
            parts: Vec::new(),
            session: reading.session.clone(),
            report: Report::default(),
        };
        match kind {
            Kind::SuperLight => parcel.take_super_light(&root)?,
            Kind::Account => {
                parcel.session = Some(reading.name_of(&root)?);
                parcel.take_folder(&root, "")?;
            }
            Kind::Accounts => parcel.take_accounts(&root, "")?,
        }
        Ok(parcel)
    }

    fn take_super_light(&mut self, root: &Path) -> Result<()> {
        for name in [super_light::ENV].into_iter().chain(super_light::TOKENS) {
            self.take(&root.join(name), name.to_owned())?;
        }
        let env = super_light::env(root).map_err(|why| unreadable(super_light::ENV, &why))?;
        let database = super_light::database(root, &env);
        if let Some(database) = database.map_err(|why| unreadable("database", &why))? {
            for suffix in ["", "-wal", "-journal"] {
                let name = format!("{}{suffix}", super_light::DATABASE);
                self.take(&beside(&database, suffix), name)?;
            }
            // That it is there says enough.
            let shared = beside(&database, "-shm");
            if shared.exists() {
                self.parts.push(Part {
                    name: format!("{}-shm", super_light::DATABASE),
                    path: shared,
                    size: 0,
                });
            }
        }
        let kept = super_light::CAMPAIGNS.into_iter().chain(super_light::LISTS);
        for place in kept {
            self.take_folder(&root.join(place), &format!("{place}/"))?;
        }
        let uploads = super_light::uploads(root, &mut self.report);
        for file in uploads.map_err(|why| unreadable(super_light::MEDIA, &why))? {
            self.take(&file.path, format!("{}/{}", super_light::MEDIA, file.id))?;
        }
        let place = super_light::ACCOUNTS;
        self.take_accounts(&root.join(place), &format!("{place}/"))
    }

    fn take_accounts(&mut self, folder: &Path, place: &str) -> Result<()> {
        for (name, path) in accounts_in(folder).map_err(|why| unreadable(place, &why))? {
            self.take_folder(&path, &format!("{place}{name}/"))?;
        }
        Ok(())
    }

    fn take_folder(&mut self, folder: &Path, place: &str) -> Result<()> {
        for (name, path) in entries(folder).map_err(|why| unreadable(place, &why))? {
            self.take(&path, format!("{place}{name}"))?;
        }
        Ok(())
    }

    /// Takes a file, if it is one that can be read.
    fn take(&mut self, path: &Path, name: String) -> Result<()> {
        match plain_file::open(path) {
            Ok((_, size)) => self.parts.push(Part {
                name,
                path: path.to_owned(),
                size,
            }),
            Err(Unread::Failed(error)) => {
                return Err(unreadable(&name, &plain_file::refused(&error)));
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// How many bytes the archive takes.
    pub fn length(&self) -> u64 {
        let blocks = |size: u64| size.next_multiple_of(BLOCK as u64);
        let one = |part: &Part| {
            let record = path_record(&part.name).len() as u64;
            2 * BLOCK as u64 + blocks(record) + blocks(part.size)
        };
        self.parts.iter().map(one).sum::<u64>() + 2 * BLOCK as u64
    }

    /// Packs the files, handing the archive on piece by piece until somebody says no. It blocks.
    ///
    /// # Errors
    /// A file cannot be read, or is shorter than it was.
    pub fn pack(&self, take: &mut dyn FnMut(Vec<u8>) -> bool) -> Result<()> {
        for part in &self.parts {
            let mut record = path_record(&part.name).into_bytes();
            let mut heads = head("path", b'x', record.len() as u64);
            record.resize(record.len().next_multiple_of(BLOCK), 0);
            heads.extend(record);
            heads.extend(head("file", b'0', part.size));
            let packed = match take(heads) {
                true => part.pack(take),
                false => Ok(false),
            };
            if !packed.map_err(|why| unreadable(&part.name, &why.to_string()))? {
                return Ok(());
            }
        }
        take(vec![0; 2 * BLOCK]);
        Ok(())
    }
}

impl Part {
    /// Packs what it holds; answers whether somebody still takes it.
    fn pack(&self, take: &mut dyn FnMut(Vec<u8>) -> bool) -> std::result::Result<bool, Unread> {
        let (mut file, mut left) = match self.size {
            0 => return Ok(true),
            size => (plain_file::open(&self.path)?.0, size),
        };
        while left > 0 {
            let mut piece = vec![0; left.min(AT_ONCE as u64) as usize];
            file.read_exact(&mut piece).map_err(shrunk)?;
            left -= piece.len() as u64;
            if left == 0 {
                piece.resize(piece.len().next_multiple_of(BLOCK), 0);
            }
            if !take(piece) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn shrunk(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            io::Error::other("it shrank while it was read: is the other program stopped?")
        }
        _ => error,
    }
}

/// What cannot be packed.
fn unreadable(place: &str, why: &str) -> Error {
    let place = match place.trim_end_matches('/') {
        "" => "the folder".to_owned(),
        place => excerpt(place, 120),
    };
    Error::new(Code::ImportUnreadable, format!("{place}: {why}"))
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The record of POSIX that holds a path; it begins with its own length.
pub(super) fn path_record(name: &str) -> String {
    let bare = name.len() + " path=\n".len();
    let mut length = bare + 1;
    while length != bare + length.to_string().len() {
        length = bare + length.to_string().len();
    }
    format!("{length} path={name}\n")
}

/// The head of an entry.
pub(super) fn head(name: &str, kind: u8, size: u64) -> Vec<u8> {
    let mut head = vec![0; BLOCK];
    let mut put =
        |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(257, "ustar\x0000");
    head[156] = kind;
    let sum: u64 = head.iter().map(|byte| u64::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    head
}
