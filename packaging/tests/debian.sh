#!/bin/bash
# Builds the Debian package, installs it in a fresh Debian, uses, upgrades, removes and purges it.
#
#   packaging/tests/debian.sh BINARY
#
# Needs root, a static build without the sandbox feature, and cargo-deb (on PATH, or CARGO_DEB=PATH).
# The Debian comes from the mirror that this machine's apt uses; DEBIAN_TAR=FILE keeps it for the next
# run. First the package is tried where no systemd runs, then in a container that systemd boots; where
# that is not possible, the script says so and the first part stands alone.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: $0 BINARY" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "$0: run it as root" >&2; exit 2; }
# Mounts of this test are seen by nobody else, and gone with it.
if [ -z "${IN_NAMESPACE:-}" ]; then
    IN_NAMESPACE=1 exec unshare --mount --propagation private -- "$0" "$(realpath "$1")"
fi

root=$(cd "$(dirname "$0")/../.." && pwd)
cargo_deb=$(command -v "${CARGO_DEB:-cargo-deb}") || {
    echo "$0: cargo-deb is missing: cargo install cargo-deb --locked" >&2
    exit 2
}
work=$(mktemp -d)
debian=$work/debian
pid='' machine=''
trap finish EXIT

ok() { echo "ok - $*"; }
die() {
    echo "not ok - $*" >&2
    [ ! -e "$work/log" ] || tail -n 40 "$work/log" | sed 's/^/    /' >&2
    exit 1
}
finish() {
    [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
    [ -z "$machine" ] || { kill -9 "$machine" && wait "$machine"; } 2>/dev/null || true
    rm -rf "$work"
}
# Waits until the words succeed; at most 60 seconds.
until_true() {
    local end=$((SECONDS + 60))
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}
need() {
    command -v "$1" >/dev/null && return
    apt-get install --yes --no-install-recommends "$2" >"$work/log" 2>&1 && command -v "$1" >/dev/null
}
for pair in curl:curl jq:jq debootstrap:debootstrap ip:iproute2; do
    need "${pair%:*}" "${pair#*:}" || die "${pair%:*} is missing"
done
case $("$1" --version) in *sandbox*) die "a sandbox build does not serve WhatsApp; give a release build" ;; esac

# --- The package ---------------------------------------------------------------------------------

# A target folder of its own: the program under test is packed, whatever was built before.
mkdir -p "$work/target/release" && cp "$1" "$work/target/release/warung"
cp -R "$(dirname "$1")/manual" "$work/target/release/" || die "packaging/build.sh left no manual"
for revision in 1 2; do
    (cd "$root" && CARGO_TARGET_DIR=$work/target "$cargo_deb" --no-build --no-strip --fast \
        --deb-revision $revision --output "$work/warung-$revision.deb") >"$work/log" 2>&1 || die "cargo-deb fails"
done
deb=$work/warung-1.deb
field() { dpkg-deb --field "$deb" "$1"; }
[ "$(field Package)" = warung ] || die "another name"
[ "$(field Architecture)" = "$(dpkg --print-architecture)" ] || die "another architecture"
[ -z "$(field Depends)$(field Pre-Depends)" ] || die "it depends on: $(field Depends)"
dpkg-deb --fsys-tarfile "$deb" | tar -tvf - | awk '$1 !~ /^d/ {print $1, $2, $6}' | sort >"$work/list"
sort >"$work/expected" <<'LIST'
-rw-r--r-- 0/0 ./etc/warung/warung.toml
-rw-r--r-- 0/0 ./usr/share/bash-completion/completions/warung
-rw-r--r-- 0/0 ./usr/share/fish/vendor_completions.d/warung.fish
-rw-r--r-- 0/0 ./usr/share/zsh/vendor-completions/_warung
-rw-r--r-- 0/0 ./usr/lib/systemd/system/warung.service
-rw-r--r-- 0/0 ./usr/share/doc/warung/AGPL-3.0-only.txt
-rw-r--r-- 0/0 ./usr/share/doc/warung/CHANGELOG.md
-rw-r--r-- 0/0 ./usr/share/doc/warung/LGPL-2.1-or-later.txt
-rw-r--r-- 0/0 ./usr/share/doc/warung/LICENSE
-rw-r--r-- 0/0 ./usr/share/doc/warung/README.md
-rw-r--r-- 0/0 ./usr/share/doc/warung/THIRD-PARTY.txt
-rw-r--r-- 0/0 ./usr/share/doc/warung/copyright
-rwxr-xr-x 0/0 ./usr/bin/warung
LIST
for page in "$work"/target/release/manual/*.1; do
    echo "-rw-r--r-- 0/0 ./usr/share/man/man1/$(basename "$page")"
done | sort -o "$work/expected" - "$work/expected"
diff "$work/expected" "$work/list" >"$work/log" || die "other files than expected"
dpkg-deb --fsys-tarfile "$deb" | tar -xOf - ./usr/share/doc/warung/copyright | grep -x 'License: AGPL-3.0-only' >/dev/null ||
    die "the copyright file does not name the licence of the program"
ok "the package ($(du -h "$deb" | cut -f 1)) holds what it should and needs no other"

# --- A fresh Debian ------------------------------------------------------------------------------

if [ -n "${DEBIAN_TAR:-}" ] && [ -e "$DEBIAN_TAR" ]; then
    mkdir "$debian" && tar -C "$debian" -xf "$DEBIAN_TAR"
else
    # The first main archive that apt knows, whatever it is called.
    # shellcheck disable=SC2016 # apt's own variables
    read -r mirror suite < <(apt-get indextargets --format '$(SITE) $(CODENAME)' \
        'Created-By: Packages' 'Component: main' 'Origin: Debian' 'Label: Debian' | head -n 1) || true
    [ -n "${suite:-}" ] || die "apt knows no archive of Debian"
    debootstrap --variant=minbase "$suite" "$debian" "$mirror" >"$work/log" 2>&1 || die "debootstrap fails"
    [ -z "${DEBIAN_TAR:-}" ] || tar -C "$debian" -cf "$DEBIAN_TAR" .
fi
[ ! -e "$debian/usr/bin/warung" ] || die "it is not fresh"
cp "$work"/warung-*.deb "$debian/root/"
ok "a fresh Debian $(cat "$debian/etc/debian_version"), minbase"

# Both parts go through the same life; they differ in how a command is run in the Debian.
api=http://127.0.0.1:3000
config=/etc/warung/warung.toml
state=/var/lib/warung
json='Content-Type: application/json'
install_deb() { run dpkg -i "/root/warung-$1.deb" >"$work/log" 2>&1 || die "dpkg -i fails"; }
# shellcheck disable=SC2317 # until_true calls it
healthy() { run /usr/bin/warung healthcheck --config "$config" --data "$state" 2>/dev/null; }
call() { nsenter --target "$pid" --net curl --silent --show-error --fail --max-time 20 "$@"; }
add_session() {
    key=$(run cat $state/master.key)
    call $api/api/v1/sessions -H "X-Master-Key: $key" -H "$json" -d "{\"sessionId\":\"$1\"}" >/dev/null ||
        die "the API makes no session"
}
has_session() {
    call $api/api/v1/sessions -H "X-Master-Key: $key" | jq -e --arg s "$1" 'tostring | contains("\"\($s)\"")' >/dev/null ||
        die "the session $1 is gone"
}
absent() {
    for path; do
        [ ! -e "$debian/$path" ] || die "left behind: $path"
    done
}
check_removed() {
    run dpkg -r warung >"$work/log" 2>&1 || die "dpkg -r fails"
    absent usr/bin/warung usr/lib/systemd/system/warung.service
    run test -e $state/master.key || die "removal took the data"
    [ -e "$debian$config" ] || die "removal took the settings"
    ok "$1: dpkg -r keeps data and settings"
}
check_purged() {
    run dpkg -P warung >"$work/log" 2>&1 || die "dpkg -P fails"
    for path in $state /var/lib/private/warung /etc/warung /etc/systemd/system/multi-user.target.wants/warung.service; do
        if run test -e "$path" || run test -L "$path"; then die "dpkg -P leaves $path"; fi
    done
    ok "$1: dpkg -P takes data, settings and the unit's links"
}

# --- Where no systemd runs -----------------------------------------------------------------------

run() { chroot "$debian" "$@"; }
install_deb 1
grep -q "$state/master.key" "$work/log" || die "it does not say where the key is"
[ "$(run stat -c '%a %u %g' /usr/bin/warung $config)" = "$(printf '755 0 0\n644 0 0')" ] || die "wrong modes"
run dpkg-query --show --showformat '${Conffiles}' warung | grep -q $config || die "the settings are no conffile"
[ -L "$debian/etc/systemd/system/multi-user.target.wants/warung.service" ] || die "the unit is not enabled"
[ "$(run warung --version)" = "$("$1" --version)" ] || die "another version"
ok "chroot: dpkg -i installs program, settings and the enabled unit, and says where the key is"

run warung config check --config $config >"$work/log" 2>&1 || die "the settings are not in order"
# Every setting that is shown commented out is a real one with its default.
sed 's/^# \([a-z_]* = \)/\1/' "$debian$config" >"$work/all.toml"
[ "$(grep -c '^[a-z_]* = ' "$work/all.toml")" -ge 15 ] || die "the settings are not shown"
cp "$work/all.toml" "$debian/root/"
run warung check --config /root/all.toml --data /root/none >"$work/log" 2>&1 || true
if grep -q 'setting\|TOML' "$work/log"; then die "a commented setting is wrong"; fi
ok "chroot: every commented setting is understood"

mapfile -t command < <(sed -n 's/^ExecStart=//p' "$debian/usr/lib/systemd/system/warung.service" | tr -s ' ' '\n')
[ "${command[0]}" = /usr/bin/warung ] || die "another ExecStart: ${command[*]}"
install -d -m 700 -o 65533 -g 65533 "$debian$state"
start() {
    # shellcheck disable=SC2016 # the inner shell's words
    unshare --net sh -c 'ip link set lo up && exec chroot "$@"' sh \
        --userspec 65533:65533 "$debian" "${command[@]}" >"$work/log" 2>&1 &
    pid=$!
    until_true grep -qx 'listening on http://127.0.0.1:3000' "$work/log" || die "it does not listen"
    until_true nsenter --target $pid --net chroot "$debian" \
        /usr/bin/warung healthcheck --config $config || die "the health check fails"
}
stop() {
    kill -TERM $pid
    wait $pid || die "it does not end well"
    pid=
}
start
add_session shop
ok "chroot: the unit's ExecStart serves as an ordinary user; health check and API answer"
stop
echo 'max_sessions = 7' >>"$debian$config"
install_deb 2
if grep -q master.key "$work/log"; then die "an upgrade speaks of a new key"; fi
[ "$(run dpkg-query --show --showformat '${Version}' warung | sed 's/.*-//')" = 2 ] || die "not upgraded"
tail -n 1 "$debian$config" | grep -qx 'max_sessions = 7' || die "the changed settings are gone"
start
has_session shop
stop
ok "chroot: an upgrade keeps data and changed settings"
check_removed chroot
check_purged chroot

# --- Under a real systemd ------------------------------------------------------------------------

# The leader's namespaces, all of them.
run() { nsenter --target "$leader" --all -- env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
booted() {
    leader=$(pgrep --parent "$machine" | head -n 1) && [ -n "$leader" ] &&
        [ "$(run systemctl is-system-running 2>/dev/null)" = running ]
}
boot() {
    need systemd-nspawn systemd-container || return
    cp --remove-destination -L /etc/resolv.conf "$debian/etc/resolv.conf"
    chroot "$debian" sh -c 'apt-get update && apt-get install --yes --no-install-recommends systemd-sysv dbus' \
        >"$work/log" 2>&1 || return
    systemd-nspawn --quiet --directory "$debian" --register=no --keep-unit --private-network \
        --console=pipe --boot </dev/null >"$work/log" 2>&1 &
    machine=$!
    until_true settled && booted
}
settled() { ! kill -0 "$machine" 2>/dev/null || booted; }
if ! boot; then
    echo "# systemd cannot be booted here: $(tail -n 1 "$work/log")"
    echo "# only the part without systemd was tried"
    exit 0
fi
ok "systemd $(run systemctl --version | awk 'NR == 1 {print $2}') boots in the Debian"

journal() { run journalctl --no-pager --unit warung >"$work/log"; }
main_pid() { run systemctl show --property MainPID --value warung; }
# The process as this machine numbers it.
follow() { pid=$(pgrep --parent "$leader" --full '^/usr/bin/warung ' | head -n 1) && [ -n "$pid" ]; }
active() { [ "$(run systemctl is-active warung)" = active ] && healthy && follow; }
up() { until_true active || { journal; die "the service is not up"; }; }

# As README.md prints it, for root.
printed=$(sed -n '/<!-- try: debian -->/,/^```$/p' "$root/README.md" | sed '/^<!--/d; /^```/d; s/^sudo //')
[ -n "$printed" ] || die "README.md has no such lines"
mkdir "$debian/root/printed"
cp "$work/warung-1.deb" "$debian/root/printed/warung_1.deb"
run HOME=/root sh -euc "cd /root/printed; $printed" >"$work/log" 2>&1 || die "what README.md prints fails: $printed"
grep -qx '[0-9a-f]\{64\}' "$work/log" || die "it does not show the master key"
up
ok "systemd: README's lines install and start it, and show the master key"
[ "$(run systemctl is-enabled warung)" = enabled ] || die "not enabled"
[ "$(awk '/^Uid:/ {print $2}' "/proc/$pid/status")" -ge 61184 ] || die "not a user of its own"
[ "$(run stat -L -c %a $state)" = 700 ] || die "the data is open to others"
add_session shop
journal
grep -q "$key" "$work/log" && die "the key is in the journal"
ok "systemd: installing starts it as a user of its own; the key is in its file and not in the journal; the API answers"

[ "$(run systemctl show --property Type --value warung)" = notify ] || die "not Type=notify"
ok "systemd: it says itself that it is ready ($(run systemctl show --property StatusText --value warung))"

before=$pid
kill -9 "$pid"
restarted() { follow && [ "$pid" != "$before" ] && active; }
until_true restarted || { journal; die "not started again"; }
has_session shop
ok "systemd: killed, it comes back with its data"

# Two seconds in the place of the unit's two minutes.
run mkdir -p /etc/systemd/system/warung.service.d
printf '[Service]\nWatchdogSec=2\n' >"$debian/etc/systemd/system/warung.service.d/quick.conf"
run systemctl daemon-reload
run systemctl restart warung
up
before=$pid
kill -STOP "$pid"
until_true restarted || { journal; die "it fell silent and was not started again"; }
has_session shop
journal
grep -qi 'watchdog timeout' "$work/log" || die "something else started it again"
rm -r "$debian/etc/systemd/system/warung.service.d"
run systemctl daemon-reload
run systemctl restart warung
up
ok "systemd: when it falls silent, the watchdog starts it again"

before=$(main_pid)
echo 'max_sessions = 7' >>"$debian$config"
install_deb 2
up
[ "$(main_pid)" != "$before" ] || die "the old program still runs"
has_session shop
tail -n 1 "$debian$config" | grep -qx 'max_sessions = 7' || die "the changed settings are gone"
ok "systemd: an upgrade restarts it with data and settings"

run systemctl disable --quiet --now warung
install_deb 2
[ "$(run systemctl is-enabled warung)" = disabled ] || die "an upgrade enables what was disabled"
run systemctl enable --quiet --now warung
up
ok "systemd: an upgrade does not enable what the operator disabled"

check_removed systemd
if follow; then die "it still runs"; fi
check_purged systemd
run systemctl reset-failed 2>/dev/null || true
[ -z "$(run systemctl list-units --all --no-legend 'warung*')" ] || die "systemd still knows the unit"

# --- install.sh --systemd, in the same Debian ----------------------------------------------------

target=$(uname -m)-unknown-linux-musl
"$root/packaging/checksums.sh" "$debian/root/release" "$target=$1" >/dev/null
cp "$root/packaging/install.sh" "$debian/root/"
scripted() { run HOME=/root sh /root/install.sh "$@" >"$work/log" 2>&1; }
scripted --url file:///root/release --unsigned --systemd || die "install.sh --systemd fails"
follow() { pid=$(pgrep --parent "$leader" --full '^/usr/local/bin/warung ' | head -n 1) && [ -n "$pid" ]; }
healthy() { run /usr/local/bin/warung healthcheck --config "$config" --data "$state" 2>/dev/null; }
up
add_session shop
ok "install.sh --systemd: the service runs, the API answers"

# A program that answers --version and nothing else.
# shellcheck disable=SC2016 # the program's own words
printf '#!/bin/sh\n[ "$1" = --version ] && echo warung 9.9\n' >"$work/broken"
rm -r "$debian/root/release"
"$root/packaging/checksums.sh" "$debian/root/release" "$target=$work/broken" >/dev/null
if scripted --url file:///root/release --unsigned --systemd; then die "a program that does not start was installed"; fi
grep -q 'is back' "$work/log" || die "it does not say that the old program is back"
up
has_session shop
ok "install.sh --systemd: a new program that does not start gives way to the old one"

scripted --uninstall || die "install.sh --uninstall fails"
if follow; then die "it still runs"; fi
absent usr/local/bin/warung etc/systemd/system/warung.service
run test -e $state/master.key || die "the data is gone"
ok "install.sh --uninstall stops and removes it; the data stays"

run systemctl poweroff >/dev/null 2>&1 || true
wait "$machine" || true
machine=
