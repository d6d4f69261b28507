//! What is passed on with the program names every crate that is in it.

use std::collections::BTreeSet;
use std::process::Command;

const NOTICES: &str = include_str!("../../packaging/THIRD-PARTY.txt");
const LOCK: &str = include_str!("../../Cargo.lock");

/// The crates that the notices list, as `name version`.
fn noticed() -> BTreeSet<String> {
    let (_, list) = NOTICES.split_once("\nCRATES\n\n").expect("a list");
    let list = list.split("\n\n").next().expect("it ends");
    list.lines().map(str::to_owned).collect()
}

/// The crates that are linked on this machine, as `name version`. Cargo tells them without a network:
/// it has built them. Macros run in the compiler only.
fn linked() -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--edges=normal,no-proc-macro",
        ])
        .args([
            "--target=x86_64-unknown-linux-gnu",
            "--prefix=none",
            "--format={p}",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let listed = String::from_utf8(output.stdout).expect("text");
    // As `name vVERSION`, with `(*)` behind those that were listed before, and our folder behind us.
    listed
        .lines()
        .filter(|line| !line.starts_with("warung "))
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
            Some(format!("{name} {version}"))
        })
        .collect()
}

#[test]
fn the_notices_are_up_to_date() {
    let noticed = noticed();
    let missing: Vec<_> = linked().difference(&noticed).cloned().collect();
    assert!(
        missing.is_empty(),
        "run packaging/notices.sh; the notices lack {missing:?}"
    );
    // Of other processors too, but nothing that was dropped.
    let locked: BTreeSet<String> = LOCK
        .split("[[package]]\n")
        .skip(1)
        .map(|package| {
            let of = |key: &str| package.lines().find_map(|line| line.strip_prefix(key));
            let (name, version) = (of("name = "), of("version = "));
            format!("{} {}", name.expect("a name"), version.expect("a version")).replace('"', "")
        })
        .collect();
    let gone: Vec<_> = noticed.difference(&locked).collect();
    assert!(
        gone.is_empty(),
        "run packaging/notices.sh; the notices list {gone:?}, which Cargo.lock does not have"
    );
}

/// The manifest says MIT: only this tells that a new version brings more of it, or none.
#[test]
fn the_crate_under_the_agpl_is_told() {
    let told = NOTICES
        .split("\n--------")
        .find(|part| part.contains("(AGPL-3.0-only)"))
        .expect("a part about the AGPL");
    assert!(told.contains("\n  wacore-libsignal "), "{told}");
}
