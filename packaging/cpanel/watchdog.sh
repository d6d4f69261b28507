#!/bin/sh
# The minute check, called by cron: starts the gateway when it does not run, and restarts it when it
# does not answer. `watchdog.sh --start` only starts what does not run; the Node front calls that.
set -eu
home=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=daemon.sh
. "$home/daemon.sh"

patience=3      # failed checks in a row before a restart
settled=600     # seconds that a run must last not to count as a crash
grace=60        # seconds after a start in which no answer is expected
log_size=1048576

# How long ago the last start was, and how many short runs came before it.
read_starts() {
  at=0 crashes=0
  if [ -s "$run/starts" ]; then
    read -r at crashes <"$run/starts" || :
  fi
  now=$(date +%s)
  age=$((now - at))
  # A clock that was set back must not hold the start off.
  [ "$age" -ge 0 ] || age=$settled
}

# Seconds from one start to the next after so many short runs: none, 60, 120, 240, 480. It stays
# below $settled, or the wait itself would look like a long run.
pause_after() {
  if [ "$1" -le 1 ]; then
    echo 0
  elif [ "$1" -ge 5 ]; then
    echo 480
  else
    pause=30 n=1
    while [ "$n" -lt "$1" ]; do
      pause=$((pause * 2)) n=$((n + 1))
    done
    echo "$pause"
  fi
}

start_unless_crashing() {
  if [ "$age" -lt "$settled" ]; then crashes=$((crashes + 1)); else crashes=0; fi
  [ "$age" -ge "$(pause_after "$crashes")" ] || exit 0
  echo "$now $crashes" >"$run/starts"
  note "starting it ($crashes short runs before)"
  start_gateway
}

# Copies and truncates: the gateway keeps its file, which it appends to.
rotate_log() {
  [ -e "$log" ] || return 0
  [ "$(wc -c <"$log")" -gt "$log_size" ] || return 0
  for n in 4 3 2 1; do
    [ ! -e "$log.$n" ] || mv -f "$log.$n" "$log.$((n + 1))"
  done
  cp "$log" "$log.1" && : >"$log"
}

main() {
  # Another check, a stop or an update is at work: it will see to it.
  take_turn 0 || exit 0
  rotate_log
  [ ! -e "$run/stopped" ] || exit 0
  read_starts
  if ! is_running; then
    start_unless_crashing
    exit 0
  fi
  [ "${1:-}" != --start ] || exit 0
  if is_well; then
    rm -f "$run/unhealthy"
    exit 0
  fi
  [ "$age" -ge "$grace" ] || exit 0
  failed=0
  [ ! -s "$run/unhealthy" ] || read -r failed <"$run/unhealthy" || :
  failed=$((failed + 1))
  if [ "$failed" -lt "$patience" ]; then
    echo "$failed" >"$run/unhealthy"
    note "no answer ($failed of $patience)"
    exit 0
  fi
  note "no answer in $patience checks: restarting it"
  stop_gateway
  start_unless_crashing
}

main "$@"
