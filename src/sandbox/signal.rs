//! Signal sessions of a phone: one operation at a time, on one session that is handed in.
//!
//! The library's store traits are asynchronous and keyed by address; a phone's stores answer at
//! once and hold the one record in question, so each operation here is a plain function.

use std::sync::{Mutex, MutexGuard};

use whatsapp_rust::async_trait;
use whatsapp_rust::futures::FutureExt;
use whatsapp_rust::wacore::libsignal::protocol::{
    CiphertextMessage, CiphertextMessageType, DeviceId, Direction, GenericSignedPreKey as _,
    IdentityChange, IdentityKey, IdentityKeyPair, IdentityKeyStore, PreKeyBundle, PreKeyId,
    PreKeyRecord, PreKeySignalMessage, PreKeyStore, ProtocolAddress, SenderKeyDistributionMessage,
    SenderKeyName, SenderKeyRecord, SenderKeyStore, SessionCheckoutKey, SessionRecord,
    SessionStore, SignalMessage, SignalProtocolError, SignedPreKeyId, SignedPreKeyRecord,
    SignedPreKeyStore, Timestamp, UsePQRatchet, create_sender_key_distribution_message,
    group_decrypt, group_encrypt, message_decrypt, message_encrypt, process_prekey_bundle,
    process_sender_key_distribution_message,
};

use super::keys::{PhoneKeys, SIGNED_PREKEY_ID, Seed};
use super::number::Number;
use super::random;

type Result<T> = std::result::Result<T, SignalProtocolError>;

/// Whose keys an operation uses.
pub(super) struct Owner<'a> {
    pub(super) seed: &'a Seed,
    pub(super) number: Number,
    pub(super) keys: &'a PhoneKeys,
}

/// A message in the form that travels.
pub(super) struct Sealed {
    /// `pkmsg` while the other side has not answered yet, then `msg`.
    pub(super) kind: &'static str,
    pub(super) bytes: Vec<u8>,
}

/// Decrypts a `msg` or `pkmsg`. The session is made or moved on; a failure leaves it as it was.
pub(super) fn decrypt(
    owner: &Owner<'_>,
    session: &mut Option<SessionRecord>,
    kind: &str,
    bytes: &[u8],
) -> Result<Vec<u8>> {
    let message = match kind {
        "pkmsg" => CiphertextMessage::PreKeySignalMessage(PreKeySignalMessage::try_from(bytes)?),
        _ => CiphertextMessage::SignalMessage(SignalMessage::try_from(bytes)?),
    };
    let mut held = HeldSession::new(session);
    now(message_decrypt(
        &message,
        &somebody(),
        &mut held,
        &mut Identity(owner),
        &mut OneTime(owner),
        &Signed(owner),
        &mut random::generator(),
        UsePQRatchet::No,
    ))
    .map(|done| done.plaintext)
}

/// Starts a session towards a device whose keys are `bundle`.
pub(super) fn start(
    owner: &Owner<'_>,
    session: &mut Option<SessionRecord>,
    bundle: &PreKeyBundle,
) -> Result<()> {
    let mut held = HeldSession::new(session);
    now(process_prekey_bundle(
        &somebody(),
        &mut held,
        &mut Identity(owner),
        bundle,
        &mut random::generator(),
        UsePQRatchet::No,
    ))
    .map(|_| ())
}

/// Encrypts on an existing session.
pub(super) fn encrypt(
    owner: &Owner<'_>,
    session: &mut Option<SessionRecord>,
    plaintext: &[u8],
) -> Result<Sealed> {
    let mut held = HeldSession::new(session);
    let sealed = now(message_encrypt(
        plaintext,
        &somebody(),
        &mut held,
        &mut Identity(owner),
    ))?;
    let kind = match sealed.message_type() {
        CiphertextMessageType::PreKey => "pkmsg",
        _ => "msg",
    };
    Ok(Sealed {
        kind,
        bytes: sealed.serialize().to_vec(),
    })
}

/// Takes in the key with which somebody will write to a group.
pub(super) fn learn_sender_key(
    record: &mut Option<SenderKeyRecord>,
    distribution: &[u8],
) -> Result<()> {
    let distribution = SenderKeyDistributionMessage::try_from(distribution)?;
    now(process_sender_key_distribution_message(
        &group_name(),
        &distribution,
        &mut HeldSenderKey(record),
    ))
}

/// Decrypts what somebody wrote to a group.
pub(super) fn decrypt_group(record: &mut Option<SenderKeyRecord>, bytes: &[u8]) -> Result<Vec<u8>> {
    now(group_decrypt(
        bytes,
        &mut HeldSenderKey(record),
        &group_name(),
    ))
}

/// The key with which this phone writes to a group, made if there is none yet.
pub(super) fn distribution(record: &mut Option<SenderKeyRecord>) -> Result<Vec<u8>> {
    let message = now(create_sender_key_distribution_message(
        &group_name(),
        &mut HeldSenderKey(record),
        &mut random::generator(),
    ))?;
    Ok(message.serialized().to_vec())
}

/// Encrypts for a group.
pub(super) fn encrypt_group(
    record: &mut Option<SenderKeyRecord>,
    plaintext: &[u8],
) -> Result<Vec<u8>> {
    let message = now(group_encrypt(
        &mut HeldSenderKey(record),
        &group_name(),
        plaintext,
        &mut random::generator(),
    ))?;
    Ok(message.serialized().to_vec())
}

fn now<T>(work: impl Future<Output = T>) -> T {
    work.now_or_never()
        .expect("Invariant: stores that answer at once never leave work pending")
}

fn somebody() -> ProtocolAddress {
    ProtocolAddress::new("peer", DeviceId::new(0))
}

fn group_name() -> SenderKeyName {
    SenderKeyName::from_parts("group", "sender")
}

/// The session in question. It is moved to the operation and moved back, as copying is dear.
///
/// Invariant: the library returns the record on every path, also when it fails.
struct HeldSession<'a>(Mutex<&'a mut Option<SessionRecord>>);

impl<'a> HeldSession<'a> {
    fn new(session: &'a mut Option<SessionRecord>) -> Self {
        Self(Mutex::new(session))
    }

    fn record(&self) -> MutexGuard<'_, &'a mut Option<SessionRecord>> {
        self.0
            .lock()
            .expect("Invariant: nothing panics under this lock")
    }
}

#[async_trait]
impl SessionStore for HeldSession<'_> {
    async fn load_session(&self, _: &ProtocolAddress) -> Result<Option<SessionRecord>> {
        Ok(self.record().clone())
    }

    fn try_load_session_for_update(
        &self,
        _: &ProtocolAddress,
    ) -> Option<Result<(Option<SessionRecord>, Option<SessionCheckoutKey>)>> {
        Some(Ok((self.record().take(), None)))
    }

    async fn has_session(&self, _: &ProtocolAddress) -> Result<bool> {
        Ok(self.record().is_some())
    }

    async fn store_session(&mut self, _: &ProtocolAddress, record: SessionRecord) -> Result<()> {
        **self.record() = Some(record);
        Ok(())
    }
}

struct Identity<'a>(&'a Owner<'a>);

#[async_trait]
impl IdentityKeyStore for Identity<'_> {
    async fn get_identity_key_pair(&self) -> Result<IdentityKeyPair> {
        Ok(self.0.keys.identity.clone())
    }

    async fn get_local_registration_id(&self) -> Result<u32> {
        Ok(self.0.keys.registration_id)
    }

    async fn save_identity(
        &mut self,
        _: &ProtocolAddress,
        _: &IdentityKey,
    ) -> Result<IdentityChange> {
        Ok(IdentityChange::NewOrUnchanged)
    }

    async fn is_trusted_identity(
        &self,
        _: &ProtocolAddress,
        _: &IdentityKey,
        _: Direction,
    ) -> Result<bool> {
        Ok(true)
    }

    async fn get_identity(&self, _: &ProtocolAddress) -> Result<Option<IdentityKey>> {
        Ok(None)
    }
}

struct OneTime<'a>(&'a Owner<'a>);

#[async_trait]
impl PreKeyStore for OneTime<'_> {
    async fn get_pre_key(&self, id: PreKeyId) -> Result<PreKeyRecord> {
        let key = self.0.seed.one_time_prekey(self.0.number, id.into());
        Ok(PreKeyRecord::new(id, &key))
    }

    async fn save_pre_key(&mut self, _: PreKeyId, _: &PreKeyRecord) -> Result<()> {
        Ok(())
    }

    async fn remove_pre_key(&mut self, _: PreKeyId) -> Result<()> {
        Ok(())
    }
}

struct Signed<'a>(&'a Owner<'a>);

#[async_trait]
impl SignedPreKeyStore for Signed<'_> {
    async fn get_signed_pre_key(&self, id: SignedPreKeyId) -> Result<SignedPreKeyRecord> {
        if u32::from(id) != SIGNED_PREKEY_ID {
            return Err(SignalProtocolError::InvalidSignedPreKeyId);
        }
        let key = &self.0.keys.signed_prekey;
        // The signature is for those who fetch the key; reading a message does not look at it.
        Ok(SignedPreKeyRecord::new(
            id,
            Timestamp::from_epoch_millis(0),
            key,
            &[0; 64],
        ))
    }

    async fn save_signed_pre_key(
        &mut self,
        _: SignedPreKeyId,
        _: &SignedPreKeyRecord,
    ) -> Result<()> {
        Ok(())
    }
}

struct HeldSenderKey<'a>(&'a mut Option<SenderKeyRecord>);

#[async_trait]
impl SenderKeyStore for HeldSenderKey<'_> {
    async fn store_sender_key(&mut self, _: &SenderKeyName, record: SenderKeyRecord) -> Result<()> {
        *self.0 = Some(record);
        Ok(())
    }

    async fn load_sender_key(&self, _: &SenderKeyName) -> Result<Option<SenderKeyRecord>> {
        Ok(self.0.clone())
    }
}
