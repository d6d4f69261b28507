//! The uploaded files of the original.

use std::path::Path;

use super::MEDIA;
use crate::domain::import::{IncomingFile, Outcome, Report};
use crate::domain::media::upload::MAX_UPLOAD;
use crate::error::{Code, Error};
use crate::ids::MediaId;
use crate::import::{MAX_ENTRIES, entries_that};
use crate::plain_file::refused;

/// The uploaded files of a folder. In the same place lies what came in messages, under names that no id has:
/// it stays there, and that is told, as it is of files that are too large.
///
/// # Errors
/// Why not all are known: a part of a sentence.
pub(in crate::import) fn uploads(
    root: &Path,
    report: &mut Report,
) -> Result<Vec<IncomingFile>, String> {
    let mut received = 0_u64;
    let mut is_upload = |name: &str| {
        let is_id = MediaId::parse(name).is_ok();
        let is_hidden = name.starts_with('.');
        received += u64::from(!is_id && !is_hidden);
        is_id && !is_hidden
    };
    let inside = entries_that(&root.join(MEDIA), MAX_ENTRIES, &mut is_upload)?;
    let mut files = Vec::new();
    for (name, path) in inside {
        let there = std::fs::symlink_metadata(&path).map_err(|error| refused(&error))?;
        let (Ok(id), true) = (MediaId::parse(&name), there.is_file()) else {
            continue;
        };
        let size = there.len();
        if size > MAX_UPLOAD {
            let error = Error::from(Code::FileTooLarge);
            report.add(Outcome::LeftOut, format!("file {id}"), error.detail());
            continue;
        }
        files.push(IncomingFile { id, path, size });
    }
    if received > 0 {
        let said = format!("files of its inbox ({received}): they stay on the phone");
        report.add(Outcome::LeftOut, "received files", said);
    }
    Ok(files)
}
