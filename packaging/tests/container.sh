#!/bin/bash
# Builds the container image and runs it the way compose.yml does: read-only, without capabilities.
#
#   packaging/tests/container.sh BINARY
#
# Needs root. The image is built and run by podman; where that cannot be had, or with NO_PODMAN=1, the
# same files run in a chroot with namespaces of their own, under what the Dockerfile declares. With a
# sandbox build it also pairs a phone and sends. No image is fetched, nothing stays behind.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: $0 BINARY" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "$0: run it as root" >&2; exit 2; }
# Mounts of this test are seen by nobody else, and gone with it.
if [ -z "${IN_NAMESPACE:-}" ]; then
    IN_NAMESPACE=1 exec unshare --mount --propagation private -- "$0" "$(realpath "$1")"
fi

root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
image=$work/image
data=$work/volume
pid=

ok() { echo "ok - $*"; }
die() {
    echo "not ok - $*" >&2
    [ ! -e "$work/log" ] || sed 's/^/    /' "$work/log" >&2
    exit 1
}
finish() {
    [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
    [ ! -d "$work/store" ] || "${podman[@]}" rm --force --time 0 warung >/dev/null 2>&1 || true
    umount --recursive "$work/root" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

# Waits until the words succeed; at most 20 seconds.
until_true() {
    local end=$((SECONDS + 20))
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.05
    done
}
need() {
    command -v "$1" >/dev/null && return
    apt-get install --yes --no-install-recommends "$2" >"$work/apt" 2>&1 && command -v "$1" >/dev/null
}
for pair in curl:curl jq:jq unshare:util-linux; do
    need "${pair%:*}" "${pair#*:}" || die "${pair%:*} is missing"
done

case $("$1" --version) in *sandbox*) command=sandbox ;; *) command=serve ;; esac
"$root/packaging/container/rootfs.sh" "$1" "$image"
tar --list --verbose --numeric-owner --file "$image/rootfs.tar" | awk '{print $1, $2, $NF}' >"$work/list"
printf '%s\n' '-rwxr-xr-x 0/0 warung' 'drwxr-xr-x 0/0 licenses/' '-rw-r--r-- 0/0 licenses/AGPL-3.0-only.txt' \
    '-rw-r--r-- 0/0 licenses/LGPL-2.1-or-later.txt' '-rw-r--r-- 0/0 licenses/LICENSE' \
    '-rw-r--r-- 0/0 licenses/THIRD-PARTY.txt' 'drwx------ 65532/65532 data/' |
    cmp -s - "$work/list" || die "the image holds other files: $(cat "$work/list")"
ok "the image holds the program, its licences and /data (65532, 0700), nothing else"

# What the Dockerfile says, for the run without podman and to compare.
words() { sed -n "s/^$1 //p" "$image/Dockerfile"; }
user=$(words USER)
mapfile -t environment < <(sed -n '/^ENV /,/[^\\]$/p' "$image/Dockerfile" | grep -o 'WARUNG_[A-Z_]*=[^ \\]*')

# A development build loads libraries, which an image from scratch has not. A release must not.
libraries() { ldd "$1" 2>/dev/null | grep -o '/[^ ]*' | sort -u; }
if [ -z "$(libraries "$1")" ]; then
    ok "the program is static"
elif [ "$command" = sandbox ]; then
    echo "# a dynamic development build: its libraries are added to the image"
    mkdir "$work/more"
    libraries "$1" | xargs cp --parents -L -t "$work/more"
    tar --append --file "$image/rootfs.tar" --owner 0 --group 0 -C "$work/more" .
else
    die "the program is not static: $1"
fi

# --- How it is started, asked and stopped -------------------------------------------------------

podman=(podman --storage-driver vfs --root "$work/store" --runroot "$work/run" --cgroup-manager cgroupfs)
with_podman() {
    [ -z "${NO_PODMAN:-}" ] && need podman podman || return
    # Its runtime knows one hierarchy of control groups; here, nobody else sees the change.
    if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
        umount --recursive /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup || return
    fi
    "${podman[@]}" build --isolation chroot --format docker --tag warung "$image" >"$work/log" 2>&1
}
# Limits are named, because raising them to podman's own asks for a right that root may lack.
limits=(--cgroups disabled --ulimit nofile=1024:1024 --ulimit nproc=1024:1024)
hardened=(--read-only --read-only-tmpfs=false --cap-drop all --security-opt no-new-privileges)

if with_podman; then
    ok "podman builds the Dockerfile"
    "${podman[@]}" image inspect warung >"$work/inspect"
    [ "$(jq -r '.[0].Config.User' "$work/inspect")" = 65532:65532 ] || die "another user"
    jq -e '.[0].Config | .Volumes["/data"] and .ExposedPorts["3000/tcp"]' "$work/inspect" >/dev/null || die "no volume or port"
    [ "$(jq -c '.[0] | .Healthcheck // .Config.Healthcheck | .Test' "$work/inspect")" = '["CMD","/warung","healthcheck"]' ] ||
        die "no health check"
    ok "the image has user, volume, port and health check"
    start() {
        "${podman[@]}" run --detach --name warung --network none --no-healthcheck "${limits[@]}" "${hardened[@]}" \
            --volume data:/data warung "$command" >"$work/log" 2>&1 || die "podman does not run it"
        pid=$("${podman[@]}" inspect --format '{{.State.Pid}}' warung)
        data=$("${podman[@]}" volume inspect --format '{{.Mountpoint}}' data)
    }
    inside() { "${podman[@]}" exec warung "$@"; }
    output() { "${podman[@]}" logs warung >"$work/log" 2>&1; cat "$work/log"; }
    stopped() { [ "$("${podman[@]}" inspect --format '{{.State.Status}} {{.State.ExitCode}}' warung)" = 'exited 0' ]; }
    gone() { "${podman[@]}" rm warung >/dev/null; }
else
    echo "# no podman: the files run in a chroot, under what the Dockerfile declares"
    # A volume is empty at first and takes over owner and mode of the image's folder.
    mkdir "$work/root" && tar -C "$work/root" -xpf "$image/rootfs.tar" && cp -a "$work/root/data" "$data"
    mount --bind "$work/root" "$work/root"
    mkdir "$work/root/dev"
    for device in null random urandom; do
        touch "$work/root/dev/$device"
        mount --bind "/dev/$device" "$work/root/dev/$device"
    done
    mount -o remount,ro,bind "$work/root"
    mount --bind "$data" "$work/root/data"
    start() {
        # shellcheck disable=SC2016 # the inner shell's words
        env -i PATH="$PATH" "${environment[@]}" unshare --net --pid --ipc --uts --fork --kill-child \
            sh -c 'ip link set lo up && exec setpriv --no-new-privs -- chroot "$@"' sh \
            --userspec "$user" --groups= "$work/root" /warung "$command" >"$work/log" 2>&1 &
        starter=$!
        until_true pgrep --parent $starter >"$work/pid" || die "it does not start"
        pid=$(cat "$work/pid")
    }
    inside() {
        env -i "${environment[@]}" nsenter --target "$pid" --net --pid --root --wd=/ \
            --setuid "${user%:*}" --setgid "${user#*:}" -- "$@"
    }
    output() { cat "$work/log"; }
    stopped() { ! kill -0 "$starter" 2>/dev/null; }
    gone() { wait "$starter" || die "it ended with an error"; }
fi

call() { nsenter --target "$pid" --net curl --silent --show-error --fail --max-time 20 "$@"; }
api=http://127.0.0.1:3000
json='Content-Type: application/json'
says_listening() { output | grep -q "^listening on http://0.0.0.0:3000$"; }
run() {
    start
    until_true says_listening || die "it does not listen"
    until_true inside /warung healthcheck || die "the health check fails"
}
stop() {
    local began end
    began=$(date +%s%N)
    kill -TERM "$pid"
    until_true stopped || die "SIGTERM does not stop it"
    end=$(date +%s%N)
    took=$(((end - began) / 1000000))
    gone
    pid=
    [ $took -lt 10000 ] || die "it took $took ms to stop"
}

# --- What it does there -------------------------------------------------------------------------

run
[ "$(awk '/^Uid:/ {print $2, $3}' "/proc/$pid/status")" = '65532 65532' ] || die "it runs as another user"
[ "$(awk '/^Cap(Prm|Eff):/ {print $2}' "/proc/$pid/status" | sort -u)" = 0000000000000000 ] || die "it holds capabilities"
[ "$(awk '/^NoNewPrivs:/ {print $2}' "/proc/$pid/status")" = 1 ] || die "it may get new rights"
ok "it runs as 65532 without any capability; the health check passes"
awk '$5 == "/" {print $6}' "/proc/$pid/mountinfo" | grep -q '^ro' || die "its root can be written"
[ ! -e "/proc/$pid/root/tmp" ] || die "there is a /tmp"
ok "its root is read-only and has no /tmp"

call $api/api/v1/sessions >/dev/null || die "the API does not answer"
[ "$(stat -c '%u %a' "$data/master.key")" = '65532 600' ] || die "master.key is open to others"
key=$(cat "$data/master.key")
output | grep -q "$key" && die "the key is in the log"
output | grep -q /data/master.key || die "the log does not say where the key is"
call $api/api/v1/sessions -H "X-Master-Key: $key" -H "$json" -d '{"sessionId":"shop"}' >/dev/null || die "no session"
ok "the API makes a session with the master key, which the log does not show"

status=$(nsenter --target "$pid" --net curl --silent --output /dev/null --write-out '%{http_code}' \
    "$api/api/send-message" -H "$json" -d '{"sessionId":"shop","number":"6281234567890","message":"x"}')
[ "$status" = 401 ] || die "a legacy send without a token: $status"
ok "legacy = auto asks for a token there, as the Dockerfile says"

if [ $command = sandbox ]; then
    scanned() { call $api/sandbox/scan -d '{"sessionId":"shop","phone":"6281200000001"}' >/dev/null 2>&1; }
    connected() {
        [ "$(call $api/api/v1/sessions/shop -H "X-Master-Key: $key" | jq -r .status)" = CONNECTED ]
    }
    send() {
        call "$api/api/v1/messages?sessionId=shop" -H "X-Master-Key: $key" -H "$json" \
            -d "{\"to\":\"6281234567890\",\"type\":\"text\",\"text\":{\"body\":\"$1\"}}" >/dev/null || die "not sent"
    }
    got() { call $api/sandbox/phones/6281234567890/messages | jq -e --arg t "$1" 'any(.text == $t)' >/dev/null; }
    until_true scanned || die "no phone scans"
    until_true connected || die "not connected"
    send before
    until_true got before || die "the phone did not get it"
    ok "a phone is paired, another decrypts a message"
fi

stop
ok "SIGTERM stops it ($took ms)"
run
call $api/api/v1/sessions -H "X-Master-Key: $key" | jq -e 'tostring | contains("\"shop\"")' >/dev/null || die "the session is gone"
if [ $command = sandbox ]; then
    until_true connected || die "not connected again"
    send after
    until_true got after || die "the phone did not get it"
fi
ok "a new container on the same volume goes on"
stop

# --- README's lines, in the folder of a release; podman answers to docker's name ------------------

[ $command = serve ] && [ -d "$work/store" ] || exit 0
printed=$(sed -n '/<!-- try: container -->/,/^```$/p' "$root/README.md" | sed '/^<!--/d; /^```/d')
[ -n "$printed" ] || die "README.md has no such lines"
mkdir "$work/bin" "$work/release"
cp "$1" "$work/release/warung"
cp -R "$root/packaging/container" "$root/packaging/THIRD-PARTY.txt" "$root/LICENSE" "$root/LICENSES" "$work/release/"
# There is no network here to publish a port on.
cat >"$work/bin/docker" <<SHIM
#!/bin/bash
podman=(${podman[*]@Q})
case \$1 in
    build) exec "\${podman[@]}" build --isolation chroot --format docker "\${@:2}" ;;
    run) options="\${*:2}"
         exec "\${podman[@]}" run --network none --no-healthcheck ${limits[*]@Q} \${options/-p 127.0.0.1:3000:3000/} ;;
    *) exec "\${podman[@]}" "\$@" ;;
esac
SHIM
chmod +x "$work/bin/docker"
(cd "$work/release" && PATH=$work/bin:$PATH bash -euc "$printed") >"$work/log" 2>&1 || die "what README.md prints fails"
until_true says_listening || die "it does not listen"
grep -qx '[0-9a-f]\{64\}' "$work/release/master.key" || die "there is no master key"
ok "README's lines build the image, run it, and bring the master key"
