#!/usr/bin/env bash
# Proves that systemd understands the unit and finds nothing to complain of:
# packaging/tests/systemd.sh BINARY. That it starts under systemd is shown by debian.sh.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 BINARY" >&2; exit 2; }
binary=$(realpath "$1")
unit=$(realpath "$(dirname "$0")/../systemd/warung.service")
command -v systemd-analyze >/dev/null || { apt-get update -qq && apt-get install -y -qq systemd >/dev/null; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The unit, with the program where it is now.
sed "s|/usr/bin/warung|$binary|" "$unit" >"$work/warung.service"
said=$(systemd-analyze verify "$work/warung.service" 2>&1) || { echo "NOT OK - $said" >&2; exit 1; }
[ -z "$said" ] || { echo "NOT OK - systemd-analyze verify: $said" >&2; exit 1; }
echo "ok - systemd-analyze verify has nothing to say"

# 0 is the best, 10 the worst. What is left is what the program needs: the network.
most=1.3
score=$(systemd-analyze security --offline=yes --no-pager "$work/warung.service" |
  sed -n 's/.*Overall exposure level for .*: \([0-9.]*\) .*/\1/p')
awk -v score="$score" -v most="$most" 'BEGIN { exit !(score != "" && score <= most) }' ||
  { echo "NOT OK - systemd-analyze security says ${score:-nothing}, more than $most" >&2; exit 1; }
echo "ok - systemd-analyze security says $score (at most $most)"
