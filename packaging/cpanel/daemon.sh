# shellcheck shell=sh disable=SC2034,SC3045
# (Some of the names are used only by the scripts; dash, bash and busybox all know these ulimits.)
#
# What the scripts of this folder share: where things are, and how the gateway is started and stopped.
# They source it with $home set to this folder.

: "${home:?is set by the script that sources this}"
umask 077
PATH=$PATH:/usr/local/bin:/usr/bin:/bin
bin=$home/warung
settings=$home/warung.toml
data=$home/data
run=$home/run
log=$home/log/warung.log
# Hosts count memory per account. This bounds a runaway process; a usual one stays far below.
memory_kb=${WARUNG_MEMORY_KB:-786432}
# Only the kit's own test chooses another command, the simulated network's.
command=${WARUNG_COMMAND:-serve}

say() { printf 'warung: %s\n' "$*"; }
die() { printf 'warung: %s\n' "$*" >&2; exit 1; }
note() { printf '%s watchdog: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" >>"$log"; }
nap() { sleep 0.2 2>/dev/null || sleep 1; }

# The program with a clean environment.
# Hazard: PORT, HOST or WARUNG_* of a web server's process would win over the settings file.
gateway() {
  env -i HOME="${HOME:-$home}" PATH="$PATH" TERM="${TERM:-dumb}" "$bin" "$@" --config "$settings" 8>&- 9>&-
}

# One script at a time starts, stops or replaces. Waits up to $1 seconds for its turn, which ends
# with the script.
take_turn() {
  exec 9>>"$run/turn.lock"
  if [ "$1" -eq 0 ]; then flock -n 9; else flock -w "$1" 9; fi
}

# Whether the gateway runs. It holds a lock from before its start to its end, however it ends, so
# that neither a stale process number nor a stranger on the same port can be taken for it.
is_running() {
  lock_state=0
  flock -sn "$run/daemon.lock" true || lock_state=$?
  [ "$lock_state" -eq 1 ]
}

# Asks through the socket in the data folder: a neighbour who holds the port's connections does not
# make it look dead.
is_well() {
  timeout 20 env -i HOME="${HOME:-$home}" PATH="$PATH" "$bin" healthcheck --config "$settings" \
    >/dev/null 2>&1 8>&- 9>&-
}

# Starts it, detached from whatever called. To be called in one's turn.
start_gateway() {
  exec 8>>"$run/daemon.lock"
  if ! flock -w 2 8; then
    exec 8>&-
    return 0
  fi
  rm -f "$run/unhealthy"
  (
    exec 9>&-
    cd "$home" || exit 1
    ulimit -c 0
    ulimit -v "$memory_kb" || :
    # fd 8, the lock, goes along and is held for as long as the gateway lives.
    exec setsid env -i HOME="${HOME:-$home}" PATH="$PATH" "$bin" "$command" --config "$settings"
  ) </dev/null >>"$log" 2>&1 &
  echo $! >"$run/pid"
  exec 8>&-
}

# Asks it to stop, and kills it when it does not. To be called in one's turn.
stop_gateway() {
  is_running || return 0
  pid=$(cat "$run/pid")
  kill -TERM "$pid" 2>/dev/null || :
  flock -w 60 "$run/daemon.lock" true && return 0
  note "it did not stop within a minute and is killed"
  kill -KILL "$pid" 2>/dev/null || :
  flock -w 10 "$run/daemon.lock" true
}

# Waits up to $1 seconds until it answers; gives up at once when it ends.
wait_until_well() {
  deadline=$(($(date +%s) + $1))
  while is_running; do
    if is_well; then return 0; fi
    [ "$(date +%s)" -lt "$deadline" ] || return 1
    nap
  done
  return 1
}

# The address in the settings: ADDR:PORT or unix:PATH.
listen_address() {
  sed -n 's/^[[:space:]]*listen[[:space:]]*=[[:space:]]*"\([^"]*\)".*/\1/p' "$settings" | head -n 1
}

# A web folder's file without the part that the kit put there.
without_block() {
  sed '/^[#;] BEGIN warung/,/^[#;] END warung/d' "$1"
}

# The user's crontab, other lines only, into the file $1. Fails when it cannot be read: writing
# would then lose the lines of others.
other_cron_lines() {
  command -v crontab >/dev/null 2>&1 || return 1
  if crontab -l >"$1.all" 2>"$1.err"; then
    grep -v '# warung-watchdog$' "$1.all" >"$1" || :
  elif grep -qi 'no crontab' "$1.err"; then
    : >"$1"
  else
    rm -f "$1.all" "$1.err"
    return 1
  fi
  rm -f "$1.all" "$1.err"
}
