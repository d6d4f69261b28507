#!/usr/bin/env bash
# Runs a build for another processor under emulation: packaging/tests/emulated.sh SANDBOX_BINARY [CPU]
# CPU is a name that qemu knows (cortex-a7 for a Raspberry Pi 2, arm1176 for a Zero).
# qemu-user shows that it runs and is right, not how fast, and not every fault of real hardware.
set -euo pipefail
[ $# -ge 1 ] || { echo "usage: $0 SANDBOX_BINARY [CPU]" >&2; exit 2; }
binary=$(realpath "$1")
case $(readelf -h "$binary" | sed -n 's/^ *Machine: *//p') in
  AArch64) qemu="qemu-aarch64-static" ;;
  ARM) qemu="qemu-arm-static" ;;
  *X86-64) qemu="env" ;;
  *) echo "no emulator is known for $binary" >&2; exit 2 ;;
esac
for pair in "$qemu:qemu-user-static" curl:curl jq:jq; do
  command -v "${pair%:*}" >/dev/null && continue
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${pair#*:}" >/dev/null
done
run=("$qemu")
[ $# -lt 2 ] || run+=(-cpu "$2")
run+=("$binary")

work=$(mktemp -d)
gateway=
cleanup() {
  [ -z "$gateway" ] || kill -KILL "$gateway" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
ok() { echo "ok - $*"; }
fail() {
  echo "NOT OK - $*" >&2
  tail -n 20 "$work/log" >&2 || true
  exit 1
}
until_true() { # SECONDS COMMAND...
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.2
  done
}
if readelf -lW "$binary" | grep -q INTERP; then fail "it asks for a loader"; fi
ok "$("${run[@]}" --version | head -n 1), $(readelf -h "$binary" | sed -n 's/^ *Machine: *//p'), static"
"${run[@]}" self-check --data "$work/data" --listen 127.0.0.1:0 >"$work/log" || fail "the self-check fails"
ok "the self-check finds nothing wrong"

key=a-master-key-of-the-test
start() {
  WARUNG_MASTER_KEY=$key "${run[@]}" sandbox --listen 127.0.0.1:0 --data "$work/data" >"$work/log" 2>&1 &
  gateway=$!
  until_true 60 grep -q '^listening on' "$work/log" || fail "it does not serve"
  url=$(sed -n 's/^listening on //p' "$work/log")
}
call() { curl -sS --max-time 60 --fail-with-body -H "X-Master-Key: $key" -H 'Content-Type: application/json' -X "$1" "$url$2" -d "${3-}"; }
connected() { call GET /api/v1/sessions/shop | jq -e '.status == "CONNECTED"'; }
send() {
  call POST '/api/v1/messages?sessionId=shop' "{\"to\":\"6281200000002\",\"type\":\"text\",\"text\":{\"body\":\"$1\"}}" |
    jq -e '.[0].status == "success"' >/dev/null || fail "not sent: $1"
}
texts() { call GET /sandbox/phones/6281200000002/messages | jq -c '[.[].text | strings]'; }
stop() {
  kill "$gateway"
  wait "$gateway" || fail "it does not stop cleanly"
  gateway=
}

start
call POST /api/v1/sessions '{"sessionId":"shop"}' >/dev/null
call POST /sandbox/scan '{"sessionId":"shop","phone":"6281200000001"}' >/dev/null
until_true 60 connected || fail "it does not pair"
send one
ok "it pairs and sends; the phone decrypts $(texts)"
# A real picture goes through the decoders and the encoder.
picture=$(cd "$(dirname "$0")/../../tests/files" && pwd)/turned.jpg
call POST '/api/v1/messages?sessionId=shop' \
  "{\"to\":\"6281200000002\",\"type\":\"image\",\"image\":{\"base64\":\"$(base64 -w0 "$picture")\"}}" >"$work/answer" || true
jq -e '.[0].status == "success"' "$work/answer" >/dev/null || fail "no picture: $(cat "$work/answer")"
ok "it sends a picture"
kill -KILL "$gateway"
wait "$gateway" 2>/dev/null || true
"${run[@]}" check --data "$work/data" >>"$work/log" || fail "the store is damaged by kill -9"
start
until_true 60 connected || fail "it does not come back"
send two
[ "$(texts)" = '["one","two"]' ] || fail "the phone got $(texts)"
ok "killed by kill -9, it comes back connected and sends"
stop
ok "it stops on SIGTERM"
