//! What is passed on with the program names every crate that is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

const NOTICES: &str = include_str!("../../packaging/THIRD-PARTY.txt");
const LOCK: &str = include_str!("../../Cargo.lock");

/// The crates that the notices list, as `name version`.
fn noticed() -> BTreeSet<String> {
    let (_, list) = NOTICES.split_once("\nCRATES\n\n").expect("a list");
    let list = list.split("\n\n").next().expect("it ends");
    list.lines().map(str::to_owned).collect()
}

/// The crates that are linked on this machine, as `name version`. Cargo tells them without a network:
/// it has built them.
fn linked() -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let tree: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    let nodes = tree["resolve"]["nodes"].as_array().expect("a graph");
    let nodes: BTreeMap<&str, &Value> = nodes
        .iter()
        .map(|node| (node["id"].as_str().expect("an id"), node))
        .collect();
    let packages = tree["packages"].as_array().expect("packages");
    let packages: BTreeMap<&str, &Value> = packages
        .iter()
        .map(|package| (package["id"].as_str().expect("an id"), package))
        .collect();
    let mut open = vec![tree["resolve"]["root"].as_str().expect("a root")];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        // Macros run in the compiler; what they need is not in the program.
        let macros = packages[id]["targets"]
            .as_array()
            .expect("targets")
            .iter()
            .any(|target| target["kind"][0] == "proc-macro");
        if macros || !seen.insert(id) {
            continue;
        }
        for dependency in nodes[id]["deps"].as_array().expect("dependencies") {
            let kinds = dependency["dep_kinds"].as_array().expect("kinds");
            if kinds.iter().any(|kind| kind["kind"].is_null()) {
                open.push(dependency["pkg"].as_str().expect("an id"));
            }
        }
    }
    seen.iter()
        .map(|id| packages[id])
        .map(|package| (package["name"].as_str(), package["version"].as_str()))
        .map(|(name, version)| {
            format!(
                "{} {}",
                name.expect("named"),
                version.expect("of a version")
            )
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
