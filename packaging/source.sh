#!/usr/bin/env bash
# Writes the source that goes with a release, as the AGPL asks: packaging/source.sh FOLDER
#
#   FOLDER/warung-VERSION-source.tar.xz   what is committed, and the crates of Cargo.lock in vendor/
#
# It builds without a network: the archive's .cargo/config.toml names vendor/.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
mkdir -p "$1"
folder=$(realpath "$1")
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
name=warung-$version-source
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
git archive --prefix "$name/" HEAD | tar -x -C "$stage"
cd "$stage/$name"
cargo vendor --locked --versioned-dirs vendor >"$stage/replacement" 2>"$stage/said" || { cat "$stage/said" >&2; exit 1; }
cat "$stage/replacement" >>.cargo/config.toml
cd ..
tar --create --sort name --format ustar --numeric-owner --owner 0 --group 0 \
  --mtime "@${SOURCE_DATE_EPOCH:-0}" --mode 'u=rwX,go=rX' "$name" | xz -9 --threads=0 >"$folder/$name.tar.xz"
