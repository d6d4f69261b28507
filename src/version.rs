//! What this program is: its version, and what it was built of.

use serde_json::{Value, json};

use crate::licences::TERMS;

/// Version, and whether it is a sandbox build.
pub fn version() -> &'static str {
    if cfg!(feature = "sandbox") {
        concat!(env!("CARGO_PKG_VERSION"), " (sandbox build)")
    } else {
        env!("CARGO_PKG_VERSION")
    }
}

/// Name and version, as `--version` says it.
pub fn line() -> String {
    format!("warung {}", version())
}

/// The commit that it was built of, when the build said so (`WARUNG_BUILD_COMMIT`).
fn commit() -> Option<&'static str> {
    option_env!("WARUNG_BUILD_COMMIT").filter(|commit| !commit.is_empty())
}

fn features() -> Vec<&'static str> {
    let all = [("sandbox", cfg!(feature = "sandbox"))];
    let built = all.into_iter().filter(|(_, built)| *built);
    built.map(|(name, _)| name).collect()
}

/// The C library that is linked, and how.
fn libc() -> String {
    let name = if cfg!(target_env = "gnu") {
        "glibc"
    } else if cfg!(target_env = "musl") {
        "musl"
    } else {
        "the system's"
    };
    let linked = match cfg!(target_feature = "crt-static") {
        true => "static",
        false => "dynamic",
    };
    format!("{name}, {linked}")
}

/// Processor and operating system, such as `x86_64-linux`.
fn target() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

/// All of it, a line each.
pub fn details() -> String {
    let features = features();
    [
        line(),
        format!("commit: {}", commit().unwrap_or("not known")),
        format!(
            "features: {}",
            if features.is_empty() {
                "none".into()
            } else {
                features.join(", ")
            }
        ),
        format!("target: {}", target()),
        format!("libc: {}", libc()),
        TERMS.into(),
    ]
    .join("\n")
}

/// All of it for programs; `commit` is null when the build did not say it.
pub fn json() -> Value {
    json!({
        "name": "warung",
        "version": env!("CARGO_PKG_VERSION"),
        "commit": commit(),
        "features": features(),
        "target": target(),
        "libc": libc(),
        "licence": "AGPL-3.0-only",
    })
}
