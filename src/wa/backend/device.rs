//! The account's own device.

use whatsapp_rust::async_trait;
use whatsapp_rust::wacore::stats::StorageResourceReport;
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::wacore::store::error::{Result, StoreError};
use whatsapp_rust::wacore::store::traits::DeviceStore;

use super::rows::RowKind;
use super::{Backend, failed};
use crate::error::{Error, Result as OurResult};
use crate::store::tables::WA;
use crate::store::{Durability, Read as _};

impl Backend {
    /// The public identity key of this session's device, if it has one: no two devices have the same.
    pub async fn identity_key(&self) -> OurResult<Option<[u8; 32]>> {
        let device = self.load().await.map_err(Error::internal)?;
        let key = |device: Device| device.identity_key.public_key.public_key_bytes().try_into();
        let key = device.map(key).transpose();
        key.map_err(|_| Error::internal("identity key of another length"))
    }
}

#[async_trait]
impl DeviceStore for Backend {
    async fn save(&self, device: &Device) -> Result<()> {
        let row = self.secret_record(self.key(RowKind::Device), device);
        self.put_all(Durability::Sync, vec![row.map_err(failed)?])
            .await
    }

    async fn load(&self) -> Result<Option<Device>> {
        self.get_secret_record(&self.key(RowKind::Device)).await
    }

    async fn exists(&self) -> Result<bool> {
        let key = self.key(RowKind::Device);
        self.read(|r| r.exists(WA, &key)).await
    }

    async fn create(&self) -> Result<i32> {
        let row = self.secret_record(self.key(RowKind::Device), &Device::new());
        let (key, value) = row.map_err(failed)?;
        self.write(Durability::Sync, move |tx| {
            if !tx.exists(WA, &key)? {
                tx.put(WA, key, value);
            }
            Ok(())
        })
        .await?;
        i32::try_from(self.sid)
            .map_err(|_| StoreError::Validation("the session number is too large".into()))
    }

    /// The store and its cache are shared by all sessions, so none of it is this session's.
    async fn resource_report(&self) -> StorageResourceReport {
        StorageResourceReport {
            memory_bytes: Some(0),
            ..Default::default()
        }
    }
}
