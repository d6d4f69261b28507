//! Files of strangers: told by their content, read, prepared.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warung::domain::media::reader::Reader;
use warung::domain::media::{file_type, film, kind, picture, sound, sticker};

fuzz_target!(|bytes: &[u8]| {
    let found = kind::sniff_bytes(bytes);
    let _ = kind::sniff_in(&mut Reader::of_bytes(bytes));
    let _ = sound::inspect_in(&mut Reader::of_bytes(bytes), found);
    let _ = film::inspect_in(&mut Reader::of_bytes(bytes));
    // Decoding is what takes long: small files find as much.
    if found.family() == file_type::Family::Picture && bytes.len() < 4096 {
        let _ = picture::prepare_bytes(bytes.to_vec(), found, false);
        let _ = sticker::make_bytes(bytes.to_vec(), found);
    }
});
