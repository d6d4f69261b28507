//! A store's file of which nothing is changed: what is written to it stays in memory and goes with it. A dry
//! run opens a store so.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::ops::Bound;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

/// How much is kept at once of what was written.
const BLOCK: usize = 4096;

/// The file, and what was written since it was opened.
#[derive(Debug)]
pub(super) struct Unchanged {
    /// Locked against those who would change it.
    file: File,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    len: u64,
    /// How much of the file still counts: what was cut off does not come back.
    of_file: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Unchanged {
    /// Opens a file that begins so. `None` when somebody has it open, who may change it.
    pub(super) fn open(path: &Path, magic: &[u8]) -> io::Result<Option<Self>> {
        let mut file = OpenOptions::new().read(true).open(path)?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => {}
        }
        let mut start = vec![0; magic.len()];
        if file.read_exact(&mut start).is_err() || start != magic {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is no store of this program",
            ));
        }
        let len = file.metadata()?.len();
        Ok(Some(Self {
            file,
            written: Mutex::new(Written {
                len,
                of_file: len,
                blocks: BTreeMap::new(),
            }),
        }))
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block as it is now.
    fn block(&self, written: &Written, number: u64) -> io::Result<Vec<u8>> {
        if let Some(block) = written.blocks.get(&number) {
            return Ok(block.clone());
        }
        let start = number * BLOCK as u64;
        let there = written.of_file.saturating_sub(start).min(BLOCK as u64);
        let mut block = vec![0; BLOCK];
        self.file
            .read_exact_at(&mut block[..there as usize], start)?;
        Ok(block)
    }
}

/// The blocks that a range touches: the number of each, where in it the range begins, and which bytes of the
/// range it has.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let within = (at % BLOCK as u64) as usize;
        let many = (BLOCK - within).min(len - done);
        let part = (at / BLOCK as u64, within, done..done + many);
        done += many;
        Some(part)
    })
}

impl StorageBackend for Unchanged {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        written.refuse_beyond(offset, out.len())?;
        for (number, within, range) in parts(offset, out.len()) {
            let block = self.block(&written, number)?;
            let many = range.len();
            out[range].copy_from_slice(&block[within..within + many]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.written();
        if len < written.len {
            written.of_file = written.of_file.min(len);
            written
                .blocks
                .retain(|number, _| number * (BLOCK as u64) < len);
            let within = (len % BLOCK as u64) as usize;
            if within > 0
                && let Some(last) = written.blocks.get_mut(&(len / BLOCK as u64))
            {
                last[within..].fill(0);
            }
        }
        written.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        written.refuse_beyond(offset, data.len())?;
        for (number, within, range) in parts(offset, data.len()) {
            let mut block = self.block(&written, number)?;
            block[within..within + range.len()].copy_from_slice(&data[range]);
            written.blocks.insert(number, block);
        }
        Ok(())
    }

    // The file itself is locked, for as long as this is open.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        match (start, end) {
            (Bound::Unbounded | Bound::Included(0), Bound::Unbounded) => Ok(true),
            _ => Err(BackendError::Unsupported),
        }
    }

    fn unlock_range(&self, _start: Bound<u64>, _end: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }
}

impl Written {
    fn refuse_beyond(&self, offset: u64, len: usize) -> io::Result<()> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Write(u64, Vec<u8>),
        SetLen(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..9000);
        prop_oneof![
            (0_u64..20_000, bytes).prop_map(|(at, bytes)| Step::Write(at, bytes)),
            (0_u64..20_000).prop_map(Step::SetLen),
        ]
    }

    fn of(bytes: &[u8]) -> (tempfile::NamedTempFile, Unchanged) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), bytes).expect("written");
        let opened = Unchanged::open(file.path(), b"").expect("readable");
        (file, opened.expect("free"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_reads_as_a_file_that_is_written_to_and_changes_nothing(
            bytes in proptest::collection::vec(any::<u8>(), 0..10_000),
            steps in proptest::collection::vec(step(), 0..12),
        ) {
            let (file, unchanged) = of(&bytes);
            let mut expected = bytes.clone();
            for step in steps {
                match step {
                    Step::Write(at, data) => {
                        let end = at as usize + data.len();
                        let fits = end <= expected.len();
                        prop_assert_eq!(unchanged.write(at, &data).is_ok(), fits);
                        if fits {
                            expected[at as usize..end].copy_from_slice(&data);
                        }
                    }
                    Step::SetLen(len) => {
                        unchanged.set_len(len).expect("set");
                        expected.resize(len as usize, 0);
                    }
                }
                let mut read = vec![0; expected.len()];
                unchanged.read(0, &mut read).expect("readable");
                prop_assert_eq!(&read, &expected);
                prop_assert_eq!(unchanged.len().expect("known"), expected.len() as u64);
            }
            prop_assert_eq!(std::fs::read(file.path()).expect("readable"), bytes);
        }
    }

    #[test]
    fn whoever_may_change_it_keeps_it_closed() {
        let (file, unchanged) = of(b"store");
        let other = OpenOptions::new()
            .write(true)
            .open(file.path())
            .expect("open");
        assert!(
            other.try_lock().is_err(),
            "it is locked while it is looked at"
        );
        drop(unchanged);
        other.try_lock().expect("free");
        assert!(
            Unchanged::open(file.path(), b"")
                .expect("readable")
                .is_none()
        );
        drop(other);
        Unchanged::open(file.path(), b"other").expect_err("no store");
    }
}
