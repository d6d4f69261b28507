#!/usr/bin/env bash
# Writes packaging/THIRD-PARTY.txt anew, and packs it with the licences of the GNU project, as the
# program embeds them: packaging/notices.sh
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
line=$(printf '=%.0s' {1..80})
{
  cat packaging/THIRD-PARTY.txt
  for licence in LICENSES/*.txt; do
    printf '\n%s\n\n' "$line"
    cat "$licence"
  done
} | gzip -9n >packaging/notices.txt.gz
