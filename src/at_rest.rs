//! What lies in the data folder and cannot be read without `secret.key`: seen to before a session runs.
//!
//! An older version left the keys and tokens of the WhatsApp library in clear. They are sealed row by
//! row, and because freed pages of the file keep what was in them, the file is then written anew. Only
//! after that does the store say that it is sealed, so a crash in between means that all of it is
//! done again. The copy that a migration leaves beside the store is sealed as a backup is.

use std::path::Path;

use crate::config::Config;
use crate::domain::session;
use crate::domain::vault::{Vault, key_bytes, secret_file};
use crate::error::{Code, Error, Result};
use crate::ids::IdSource;
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

/// Refuses when the key in the data folder is not the one that is in use: after the next start neither the
/// store nor a backup of it could be opened.
pub fn check_key(config: &Config, in_use: &Seal) -> Result<()> {
    let path = config.data.join("secret.key");
    let kept = std::fs::read_to_string(&path).ok();
    let kept = kept.and_then(|text| key_bytes(text.trim()).ok());
    let sealed = in_use.seal(PROOF, PROOF);
    if kept.is_some_and(|kept| Seal::new(&kept).open(PROOF, &sealed).is_ok()) {
        return Ok(());
    }
    let text = format!(
        "{} is not the key of this store any more; put it back: without it neither the store nor a backup can be opened",
        path.display()
    );
    Err(Error::new(Code::KeyWrong, text))
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
        seal_old_copies(&disk, seal)?;
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
            tracing::info!(
                rows,
                "keys and tokens of WhatsApp were sealed; the store is written anew"
            );
            rewritten(store, path).await?;
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
    seal_old_copies(&disk, seal)?;
    Ok(store)
}

fn wrong_key() -> Error {
    Error::from(Code::KeyWrong)
}

/// Closes the store and puts a fresh copy in its place.
async fn rewritten(store: Store, path: &Path) -> Result<()> {
    let fresh = path.with_extension("redb.fresh");
    store.backup(&fresh).await?;
    store.close().await;
    std::fs::rename(&fresh, path).map_err(Error::internal)
}

/// Seals the copies that migrations of the schema left: `warung.redb.schema-1`.
fn seal_old_copies(disk: &Disk, seal: &Seal) -> Result<()> {
    #[cfg_attr(not(feature = "sandbox"), allow(irrefutable_let_patterns))]
    let Disk::File(path) = disk else {
        return Ok(());
    };
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(());
    };
    let begins = format!("{}.schema-", name.to_string_lossy());
    for entry in std::fs::read_dir(folder)
        .map_err(Error::internal)?
        .flatten()
    {
        let copy = entry.path();
        let name = entry.file_name();
        let version = name.to_str().and_then(|n| n.strip_prefix(&begins));
        let ours = version.is_some_and(|v| v.parse::<u32>().is_ok());
        if ours && !is_sealed(&copy) {
            let clear = std::fs::File::open(&copy).map_err(Error::internal)?;
            seal.seal_file(clear, &copy)?;
            tracing::info!(copy = %copy.display(),
                "the copy of the older store is sealed as a backup is; `warung restore` opens it");
        }
    }
    Ok(())
}

/// Makes a store and its files of a backup, in a data folder that has the key and no store.
pub fn restore(config: &Config, backup: &Path) -> Result<()> {
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
    crate::domain::media::blobs::restore_contents(backup, &config.data, &seal)?;
    crate::store::restore(&seal, backup, &store)
}
