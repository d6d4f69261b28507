#!/bin/sh
# Stops the gateway and takes away what install.sh put: cron lines, front files, programs.
# The data folder stays, with the settings in it; --purge deletes that too.
set -eu
home=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=daemon.sh
. "$home/daemon.sh"

remove_cron_lines() {
  if ! other_cron_lines "$run/cron"; then
    say "the crontab cannot be read: take out the lines that end in '# warung-watchdog' yourself" >&2
  elif [ -s "$run/cron" ]; then
    crontab "$run/cron" || say "the crontab cannot be written" >&2
  else
    crontab -r 2>/dev/null || :
  fi
}

remove_block() {
  [ -f "$1" ] || return 0
  without_block "$1" >"$1.warung"
  if [ -s "$1.warung" ]; then
    chmod 644 "$1.warung"
    mv -f "$1.warung" "$1"
  else
    rm -f "$1" "$1.warung"
  fi
}

# In the order in which they were put: a folder's files stand before the folder.
remove_fronts() {
  [ -f "$home/fronts" ] || return 0
  while read -r kind path; do
    case $kind in
      block) remove_block "$path" ;;
      file) rm -f "$path" ;;
      folder) rmdir "$path" 2>/dev/null || : ;;
    esac
  done <"$home/fronts"
}

main() {
  case ${1:-} in
    '' | --purge) ;;
    *) die "usage: remove.sh [--purge]" ;;
  esac
  # This script goes away with the rest, from a safe place.
  cd /
  # First, so that no minute check starts it again.
  : >"$run/stopped"
  remove_cron_lines
  take_turn 120 || die "another script of this folder is at work: try again later"
  stop_gateway || die "the gateway cannot be stopped"
  remove_fronts
  if [ "${1:-}" = --purge ]; then
    rm -rf "$home"
    say "everything is gone"
    return 0
  fi
  [ ! -f "$settings" ] || mv -f "$settings" "$data/warung.toml"
  find "$home" -mindepth 1 -maxdepth 1 ! -name data -exec rm -rf {} +
  say "removed; sessions, keys and settings are kept in $data"
}

main "$@"
exit
