#!/usr/bin/env bash
# Proves that the program needs nothing of the host: packaging/tests/static.sh RELEASE SANDBOX
# RELEASE and SANDBOX are the two builds. As root: it makes an empty root and a network of its own.
set -euo pipefail

if [ $# -ne 2 ] || [ "$(id -u)" -ne 0 ]; then
  echo "usage (as root): $0 RELEASE_BINARY SANDBOX_BINARY" >&2
  exit 2
fi
if [ -z "${WARUNG_STATIC_INSIDE-}" ]; then
  missing=()
  for package in python3 openssl curl iproute2 jq binutils xz-utils; do
    dpkg -s "$package" >/dev/null 2>&1 || command -v "$package" >/dev/null || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  fi
  WARUNG_STATIC_INSIDE=1 exec unshare --net --mount --pid --fork --kill-child --mount-proc "$0" "$(realpath "$1")" "$(realpath "$2")"
fi
unset WARUNG_STATIC_INSIDE
release=$1 sandbox=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ok() { echo "ok - $*"; }
fail() {
  echo "NOT OK - $*" >&2
  tail -n 20 "$work"/*.log >&2 || true
  exit 1
}
trap 'fail "line $LINENO: $BASH_COMMAND"' ERR
until_true() { # SECONDS COMMAND...
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
}

# The bounds of the project: it is downloaded over slow lines.
at_most() { # BYTES MOST WHAT
  [ "$1" -le "$2" ] || fail "$3 $1 bytes, more than $2"
  ok "$3 $1 bytes, at most $2"
}
at_most "$(stat -c %s "$release")" 16000000 "the program has"
checkout=$(realpath "$(dirname "$0")/../..")
at_most "$("$checkout/packaging/pack.sh" "$release" | wc -c)" 6000000 "packed as in a release it has"
# It says nothing of where it was built, and so is the same wherever that is.
for program in "$release" "$sandbox"; do
  paths=$(strings -a "$program" | grep -F -e /registry/src/ -e "${CARGO_HOME:-$HOME/.cargo}/" -e "$checkout/" || true)
  [ -z "$paths" ] || fail "$program tells where it was built, $(wc -l <<<"$paths") times: $(head -n 3 <<<"$paths")"
done
ok "neither build tells where it was built"
notices=$(env -i "$release" licenses)
for words in 'GNU AFFERO GENERAL PUBLIC LICENSE' 'GNU LESSER GENERAL PUBLIC LICENSE' 'Google Inc.' 'Its source is'; do
  grep -qF "$words" <<<"$notices" || fail "warung licenses does not say: $words"
done
ok "warung licenses shows the licences of its parts, and where the source is"
for program in "$release" "$sandbox"; do
  headers=$(readelf -lW "$program")
  ! grep -q INTERP <<<"$headers" || fail "$program asks for a loader"
  ! readelf -dW "$program" 2>/dev/null | grep -q NEEDED || fail "$program needs libraries"
done
ok "neither build asks for a loader or a library"
# The C library's own search for names loads modules of the host: nothing of the release may call it.
if strings -a "$release" | grep -F 'Temporary failure in name resolution' >/dev/null; then
  fail "$release asks the C library for names"
fi
ok "the release does not ask the C library for names"
"$sandbox" --version | grep -q 'sandbox build' || fail "$sandbox is no sandbox build"
! "$release" --version | grep -q 'sandbox' || fail "$release is a sandbox build"

# A network of its own: nothing but loopback, a name server, and a web server with a certificate.
ip link set lo up
cd "$work"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=Test root' \
  -keyout root.key -out root.pem 2>openssl.log
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=hooks.example.org' \
  -keyout leaf.key -out leaf.csr 2>>openssl.log
printf 'subjectAltName=DNS:hooks.example.org\nbasicConstraints=CA:FALSE\n' >leaf.ext
openssl x509 -req -in leaf.csr -CA root.pem -CAkey root.key -CAcreateserial -days 2 -extfile leaf.ext \
  -out leaf.pem 2>>openssl.log
cat >servers.py <<'PY'
"""A name server that knows hooks.example.org, and a web server that writes down what is posted to it."""
import http.server, socket, ssl, struct, threading

def names():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    while True:
        query, peer = server.recvfrom(512)
        end = query.index(b"\0", 12) + 5
        name, kind = query[12:end - 4], struct.unpack(">H", query[end - 4:end - 2])[0]
        known = name.lower() == b"\5hooks\7example\3org\0"
        address = known and kind == 1
        head = query[:2] + struct.pack(">HHHHH", 0x8180 if known else 0x8183, 1, int(address), 0, 0)
        record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton("127.0.0.1")
        server.sendto(head + query[12:end] + (record if address else b""), peer)

class Hooks(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        with open("posted.log", "ab") as log:
            log.write(body + b"\n")
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

threading.Thread(target=names, daemon=True).start()
web = http.server.ThreadingHTTPServer(("127.0.0.1", 443), Hooks)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("leaf.pem", "leaf.key")
web.socket = context.wrap_socket(web.socket, server_side=True)
open("serving", "w").close()
web.serve_forever()
PY
python3 servers.py 2>servers.log &
until_true 10 test -e serving || fail "the servers do not start"

# A root with only the program and /etc/resolv.conf; the data folder is made by the program.
empty_root() { # NAME PROGRAM
  mkdir -p "$1/etc"
  cp "$2" "$1/warung"
  echo 'nameserver 127.0.0.1' >"$1/etc/resolv.conf"
}
chroot=$(command -v chroot)
common=(--allow-private 127.0.0.0/8 --data /data)

empty_root plain "$release"
check() { env -i "$chroot" plain /warung self-check https://hooks.example.org/ "${common[@]}" "$@" || true; }
said=$(check)
grep -q '^ok   data ' <<<"$said" || fail "$said"
grep -q '^FAIL url .*certificate' <<<"$said" || fail "an unknown root was trusted: $said"
ok "a certificate of an unknown root is refused"
mkdir plain/data
cp root.pem plain/data/root.pem
said=$(check --trusted-roots /data/root.pem)
grep -q '^ok   url ' <<<"$said" || fail "$said"
ok "it resolves a name and verifies the certificate of its server"

# What may be wrong with a host, and is told.
finds() { # PATTERN ARGUMENTS...: the self-check says so
  local pattern=$1
  shift
  said=$(check "$@")
  grep -q "$pattern" <<<"$said" || fail "no line like $pattern: $said"
}
finds '^FAIL whatsapp .*resolved'
finds '^FAIL listen ' --listen 127.0.0.1:443
finds '^FAIL listen ' --listen 192.0.2.1:3000
mkdir plain/small
mount -t tmpfs -o size=1m none plain/small
finds '^FAIL disk ' --data /small
mount -o remount,ro plain/small
finds '^FAIL data ' --data /small
umount plain/small
rmdir plain/small
echo 'nameserver 127.0.0.9' >plain/etc/resolv.conf
finds '^FAIL url .*resolv.conf'
echo 'nameserver 127.0.0.1' >plain/etc/resolv.conf
ok "the self-check finds: no WhatsApp, port taken, no such address, disk full, folder not writable, no name server"

env -i "$chroot" plain /warung serve --listen 127.0.0.1:3001 "${common[@]}" >plain.log 2>&1 &
gateway=$!
until_true 10 grep -q '^listening on' plain.log || fail "the release build does not serve"
curl -sSf http://127.0.0.1:3001/health | grep -q ok
curl -sSf http://127.0.0.1:3001/docs | grep -q '</html>'
env -i "$chroot" plain /warung healthcheck --listen 127.0.0.1:3001 "${common[@]}"
kill $gateway
wait $gateway || fail "the release build does not stop cleanly"
env -i "$chroot" plain /warung check "${common[@]}" | grep -q 'in order'
ok "the release build serves, answers its healthcheck, and stops"

empty_root tried "$sandbox"
mkdir tried/data
cp root.pem tried/data/root.pem
key=a-master-key-of-the-test
env -i WARUNG_MASTER_KEY=$key "$chroot" tried /warung sandbox --listen 127.0.0.1:3002 "${common[@]}" \
  --trusted-roots /data/root.pem >tried.log 2>&1 &
gateway=$!
until_true 10 grep -q '^listening on' tried.log || fail "the sandbox build does not serve"
call() { curl -sS --fail-with-body -H "X-Master-Key: $key" -H 'Content-Type: application/json' -X "$1" "http://127.0.0.1:3002$2" -d "${3-}"; }
call POST /api/v1/sessions '{"sessionId":"shop"}' >/dev/null
call POST /api/v1/webhook '{"sessionId":"shop","url":"https://hooks.example.org/in","events":["message.received"]}' >/dev/null
call POST /sandbox/scan '{"sessionId":"shop","phone":"6281200000001"}' >/dev/null
connected() { call GET /api/v1/sessions/shop | jq -e '.status == "CONNECTED"'; }
until_true 20 connected || fail "it does not pair"
ok "it pairs"
call POST '/api/v1/messages?sessionId=shop' '{"to":"6281200000002","type":"text","text":{"body":"from an empty root"}}' |
  jq -e '.[0].status == "success"' >/dev/null
call GET /sandbox/phones/6281200000002/messages | jq -e '.[0].text == "from an empty root"' >/dev/null
ok "it sends, and the phone decrypts"
call POST /sandbox/phones/6281200000002/messages '{"to":"6281200000001","text":"an answer"}' >/dev/null
until_true 20 grep -q 'an answer' posted.log || fail "the webhook was not called"
ok "what it receives reaches a webhook by name, over TLS with the test's root"
kill $gateway
wait $gateway || fail "the sandbox build does not stop cleanly"
left=$(cd tried && find . -type f | grep -v '^./data/' | sort | tr '\n' ' ')
[ "$left" = "./etc/resolv.conf ./warung " ] || fail "something was written outside of the data folder: $left"
ok "nothing was written outside of the data folder"
