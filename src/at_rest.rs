//! What lies in the data folder and cannot be read without `secret.key`: seen to before a session runs.
//!
//! An older version left the keys and tokens of the WhatsApp library in clear. They are sealed row by
//! row, and because freed pages of the file keep what was in them, the file is then written anew. Only
//! after that does the store say that it is sealed, so a crash in between means that all of it is
//! done again. The copy that a migration leaves beside the store is sealed as a backup is.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::config::Config;
use crate::domain::media::blobs;
use crate::domain::session;
use crate::domain::vault::{Vault, key_bytes, secret_file};
use crate::error::{Code, Error, Result};
use crate::ids::{Hash, IdSource};
use crate::seal::{Seal, file::is_sealed};
use crate::server::{refuse_lost_key, store_file};
use crate::store::{Disk, Durability, Read, Store, StoreOptions, tables};
use crate::wa::backend::seal_rows;

/// The row of [`tables::META`] that says that the store is sealed, and under which key.
const PROOF: &[u8] = b"sealed";

/// Reads the file `secret.key`, or makes it where there is no store yet.
pub fn key_of(config: &Config, ids: &IdSource) -> Result<[u8; 32]> {
    refuse_lost_key(config)?;
    let (key, _) = secret_file(&config.data.join("secret.key"), ids)?;
    key_bytes(&key)
}

/// Opens the store, refuses a key that is not its own, and seals what is not sealed yet.
pub async fn open_store(
    disk: Disk,
    options: StoreOptions,
    vault: &Vault,
    seal: &Seal,
) -> Result<Store> {
    let store = Store::open(disk.clone(), options.clone())?;
    if let Some(proof) = store.read(|r| r.get(tables::META, PROOF))? {
        seal.open(PROOF, &proof).map_err(|_| wrong_key())?;
        seal_old_copies(&store, seal)?;
        return Ok(store);
    }
    if !session::fits_key(&store, vault)? {
        return Err(wrong_key());
    }
    // Without the proof the file may hold clear rows in pages that are free by now, also when a crash
    // came after the last of them was sealed.
    let used = store.read(|r| Ok(r.first(tables::WA, b"")?.is_some()))?;
    let rows = seal_rows(&store, seal).await?;
    let store = match &disk {
        Disk::File(path) if used => {
            let fresh = path.with_extension("redb.fresh");
            if let Err(error) = store.backup(&fresh).await {
                // What is lost is less than a gateway that does not start.
                tracing::warn!(why = %error.detail(), "keys and tokens of WhatsApp were sealed, but the \
                    store could not be written anew, and parts of the file that are free now may hold \
                    them still; the next start tries again");
                seal_old_copies(&store, seal)?;
                return Ok(store);
            }
            tracing::info!(
                rows,
                "keys and tokens of WhatsApp were sealed; the store is written anew"
            );
            store.close().await;
            std::fs::rename(&fresh, path).map_err(Error::internal)?;
            Store::open(disk.clone(), options)?
        }
        _ => store,
    };
    let proof = seal.seal(PROOF, b"");
    let note = move |tx: &mut crate::store::Tx| {
        tx.put(tables::META, PROOF.to_vec(), proof);
        Ok(())
    };
    store.write(Durability::Sync, note).await?;
    seal_old_copies(&store, seal)?;
    Ok(store)
}

/// What a store says of the key that it is sealed under; `None` in one that was not opened since.
pub fn proof_in(read: &impl Read) -> Result<Option<Vec<u8>>> {
    read.get(tables::META, PROOF)
}

/// What is wrong with the file `secret.key` of a store with this proof. Nothing is made.
pub fn key_problems(config: &Config, proof: Option<&[u8]>) -> Vec<String> {
    let path = config.data.join("secret.key");
    let about = |what: &str| format!("{} {what}", path.display());
    let mut problems = Vec::new();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let what = "is missing: put the one of this store back; without it neither the store nor a backup \
                        of it can be opened";
            return vec![about(what)];
        }
        Err(error) => return vec![about(&format!("cannot be read: {error}"))],
    };
    match key_bytes(text.trim()) {
        Err(_) => problems.push(about(
            "is damaged: it must hold 64 hex digits; put a good copy of it back",
        )),
        Ok(key) => {
            let fits = |proof| Seal::new(&key).open(PROOF, proof).is_ok();
            if !proof.is_none_or(fits) {
                problems.push(about("is the key of another store: put the right one back"));
            }
        }
    }
    let mode = std::fs::metadata(&path).map_or(0, |there| there.permissions().mode() & 0o777);
    if mode & 0o077 != 0 {
        problems.push(about(&format!(
            "can be read by others (mode {mode:o}): run chmod 600 on it"
        )));
    }
    problems
}

fn wrong_key() -> Error {
    Error::from(Code::SecretKeyWrong)
}

/// Seals the copies that migrations of the schema left: `warung.redb.schema-1`. One that cannot be
/// sealed, because the disk is full say, holds up no start.
fn seal_old_copies(store: &Store, seal: &Seal) -> Result<()> {
    for (_, copy) in store.older_copies()? {
        if is_sealed(&copy) {
            continue;
        }
        let clear = std::fs::File::open(&copy).map_err(Error::internal);
        match clear.and_then(|clear| seal.seal_file(clear, &copy)) {
            Ok(()) => tracing::info!(copy = %copy.display(),
                "the copy of the older store is sealed as a backup is; `warung restore` opens it"),
            Err(error) => tracing::warn!(copy = %copy.display(), why = %error.detail(),
                "the copy of the older store is not sealed yet; the next start tries again"),
        }
    }
    Ok(())
}

/// Files that a restored store names and that are not there.
pub struct Lost {
    /// The backup does not have them.
    pub missing: Vec<Hash>,
    /// What the backup has is not what was backed up.
    pub damaged: Vec<Hash>,
}

/// Makes a store and its files of a backup, in a data folder that has the key and no store. What
/// cannot be had of the files is told; all the rest comes back.
pub fn restore(config: &Config, backup: &Path) -> Result<Lost> {
    let store = store_file(config);
    let refuse = |text: String| Err(Error::new(Code::RestoreRefused, text));
    if store.exists() {
        return refuse(format!(
            "{} exists already; name an empty folder with --data",
            store.display()
        ));
    }
    let key = config.data.join("secret.key");
    if !key.exists() {
        return refuse(format!(
            "{} is missing: put the one of the backup's gateway there first",
            key.display()
        ));
    }
    let seal = Seal::new(&key_of(config, &IdSource::random())?);
    // A wrong key ends it here, before any file is written.
    let restored = crate::store::restore(&seal, backup, &store)?;
    let damaged = blobs::restore_contents(backup, &config.data, &seal)?;
    let named = restored.keys(tables::BLOBS)?.into_iter();
    let named = named.filter_map(|key| key.try_into().ok()).map(Hash);
    let media = config.data.join("media");
    let lost = |hash: &Hash| !damaged.contains(hash) && !media.join(hash.to_string()).exists();
    let missing = named.filter(lost).collect();
    restored.publish()?;
    Ok(Lost { missing, damaged })
}
