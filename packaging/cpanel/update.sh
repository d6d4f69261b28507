#!/bin/sh
# Replaces the program by a newer one, and goes back to the old one when the new one does not come up.
# usage: update.sh NEW_BINARY [SHA256SUMS]
set -eu
home=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=daemon.sh
. "$home/daemon.sh"

# The sum that the list names for a file of this name is the sum of this file.
check_sum() {
  name=$(basename "$1")
  wanted=$(awk -v name="$name" '$2 == name || $2 == "*" name { print $1 }' "$2" | head -n 1)
  [ -n "$wanted" ] || die "$2 has no line for $name"
  found=$(sha256sum <"$1" | cut -d ' ' -f 1)
  [ "$wanted" = "$found" ] || die "$name is damaged or not the file that $2 speaks of"
}

# A copy of the store from before; the last three are kept.
back_up() {
  mkdir -p "$data/backups"
  name=before-update-$(date -u +%Y%m%d-%H%M%S)
  gateway backup "$data/backups/$name.redb" >/dev/null || die "no backup could be made; nothing was changed"
  say "backup: $data/backups/$name.redb"
  # The names hold their time, so that they sort by it.
  set -- "$data"/backups/before-update-*.redb
  while [ $# -gt 3 ]; do
    rm -rf "$1" "$1.media"
    shift
  done
  # The files take as much room as the account's own: those of the last one do.
  while [ $# -gt 1 ]; do
    rm -rf "$1.media"
    shift
  done
}

# It answers, and still does a moment later.
comes_up() {
  start_gateway
  date +'%s 0' >"$run/starts"
  wait_until_well 60 || return 1
  for _ in 1 2 3; do
    sleep 1
    is_running && is_well || return 1
  done
}

main() {
  [ $# -ge 1 ] || die "usage: update.sh NEW_BINARY [SHA256SUMS]"
  [ -f "$1" ] || die "there is no file $1"
  [ $# -lt 2 ] || check_sum "$1" "$2"
  take_turn 120 || die "another script of this folder is at work: try again later"
  # On the same file system, so that the swap is one rename.
  cp "$1" "$bin.new"
  chmod 700 "$bin.new"
  version=$(timeout 20 env -i "$bin.new" --version 2>/dev/null 9>&-) || {
    rm -f "$bin.new"
    die "$1 does not run on this machine; nothing was changed"
  }
  version=$(echo "$version" | head -n 1)
  [ ! -e "$data/warung.redb" ] || back_up
  was_running=no
  if is_running || [ ! -e "$run/stopped" ]; then was_running=yes; fi
  stop_gateway || die "the running gateway cannot be stopped; nothing was changed"
  cp -p "$bin" "$bin.old"
  mv -f "$bin.new" "$bin"
  if [ "$was_running" = no ]; then
    say "now $version; it was stopped and stays so"
    return 0
  fi
  if comes_up; then
    say "now $version; the one before is kept as $bin.old"
    return 0
  fi
  say "the new program does not come up: going back" >&2
  stop_gateway || :
  cp -p "$bin.old" "$bin.new"
  mv -f "$bin.new" "$bin"
  if comes_up; then
    die "the old program runs again; why the new one failed: $home/warungctl logs"
  fi
  die "the old program does not come up either; see $home/warungctl logs, and README.md on backups"
}

main "$@"
exit
