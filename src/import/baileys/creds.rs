//! `creds.json`: the device itself.

use serde::Deserialize;

use super::json::{Bytes, Exact, Pair, PublicKey};
use super::names::digits;
use crate::wa::account::{
    Account, AddressSpace, DeviceAddress, KeyPair, NotAnAccount, SignedIdentity, SignedPreKey,
};

/// What is read of the file; what only Baileys needs is passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Creds {
    noise_key: Option<Pair>,
    signed_identity_key: Option<Pair>,
    signed_pre_key: Option<SignedKey>,
    registration_id: Option<u32>,
    adv_secret_key: Option<Exact<32>>,
    me: Option<Me>,
    account: Option<Adv>,
    next_pre_key_id: Option<u32>,
    first_unuploaded_pre_key_id: Option<u32>,
    routing_info: Option<Bytes>,
    my_app_state_key_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignedKey {
    key_pair: Pair,
    signature: Exact<64>,
    key_id: u32,
}

#[derive(Deserialize)]
struct Me {
    id: String,
    lid: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Adv {
    details: Bytes,
    account_signature_key: PublicKey,
    account_signature: Exact<64>,
    device_signature: Exact<64>,
}

impl Creds {
    /// The id of the settings' key in use, as Baileys writes it: base64.
    pub(super) fn settings_key(&self) -> Option<&str> {
        self.my_app_state_key_id.as_deref()
    }

    /// The device, still without what the other files hold.
    ///
    /// # Errors
    /// It was never linked, or a key is missing.
    pub(super) fn into_account(self) -> Result<Account, NotAnAccount> {
        let lacks = |what: &str| NotAnAccount(format!("creds.json has no {what}"));
        let Some(me) = self.me else {
            return Err(NotAnAccount(
                "creds.json is of a device that was never linked (no me): link it here instead"
                    .to_owned(),
            ));
        };
        let number = address(&me.id, AddressSpace::Number)
            .filter(|number| number.device > 0)
            .ok_or_else(|| lacks("number and device (me.id)"))?;
        let lid = me.lid.as_deref();
        // Some versions leave out the device, which is the same.
        let lid = lid
            .and_then(|lid| address(lid, AddressSpace::Lid))
            .map(|lid| DeviceAddress {
                device: number.device,
                ..lid
            });
        let signed = self.signed_pre_key.ok_or_else(|| lacks("signedPreKey"))?;
        let adv = self.account.ok_or_else(|| lacks("account"))?;
        let next_prekey = self.next_pre_key_id.unwrap_or(1).max(1);
        Ok(Account {
            noise: key(self.noise_key).ok_or_else(|| lacks("noiseKey"))?,
            identity: key(self.signed_identity_key).ok_or_else(|| lacks("signedIdentityKey"))?,
            registration_id: self
                .registration_id
                .ok_or_else(|| lacks("registrationId"))?,
            signed_prekey: SignedPreKey {
                id: signed.key_id,
                keys: signed.key_pair.into(),
                signature: signed.signature.0,
            },
            adv_secret: self.adv_secret_key.ok_or_else(|| lacks("advSecretKey"))?.0,
            signed_identity: SignedIdentity {
                details: adv.details.0,
                account_key: adv.account_signature_key.0,
                account_signature: adv.account_signature.0,
                device_signature: adv.device_signature.0,
            },
            number,
            lid,
            name: me.name.unwrap_or_default(),
            routing: self.routing_info.map(|routing| routing.0),
            prekeys: Vec::new(),
            next_prekey,
            first_unuploaded_prekey: self
                .first_unuploaded_pre_key_id
                .unwrap_or(1)
                .clamp(1, next_prekey),
            identities: Vec::new(),
            sessions: Vec::new(),
            sender_keys: Vec::new(),
            sync_keys: Vec::new(),
            collections: Vec::new(),
            lids: Vec::new(),
            privacy_tokens: Vec::new(),
        })
    }
}

fn key(pair: Option<Pair>) -> Option<KeyPair> {
    pair.map(KeyPair::from)
}

/// Reads `6281200000700:1@s.whatsapp.net`.
fn address(jid: &str, space: AddressSpace) -> Option<DeviceAddress> {
    let (device, server) = jid.split_once('@')?;
    let (user, device) = device.split_once(':').unwrap_or((device, "0"));
    let here = match space {
        AddressSpace::Lid => server == "lid",
        _ => matches!(server, "s.whatsapp.net" | "c.us"),
    };
    let address = DeviceAddress {
        user: digits(user)?,
        space,
        device: device.parse().ok()?,
    };
    here.then_some(address)
}
