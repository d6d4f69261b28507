//! The boundaries of ARCHITECTURE.md, as a scan of the source.

use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Whether the line names the word as an identifier of its own, outside of quoted text.
fn names(line: &str, word: &str) -> bool {
    let line: String = line.split('"').step_by(2).collect();
    let line = line.as_str();
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(part);
        let after = line[at + word.len()..].chars().next().is_some_and(part);
        !before && !after
    })
}

#[test]
fn each_library_and_layer_stays_behind_its_fence() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 30, "the scan found the source");
    // What may not be named, and where it may.
    let fences: &[(&str, &[&str])] = &[
        ("redb", &["store/"]),
        ("whatsapp_rust", &["wa/", "sandbox/", "logging.rs"]),
        ("hyper", &["http/"]),
        ("hyper_util", &["http/"]),
        ("SystemTime::now", &["time.rs"]),
        ("std::env::var", &["config.rs"]),
    ];
    // Which layer may not name which.
    let layers: &[(&str, &[&str])] = &[
        (
            "api/",
            &["crate::store", "crate::wa", "crate::sandbox", ".store()"],
        ),
        (
            "domain/",
            &[
                "crate::api",
                "crate::worker",
                "crate::server",
                "StatusCode",
                "serde(rename",
                "json!",
            ],
        ),
        (
            "store/",
            &["crate::domain", "crate::api", "crate::wa", "crate::http"],
        ),
        ("wa/", &["crate::domain", "crate::api", "crate::worker"]),
        (
            "http/",
            &["crate::domain", "crate::api", "crate::store", "crate::wa"],
        ),
        ("worker/", &["crate::api"]),
    ];
    // What older versions stored was a dialect's JSON.
    let exempt = ["domain/event/upgrade.rs"];
    let mut broken = Vec::new();
    for file in &files {
        let name = file
            .strip_prefix(&root)
            .expect("below src")
            .display()
            .to_string();
        let text = std::fs::read_to_string(file).expect("readable");
        // Tests may look deeper than what they test.
        let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
        let program = if name.contains("/tests/") { 0 } else { end };
        for (number, line) in text[..program].lines().enumerate() {
            if name.starts_with("domain/") && line.contains("original program") {
                let number = number + 1;
                broken.push(format!("{name}:{number}: the domain speaks of a dialect"));
            }
            if line.trim_start().starts_with("//") {
                continue;
            }
            for (word, homes) in fences {
                if names(line, word) && !homes.iter().any(|home| name.starts_with(home)) {
                    broken.push(format!("{name}:{}: {word}", number + 1));
                }
            }
            for (layer, forbidden) in layers {
                for word in *forbidden {
                    if name.starts_with(layer)
                        && line.contains(word)
                        && !exempt.contains(&name.as_str())
                    {
                        broken.push(format!("{name}:{}: {layer} names {word}", number + 1));
                    }
                }
            }
        }
        let lines = text.lines().count();
        if lines > 1500 {
            broken.push(format!("{name}: {lines} lines"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
