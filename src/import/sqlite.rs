//! Reads tables of a SQLite database, and of the log (`-wal`) beside it. Nothing is written and no lock
//! is taken: the program whose file it is must not run.
//!
//! It is our own because the C library would take the release beyond its size, and the readers in Rust
//! that there are do not read the log, in which a database of the original may lie for the most part.
//! It knows what such a database needs: tables with rowids, overflow pages, texts in UTF-8.
//!
//! The file is a stranger's. Each page is visited once, so that no circle of pages is walked for ever,
//! and nothing is believed before it was compared with what is there.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::plain_file::{self, Unread};

/// The first bytes of every database.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// The longest row that is read, in bytes.
const MAX_ROW: u64 = 16 << 20;

/// How many levels a tree of tables may have: SQLite itself stops at 20.
const MAX_DEPTH: usize = 20;

/// The largest log that is read, in bytes.
const MAX_LOG: u64 = 1 << 30;

/// Why a database cannot be read: a part of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged(pub &'static str);

type Result<T> = std::result::Result<T, Damaged>;

const CUT: Damaged = Damaged("it ends too early");
const BROKEN: Damaged = Damaged("its pages contradict each other");

/// What stands in one column of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Nothing.
    Null,
    /// A whole number.
    Int(i64),
    /// Another number.
    Real(f64),
    /// Words.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl Cell {
    /// The words, if there are any.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Where pages come from.
enum Source {
    Disk(File),
    Memory(Vec<u8>),
}

impl Source {
    fn len(&self) -> Result<u64> {
        match self {
            Self::Disk(file) => file.metadata().map(|m| m.len()).map_err(|_| CUT),
            Self::Memory(bytes) => Ok(bytes.len() as u64),
        }
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        match self {
            Self::Disk(file) => file.read_exact_at(into, at).map_err(|_| CUT),
            Self::Memory(bytes) => {
                let at = usize::try_from(at).map_err(|_| CUT)?;
                let end = at.checked_add(into.len()).ok_or(CUT)?;
                into.copy_from_slice(bytes.get(at..end).ok_or(CUT)?);
                Ok(())
            }
        }
    }
}

/// What is done with a page of rows: its bytes, where in it each row begins, and the pages that were visited.
/// It says whether to go on.
type RowsOfPage<'v> = dyn FnMut(&[u8], &[usize], &mut HashSet<u32>) -> Result<bool> + 'v;

/// A database that is open for reading.
pub struct Database {
    main: Source,
    log: Source,
    /// Where in the log the newest page of a number lies.
    logged: HashMap<u32, u64>,
    page: usize,
    /// What of a page is used.
    usable: usize,
    /// How many pages there are.
    pages: u32,
}

impl Database {
    /// Opens a database and its log.
    ///
    /// # Errors
    /// It is none, it is damaged, or its last change was broken off.
    pub fn open(path: &Path) -> Result<Self> {
        let beside = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            std::path::PathBuf::from(name)
        };
        let journal = std::fs::metadata(beside("-journal"));
        if journal.is_ok_and(|journal| journal.len() > 0) {
            return Err(Damaged(
                "a change of it was broken off: start and stop its program once",
            ));
        }
        let (main, _) = plain_file::open(path).map_err(|_| Damaged("it cannot be opened"))?;
        let log = match plain_file::open(&beside("-wal")) {
            Ok((log, _)) => Source::Disk(log),
            Err(Unread::Gone) => Source::Memory(Vec::new()),
            Err(_) => return Err(Damaged("its -wal cannot be opened")),
        };
        Self::of(Source::Disk(main), log)
    }

    /// The same of bytes, for those who try strange ones.
    #[cfg(any(test, feature = "sandbox"))]
    pub fn of_bytes(main: Vec<u8>, log: Vec<u8>) -> Result<Self> {
        Self::of(Source::Memory(main), Source::Memory(log))
    }

    fn of(main: Source, log: Source) -> Result<Self> {
        let mut found = Self {
            logged: HashMap::new(),
            page: 0,
            usable: 0,
            pages: 0,
            main,
            log,
        };
        found.read_log()?;
        let mut head = [0; 100];
        match found.logged.get(&1) {
            Some(at) => found.log.read(*at, &mut head)?,
            None => found.main.read(0, &mut head)?,
        }
        if !head.starts_with(MAGIC) {
            return Err(Damaged("it is no SQLite database"));
        }
        let page = match u16::from_be_bytes([head[16], head[17]]) {
            1 => 65_536,
            size => usize::from(size),
        };
        if !page.is_power_of_two() || page < 512 || (found.page != 0 && found.page != page) {
            return Err(BROKEN);
        }
        if !matches!(head[56..60], [0, 0, 0, 0 | 1]) {
            return Err(Damaged("its texts are not in UTF-8"));
        }
        found.page = page;
        found.usable = page - usize::from(head[20]);
        if found.usable < 480 {
            return Err(BROKEN);
        }
        if found.pages == 0 {
            let pages = found.main.len()? / page as u64;
            found.pages = u32::try_from(pages).map_err(|_| BROKEN)?;
        }
        Ok(found)
    }

    /// Notes which pages the log holds: those of whole transactions, up to the first frame that is not
    /// of this log any more.
    fn read_log(&mut self) -> Result<()> {
        let length = self.log.len()?;
        let mut head = [0; 32];
        if length < 32 {
            return Ok(());
        }
        if length > MAX_LOG {
            return Err(Damaged("its -wal is too large"));
        }
        self.log.read(0, &mut head)?;
        let word = |bytes: &[u8], at: usize| {
            let bytes = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
            bytes.map_or(0, u32::from_be_bytes)
        };
        let magic = word(&head, 0);
        let big_endian = magic & 1 == 1;
        let mut sum = checksum(big_endian, (0, 0), &head[..24]);
        // A log of which the head was not written whole holds nothing, as SQLite sees it.
        if magic & !1 != 0x377f_0682 || sum != (word(&head, 24), word(&head, 28)) {
            return Ok(());
        }
        let page = word(&head, 8) as usize;
        if !page.is_power_of_two() || !(512..=65_536).contains(&page) {
            return Ok(());
        }
        let mut frame = vec![0; 24 + page];
        let mut open = Vec::new();
        let mut at = 32;
        while at + frame.len() as u64 <= length {
            self.log.read(at, &mut frame)?;
            if frame[8..16] != head[16..24] {
                break;
            }
            sum = checksum(big_endian, sum, &frame[..8]);
            sum = checksum(big_endian, sum, &frame[24..]);
            if sum != (word(&frame, 16), word(&frame, 20)) {
                break;
            }
            open.push((word(&frame, 0), at + 24));
            let committed = word(&frame, 4);
            if committed > 0 {
                self.logged.extend(open.drain(..));
                self.pages = committed;
                self.page = page;
            }
            at += frame.len() as u64;
        }
        Ok(())
    }

    fn page(&self, number: u32) -> Result<Vec<u8>> {
        if number == 0 || number > self.pages {
            return Err(BROKEN);
        }
        let mut page = vec![0; self.page];
        match self.logged.get(&number) {
            Some(at) => self.log.read(*at, &mut page)?,
            None => {
                let at = u64::from(number - 1) * self.page as u64;
                self.main.read(at, &mut page)?;
            }
        }
        page.truncate(self.usable);
        Ok(page)
    }

    /// Shows these columns of every row of a table, until the visitor says no. A column that the table
    /// does not have is `Null`.
    ///
    /// Answers whether there is such a table.
    pub fn rows(
        &self,
        table: &str,
        columns: &[&str],
        visitor: &mut dyn FnMut(Vec<Cell>) -> bool,
    ) -> Result<bool> {
        let Some((root, names)) = self.table(table)? else {
            return Ok(false);
        };
        let wanted: Vec<usize> = columns
            .iter()
            .map(|column| names.iter().position(|name| name == column))
            .map(|place| place.unwrap_or(usize::MAX))
            .collect();
        self.walk(root, &mut |row| Ok(visitor(cells(row, &wanted)?)))?;
        Ok(true)
    }

    /// How many rows a table has; none where there is no such table. What is in them is not looked at.
    pub fn count(&self, table: &str) -> Result<u64> {
        let Some((root, _)) = self.table(table)? else {
            return Ok(0);
        };
        let mut count = 0;
        let mut rows_of = |_: &[u8], cells: &[usize], _: &mut HashSet<u32>| {
            count += cells.len() as u64;
            Ok(true)
        };
        self.walk_page(root, 0, &mut HashSet::new(), &mut rows_of)?;
        Ok(count)
    }

    /// The first page of a table and the names of its columns, if there is one.
    fn table(&self, table: &str) -> Result<Option<(u32, Vec<String>)>> {
        let mut found = None;
        self.walk(1, &mut |row| {
            let cells = cells(row, &[0, 1, 3, 4])?;
            if let [kind, name, Cell::Int(root), sql] = &cells[..]
                && kind.text() == Some("table")
                && name.text() == Some(table)
            {
                let names = sql.text().map(column_names).unwrap_or_default();
                found = Some((u32::try_from(*root).map_err(|_| BROKEN)?, names));
            }
            Ok(found.is_none())
        })?;
        Ok(found)
    }

    /// Visits the rows below a page, in their order.
    fn walk(&self, root: u32, visitor: &mut dyn FnMut(&[u8]) -> Result<bool>) -> Result<()> {
        let mut each = |page: &[u8], rows: &[usize], seen: &mut HashSet<u32>| {
            for at in rows {
                if !visitor(&self.payload(page, *at, seen)?)? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        self.walk_page(root, 0, &mut HashSet::new(), &mut each)
            .map(drop)
    }

    fn walk_page(
        &self,
        number: u32,
        depth: usize,
        seen: &mut HashSet<u32>,
        visitor: &mut RowsOfPage<'_>,
    ) -> Result<bool> {
        if depth > MAX_DEPTH || !seen.insert(number) {
            return Err(BROKEN);
        }
        let page = self.page(number)?;
        let head = if number == 1 { 100 } else { 0 };
        let kind = byte(&page, head)?;
        let count = usize::from(short(&page, head + 3)?);
        let cells = head + if kind == 5 { 12 } else { 8 };
        let cells = (0..count).map(|cell| short(&page, cells + 2 * cell).map(usize::from));
        let cells: Vec<usize> = cells.collect::<Result<_>>()?;
        match kind {
            5 => {
                for at in cells {
                    if !self.walk_page(long(&page, at)?, depth + 1, seen, visitor)? {
                        return Ok(false);
                    }
                }
                self.walk_page(long(&page, head + 8)?, depth + 1, seen, visitor)
            }
            13 => visitor(&page, &cells, seen),
            _ if count > 0 => Err(Damaged("a table of it is of a form that is not read here")),
            _ => Err(BROKEN),
        }
    }

    /// The bytes of a row, of which the last may lie on pages of their own.
    fn payload(&self, page: &[u8], at: usize, seen: &mut HashSet<u32>) -> Result<Vec<u8>> {
        let (length, read) = varint(page, at)?;
        let (_rowid, more) = varint(page, at + read)?;
        let start = at + read + more;
        if length > MAX_ROW {
            return Err(Damaged("a row of it is too long"));
        }
        let (length, usable) = (length as usize, self.usable);
        let most = usable - 35;
        if length <= most {
            return Ok(page.get(start..start + length).ok_or(CUT)?.to_vec());
        }
        let least = (usable - 12) * 32 / 255 - 23;
        let here = least + (length - least) % (usable - 4);
        let here = if here <= most { here } else { least };
        let mut row = page.get(start..start + here).ok_or(CUT)?.to_vec();
        let mut next = long(page, start + here)?;
        while row.len() < length {
            if !seen.insert(next) {
                return Err(BROKEN);
            }
            let page = self.page(next)?;
            let take = (length - row.len()).min(usable - 4);
            row.extend_from_slice(page.get(4..4 + take).ok_or(CUT)?);
            next = long(&page, 0)?;
        }
        Ok(row)
    }
}

/// The sums over pairs of words by which SQLite knows a frame of its log.
fn checksum(big_endian: bool, (mut one, mut two): (u32, u32), bytes: &[u8]) -> (u32, u32) {
    let (pairs, _) = bytes.as_chunks::<8>();
    for [a, b, c, d, e, f, g, h] in pairs.iter().copied() {
        let word = if big_endian {
            u32::from_be_bytes
        } else {
            u32::from_le_bytes
        };
        one = one.wrapping_add(word([a, b, c, d])).wrapping_add(two);
        two = two.wrapping_add(word([e, f, g, h])).wrapping_add(one);
    }
    (one, two)
}

fn byte(bytes: &[u8], at: usize) -> Result<u8> {
    bytes.get(at).copied().ok_or(CUT)
}

fn short(bytes: &[u8], at: usize) -> Result<u16> {
    Ok(u16::from_be_bytes([byte(bytes, at)?, byte(bytes, at + 1)?]))
}

fn long(bytes: &[u8], at: usize) -> Result<u32> {
    let (high, low) = (short(bytes, at)?, short(bytes, at + 2)?);
    Ok(u32::from(high) << 16 | u32::from(low))
}

/// A number of 1 to 9 bytes, and how many.
fn varint(bytes: &[u8], at: usize) -> Result<(u64, usize)> {
    let mut value = 0;
    for read in 0..8 {
        let next = byte(bytes, at + read)?;
        value = value << 7 | u64::from(next & 0x7f);
        if next & 0x80 == 0 {
            return Ok((value, read + 1));
        }
    }
    Ok((value << 8 | u64::from(byte(bytes, at + 8)?), 9))
}

/// The cells of a row at these places; `Null` where the row has none.
fn cells(row: &[u8], wanted: &[usize]) -> Result<Vec<Cell>> {
    let (head, mut at) = varint(row, 0)?;
    let head = usize::try_from(head).map_err(|_| BROKEN)?;
    if head > row.len() {
        return Err(CUT);
    }
    let mut found = vec![Cell::Null; wanted.len()];
    let (mut body, mut place) = (head, 0);
    while at < head {
        let (kind, read) = varint(row, at)?;
        at += read;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind as usize,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return Err(BROKEN),
            _ => usize::try_from((kind - 12) / 2).map_err(|_| BROKEN)?,
        };
        let end = body.checked_add(length).ok_or(BROKEN)?;
        let bytes = row.get(body..end).ok_or(CUT)?;
        body = end;
        for (cell, _) in found.iter_mut().zip(wanted).filter(|(_, w)| **w == place) {
            *cell = value(kind, bytes)?;
        }
        place += 1;
    }
    Ok(found)
}

fn value(kind: u64, bytes: &[u8]) -> Result<Cell> {
    Ok(match kind {
        0 => Cell::Null,
        8 | 9 => Cell::Int((kind - 8) as i64),
        7 => {
            let bits = bytes.iter().fold(0, |bits, b| bits << 8 | u64::from(*b));
            Cell::Real(f64::from_bits(bits))
        }
        1..=6 => {
            // The first byte carries the sign.
            let sign = bytes
                .first()
                .map_or(0, |first| i64::from(*first as i8 >> 7));
            let fold = |number: i64, b: &u8| number << 8 | i64::from(*b);
            Cell::Int(bytes.iter().fold(sign, fold))
        }
        _ if kind.is_multiple_of(2) => Cell::Blob(bytes.to_vec()),
        _ => {
            let text = std::str::from_utf8(bytes);
            Cell::Text(
                text.map_err(|_| Damaged("a text of it is not UTF-8"))?
                    .to_owned(),
            )
        }
    })
}

/// The names of the columns in the words that made a table.
fn column_names(sql: &str) -> Vec<String> {
    let inside = sql.split_once('(').map_or("", |(_, inside)| inside);
    let (mut names, mut depth, mut column) = (Vec::new(), 0_u32, String::new());
    for c in inside.chars() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => break,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                names.extend(name_of(&column));
                column.clear();
                continue;
            }
            _ => {}
        }
        column.push(c);
    }
    names.extend(name_of(&column));
    names
}

/// The name of a column, unless it is a rule about several.
fn name_of(column: &str) -> Option<String> {
    let mut words = column.split([' ', '\t', '\r', '\n', '(']);
    let first = words.find(|word| !word.is_empty())?;
    let rule = ["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"];
    if rule.iter().any(|word| first.eq_ignore_ascii_case(word)) {
        return None;
    }
    Some(first.trim_matches(['"', '`', '[', ']', '\'']).to_owned())
}

#[cfg(test)]
mod tests;
