//! Phone numbers, the hidden ids (LIDs) that stand for them, and the devices of an account.

use std::fmt;

use serde::{Deserialize, Serialize};
use whatsapp_rust::{Jid, Server};

/// One past the largest number; also what marks a LID, which is always one digit longer.
const SPACE: u64 = 1_000_000_000_000_000;
const FACTOR: u64 = 387_420_489_712_347;
const OFFSET: u64 = 271_828_182_845_904;
const INVERSE: u64 = inverse(FACTOR, SPACE);

/// A phone number: 8 to 15 digits, no leading zero.
///
/// Invariant: `Number` and LID are one-to-one by arithmetic, so that 100,000 phones need no table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Number(u64);

impl Number {
    /// Reads digits, with or without a leading `+`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let usual = (8..=15).contains(&digits.len()) && !digits.starts_with('0');
        (usual && digits.bytes().all(|b| b.is_ascii_digit()))
            .then(|| digits.parse().ok().map(Self))
            .flatten()
    }

    /// Makes the number with this value; the caller knows that it has 8 to 15 digits.
    pub(super) fn from_value(value: u64) -> Self {
        Self(value)
    }

    pub(super) fn value(self) -> u64 {
        self.0
    }

    /// The digits of the hidden id.
    pub(super) fn lid(self) -> u64 {
        let mixed =
            (u128::from(self.0) * u128::from(FACTOR) + u128::from(OFFSET)) % u128::from(SPACE);
        SPACE + u64::try_from(mixed).expect("Invariant: less than SPACE")
    }

    /// The number behind a hidden id.
    pub(super) fn from_lid(text: &str) -> Option<Self> {
        let lid: u64 = text.parse().ok()?;
        if !(SPACE..2 * SPACE).contains(&lid) {
            return None;
        }
        let mixed = u128::from(lid - SPACE) + u128::from(SPACE) - u128::from(OFFSET % SPACE);
        let value = mixed * u128::from(INVERSE) % u128::from(SPACE);
        let value = u64::try_from(value).expect("Invariant: less than SPACE");
        (value >= 10_000_000).then_some(Self(value))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One device of an account; device 0 is the phone itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct DeviceAddress {
    pub(super) number: Number,
    pub(super) device: u16,
}

impl DeviceAddress {
    pub(super) fn new(number: Number, device: u16) -> Self {
        Self { number, device }
    }

    pub(super) fn phone(number: Number) -> Self {
        Self::new(number, 0)
    }

    /// Reads either form of a person's address.
    pub(super) fn from_jid(jid: &Jid) -> Option<Self> {
        let number = match jid.server {
            Server::Pn | Server::Legacy => Number::parse(&jid.user)?,
            Server::Lid => Number::from_lid(&jid.user)?,
            _ => return None,
        };
        Some(Self::new(number, jid.device))
    }

    pub(super) fn pn(self) -> Jid {
        Jid::pn_device(self.number.to_string(), self.device)
    }

    pub(super) fn lid(self) -> Jid {
        Jid::lid_device(self.number.lid().to_string(), self.device)
    }

    pub(super) fn jid(self, form: Form) -> Jid {
        match form {
            Form::Pn => self.pn(),
            Form::Lid => self.lid(),
        }
    }
}

/// Which of its two names an account is called by on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// By phone number.
    #[default]
    Pn,
    /// By hidden id.
    Lid,
}

impl Form {
    pub(super) fn of(jid: &Jid) -> Self {
        if jid.server.is_lid_family() {
            Self::Lid
        } else {
            Self::Pn
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pn => "pn",
            Self::Lid => "lid",
        }
    }
}

/// The inverse of `a` modulo `m`, by the extended Euclidean algorithm.
const fn inverse(a: u64, m: u64) -> u64 {
    let (mut old, mut rest) = (a as i128, m as i128);
    let (mut x, mut next) = (1i128, 0i128);
    while rest != 0 {
        let quotient = old / rest;
        (old, rest) = (rest, old - quotient * rest);
        (x, next) = (next, x - quotient * next);
    }
    assert!(
        old == 1,
        "the factor must share no divisor with the modulus"
    );
    x.rem_euclid(m as i128) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back_from_its_lid() {
        for value in [
            10_000_000,
            6_281_234_567_890,
            999_999_999_999_999,
            15_550_001,
        ] {
            let number = Number::from_value(value);
            let lid = number.lid().to_string();
            assert_eq!(lid.len(), 16);
            assert_eq!(Number::from_lid(&lid), Some(number));
        }
    }

    #[test]
    fn takes_only_eight_to_fifteen_digits() {
        for good in ["12345678", "+628123456789", "123456789012345"] {
            assert!(Number::parse(good).is_some(), "{good}");
        }
        for bad in ["1234567", "1234567890123456", "012345678", "12345x78", ""] {
            assert!(Number::parse(bad).is_none(), "{bad}");
        }
    }
}
