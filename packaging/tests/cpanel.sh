#!/usr/bin/env bash
# Proves the cPanel kit: an ordinary throw-away user installs it under limits, behind a real Apache,
# a real PHP and Node. Run as root on Debian; takes a sandbox build of the program:
#   packaging/tests/cpanel.sh PATH_TO_SANDBOX_BINARY
# With libapache2-mod-passenger installed, the Node front is tried under Passenger too.
set -euo pipefail

if [ $# -ne 1 ] || [ ! -x "$1" ] || [ "$(id -u)" -ne 0 ]; then
  echo "usage (as root): $0 SANDBOX_BINARY" >&2
  exit 2
fi
binary=$(realpath "$1")
kit=$(realpath "$(dirname "$0")/../cpanel")
"$binary" --version | grep -q 'sandbox build' || { echo "$binary is no sandbox build" >&2; exit 2; }

ok() { echo "ok - $*"; }
fail() {
  echo "NOT OK - $*" >&2
  if [ -n "${work:-}" ]; then
    tail -n 20 "$work"/apache/error.log "$work"/node.log "$work"/php.log "$home"/warung/log/warung.log >&2 2>/dev/null || :
  fi
  exit 1
}
# A failure inside $(...) is judged by what is done with its result.
trap '[ "$BASH_SUBSHELL" -gt 0 ] || fail "line $LINENO: $BASH_COMMAND"' ERR
set -E
refused() { if "$@" >/dev/null 2>&1; then fail "this should have failed: $*"; fi; }

missing=()
for package in apache2-bin php-cgi php-curl nodejs cron jq curl; do
  dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

user=wrg$$
work=$(mktemp -d /tmp/warung-cpanel.XXXXXX)
home=$work/home
apps=() # processes of this test

cleanup() {
  set +eE
  trap - ERR
  for pid in "${apps[@]}"; do kill "$pid" 2>/dev/null; done
  if id "$user" >/dev/null 2>&1; then
    crontab -r -u "$user" 2>/dev/null
    # All of them belong to the user that only this test made.
    for pid in $(ps -o pid= -u "$user"); do kill -KILL "$pid" 2>/dev/null; done
    until_true 10 no_process_left
    userdel "$user" 2>/dev/null
  fi
  rm -rf "$work"
}
no_process_left() { [ -z "$(ps -o pid= -u "$user")" ]; }
trap cleanup EXIT
trap 'exit 130' INT TERM

# Polls a condition until it holds, at most so many seconds.
until_true() {
  local end=$((SECONDS + ${DEADLINE:-$1}))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
}

free_port() {
  local port
  while :; do
    port=$((32000 + RANDOM % 700))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

# As the account's user, with the limits of a small account. The simulated network is the command.
limits=(--nproc=60 --as=1073741824 --nofile=1024)
as_user() {
  runuser -u "$user" -- prlimit "${limits[@]}" env -i HOME="$home" PATH=/usr/bin:/bin WARUNG_COMMAND=sandbox "$@"
}
warung=$home/warung
ctl() { as_user "$warung/warungctl" "$@"; }
watchdog() { as_user "$warung/watchdog.sh" "$@"; }
pid() { cat "$warung/run/pid"; }

useradd --no-create-home --home-dir "$home" --shell /bin/sh "$user"
chmod 711 "$work"
install -d -o "$user" -g "$user" -m 711 "$home"
install -d -o "$user" -g "$user" -m 755 "$home/public_html"
printf '5 4 * * * /bin/true # the own line\n' | crontab -u "$user" -

# --- Apache, PHP ---------------------------------------------------------------------------------
web_port=$(free_port) root_port=$(free_port) php_port=$(free_port)
web=http://127.0.0.1:$web_port
mkdir -p "$work/apache"
install -d -o "$user" -g "$user" -m 755 "$home/domain"
# A file in a web folder of the user, as cPanel has them: it must stay.
cat >"$work/own.htaccess" <<'RULES'
# own rules
Options -Indexes
RewriteEngine On
RewriteCond %{REQUEST_FILENAME} !-f
RewriteRule ^(?!index\.html$) index.html [L]
RULES
write_apache_config() {
  local modules=/usr/lib/apache2/modules name
  for name in mpm_event authz_core authz_host mime dir alias env setenvif headers rewrite proxy proxy_http proxy_fcgi; do
    echo "LoadModule ${name}_module $modules/mod_$name.so"
  done
  [ ! -e $modules/mod_passenger.so ] || echo "LoadModule passenger_module $modules/mod_passenger.so"
  cat <<CONF
ServerRoot $work/apache
PidFile $work/apache/pid
DefaultRuntimeDir $work/apache
ErrorLog $work/apache/error.log
LogLevel warn
ServerName localhost
User www-data
Group www-data
Listen 127.0.0.1:$web_port
Listen 127.0.0.1:$root_port
TypesConfig /etc/mime.types
<Directory />
  AllowOverride None
  Require all denied
</Directory>
<Directory $home/public_html>
  AllowOverride All
  Require all granted
</Directory>
<Directory $home/domain>
  AllowOverride All
  Require all granted
</Directory>
# PHP runs as the account's user, as on cPanel.
<FilesMatch "\.php$">
  SetHandler "proxy:fcgi://127.0.0.1:$php_port"
</FilesMatch>
ProxyFCGIBackendType GENERIC
<IfModule passenger_module>
  PassengerRoot /usr/lib/ruby/vendor_ruby/phusion_passenger/locations.ini
  PassengerInstanceRegistryDir $work/apache
  PassengerDisableSecurityUpdateCheck on
  PassengerDisableAnonymousTelemetry on
  PassengerLogFile $work/apache/error.log
</IfModule>
<VirtualHost *:$web_port>
  DocumentRoot $home/public_html
  # As cPanel's Application Manager writes it.
  <IfModule passenger_module>
    <Location /app>
      PassengerBaseURI /app
      PassengerAppRoot $home/warung-node
      PassengerAppType node
      PassengerStartupFile app.js
      PassengerNodejs /usr/bin/node
      PassengerUser $user
      SetEnv WARUNG_COMMAND sandbox
    </Location>
  </IfModule>
</VirtualHost>
<VirtualHost *:$root_port>
  DocumentRoot $home/domain
</VirtualHost>
CONF
}
[ -e /etc/mime.types ] || : >/etc/mime.types
write_apache_config >"$work/apache/conf"
apache2 -f "$work/apache/conf" -D FOREGROUND &
apps+=($!)
runuser -u "$user" -- env -i HOME="$home" PATH=/usr/bin:/bin PHP_FCGI_CHILDREN=2 \
  php-cgi -d cgi.fix_pathinfo=1 -b "127.0.0.1:$php_port" >"$work/php.log" 2>&1 &
apps+=($!)

# --- Asking ----------------------------------------------------------------------------------------
key=''
# call BASE METHOD PATH [curl options]: the body on standard output, fails on an error status.
call() {
  local base=$1 method=$2 path=$3
  shift 3
  curl -sS --fail-with-body --max-time 60 -X "$method" "$base$path" -H "X-Master-Key: $key" "$@"
}
status_of() { curl -sS --max-time 60 -o "$work/body" -w '%{http_code}' "$@"; }
expect_status() {
  local wanted=$1 got
  shift
  got=$(status_of "$@")
  [ "$got" = "$wanted" ] || fail "status $got instead of $wanted: $* ($(cat "$work/body"))"
}
is_connected() {
  [ "$(curl -s --max-time 10 "$1/api/v1/sessions/shop" -H "X-Master-Key: $key" | jq -r .status)" = CONNECTED ]
}
send() {
  call "$1" POST '/api/v1/messages?sessionId=shop' -H 'Content-Type: application/json' \
    -d "{\"to\":\"6281234567890\",\"type\":\"text\",\"text\":{\"body\":\"$2\"}}" >"$work/body" ||
    fail "sending through $1: $(cat "$work/body")"
}
# Where a front shows the gateway's pages: those behind Apache leave the rest of the site alone.
pages() {
  case $1 in
    "${node:-none}"* | "${passenger:-none}"* | "$direct"*) echo "$1" ;;
    *) echo "$1/warung" ;;
  esac
}
has_arrived() {
  call "$(pages "$1")" GET /sandbox/phones/6281234567890/messages | jq -e --arg t "$2" 'map(select(.text == $t)) | length == 1'
}
streams() { # the first event arrives while the stream stays open; curl is not waited for
  grep -qm 1 '^data:' < <(curl -sN --max-time 20 "$1/api/v1/events?lastEventId=0" -H "X-Master-Key: $key") ||
    fail "no event through $1"
}
sends() { # sends BASE TEXT: the phone decrypts it, once.
  until_true 30 is_connected "$1" || fail "the session is not connected (seen through $1): $(curl -si "$1/api/v1/sessions/shop")"
  send "$1" "$2"
  until_true 20 has_arrived "$1" "$2" || fail "the text did not arrive once: $2"
}

# --- Install ---------------------------------------------------------------------------------------
# A site that is there already, with a file of its own below one of the gateway's addresses, and rules
# such as content management systems have.
install -o "$user" -g "$user" -m 644 "$work/own.htaccess" "$home/public_html/.htaccess"
install -d -o "$user" -g "$user" -m 755 "$home/public_html/media"
for page in index.html media/own.css; do
  echo "the site's own $page" >"$home/public_html/$page"
  chmod 644 "$home/public_html/$page"
done
site_is_untouched() { # site_is_untouched BASE
  for page in index.html media/own.css; do
    curl -sf --max-time 20 "$1/$page" | grep -qx "the site's own $page" || fail "$1/$page is the site's own"
  done
  expect_status 200 "$1/missing-page" # the site's own rule
  grep -qx "the site's own index.html" "$work/body"
  expect_status 200 "$1/apis"
}
as_user "$kit/install.sh" --binary "$binary" --front proxy >"$work/install.log" || fail "install.sh: $(cat "$work/install.log")"
key=$(cat "$warung/data/master.key")
direct=http://$(sed -n 's/^listen = "\(.*\)"/\1/p' "$warung/warung.toml")
curl -sf "$direct/health" >/dev/null
ok "an ordinary user installs it under limits and it answers"
grep -qF "$warung/data/master.key" "$work/install.log"
refused grep -rqF "$key" "$work/install.log" "$warung/log"
ok "the way to the master key is told, the key is in no log"
[ -z "$(find "$warung" -perm /077 ! -type l)" ] || fail "$(find "$warung" -perm /077)"
ok "nothing under ~/warung is open to other users"

crontab -l -u "$user" >"$work/cron"
[ "$(grep -c '# warung-watchdog$' "$work/cron")" = 2 ]
grep -q '^@reboot ' "$work/cron"
grep -qxF '5 4 * * * /bin/true # the own line' "$work/cron"
ok "two crontab lines are added, the user's own line stays"

proc=/proc/$(pid)
[ "$(readlink "$proc/exe")" = "$warung/warung" ]
[ "$(ps -o sid= -p "$(pid)" | tr -d ' ')" = "$(pid)" ]
[ -z "$(find "$proc/fd" -lname '*turn.lock')" ]
[ "$(readlink "$proc/fd/0")" = /dev/null ]
grep -Eq '^Max core file size +0 +0' "$proc/limits"
grep -Eq '^Max address space +805306368 ' "$proc/limits"
[ "$(find "$proc/task" -mindepth 1 -maxdepth 1 | wc -l)" -lt 20 ]
ok "the process is detached, writes no core, and is bounded in memory and threads"

before=$(pid)
cp "$warung/warung.toml" "$work/toml"
echo '# mine' >>"$warung/warung.toml"
as_user "$kit/install.sh" --binary "$binary" --front proxy --port 12345 >"$work/install2.log"
[ "$(pid)" = "$before" ]
tail -n 1 "$warung/warung.toml" | grep -qx '# mine'
crontab -l -u "$user" | cmp -s - "$work/cron"
[ "$(grep -c 'BEGIN warung' "$home/public_html/.htaccess")" = 1 ]
ok "installing again changes neither settings nor crontab nor the running process"

# --- Reverse proxy -----------------------------------------------------------------------------------
until_true 10 curl -sf "$web/warung/health" || fail "nothing answers through Apache"
call "$web" POST /api/v1/sessions -H 'Content-Type: application/json' -d '{"sessionId":"shop"}' >"$work/created"
token=$(jq -r .token "$work/created")
call "$web/warung" POST /sandbox/scan -d '{"sessionId":"shop","phone":"6281200000001"}' >/dev/null
sends "$web" 'through Apache'
ok "proxy: a phone pairs, and a text reaches another phone"
expect_status 200 "$web/api/v1/sessions/shop" -H "Authorization: Bearer $token"
expect_status 401 "$web/api/v1/sessions/shop"
ok "proxy: Authorization is passed on"

legacy=(-X POST -H 'Content-Type: application/json' -d '{"sessionId":"shop","number":"6281234567890","message":"legacy"}')
expect_status 401 "$web/api/send-message" "${legacy[@]}"
expect_status 401 "$direct/api/send-message" "${legacy[@]}"
expect_status 200 "$web/api/send-message" "${legacy[@]}" -H "Authorization: Bearer $token"
ok "a legacy send without a token is refused, through Apache and on the loopback port"

{ printf '%%PDF-1.4\n'; head -c 9000000 /dev/urandom; } >"$work/big.pdf"
upload_round_trip() { # of 9 MB, more than PHP's default of 8
  local id
  id=$(call "$1" POST '/api/v1/media?sessionId=shop' -F "file=@$work/big.pdf;type=application/pdf" | jq -r .mediaId)
  call "$1" GET "/media/$id?sessionId=shop" | cmp - "$work/big.pdf" || fail "the file came back different through $1"
  call "$1" GET "/media/$id?sessionId=shop" -H 'Range: bytes=0-7' >"$work/range"
  [ "$(cat "$work/range")" = '%PDF-1.4' ]
}
upload_round_trip "$web"
ok "proxy: a file of 9 MB goes up and comes back, whole and in part"
streams "$web"
ok "proxy: the event stream passes"
expect_status 404 -x "$web" http://example.com/api/nothing
expect_status 404 "$web/warung/@example.com/" -H "X-Master-Key: $key"
expect_status 403 "$web/warung/health%20HTTP/1.1%0d%0aHost:%20x%0d%0a%0d%0aGET%20/ready"
ok "proxy: it is no open proxy"
site_is_untouched "$web"
expect_status 302 "$web/warung"
curl -sf "$web/warung/" | grep -q 'href="source"'
expect_status 200 "$web/warung/docs"
expect_status 401 "$web/api/v1/messages" -X POST
ok "proxy: the documented addresses are at the root of the domain, the rest of the site is untouched"

as_user "$kit/install.sh" --binary "$binary" --front proxy --public domain >/dev/null
expect_status 200 "http://127.0.0.1:$root_port/warung/health"
expect_status 200 "http://127.0.0.1:$root_port/api/v1/sessions/shop" -H "Authorization: Bearer $token"
install -d "$home/domain/.well-known/acme-challenge"
echo proof >"$home/domain/.well-known/acme-challenge/file"
expect_status 200 "http://127.0.0.1:$root_port/.well-known/acme-challenge/file"
grep -qx proof "$work/body"
ok "proxy: it works as a domain's root, and leaves certificates' renewal alone"

# --- PHP -----------------------------------------------------------------------------------------------
as_user "$kit/install.sh" --binary "$binary" --front php --public public_html/php >/dev/null
check_front() { # check_front NAME BASE
  sends "$2" "through $1"
  expect_status 200 "$2/api/v1/sessions/shop" -H "Authorization: Bearer $token"
  expect_status 401 "$2/api/v1/sessions/shop"
  expect_status 401 "$2/api/send-message" "${legacy[@]}"
  expect_status 200 -I "$(pages "$2")/health"
  expect_status 404 "$(pages "$2")/no/such%20page?a=%2F"
  upload_round_trip "$2"
}
check_front php "$web/php"
ok "php: sends, passes tokens, status codes and files of 9 MB"
expect_status 501 "$web/php/api/v1/events" -H "X-Master-Key: $key"
grep -q webhooks "$work/body"
ok "php: an event stream is answered by a hint"

as_user "$kit/install.sh" --binary "$binary" --front php >/dev/null
site_is_untouched "$web"
check_front 'php at the root' "$web"
ok "php: the documented addresses are at the root of the domain, the rest of the site is untouched"
as_user "$kit/install.sh" --binary "$binary" --front proxy >/dev/null

# --- Node ----------------------------------------------------------------------------------------------
as_user "$kit/install.sh" --binary "$binary" --front node >/dev/null
node_port=$(free_port)
runuser -u "$user" -- env -i HOME="$home" PATH=/usr/bin:/bin WARUNG_COMMAND=sandbox PORT="$node_port" \
  node "$home/warung-node/app.js" >"$work/node.log" 2>&1 &
apps+=($!)
node=http://127.0.0.1:$node_port
until_true 10 curl -sf "$node/health" || fail "node does not answer"
check_front node "$node"
streams "$node"
ok "node: sends, passes tokens, status codes, files of 9 MB and the event stream"

passenger=$web/app
if [ -e /usr/lib/apache2/modules/mod_passenger.so ]; then
  until_true 30 curl -sf "$passenger/health" || fail "nothing answers under Passenger"
  check_front passenger "$passenger"
  ok "passenger: sends, passes tokens, status codes and files of 9 MB"
else
  ok "passenger: skipped, libapache2-mod-passenger is not installed"
fi

# --- What the fronts say about the client ---------------------------------------------------------------
cat >"$work/echo.js" <<'JS'
require('http').createServer((req, res) => {
  let size = 0;
  req.on('data', (d) => { size += d.length; });
  req.on('end', () => res.end(JSON.stringify({ method: req.method, url: req.url, size, headers: req.headers })));
}).listen(Number(process.env.PORT), '127.0.0.1');
JS
echo_port=$(free_port)
PORT=$echo_port node "$work/echo.js" &
apps+=($!)
until_true 10 curl -sf "http://127.0.0.1:$echo_port/"
install -d "$home/public_html/echo" "$home/public_html/echo-php/warung" "$home/echo"
sed "s/@PORT@/$echo_port/" "$kit/htaccess.proxy" >"$home/public_html/echo/.htaccess"
sed "s/@LISTEN@/127.0.0.1:$echo_port/" "$kit/proxy.php" >"$home/public_html/echo-php/warung/proxy.php"
cp "$kit/htaccess.php" "$home/public_html/echo-php/.htaccess"
cp "$kit/user.ini" "$home/public_html/echo-php/warung/.user.ini"
echo "listen = \"127.0.0.1:$echo_port\"" >"$home/echo/warung.toml"
chmod -R a+rX "$home/public_html" "$home/echo"
echo_node_port=$(free_port)
runuser -u "$user" -- env -i PATH=/usr/bin:/bin HOME="$home" WARUNG_HOME="$home/echo" WARUNG_BASE=/wa PORT="$echo_node_port" \
  node "$home/warung-node/app.js" >>"$work/node.log" 2>&1 &
apps+=($!)
until_true 10 curl -sf "http://127.0.0.1:$echo_node_port/wa/"
for front in "proxy $web/echo" "php $web/echo-php" "node http://127.0.0.1:$echo_node_port/wa"; do
  read -r name base <<<"$front"
  curl -sS --max-time 20 -X PUT "$base/api/a%20b/c?x=1&y=%2F" -H 'Authorization: Bearer t' -H 'X-Master-Key: m' \
    -H 'apikey: a' -H 'X-API-Key: k' -H 'Content-Type: text/x' -H 'Range: lines=1-2' \
    -H 'X-Forwarded-For: 6.6.6.6' -H 'X-Forwarded-Proto: https' -H 'X-Real-IP: 6.6.6.6' -H 'Forwarded: for=6.6.6.6' \
    -d 12345 >"$work/echoed"
  jq -e '.method == "PUT" and .url == "/api/a%20b/c?x=1&y=%2F" and .size == 5
    and (.headers | .authorization == "Bearer t" and ."x-master-key" == "m" and .apikey == "a"
      and ."x-api-key" == "k" and ."content-type" == "text/x" and .range == "lines=1-2"
      and ."x-forwarded-for" == "127.0.0.1" and ."x-forwarded-proto" == "http"
      and (has("x-real-ip") or has("forwarded") | not))' "$work/echoed" >/dev/null ||
    fail "$name passes on: $(cat "$work/echoed")"
  if [ "$name" != node ]; then
    curl -sS --max-time 20 "$base/warung/a%20b?x=1" >"$work/echoed"
    jq -e '.url == "/a%20b?x=1"' "$work/echoed" >/dev/null || fail "$name passes a page on: $(cat "$work/echoed")"
  fi
  ok "$name: method, path, query, body and credentials are passed on; claims about the client are replaced"
done

if [ -e /usr/lib/apache2/modules/mod_passenger.so ]; then
  # The Node front reads the settings anew for each request.
  cp "$warung/warung.toml" "$work/toml"
  cat "$home/echo/warung.toml" >"$warung/warung.toml"
  curl -sS --max-time 20 "$passenger/a%20b?x=1" -H 'Authorization: Bearer t' \
    -H 'X-Forwarded-For: 6.6.6.6' -H 'X-Forwarded-Proto: https' >"$work/echoed"
  cat "$work/toml" >"$warung/warung.toml"
  jq -e '.url == "/a%20b?x=1" and (.headers | .authorization == "Bearer t" and ."x-forwarded-for" == "127.0.0.1"
    and (has("x-forwarded-proto") or has("!~passenger-envvars") | not))' "$work/echoed" >/dev/null || fail "passenger passes on: $(cat "$work/echoed")"
  ok "passenger: the base address is taken off, claims about the client are replaced"
fi

# --- Crash and the minute check -----------------------------------------------------------------------
# Those that were killed and not yet reaped do not count.
gateways_are() {
  [ "$(ps -o stat=,comm= -u "$user" | awk '$1 !~ /^Z/ && $2 == "warung"' | wc -l)" = "$1" ]
}
is_new() { ctl status && [ "$(pid)" != "$1" ]; }
before=$(pid)
kill -KILL "$before"
until_true 10 test ! -e "/proc/$before"
expect_status 503 "$web/php/warung/health"
ok "php: 503 while the gateway is down"
for _ in 1 2 3 4 5; do watchdog & checks+=($!); done
wait "${checks[@]}"
until_true 30 is_new "$before" || fail "the minute check did not start it"
gateways_are 1
ok "five checks at once start one gateway after kill -9"
sends "$web" 'after the crash'
ok "after kill -9 the session is connected and sends"

ctl stop >/dev/null
watchdog
watchdog --start
refused ctl status
expect_status 503 -X POST "$node/api/v1/messages" -d '{}' -D "$work/head"
grep -qi '^retry-after:' "$work/head"
refused ctl status
ok "what the user stopped stays stopped; node answers a POST with 503 and Retry-After"
ctl start >/dev/null
kill -KILL "$(pid)"
expect_status 200 "$node/health"
ok "node: a GET has the gateway started and is answered"

# A neighbour holds every connection that there is: no reason for a restart, and for nobody to wait.
before=$(pid)
runuser -u nobody -- bash -c "for _ in {1..300}; do exec {fd}<>/dev/tcp/127.0.0.1/${direct##*:}; done; sleep 60" &
apps+=($!)
sleep 1
echo '0 0' >"$warung/run/starts"
for _ in 1 2 3; do watchdog; done
[ "$(pid)" = "$before" ] || fail "a neighbour had it restarted"
sends "$direct" 'in spite of the neighbour'
ok "a neighbour who holds all connections neither restarts it nor holds it up"

# Nothing answers where the settings say: three checks in a row, then a restart.
sends "$web" 'before the silence'
before=$(pid)
cp "$warung/warung.toml" "$work/toml"
sed -i "s|^data = .*|data = \"$home/elsewhere\"|" "$warung/warung.toml"
echo '0 0' >"$warung/run/starts"
watchdog
watchdog
[ "$(pid)" = "$before" ]
watchdog
until_true 30 is_new "$before" || fail "not restarted after three failed checks"
cat "$work/toml" >"$warung/warung.toml"
ctl restart >/dev/null
ok "it is restarted after three failed checks, not before"

ctl stop >/dev/null
mv "$warung/warung" "$work/good"
printf '#!/bin/sh\necho broken\nexit 1\n' >"$warung/warung"
chmod 755 "$warung/warung"
rm -f "$warung/run/stopped" "$warung/run/starts"
has_ended() { flock -n "$warung/run/daemon.lock" true; }
for _ in 1 2 3 4 5 6; do watchdog; until_true 10 has_ended; done
[ "$(grep -c '^broken$' "$warung/log/warung.log")" = 2 ] || fail "$(tail "$warung/log/warung.log")"
ok "a program that ends at once is not started again and again"
mv -f "$work/good" "$warung/warung"

ctl start >/dev/null
head -c 1100000 /dev/zero | tr '\0' 'x' >>"$warung/log/warung.log"
watchdog
[ "$(wc -c <"$warung/log/warung.log.1")" -gt 1100000 ]
[ "$(wc -c <"$warung/log/warung.log")" -lt 1000 ]
[ "$(stat -c %a "$warung/log/warung.log.1")" = 600 ]
ok "the log is rotated"

# --- Update ----------------------------------------------------------------------------------------------
sends "$web" 'before the update'
install -m 755 "$binary" "$work/warung"
echo >>"$work/warung"
(cd "$work" && sha256sum warung >SHA256SUMS)
before=$(pid)
as_user "$warung/update.sh" "$work/warung" "$work/SHA256SUMS" >"$work/update.log" || fail "$(cat "$work/update.log")"
[ "$(pid)" != "$before" ]
cmp -s "$work/warung" "$warung/warung"
cmp -s "$binary" "$warung/warung.old"
ls "$warung"/data/backups/before-update-*.redb >/dev/null
sends "$web" 'after the update'
ok "update: checksum, backup, swap; the session is connected and sends"
before=$(pid)
echo "$(sha256sum </dev/null | cut -d ' ' -f 1)  warung" >"$work/SHA256SUMS"
refused as_user "$warung/update.sh" "$work/warung" "$work/SHA256SUMS"
printf '#!/bin/sh\nexit 1\n' >"$work/dead"
refused as_user "$warung/update.sh" "$work/dead"
[ "$(pid)" = "$before" ]
ok "update: a wrong checksum or a program that does not run at all changes nothing"
# shellcheck disable=SC2016 # It is the script's own $1.
printf '#!/bin/sh\n[ "$1" = --version ] && echo "warung 9"\nexit 0\n' >"$work/broken"
chmod 755 "$work/broken"
if as_user "$warung/update.sh" "$work/broken" >"$work/update.log" 2>&1; then fail "a broken update passed"; fi
grep -q 'old program runs again' "$work/update.log" || fail "$(cat "$work/update.log")"
cmp -s "$work/warung" "$warung/warung"
sends "$web" 'after the roll back'
ok "update: a broken program is rolled back; the session is connected and sends"

# --- Unix socket -----------------------------------------------------------------------------------------
sed -i "s#^listen = .*#listen = \"unix:$warung/run/warung.sock\"#" "$warung/warung.toml"
ctl restart >/dev/null
as_user "$kit/install.sh" --binary "$warung/warung" --front php --public public_html/php >/dev/null
refused curl -s "$direct/health"
[ "$(stat -c %a "$warung/run/warung.sock")" = 600 ]
sends "$web/php" 'php over the socket'
sends "$node" 'node over the socket'
# A hundred, because the front once lost an answer now and then to a socket closed a moment too soon.
for n in $(seq 100); do send "$node" "row $n"; done
ok "php and node serve over a Unix socket that only the account's user reaches"
if as_user "$kit/install.sh" --binary "$warung/warung" --front proxy >/dev/null 2>"$work/refused"; then
  fail "a proxy front to a socket"
fi
grep -q 'needs a port' "$work/refused"
ok "the proxy front over a socket is refused with a reason"

# --- Remove ----------------------------------------------------------------------------------------------
before=$(pid)
as_user "$warung/remove.sh" >/dev/null
until_true 5 test ! -e "/proc/$before"
[ "$(ls -A "$warung")" = data ] || fail "left: $(ls -A "$warung")"
[ "$(crontab -l -u "$user" | grep -v '^#')" = '5 4 * * * /bin/true # the own line' ]
cmp "$work/own.htaccess" "$home/public_html/.htaccess"
for path in public_html/php warung-node domain/.htaccess; do refused test -e "$home/$path"; done
ok "remove: nothing is left but the data and what was the user's own"
mkdir -m 755 "$work/refusing"
printf '#!/bin/sh\necho "you are not allowed to use this program" >&2\nexit 1\n' >"$work/refusing/crontab"
chmod 755 "$work/refusing/crontab"
as_user PATH="$work/refusing:/usr/bin:/bin" "$kit/install.sh" --binary "$binary" --front php --public public_html/php \
  >/dev/null 2>"$work/refused"
grep -q 'NOT in your crontab' "$work/refused"
grep -qF "* * * * * $warung/watchdog.sh" "$work/refused"
crontab -l -u "$user" | grep -qxF '5 4 * * * /bin/true # the own line'
ok "install: where crontab refuses it says which lines to add where, and changes none"
grep -q '^# mine' "$warung/warung.toml"
[ "$(cat "$warung/data/master.key")" = "$key" ]
sends "$web/php" 'installed again'
ok "installed again over the kept data, the session is connected and sends"
as_user "$warung/remove.sh" --purge >/dev/null
refused test -e "$warung"
until_true 5 gateways_are 0
ok "remove --purge leaves nothing"
echo "all passed in $SECONDS s"
