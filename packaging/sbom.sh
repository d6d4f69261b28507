#!/usr/bin/env bash
# Writes what a release is made of, in CycloneDX: packaging/sbom.sh FOLDER TARGET...
#
#   FOLDER/warung-VERSION-TARGET.cdx.json
#
# It needs jq, and: cargo install --locked cargo-cyclonedx@0.5.9
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: $0 FOLDER TARGET..." >&2; exit 2; }
mkdir -p "$1"
folder=$(realpath "$1")
shift
cd "$(dirname "$0")/.."
trap 'rm -f warung-sbom.json' EXIT
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
for target; do
  cargo cyclonedx --quiet --format json --spec-version 1.5 --target "$target" --no-build-deps --override-filename warung-sbom
  # Manifests say MIT of the whole and of wacore-libsignal: LICENSE knows better. No folder of this machine.
  jq '(.metadata.component, (.components[] | select(.name == "wacore-libsignal"))).licenses = [{expression: "AGPL-3.0-only"}]' \
    warung-sbom.json | sed "s|path+file://$PWD|path+file:///warung|g" >"$folder/warung-$version-$target.cdx.json"
done
