//! The state that the devices of an account share: its keys, versions and MACs.

use std::collections::HashMap;

use whatsapp_rust::async_trait;
use whatsapp_rust::wacore::appstate::hash::HashState;
use whatsapp_rust::wacore::appstate::processor::AppStateMutationMAC;
use whatsapp_rust::wacore::store::error::Result;
use whatsapp_rust::wacore::store::traits::{AppStateSyncKey, AppSyncStore};

use super::rows::{RowKind, VERSION, parts, plain, versioned};
use super::{Backend, failed};
use crate::error::Result as OurResult;
use crate::store::tables::WA;
use crate::store::{Durability, Key, Read as _};

// The MACs are fsynced as the versions are: a version that is on the disk without its MACs makes
// every later patch of the collection fail. Patches are rare.
#[async_trait]
impl AppSyncStore for Backend {
    async fn get_sync_key(&self, key_id: &[u8]) -> Result<Option<AppStateSyncKey>> {
        self.get_secret_record(&self.key(RowKind::SyncKey).tail(key_id))
            .await
    }

    async fn set_sync_key(&self, key_id: &[u8], key: AppStateSyncKey) -> Result<()> {
        let rows = vec![
            self.secret_record(self.key(RowKind::SyncKey).tail(key_id), &key)
                .map_err(failed)?,
            (self.key(RowKind::LatestSyncKey), versioned(key_id)),
        ];
        // The phone shares it once, and without it a new session waits for minutes.
        self.write_with_retry(Durability::Sync, move |tx| {
            for (key, value) in &rows {
                tx.put(WA, key.clone(), value.clone());
            }
            Ok(())
        })
        .await
    }

    async fn get_version(&self, name: &str) -> Result<HashState> {
        Ok(self
            .get_record(&self.key(RowKind::AppVersion).tail(name))
            .await?
            .unwrap_or_default())
    }

    async fn set_version(&self, name: &str, state: HashState) -> Result<()> {
        self.put_record(
            Durability::Sync,
            self.key(RowKind::AppVersion).tail(name),
            &state,
        )
        .await
    }

    async fn put_mutation_macs(
        &self,
        name: &str,
        version: u64,
        mutations: &[AppStateMutationMAC],
    ) -> Result<()> {
        let collection = self.key(RowKind::MutationMac).escaped(name.as_bytes());
        let row = |mac: &AppStateMutationMAC| {
            let value = Key::new().u8(VERSION).u64(version).tail(&mac.value_mac);
            (collection.clone().tail(&mac.index_mac), value.into())
        };
        self.put_all(Durability::Sync, mutations.iter().map(row).collect())
            .await
    }

    async fn get_mutation_mac(&self, name: &str, index_mac: &[u8]) -> Result<Option<Vec<u8>>> {
        let collection = self.key(RowKind::MutationMac).escaped(name.as_bytes());
        self.get(&collection.tail(index_mac), value_mac).await
    }

    async fn get_mutation_macs(
        &self,
        name: &str,
        index_macs: &[[u8; 32]],
    ) -> Result<HashMap<[u8; 32], Vec<u8>>> {
        let collection = self.key(RowKind::MutationMac).escaped(name.as_bytes());
        let index_macs = index_macs.to_vec();
        self.scan(move |r| {
            let mut found = HashMap::with_capacity(index_macs.len());
            for index_mac in &index_macs {
                let key = collection.clone().tail(index_mac);
                if let Some(mac) = r.view(WA, &key, value_mac)?.transpose()? {
                    found.insert(*index_mac, mac);
                }
            }
            Ok(found)
        })
        .await
    }

    async fn delete_mutation_macs(&self, name: &str, index_macs: &[Vec<u8>]) -> Result<()> {
        let collection = self.key(RowKind::MutationMac).escaped(name.as_bytes());
        let keys = index_macs
            .iter()
            .map(|mac| collection.clone().tail(mac))
            .collect();
        self.delete_all_of(Durability::Sync, keys).await
    }

    async fn clear_mutation_macs(&self, name: &str) -> Result<()> {
        let collection = self.key(RowKind::MutationMac).escaped(name.as_bytes());
        self.delete_below(Durability::Sync, collection).await
    }

    async fn get_latest_sync_key_id(&self) -> Result<Option<Vec<u8>>> {
        self.get(&self.key(RowKind::LatestSyncKey), plain).await
    }
}

fn value_mac(value: &[u8]) -> OurResult<Vec<u8>> {
    let mut parts = parts(value)?;
    parts.u64()?;
    Ok(parts.tail().to_vec())
}
