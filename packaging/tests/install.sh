#!/bin/bash
# Tries install.sh and checksums.sh with a release of its own on this machine.
#
#   packaging/tests/install.sh BINARY
#
# Needs python3, curl, openssl, xz and minisign; as root it installs the last two, and tries an ordinary user's
# installation too.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: $0 BINARY" >&2; exit 2; }
root=$(cd "$(dirname "$0")/../.." && pwd)
binary=$(realpath "$1")
work=$(mktemp -d)
chmod 755 "$work"
servers=()
trap 'kill "${servers[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT

ok() { echo "ok - $*"; }
die() { echo "not ok - $*" >&2; [ ! -e "$work/out" ] || sed 's/^/    /' "$work/out" >&2; exit 1; }

command -v xz >/dev/null || { apt-get update -qq && apt-get install -y -qq xz-utils >/dev/null; }
command -v minisign >/dev/null || { apt-get update -qq && apt-get install -y -qq minisign >/dev/null; }
# A key for this test alone; with -W it has no password.
new_key() { minisign -G -W -p "$work/$1.pub" -s "$work/$1.key" >/dev/null; }
sign() { minisign -S -H -s "$work/${2:-project}.key" -m "$1/SHA256SUMS" >/dev/null; }
new_key project
new_key stranger
export PUBLIC_KEY=$work/project.pub SIGN_KEY=$work/project.key

# install.sh under each shell that it has to run in; its output is in $work/out.
shell="sh"
install() { "$shell" "$installer" "$@" >"$work/out" 2>&1; }
says() { grep -q -- "$1" "$work/out" || die "the message should hold: $1"; }
refused() {
    local why=$1
    shift
    ! install "$@" || die "installed although it should not: $why"
    says "$why"
}
tidy() { [ -z "$(find "$1" -name '.warung-install.*')" ] || die "a temporary folder is left in $1"; }

# Serves the folder $1 on a free port and sets $url. Any further word: each file breaks off half-way.
serve() {
    python3 - "$@" >"$work/port" <<'PYTHON' &
import http.server, os, sys

class Files(http.server.SimpleHTTPRequestHandler):
    def copyfile(self, source, output):
        if len(sys.argv) > 2 and "SUMS" not in self.path:
            output.write(source.read(os.fstat(source.fileno()).st_size // 2))
        else:
            super().copyfile(source, output)

    def log_message(self, *words):
        pass

os.chdir(sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
print(server.server_port, flush=True)
server.serve_forever()
PYTHON
    servers+=($!)
    local end=$((SECONDS + 20))
    until [ -s "$work/port" ]; do
        [ $SECONDS -lt $end ] || die "the file server does not start"
        sleep 0.05
    done
    url=http://127.0.0.1:$(cat "$work/port")
    : >"$work/port"
}

case $(uname -m) in
    x86_64) target=x86_64-unknown-linux-musl ;;
    aarch64) target=aarch64-unknown-linux-musl ;;
    armv7*) target=armv7-unknown-linux-musleabihf ;;
    *) target=arm-unknown-linux-musleabihf ;;
esac
good=$work/release
"$root/packaging/checksums.sh" "$good" "$target=$binary" >/dev/null
archive=$(basename "$good"/warung-*.tar.gz)
# What is got where there is xz.
file=${archive%.tar.gz}.xz
installer=$good/install.sh
(cd "$good" && sha256sum --quiet -c SHA256SUMS) || die "SHA256SUMS does not hold"
"$root/packaging/checksums.sh" "$work/again" "$target=$binary" >/dev/null
cmp -s "$good/SHA256SUMS" "$work/again/SHA256SUMS" || die "the same binary made another file"
for part in LICENSE LICENSES/AGPL-3.0-only.txt LICENSES/LGPL-2.1-or-later.txt THIRD-PARTY.txt install.sh; do
    tar -tzf "$good/$archive" "${archive%.tar.gz}/$part" >/dev/null || die "the archive lacks $part"
done
xz -dc "$good/$file" | cmp -s - "$binary" || die "the program alone is another one"
ok "checksums.sh makes $archive, $file and SHA256SUMS, twice the same, with all licences"

mkdir "$work/built"
cp "$binary" "$work/built/warung"
printf '#!/bin/sh\n' >"$work/built/warung-sandbox"
"$root/packaging/checksums.sh" "$work/whole" "$target=$work/built/warung" >/dev/null
tar -tzf "$work/whole/$archive" "${archive%.tar.gz}/warung-sandbox" >/dev/null || die "the archive lacks warung-sandbox"
ok "the program to try it on is in the archive"

serve "$good"
bin=$work/bin
for shell in dash bash; do
    command -v $shell >/dev/null || continue
    rm -rf "$bin"
    install --url "$url" --bin "$bin" || die "a good release is refused under $shell"
    cmp -s "$bin/warung" "$binary" || die "another file was installed"
    [ "$(stat -c %a "$bin/warung")" = 755 ] || die "wrong mode"
    says "getting $file"
    tidy "$bin"
done
shell="sh"
ok "a good release over http from this machine is installed, under dash and bash"

"$bin/warung" --version >/dev/null
before=$(stat -c %i "$bin/warung")
install --url "$url" --bin "$bin" || die "no second installation"
[ "$(stat -c %i "$bin/warung")" != "$before" ] || die "the file was written over in place"
ok "an upgrade puts a new file in the old one's place"

mkdir "$work/linked"
mv "$bin/warung" "$work/linked/real"
ln -s ../linked/real "$bin/warung"
before=$(stat -c %i "$work/linked/real")
install --url "$url" --bin "$bin" || die "no installation through a link"
[ -L "$bin/warung" ] || die "the link is gone"
[ "$(stat -c %i "$work/linked/real")" != "$before" ] || die "what the link leads to is the old one"
says "as $work/linked/real"
tidy "$bin"
tidy "$work/linked"
ln -sf ../nowhere/real "$bin/warung"
refused "leads nowhere" --url "$url" --bin "$bin"
rm "$bin/warung"
mv "$work/linked/real" "$bin/warung"
ok "a symbolic link in the program's place stays, and what it leads to is replaced"

"$bin/warung" serve --data "$work/data" --listen 127.0.0.1:0 >"$work/served" 2>&1 &
served=$!
servers+=("$served")
end=$((SECONDS + 20))
until [ -e "$work/data/master.key" ]; do
    [ $SECONDS -lt $end ] || die "the gateway does not start"
    sleep 0.05
done
install --url "$url" --bin "$bin" || die "no upgrade beside a running program"
says "still running (process $served): restart it"
! grep -q "master key" "$work/out" || die "an upgrade speaks of the first start"
kill "$served"
ok "an upgrade says that the program from before still runs"

cp -r "$good" "$work/release@1"
install --url "file://$work/release@1" --bin "$bin" || die "a folder with @ in its name is refused"
rm -r "$work/release@1"
INSTALL_URL=file://$good install --bin "$bin" || die "INSTALL_URL=file:// is refused"
ok "a release in a folder, named by INSTALL_URL"

# The other downloader and the other checker, where they are.
mkdir "$work/tools"
for tool in sh uname id mktemp rm mkdir mv cp chmod sed grep gzip tar env wget shasum head tail wc openssl; do
    ! command -v $tool >/dev/null || ln -s "$(command -v $tool)" "$work/tools/$tool"
done
if [ -e "$work/tools/wget" ] && [ -e "$work/tools/shasum" ]; then
    real_path=$PATH
    PATH=$work/tools install --url "$url" --bin "$bin" || die "refused with wget and shasum"
    PATH=$real_path
    says "getting $archive"
    ok "wget, shasum, openssl and gzip instead of curl, sha256sum, minisign and xz"
fi

mkdir "$work/plain"
cp "$binary" "$work/plain/${file%.xz}"
(cd "$work/plain" && sha256sum -- * >SHA256SUMS)
sign "$work/plain"
install --url "file://$work/plain" --bin "$work/bin2" || die "a plain binary is refused"
cmp -s "$work/bin2/warung" "$binary" || die "another file was installed"
ok "a plain binary instead of an archive"

# From here on nothing may change what is installed.
echo 'the old program' >"$bin/warung"
kept() {
    [ "$(cat "$bin/warung")" = 'the old program' ] || die "the old program is gone: $1"
    tidy "$bin"
    ok "$1; the old program stays"
}

bad=$work/bad
fresh() { rm -rf "$bad"; cp -r "$good" "$bad"; }
fresh
printf 'x' >>"$bad/$file"
refused "not the file that SHA256SUMS lists" --url "file://$bad" --bin "$bin"
kept "a changed file is refused"

fresh
head -c 100000 "$good/$file" >"$bad/$file"
refused "not the file that SHA256SUMS lists" --url "file://$bad" --bin "$bin"
kept "a truncated file is refused"

serve "$good" half
refused "cannot get" --url "$url" --bin "$bin"
kept "a download that breaks off is refused"

fresh
rm "$bad/$file"
refused "cannot get" --url "file://$bad" --bin "$bin"
kept "a release without its file is refused"

fresh
rm "$bad/SHA256SUMS"
refused "cannot get" --url "file://$bad" --bin "$bin"
kept "a release without SHA256SUMS is refused"

# The signature, by minisign and by OpenSSL.
mkdir "$work/plainer" "$work/poor"
for tool in "$work"/tools/*; do ln -s "$(readlink "$tool")" "$work/plainer/"; done
ln -sf "$(command -v sha256sum)" "$(command -v minisign)" "$work/plainer/"
for tool in "$work"/plainer/*; do ln -s "$(readlink "$tool")" "$work/poor/"; done
rm -f "$work/tools/minisign" "$work/poor/minisign" "$work/poor/openssl"
ln -sf "$(command -v sha256sum)" "$work/tools/"
for tools in plainer tools; do
    PATH=$work/$tools install --url "file://$good" --bin "$work/bin3" || die "a good signature is refused with $tools"
    fresh
    rm "$bad/SHA256SUMS.minisig"
    PATH=$work/$tools refused "the release is not signed" --url "file://$bad" --bin "$bin"
    # Whoever can change the program can change its sum.
    fresh
    echo '# another list' >>"$bad/SHA256SUMS"
    PATH=$work/$tools refused "is not signed with the key" --url "file://$bad" --bin "$bin"
    fresh
    sign "$bad" stranger
    PATH=$work/$tools refused "is not signed with the key" --url "file://$bad" --bin "$bin"
    fresh
    sed -i '2s/....$/AAA=/' "$bad/SHA256SUMS.minisig"
    PATH=$work/$tools refused "is not signed with the key" --url "file://$bad" --bin "$bin"
    : >"$bad/SHA256SUMS.minisig"
    PATH=$work/$tools refused "is not signed with the key" --url "file://$bad" --bin "$bin"
done
kept "a missing, a foreign, a damaged and an empty signature are refused, by minisign and by OpenSSL"
PATH=$work/poor refused "minisign, or OpenSSL 3, is needed" --url "file://$good" --bin "$bin"
kept "without minisign and OpenSSL it says what it needs"
fresh
rm "$bad/SHA256SUMS.minisig"
install --url "file://$bad" --bin "$work/bin3" --unsigned || die "--unsigned is refused"
says "is trusted"
sign "$bad" stranger
install --url "file://$bad" --bin "$work/bin3" --key "$work/stranger.pub" || die "--key is refused"
installer=$root/packaging/install.sh
refused "knows no key" --url "file://$good" --bin "$bin"
install --url "file://$good" --bin "$work/bin3" --key "$work/project.pub" || die "--key is refused"
installer=$good/install.sh
kept "--unsigned and --key do what they say; the sources' install.sh asks for one of them"

fresh
sed -i "s/$target/mips-unknown-linux-musl/" "$bad/SHA256SUMS"
sign "$bad"
refused "no file for this processor" --url "file://$bad" --bin "$bin"
kept "a file that SHA256SUMS does not list is refused"

fresh
sed -n 's/-\([0-9.]*\)-/-9.\1-/p' "$good/SHA256SUMS" >>"$bad/SHA256SUMS"
sign "$bad"
refused "several versions" --url "file://$bad" --bin "$bin"
kept "two versions in one release are refused"

fresh
printf '\177ELF of another machine' >"$work/alien"
rm "$bad/$file"
"$root/packaging/checksums.sh" "$bad" "$target=$work/alien" >/dev/null
refused "does not run on this machine" --url "file://$bad" --bin "$bin"
kept "a program that does not run here is refused"

mkdir "$work/fake"
cat >"$work/fake/uname" <<'UNAME'
#!/bin/sh
if [ "$1" = -m ]; then echo "$FAKE_MACHINE"; else echo "$FAKE_SYSTEM"; fi
UNAME
chmod 755 "$work/fake/uname"
real_path=$PATH
PATH=$work/fake:$PATH
export FAKE_SYSTEM=Linux FAKE_MACHINE=riscv64
refused "no build for this processor: riscv64" --url "file://$good" --bin "$bin"
kept "an unknown processor is named"
for pair in aarch64:aarch64 armv7l:armv7 armv6l:arm x86_64:x86_64; do
    FAKE_MACHINE=${pair%:*}
    sed "s/ warung-\(.*\)-$target/ warung-\1-sparc-unknown-linux-musl/" "$good/SHA256SUMS" >"$bad/SHA256SUMS"
    sign "$bad"
    refused "no file for this processor (${pair#*:})" --url "file://$bad" --bin "$bin"
done
kept "x86_64, aarch64, armv7 and armv6 ask for files of their own"
FAKE_SYSTEM=Darwin
refused "Linux only" --url "file://$good" --bin "$bin"
kept "another system is named"
PATH=$real_path

unset INSTALL_URL
refused "say where the release is" --bin "$bin"
for wrong in http://example.invalid/r ftp://127.0.0.1/r http://127.0.0.1.example.invalid/ \
    http://127.0.0.1:80@example.invalid/ file://relative; do
    ! install --url "$wrong" --bin "$bin" || die "accepted: $wrong"
    ! grep -q 'cannot get' "$work/out" || die "asked: $wrong"
done
kept "no URL, plain http and other schemes are refused"

[ -d /run/systemd/system ] || {
    refused "systemd" --systemd --url "file://$good" --bin "$bin"
    kept "--systemd without systemd is refused"
}

half=$(($(wc -l <"$installer") - 1))
head -n $half "$installer" | sh -s -- --url "file://$good" --bin "$bin" >"$work/out" 2>&1 || true
kept "an installer that breaks off before its last line does nothing"

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$work/home"
    chown 65533:65533 "$work/home"
    (cd / && env -i HOME="$work/home" PATH="$PATH" INSTALL_URL="file://$good" \
        setpriv --reuid 65533 --regid 65533 --clear-groups sh <"$installer") >"$work/out" 2>&1 || die "not for an ordinary user"
    home=$work/home/.local/bin
    [ "$(stat -c %u "$home/warung")" = 65533 ] || die "wrong owner"
    says "is not in PATH"
    tidy "$home"
    ok "piped into sh, an ordinary user gets ~/.local/bin/warung"
    (cd / && env -i HOME="$work/home" PATH="$PATH" \
        setpriv --reuid 65533 --regid 65533 --clear-groups sh -s -- --uninstall <"$installer") >"$work/out" 2>&1
    [ ! -e "$home/warung" ] || die "still there"
    ok "and removes it again"
else
    HOME=$work/home install --url "file://$good" || die "not for an ordinary user"
    [ -x "$work/home/.local/bin/warung" ] || die "not in ~/.local/bin"
    ok "an ordinary user gets ~/.local/bin/warung"
fi

install --uninstall --bin "$bin" || die "no uninstall"
[ ! -e "$bin/warung" ] || die "still there"
refused "there is no" --uninstall --bin "$bin"
ok "uninstall removes the program, once"
