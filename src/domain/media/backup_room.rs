//! Whether there is room for a backup, before any of it is written.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::error::{Code, Error, Result};
use crate::store::free_in;

/// What a disk needs beside: folders, and the last block of each file.
const MARGIN: u64 = 1 << 20;

/// Refuses when a disk has no room for what is to be written into a folder: so many bytes each. What is
/// written into folders of one disk is added up. A disk that does not tell its room is believed to have it.
pub(super) fn refuse_without_room(needed: &[(&Path, u64)]) -> Result<()> {
    judge(needed, |folder| {
        let disk = std::fs::metadata(folder).ok()?.dev();
        Some((disk, free_in(folder)?))
    })
}

/// The same, where `measure` answers the disk of a folder and how much is free on it.
fn judge(needed: &[(&Path, u64)], measure: impl Fn(&Path) -> Option<(u64, u64)>) -> Result<()> {
    let disk_of = |folder| measure(folder).map(|(disk, _)| disk);
    for (folder, _) in needed {
        let Some((disk, free)) = measure(folder) else {
            continue;
        };
        let here = needed
            .iter()
            .filter(|(other, _)| disk_of(other) == Some(disk));
        let bytes = here.fold(MARGIN, |sum, (_, bytes)| sum.saturating_add(*bytes));
        if bytes <= free {
            continue;
        }
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
        let (bytes, free) = (bytes.div_ceil(1 << 20), free >> 20);
        return Err(Error::new(
            Code::PathUnusable,
            format!(
                "there is no room for the backup: it needs {bytes} MiB on the disk of {}, where {free} MiB are \
                 free. Nothing was written: make room there, or name a place on another disk",
                folder.display()
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_lies_on_one_disk_is_added_up() {
        let (data, card, usb) = (Path::new("/data"), Path::new("/data/b"), Path::new("/usb"));
        let measure = |folder: &Path| Some((u64::from(folder == usb), 10 * MIB));
        let fits = |needed: &[(&Path, u64)]| judge(needed, measure).is_ok();
        assert!(fits(&[(data, 9 * MIB)]), "with what is needed beside");
        assert!(!fits(&[(data, 9 * MIB + 1)]));
        assert!(!fits(&[(data, 5 * MIB), (card, 5 * MIB)]));
        assert!(fits(&[(data, 5 * MIB), (usb, 5 * MIB)]));
        assert!(!fits(&[(data, 5 * MIB), (usb, 50 * MIB)]));
        assert!(judge(&[(data, u64::MAX)], |_| None).is_ok());
    }

    #[test]
    fn the_refusal_names_the_folder_and_both_figures() {
        let usb = Path::new("/usb");
        let refused = judge(&[(usb, 41 * MIB)], |_| Some((1, 10 * MIB)));
        let said = refused.expect_err("no room");
        for part in ["/usb", "42 MiB", "10 MiB are free", "Nothing was written"] {
            assert!(said.detail().contains(part), "{part}: {said}");
        }
    }
}
