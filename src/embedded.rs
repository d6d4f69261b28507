//! What `build.rs` packed into the program.

/// Unpacks it (zlib, RFC 1950).
///
/// The library is the one that reads PNG pictures: another would make the program larger.
pub(crate) fn unpack(packed: &[u8]) -> Vec<u8> {
    fdeflate::decompress_to_vec(packed).expect("what build.rs packed is whole")
}
