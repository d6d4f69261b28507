//! Randomness from the operating system, in the shape that the Signal library asks for.

use getrandom::SysRng;
use getrandom::rand_core::{Rng, UnwrapErr};

/// The generator behind every fresh key.
pub(super) fn generator() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

pub(super) fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    generator().fill_bytes(&mut out);
    out
}

/// A message id of the shape that phones make.
pub(super) fn message_id() -> String {
    let mut id = String::from("3A");
    push_hex(&mut id, &bytes::<9>());
    id
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    push_hex(&mut out, bytes);
    out
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}
