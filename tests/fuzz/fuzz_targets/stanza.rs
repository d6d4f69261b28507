//! Decrypted messages of strangers: whatever they put into the protobuf.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = warung::wa::parse_content(bytes);
});
