//! Addresses as the library has them, and as we do.

use whatsapp_rust::wacore_binary as wire;

use crate::error::{Code, Error, Result};
use crate::jid::Jid;

/// The library's address for ours.
pub(in crate::wa) fn to_wire(jid: &Jid) -> Result<wire::Jid> {
    jid.to_string()
        .parse()
        .map_err(|e| Error::from(Code::RecipientInvalid).because(format!("{e:?}")))
}

/// Our address for the library's, without the device.
pub(in crate::wa) fn from_wire(jid: &wire::Jid) -> Option<Jid> {
    Jid::parse(&jid.to_non_ad_string())
}
