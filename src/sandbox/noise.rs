//! The server's side of the handshake: Noise XX for a stranger, IK for a client that knows our key.

use bytes::BytesMut;
use whatsapp_rust::buffa::{Message as _, MessageField};
use whatsapp_rust::wacore::handshake::{HandshakeError, NoiseCipher, NoiseHandshake};
use whatsapp_rust::wacore::libsignal::protocol::KeyPair;
use whatsapp_rust::wacore_binary::consts::{NOISE_PATTERN_IK, NOISE_PATTERN_XX, WA_CONN_HEADER};
use whatsapp_rust::waproto::whatsapp::handshake_message::ServerHello;
use whatsapp_rust::waproto::whatsapp::{ClientPayload, HandshakeMessage};

use super::certificate::Certificate;
use super::random;
use crate::error::{Error, Result};

/// How a client introduced itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    Xx,
    Ik,
}

/// A finished handshake.
pub(super) struct Secured {
    pub(super) pattern: Pattern,
    pub(super) reading: NoiseCipher,
    pub(super) writing: NoiseCipher,
    /// The client's static key: who it is, once it is paired.
    pub(super) client: [u8; 32],
    pub(super) payload: ClientPayload,
}

/// What to do after the client's first message.
pub(super) enum Hello {
    /// Send this, then pass the client's answer to [`PendingHandshake::finish`].
    Xx(Vec<u8>, Box<PendingHandshake>),
    /// Send this; the handshake is over.
    Ik(Vec<u8>, Box<Secured>),
}

/// An XX handshake that waits for the client's last message.
pub(super) struct PendingHandshake {
    noise: NoiseHandshake,
    ephemeral: KeyPair,
}

/// Answers the client's first message.
pub(super) fn hello(certificate: &Certificate, frame: &BytesMut) -> Result<Hello> {
    let message = HandshakeMessage::decode_from_slice(frame).map_err(Error::internal)?;
    let hello = message.client_hello.into_option().ok_or_else(malformed)?;
    let theirs = hello.ephemeral.ok_or_else(malformed)?;
    let ours = KeyPair::generate(&mut random::generator());
    match (hello.r#static, hello.payload) {
        (Some(client), Some(payload)) => {
            answer_ik(certificate, ours, &theirs, &client, &payload).map_err(Error::internal)
        }
        _ => answer_xx(certificate, ours, &theirs).map_err(Error::internal),
    }
}

fn answer_xx(
    certificate: &Certificate,
    ours: KeyPair,
    theirs: &[u8],
) -> Result<Hello, HandshakeError> {
    let server = certificate.server();
    let mut noise = NoiseHandshake::new(NOISE_PATTERN_XX, &WA_CONN_HEADER)?;
    noise.authenticate(theirs);
    noise.authenticate(ours.public_key.public_key_bytes());
    noise.mix_shared_secret(ours.private_key.serialize(), theirs)?;
    let sealed_static = noise.encrypt(server.public_key.public_key_bytes())?;
    noise.mix_shared_secret(server.private_key.serialize(), theirs)?;
    let sealed_chain = noise.encrypt(certificate.chain())?;
    let answer = server_hello(&ours, Some(sealed_static), sealed_chain);
    Ok(Hello::Xx(
        answer,
        Box::new(PendingHandshake {
            noise,
            ephemeral: ours,
        }),
    ))
}

fn answer_ik(
    certificate: &Certificate,
    ours: KeyPair,
    theirs: &[u8],
    client: &[u8],
    payload: &[u8],
) -> Result<Hello, HandshakeError> {
    let server = certificate.server();
    let mut noise = NoiseHandshake::new(NOISE_PATTERN_IK, &WA_CONN_HEADER)?;
    noise.authenticate(server.public_key.public_key_bytes());
    noise.authenticate(theirs);
    noise.mix_shared_secret(server.private_key.serialize(), theirs)?;
    let client = noise.decrypt(client)?;
    noise.mix_shared_secret(server.private_key.serialize(), &client)?;
    let payload = noise.decrypt(payload)?;
    noise.authenticate(ours.public_key.public_key_bytes());
    noise.mix_shared_secret(ours.private_key.serialize(), theirs)?;
    noise.mix_shared_secret(ours.private_key.serialize(), &client)?;
    let answer = server_hello(&ours, None, noise.encrypt(certificate.chain())?);
    Ok(Hello::Ik(
        answer,
        Box::new(secured(Pattern::Ik, noise, &client, &payload)?),
    ))
}

impl PendingHandshake {
    /// Reads the client's last message.
    pub(super) fn finish(mut self, frame: &BytesMut) -> Result<Secured> {
        let message = HandshakeMessage::decode_from_slice(frame).map_err(Error::internal)?;
        let finish = message.client_finish.into_option().ok_or_else(malformed)?;
        let (Some(client), Some(payload)) = (finish.r#static, finish.payload) else {
            return Err(malformed());
        };
        let client = self.noise.decrypt(&client).map_err(Error::internal)?;
        self.noise
            .mix_shared_secret(self.ephemeral.private_key.serialize(), &client)
            .map_err(Error::internal)?;
        let payload = self.noise.decrypt(&payload).map_err(Error::internal)?;
        secured(Pattern::Xx, self.noise, &client, &payload).map_err(Error::internal)
    }
}

fn secured(
    pattern: Pattern,
    noise: NoiseHandshake,
    client: &[u8],
    payload: &[u8],
) -> Result<Secured, HandshakeError> {
    let client = client
        .try_into()
        .map_err(|_| HandshakeError::InvalidKeyLength)?;
    let payload = ClientPayload::decode_from_slice(payload)?;
    let (reading, writing) = noise.finish()?;
    Ok(Secured {
        pattern,
        reading,
        writing,
        client,
        payload,
    })
}

fn server_hello(ours: &KeyPair, sealed_static: Option<Vec<u8>>, sealed_chain: Vec<u8>) -> Vec<u8> {
    HandshakeMessage {
        server_hello: MessageField::some(ServerHello {
            ephemeral: Some(ours.public_key.public_key_bytes().to_vec()),
            r#static: sealed_static,
            payload: Some(sealed_chain),
            ..Default::default()
        }),
        ..Default::default()
    }
    .encode_to_vec()
}

fn malformed() -> Error {
    Error::invalid("malformed handshake")
}
