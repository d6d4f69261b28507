#!/usr/bin/env bash
# Proves that the program does not depend on where it is built: packaging/tests/reproducible.sh [TARGET...]
# It builds what is committed twice, in two folders with crates of their own: a quarter of an hour each.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
host=$(rustc -vV | sed -n 's/^host: //p')
[ $# -gt 0 ] || set -- "$host"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset CARGO_TARGET_DIR
rustup=${RUSTUP_HOME:-$HOME/.rustup}

build() { # FOLDER HOME TARGETS...
  local folder=$1 home=$2
  shift 2
  mkdir -p "$folder" "$home"
  git -C "$root" archive HEAD | tar -x -C "$folder"
  (cd "$folder" && HOME=$home CARGO_HOME=$home/cargo RUSTUP_HOME=$rustup packaging/build.sh "$@")
}
build "$work/one" "$work/home-of-one" "$@"
build "$work/another/and/deeper" "$work/elsewhere/home" "$@"
for target; do
  one=$work/one/target/$target/release/warung
  other=$work/another/and/deeper/target/$target/release/warung
  cmp "$one" "$other" || { echo "NOT OK - $target: two folders, two programs" >&2; exit 1; }
  echo "ok - $target: built twice, $(sha256sum <"$one" | cut -d ' ' -f 1)"
done
