#!/usr/bin/env bash
# Every proof of the packages: packaging/tests/run.sh RELEASE_BINARY SANDBOX_BINARY (as root, on
# Debian). Each script installs what it needs by package name, and says what it could not try.
set -euo pipefail
[ $# -eq 2 ] || { echo "usage: $0 RELEASE_BINARY SANDBOX_BINARY" >&2; exit 2; }
here=$(dirname "$0")
release=$(realpath "$1") sandbox=$(realpath "$2")
command -v shellcheck >/dev/null || { apt-get update -qq && apt-get install -y -qq shellcheck >/dev/null; }

say() { printf '\n-- %s (%ss)\n' "$1" "$SECONDS"; }

say "shellcheck"
(cd "$here/.." && shellcheck ./*.sh container/*.sh cpanel/*.sh cpanel/warungctl debian/post* debian/pre* tests/*.sh)
say "static"
"$here/static.sh" "$release" "$sandbox"
say "systemd"
"$here/systemd.sh" "$release"
say "README"
"$here/readme.sh" "$release"
say "install.sh"
"$here/install.sh" "$release"
say "cPanel"
"$here/cpanel.sh" "$sandbox"
say "container"
"$here/container.sh" "$release"
"$here/container.sh" "$sandbox"
say "Debian"
"$here/debian.sh" "$release"
say "all packages proven"
