//! Uploaded files: whose they are, and their way to the media folder.

use std::path::Path;

use super::arrival::Arrival;
use super::homes::Homes;
use super::incoming::{Belongs, IncomingFile};
use super::options::ImportOptions;
use super::report::{Outcome, Report};
use crate::domain::Gateway;
use crate::domain::campaign::imported::IncomingCampaign;
use crate::domain::media::imported::ImportedFile;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::ids::MediaId;

/// What became of the files so far.
#[derive(Default)]
struct Tally {
    count: u64,
    bytes: u64,
    ownerless: u64,
}

impl Gateway {
    /// Decides whose the uploaded files are, and copies them beside the media folder; in a dry run they are
    /// judged where they lie.
    pub(super) async fn stage(
        &self,
        arrivals: &mut [Arrival],
        homes: &Homes,
        campaigns: &[(Belongs, IncomingCampaign)],
        files: Vec<IncomingFile>,
        options: ImportOptions,
        report: &mut Report,
    ) -> Result<Vec<ImportedFile>> {
        if arrivals.is_empty() || files.is_empty() {
            return Ok(Vec::new());
        }
        self.need_room(files.iter().map(|file| file.size).sum())?;
        let shown = campaigns.iter();
        let shown = shown.filter_map(|(of, campaign)| Some((shown_file(campaign)?, of)));
        let showing = homes.showing(shown);
        let (mut staged, mut tally) = (Vec::new(), Tally::default());
        for IncomingFile { id, path, .. } in files {
            let is_home = |arrival: &Arrival| {
                // As before, every session of one person may send every file.
                homes.one_owner
                    || showing
                        .get(&id)
                        .is_some_and(|homes| homes.contains(arrival.id()))
            };
            let mut homes_of: Vec<_> = arrivals.iter_mut().filter(|one| is_home(one)).collect();
            if homes_of.is_empty() {
                tally.ownerless += 1;
                continue;
            }
            let about = format!("file {id}");
            let judged = self.judged(id.clone(), &path, options.dry_run).await;
            let (size, file) = match judged {
                Ok(judged) => judged,
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                Err(error) => {
                    report.add(Outcome::LeftOut, about, error.detail());
                    continue;
                }
            };
            for home in &mut homes_of {
                match home.room.take_file(size) {
                    Ok(()) => {
                        home.file_ids.insert(id.clone());
                        home.files.extend(file.as_ref().map(ImportedFile::row));
                    }
                    Err(why) => {
                        let said = format!("it does not fit into session {}: {why}", home.id());
                        report.add(Outcome::Problem, about.clone(), said);
                    }
                }
            }
            (tally.count, tally.bytes) = (tally.count + 1, tally.bytes + size);
            staged.extend(file);
        }
        tally.tell(homes.one_owner, report);
        Ok(staged)
    }

    /// How many bytes a file has, and the copy of it unless nothing is to be changed.
    async fn judged(
        &self,
        id: MediaId,
        path: &Path,
        dry_run: bool,
    ) -> Result<(u64, Option<ImportedFile>)> {
        if dry_run {
            return Ok((self.judge_file(path).await?, None));
        }
        let file = self.stage_file(id, path).await?;
        Ok((file.size(), Some(file)))
    }

    /// Refuses to fill the disk up.
    fn need_room(&self, bytes: u64) -> Result<()> {
        let free = self.free_bytes();
        // As much again is left for the store.
        if free / 2 >= bytes {
            return Ok(());
        }
        Err(Error::new(
            Code::StoreUnavailable,
            format!(
                "{} MiB of files come, and {} MiB are free in {}: make room there first",
                bytes.div_ceil(1 << 20),
                free >> 20,
                self.config().data.display()
            ),
        ))
    }
}

impl Tally {
    fn tell(&self, one_owner: bool, report: &mut Report) {
        if self.count > 0 {
            let whose = match one_owner {
                true => "for every session that comes",
                false => "for the sessions whose campaigns show them",
            };
            let kib = self.bytes.div_ceil(1024);
            let said = format!(
                "{} in number ({kib} KiB), {whose}, under their ids",
                self.count
            );
            report.add(Outcome::Taken, "uploaded files", said);
        }
        if self.ownerless > 0 {
            let said = format!(
                "{} in number: the sessions belong to several people, and nothing says whose these are; \
                 upload them again",
                self.ownerless
            );
            report.add(Outcome::LeftOut, "uploaded files", said);
        }
    }
}

/// The uploaded file that a campaign shows.
fn shown_file(campaign: &IncomingCampaign) -> Option<&MediaId> {
    campaign.media.as_ref()?.source.as_ref().ok()
}
