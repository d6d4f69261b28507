//! The files of a session: kept by content, served back only to it, within a quota, for a time.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio::sync::Mutex;

use super::arriving::ReservedSpace;
use super::blobs::{BlobState, CompleteFile};
use super::file_type::FileType;
use super::files::{
    BLOBS, MEDIA, MediaFile, MediaUsage, OpenFile, add, make_room, redate, take, usage,
};
use super::source::LocalFile;
use super::staged::Staged;
use crate::domain::Gateway;
use crate::domain::access::Principal;
use crate::domain::campaign::rows::files_in_use;
use crate::domain::session::{Session, ensure_session_exists};
use crate::domain::vault::private_folder;
use crate::error::{Code, Error, Result};
use crate::ids::{Hash, MediaId, SessionNumber};
use crate::store::{Durability, Tx};
use crate::tasks::blocking;
use crate::time::Timestamp;

/// The folder of the data folder that holds backups.
pub const BACKUPS: &str = "backups";

impl Gateway {
    /// Stores an arrived file for a session and answers its id when it is durable.
    pub(super) async fn keep_file(
        &self,
        session: &Session,
        arrived: &CompleteFile,
        found: FileType,
        name: Option<String>,
        received: bool,
        room: Option<ReservedSpace>,
    ) -> Result<(MediaId, MediaFile)> {
        let id = self.ids.media_id(found.extension());
        let file = MediaFile {
            sha256: arrived.hash,
            size: arrived.size,
            mime: found.mime().to_owned(),
            name,
            at: self.clock.now(),
            received,
        };
        let (row_id, row, number) = (id.clone(), file.clone(), session.number);
        let (name, quota) = (session.id.clone(), self.config.media_quota);
        let (there, _) = self.media.inspect(&arrived.hash).await?;
        if there == BlobState::Wrong {
            tracing::error!(file = %arrived.hash, "a media file is not what its name says and is replaced");
            self.forget_uploads_of(arrived.hash).await?;
        }
        let _alone = self.media.change().await;
        self.media.name(arrived, there).await?;
        // From here on its row counts it.
        drop(room);
        let stored = self
            .store
            .write(Durability::Sync, move |tx| {
                ensure_session_exists(tx, name.as_str(), number)?;
                let gone = make_room(tx, number, row.size, quota)?;
                add(tx, number, &row_id, &row)?;
                // What made room may be what has just come in again.
                Ok(gone
                    .into_iter()
                    .filter(|hash| *hash != row.sha256)
                    .collect())
            })
            .await;
        match stored {
            Ok(gone) => {
                self.media.remove(gone).await;
                Ok((id, file))
            }
            Err(error) => {
                self.remove_unnamed(arrived.hash).await;
                Err(error)
            }
        }
    }

    /// Stores a file that was brought here among the session's files.
    pub(in crate::domain) async fn keep_found(
        &self,
        session: &Session,
        found: LocalFile,
    ) -> Result<(MediaId, MediaFile)> {
        let (file_type, name) = (found.found, found.name.clone());
        let arrived = found
            .into_arrived()
            .ok_or_else(|| Error::internal("a file that is kept already"))?;
        self.keep_file(session, &arrived, file_type, name, false, None)
            .await
    }

    /// Removes a file that was given its name for a row that was then not written.
    pub(in crate::domain) async fn remove_unnamed(&self, hash: Hash) {
        // A write, because it finds out whether the row is there after all: after a write that failed readers see
        // what was before it, until the file is opened anew. When the store does not answer, the next
        // start removes it.
        let named = move |tx: &mut Tx| BLOBS.exists(tx, hash);
        if let Ok(false) = self.store.write(Durability::Lazy, named).await {
            self.media.remove(vec![hash]).await;
        }
    }

    /// One file of the session. Another session's is as unknown as none.
    pub fn media_file(&self, session: &Session, id: &MediaId) -> Result<MediaFile> {
        let file = self
            .store
            .read(|read| MEDIA.get(read, (session.number, id)))?;
        file.ok_or_else(|| Error::from(Code::MediaNotFound))
    }

    /// Which of the sessions that this caller may use has the file; `None` when none has.
    pub(super) fn owner_of_file(
        &self,
        who: &Principal,
        id: &MediaId,
    ) -> Result<Option<SessionNumber>> {
        let sessions = self.sessions_of(who);
        self.store.read(|read| {
            for session in &sessions {
                if MEDIA.exists(read, (session.number, id))? {
                    return Ok(Some(session.number));
                }
            }
            Ok(None)
        })
    }

    /// A file of the session or, where it has none of this id, of its owner.
    pub(super) fn media_file_of(
        &self,
        session: &Session,
        owner: Option<SessionNumber>,
        id: &MediaId,
    ) -> Result<MediaFile> {
        let file = self.store.read(|read| {
            let own = MEDIA.get(read, (session.number, id))?;
            match owner {
                Some(owner) if own.is_none() => MEDIA.get(read, (owner, id)),
                _ => Ok(own),
            }
        })?;
        file.ok_or_else(|| Error::from(Code::MediaNotFound))
    }

    /// Gives a session a file of another, unless it has it: a row of its own that names the same content,
    /// which stays when the other's row or session goes.
    pub(in crate::domain) async fn share_file(
        &self,
        session: &Session,
        owner: Option<SessionNumber>,
        id: &MediaId,
    ) -> Result<MediaFile> {
        let (name, number) = (session.id.clone(), session.number);
        let (id, now, quota) = (id.clone(), self.clock.now(), self.config.media_quota);
        let _alone = self.media.change().await;
        let (file, gone) = self
            .store
            .write(Durability::Sync, move |tx| {
                ensure_session_exists(tx, name.as_str(), number)?;
                if let Some(own) = MEDIA.get(tx, (number, &id))? {
                    return Ok((own, Vec::new()));
                }
                let owner = owner.ok_or(Code::MediaNotFound)?;
                let shared = MEDIA.get(tx, (owner, &id))?.ok_or(Code::MediaNotFound)?;
                let file = MediaFile {
                    at: now,
                    received: false,
                    ..shared
                };
                let gone = make_room(tx, number, file.size, quota)?;
                add(tx, number, &id, &file)?;
                let mut others = gone;
                others.retain(|hash| *hash != file.sha256);
                Ok((file, others))
            })
            .await?;
        self.media.remove(gone).await;
        Ok(file)
    }

    /// Opens a file of the session.
    pub fn open_media(&self, session: &Session, id: &MediaId) -> Result<OpenFile> {
        self.opened(id, self.media_file(session, id)?)
    }

    pub(super) fn opened(&self, id: &MediaId, file: MediaFile) -> Result<OpenFile> {
        Ok(OpenFile {
            file: self.media.open_file(&file.sha256, file.size)?,
            size: file.size,
            mime: file.mime,
            name: file.name,
            sha256: file.sha256,
            kept: Some(id.clone()),
        })
    }

    /// Files of the session in the order of their ids, those after `after`, and how much all take.
    pub fn media_files(
        &self,
        session: &Session,
        after: Option<&MediaId>,
        limit: usize,
    ) -> Result<(Vec<(MediaId, MediaFile)>, MediaUsage)> {
        let files = MEDIA.rows(session.number).after(after);
        self.store
            .read(|read| Ok((files.readable(read, limit)?, usage(read, session.number)?)))
    }

    /// Removes a file of the session.
    pub async fn delete_media(&self, session: &Session, id: &MediaId) -> Result<()> {
        let (number, id) = (session.number, id.clone());
        let _alone = self.media.change().await;
        let gone = self
            .store
            .write(Durability::Sync, move |tx| {
                if !MEDIA.exists(tx, (number, &id))? {
                    return Err(Code::MediaNotFound.into());
                }
                if files_in_use(tx, number)?.contains(&id) {
                    return Err(Code::MediaInUse.into());
                }
                take(tx, number, &id)
            })
            .await?;
        self.media.remove(gone.into_iter().collect()).await;
        Ok(())
    }

    /// Removes files that are older than the settings allow. Answers how many went. Those that came
    /// while nobody had set the clock are dated `now`.
    pub(in crate::domain) async fn forget_old_media(
        &self,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<usize> {
        let old = self
            .store
            .read_slow(move |read| {
                let mut old = Vec::new();
                MEDIA.rows(()).each_readable(read, |key, file| {
                    old.extend((file.at < before).then_some(key));
                    Ok(())
                })?;
                Ok(old)
            })
            .await?;
        let mut count = 0;
        // A few at a time: other writes wait for each transaction.
        for rows in old.chunks(200) {
            let rows = rows.to_vec();
            let _alone = self.media.change().await;
            let gone = self
                .store
                .write(Durability::Sync, move |tx| {
                    let (mut gone, mut count) = (Vec::new(), 0);
                    for of_session in rows.chunk_by(|(one, _), (other, _)| one == other) {
                        let in_use = files_in_use(tx, of_session[0].0)?;
                        for (session, id) in of_session {
                            if !in_use.contains(id) && !redate(tx, *session, id, now)? {
                                gone.extend(take(tx, *session, id)?);
                                count += 1;
                            }
                        }
                    }
                    Ok((gone, count))
                })
                .await?;
            self.media.remove(gone.0).await;
            count += gone.1;
        }
        Ok(count)
    }

    /// The folder for backups in the data folder, which only its owner may enter; it is made if it is
    /// not there.
    pub fn backups(&self) -> Result<PathBuf> {
        let folder = self.config.data.join(BACKUPS);
        private_folder(&folder)?;
        // An older version made it for everybody.
        let _ = std::fs::set_permissions(&folder, Permissions::from_mode(0o700));
        Ok(folder)
    }

    /// Writes a consistent copy of the store to `to`, and of the files that it names beside it;
    /// both sealed.
    ///
    /// One at a time: each needs the room of a whole copy.
    pub async fn backup(&self, to: &Path) -> Result<()> {
        static TURN: Mutex<()> = Mutex::const_new(());
        let _turn = TURN.lock().await;
        let staged = Staged::begin(to)?;
        let store = self.store.space().await?.used;
        let data = self.config.data.clone();
        let judge = move || {
            staged.refuse_without_room(store, &data.join("media"), &data)?;
            Ok::<_, Error>(staged)
        };
        let staged = blocking(judge).await??;
        let seal = self.seal.clone();
        let held = {
            // No file comes or goes between the two; sealing them all takes long.
            let _alone = self.media.change().await;
            let room = self.config.data.clone();
            let copy = staged.store();
            self.store.sealed_backup(seal.clone(), room, &copy).await?;
            self.media.hold().await?
        };
        let finish = move || {
            staged.seal_files(held.path(), &seal)?;
            staged.publish()
        };
        blocking(finish).await?
    }

    /// Removes files that a crash left without a row: the first step of a start.
    pub async fn remove_orphaned_media(&self) -> Result<()> {
        let contents = self.media.contents()?;
        let orphans = self.store.read(|read| {
            let mut orphans = Vec::new();
            for hash in contents {
                if !BLOBS.exists(read, hash)? {
                    orphans.push(hash);
                }
            }
            Ok(orphans)
        })?;
        if !orphans.is_empty() {
            tracing::info!(
                files = orphans.len(),
                "files that a crash left behind are removed"
            );
        }
        self.media.remove(orphans).await;
        Ok(())
    }
}
