//! Files of strangers: told by their content, read, prepared.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warung::domain::media::reader::FileReader;
use warung::domain::media::{file_type, video, kind, images, audio, sticker};

fuzz_target!(|bytes: &[u8]| {
    let found = kind::sniff_bytes(bytes);
    let _ = kind::sniff_in(&mut FileReader::of_bytes(bytes));
    let _ = audio::inspect_in(&mut FileReader::of_bytes(bytes), found);
    let _ = video::inspect_in(&mut FileReader::of_bytes(bytes));
    // Decoding is what takes long: small files find as much.
    if found.family() == file_type::Family::Image && bytes.len() < 4096 {
        let _ = images::prepare_bytes(bytes.to_vec(), found, false);
        let _ = sticker::make_bytes(bytes.to_vec(), found);
    }
});
