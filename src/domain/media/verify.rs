//! Whether files are what their names say. Older versions named a received file by the hash that its
//! sender claimed, so that what lies under a name may be somebody's forgery.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::blobs::BlobState;
use super::uploaded;
use crate::domain::Gateway;
use crate::error::Result;
use crate::ids::Hash;
use crate::store::{Durability, Read, tables};
use crate::tasks::blocking;

/// The row of `meta` that says up to which hash the folder was verified.
const VERIFIED: &[u8] = b"media_verified";

/// What it says when all is done. No hash has this length.
const ALL: &[u8] = b"all";

/// After how many files it is written down how far it got.
const PAGE: usize = 64;

/// How fast files are read, in bytes per second, so that nobody waits for the disk.
const PACE: u64 = 16 << 20;

impl Gateway {
    /// Compares all files with their names, once in a store's life: what came in since is right by the
    /// way it came. A file that is not what its name says is put aside, with what was uploaded of it.
    pub async fn verify_media(&self, stop: &CancellationToken) -> Result<()> {
        let done = self.store.read(|read| read.get(tables::META, VERIFIED))?;
        if done.as_deref() == Some(ALL) {
            return Ok(());
        }
        let folder = self.media.clone();
        let mut contents = blocking(move || folder.contents()).await??;
        contents.sort_unstable();
        if let Some(done) = done {
            contents.retain(|hash| hash.0[..] > done[..]);
        }
        for page in contents.chunks(PAGE) {
            for hash in page {
                let bytes = self.verify_file(hash).await?;
                let pause = Duration::from_millis(bytes * 1000 / PACE);
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(pause) => {}
                }
            }
            if let Some(last) = page.last() {
                self.note_verified(last.0.to_vec()).await?;
            }
        }
        self.note_verified(ALL.to_vec()).await
    }

    async fn note_verified(&self, how_far: Vec<u8>) -> Result<()> {
        let note = move |tx: &mut crate::store::Tx| {
            tx.put(tables::META, VERIFIED, how_far);
            Ok(())
        };
        self.store.write(Durability::Lazy, note).await
    }

    /// Compares one file with its name; answers its size.
    async fn verify_file(&self, hash: &Hash) -> Result<u64> {
        let (found, size) = self.media.inspect(hash).await?;
        if found == BlobState::Wrong {
            let _alone = self.media.change().await;
            // It may have been replaced meanwhile.
            if self.media.inspect(hash).await?.0 == BlobState::Wrong {
                tracing::error!(
                    file = %hash,
                    "a media file is not what its name says and was put aside in media/wrong; upload it again"
                );
                self.media.put_aside(hash).await?;
                self.forget_uploads_of(*hash).await?;
            }
        }
        Ok(size)
    }

    /// Forgets what was uploaded to WhatsApp under the name of a file that was another one.
    pub(super) async fn forget_uploads_of(&self, hash: Hash) -> Result<()> {
        let rows = self
            .store
            .read_slow(move |read| uploaded::uploads_of(read, &hash))
            .await?;
        self.store
            .write(Durability::Sync, move |tx| {
                for row in rows {
                    uploaded::UPLOADS.delete(tx, row);
                }
                Ok(())
            })
            .await
    }
}
