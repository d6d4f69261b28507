#!/usr/bin/env bash
# Does what README.md prints, as printed: packaging/tests/readme.sh RELEASE_BINARY (as root, on
# Debian). debian.sh and container.sh do the lines that need a system of their own.
set -euo pipefail
if [ $# -ne 1 ] || [ "$(id -u)" -ne 0 ]; then
  echo "usage (as root): $0 RELEASE_BINARY" >&2
  exit 2
fi
# Before the network of its own, which reaches no package.
command -v crontab >/dev/null || { apt-get update -qq && apt-get install -y -qq cron >/dev/null; }
# A network of its own: the port of the examples may be taken on this machine.
if [ -z "${README_INSIDE-}" ]; then
  README_INSIDE=1 exec unshare --net --pid --fork --kill-child --mount-proc "$0" "$(realpath "$1")"
fi
unset README_INSIDE
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
user=wrm$$
cleanup() {
  if id "$user" >/dev/null 2>&1; then
    crontab -r -u "$user" 2>/dev/null || true
    pkill -KILL -u "$user" || true
    userdel "$user" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap cleanup EXIT
ok() { echo "ok - $*"; }
fail() {
  echo "NOT OK - $*" >&2
  cat "$work/log" >&2 || true
  exit 1
}
until_true() { # SECONDS COMMAND...
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
}
printed() { # NAME: the lines that README.md prints under <!-- try: NAME -->
  local lines
  lines=$(sed -n "/<!-- try: $1 -->/,/^\`\`\`\$/p" "$root/README.md" | sed '/^<!--/d; /^```/d')
  [ -n "$lines" ] || fail "README.md has no lines for $1"
  echo "$lines"
}
ip link set lo up

mkdir "$work/release"
"$root/packaging/checksums.sh" "$work/release" "x86_64-unknown-linux-gnu=$1" >/dev/null
printed download >"$work/download.sh"
(cd "$work/release" && exec bash "$work/download.sh") >"$work/log" 2>&1 &
shell=$!
until_true 20 grep -qx 'listening on http://127.0.0.1:3000' "$work/log" || fail "the downloaded release does not serve"
grep -q ': OK$' "$work/log" || fail "the sum was not compared"
grep -q '^ok   data ' "$work/log" || fail "the self-check says nothing of the folder"
grep -q '^FAIL whatsapp ' "$work/log" || fail "the self-check does not see that there is no network"
curl -sSf http://127.0.0.1:3000/docs | grep -q '</html>' || fail "no docs page"
pkill -INT -P $shell warung
wait $shell || fail "it does not stop by Ctrl-C"
ok "download: the sum is compared, the self-check tells, the gateway serves and stops"

useradd --create-home --home-dir "$work/home" "$user"
chmod 755 "$work"
tar -C "$work/home" -xzf "$work"/release/warung-*.tar.gz
chown -R "$user:" "$work/home"
printed cpanel >"$work/cpanel.sh"
as_user() { runuser -u "$user" -- env -i HOME="$work/home" PATH=/usr/bin:/bin bash -c "$1"; }
as_user "cd ~/warung-*/ && bash -eu $work/cpanel.sh" >"$work/log" 2>&1 || fail "cpanel/install.sh fails"
as_user 'cd && warung/warungctl status' >"$work/log" 2>&1 || fail "the account's gateway does not run"
ok "cPanel: the release installs itself in an account, and runs"
as_user 'cd && sh warung/remove.sh --purge' >"$work/log" 2>&1 || fail "it cannot be removed"

# Nothing is left to be built after packaging/build.sh, which uses the same command.
printed source >"$work/source.sh"
(cd "$root" && bash -eu "$work/source.sh") >"$work/log" 2>&1 || fail "it does not build from source"
grep -qx "$("$1" --version)" "$work/log" || fail "another version was built"
ok "source: it builds as printed"
