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
    format!("3A{}", hex::encode_upper(bytes::<9>()))
}
