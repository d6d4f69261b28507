#!/usr/bin/env bash
# Writes packaging/THIRD-PARTY.txt anew, and packed, as the program embeds it: packaging/notices.sh
# To be run when the crates of a release have changed; tests/it/licences.rs tells. It needs
#   cargo install --locked --features cli cargo-about@0.9.3
set -euo pipefail
cd "$(dirname "$0")/.."
new=$(mktemp)
trap 'rm -f "$new" "$new.said"' EXIT
cargo fetch --locked
cargo about generate --fail --offline --locked --config packaging/about.toml packaging/about.hbs \
  2>"$new.said" | sed 's/\r$//; s/[[:space:]]*$//; /^ *warung [0-9]/d' | cat -s >"$new" || { cat "$new.said" >&2; exit 1; }
# A clarification that does not hold any longer is only warned about.
if grep 'failed to' "$new.said" >&2; then exit 1; fi
cp "$new" packaging/THIRD-PARTY.txt
gzip -9n <packaging/THIRD-PARTY.txt >packaging/THIRD-PARTY.txt.gz
