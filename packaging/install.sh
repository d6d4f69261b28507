#!/bin/sh
# Installs Warung, or a newer version over an older one. Run it with --help.
#
# Everything stands in functions: a download of this script that breaks off does nothing.
set -eu

# The key that releases are signed with; checksums.sh puts that of packaging/minisign.pub here.
public_key=''

usage() {
    cat <<'TEXT'
usage: install.sh [--url URL] [--key FILE | --unsigned] [--bin FOLDER] [--systemd | --uninstall]

  --url URL       folder of a release, which holds SHA256SUMS and the files that it lists
                  (https://..., file:///...; INSTALL_URL)
  --key FILE      minisign public key that the release must be signed with (default: the project's,
                  which the install.sh of a release knows)
  --unsigned      ask for no signature, and trust whoever serves the URL
  --bin FOLDER    where the program goes (default /usr/local/bin for root, else ~/.local/bin)
  --systemd       install and start the service too (root)
  --uninstall     remove program and service; settings and data stay

The file for this processor is downloaded and compared with SHA256SUMS, whose signature is verified
before (by minisign, or by OpenSSL 3). An installed program is replaced only when the new one runs.
TEXT
}

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

# Copies $1 (a name below the URL) to the file $2.
fetch() {
    case $url in
        file:///*) cp -- "${url#file://}/$1" "$2" ;;
        # A server that hands over to plain http is refused, too.
        *) if command -v curl >/dev/null; then
               curl --fail --silent --show-error --location --proto "=$scheme" \
                   --connect-timeout 20 --speed-limit 1 --speed-time 60 --output "$2" "$url/$1"
           elif command -v wget >/dev/null; then
               wget --quiet --max-redirect=0 --timeout=20 --output-document="$2" "$url/$1"
           else
               fail "curl or wget is needed"
           fi ;;
    esac || fail "cannot get $url/$1"
}

check_url() {
    url=${url%/}
    scheme=https
    case $url in
        '') fail "say where the release is: --url https://... (or INSTALL_URL)" ;;
        file:///*) ;;
        *@*) fail "no user names in the URL: $url" ;;
        https://?*) ;;
        # For a trial on this machine.
        http://127.0.0.1:[0-9]* | http://127.0.0.1/*) scheme=http ;;
        *) fail "https:// or file:/// only: $url" ;;
    esac
}

# The first part of the names of this processor's files.
processor() {
    [ "$(uname -s)" = Linux ] || fail "there are builds for Linux only, this is $(uname -s)"
    case $(uname -m) in
        x86_64 | amd64) echo x86_64 ;;
        aarch64 | arm64) echo aarch64 ;;
        armv7* | armv8l) echo armv7 ;;
        armv6*) echo arm ;;
        *) fail "there is no build for this processor: $(uname -m)" ;;
    esac
}

# What has all that is needed: the program alone, packed well, is a third of the archive.
endings() {
    if [ -z "$systemd" ] && command -v xz >/dev/null; then
        echo .xz
    fi
    echo .tar.gz
}

# The name that SHA256SUMS has for processor $1; packed files before plain ones, musl before gnu.
listed() {
    for ending in $(endings) ''; do
        for libc in musl gnu; do
            name="warung-[0-9A-Za-z.+~-]*-$1-unknown-linux-${libc}[a-z]*$ending"
            found=$(sed -n "s/^[0-9a-f]\{64\} [ *]\($name\)\$/\1/p" "$temporary/SHA256SUMS")
            case $found in
                '') ;;
                *"
"*) fail "SHA256SUMS lists several versions for this processor; give the URL of one release" ;;
                *) echo "$found"; return ;;
            esac
        done
    done
    fail "the release has no file for this processor ($1)"
}

# Whoever serves the files may have changed them and their list: only the signature tells.
check_signature() {
    if [ -n "$unsigned" ]; then
        echo "not asked for a signature: $url is trusted"
        return
    fi
    [ -n "$public_key" ] ||
        fail "this install.sh knows no key that releases are signed with: --key FILE, or --unsigned to trust $url"
    (fetch SHA256SUMS.minisig "$temporary/SHA256SUMS.minisig") 2>/dev/null ||
        fail "the release is not signed (no $url/SHA256SUMS.minisig); nothing was changed"
    if command -v minisign >/dev/null; then
        minisign -V -H -q -P "$public_key" -m "$temporary/SHA256SUMS" >/dev/null 2>&1
    else
        case $(openssl version 2>/dev/null) in
            'OpenSSL '[3-9]*) verify_by_openssl 2>/dev/null ;;
            *) fail "minisign, or OpenSSL 3, is needed to verify the signature; nothing was changed" ;;
        esac
    fi || fail "SHA256SUMS is not signed with the key $public_key: damaged or tampered with; nothing was changed"
}

# What minisign does: Ed25519 over the BLAKE2b hash. Key and signature begin with two letters and the
# key's number of eight bytes.
verify_by_openssl() (
    cd "$temporary"
    printf '%s' "$public_key" | openssl base64 -d -A >key
    sed -n 2p SHA256SUMS.minisig | openssl base64 -d -A >signature
    [ "$(wc -c <key)" -eq 42 ] && [ "$(wc -c <signature)" -eq 74 ] && [ "$(head -c 2 signature)" = ED ] || return 1
    # The head of an Ed25519 key in DER.
    { printf '\060\052\060\005\006\003\053\145\160\003\041\000'; tail -c 32 key; } >key.der
    tail -c 64 signature >signature.raw
    openssl dgst -blake2b512 -binary -out hash SHA256SUMS
    openssl pkeyutl -verify -rawin -pubin -keyform DER -inkey key.der -sigfile signature.raw -in hash >/dev/null
)

verify() {
    grep -- " [ *]$1\$" "$temporary/SHA256SUMS" >"$temporary/sum"
    if command -v sha256sum >/dev/null; then
        (cd "$temporary" && sha256sum -c sum >/dev/null 2>&1)
    elif command -v shasum >/dev/null; then
        (cd "$temporary" && shasum -a 256 -c sum >/dev/null 2>&1)
    else
        fail "sha256sum or shasum is needed"
    fi || fail "$1 is not the file that SHA256SUMS lists: damaged or tampered with; nothing was changed"
}

# Leaves the new program in $temporary/warung.
download() {
    kind=$(processor)
    fetch SHA256SUMS "$temporary/SHA256SUMS"
    check_signature
    file=$(listed "$kind")
    echo "getting $file"
    fetch "$file" "$temporary/$file"
    verify "$file"
    case $file in
        *.tar.gz) gzip -dc "$temporary/$file" | (cd "$temporary" && tar xf -)
                  unpacked=$temporary/${file%.tar.gz}
                  mv "$unpacked/warung" "$temporary/warung" || fail "$file holds no program" ;;
        *.xz) unpacked=
              xz -dc "$temporary/$file" >"$temporary/warung" || fail "$file cannot be unpacked" ;;
        *) unpacked=
           mv "$temporary/$file" "$temporary/warung" ;;
    esac
    chmod 755 "$temporary/warung"
    # Whatever settings the environment holds are not tried here.
    new=$(env -i "$temporary/warung" --version 2>&1 | head -n 1) || new=
    case $new in
        'warung '*) ;;
        *) fail "$file does not run on this machine; nothing was changed" ;;
    esac
}

check_systemd() {
    [ "$(id -u)" = 0 ] || fail "--systemd needs root"
    [ -d /run/systemd/system ] || fail "--systemd: systemd does not run here"
    for unit in /usr/lib/systemd/system/warung.service /lib/systemd/system/warung.service; do
        [ ! -e "$unit" ] || fail "--systemd: the service is there from a package; upgrade that"
    done
}

# Puts unit and settings in place.
add_service() {
    mkdir -p /etc/warung
    [ -e /etc/warung/warung.toml ] || install -m 644 "$unpacked/warung.toml" /etc/warung/warung.toml
    sed "s|/usr/bin/warung|$bin/warung|" "$unpacked/warung.service" >"$temporary/unit"
    install -m 644 "$temporary/unit" /etc/systemd/system/warung.service
    systemctl daemon-reload
    systemctl enable --quiet warung
}

# Sets $program to where the program lies: a symbolic link in its place stays, and what it leads to is replaced.
find_place() {
    program=$bin/warung
    if [ -L "$program" ]; then
        program=$(readlink -f "$bin/warung") || program=
        [ -n "$program" ] || fail "$bin/warung is a symbolic link that leads nowhere: remove it"
    fi
    [ ! -d "$program" ] || fail "$program is a folder"
    # As the system names it in /proc.
    program=$(cd "${program%/*}" && pwd -P)/${program##*/}
}

# The processes that still run the program from before, each after a space.
still_running() {
    for exe in /proc/[0-9]*/exe; do
        if [ "$(readlink "$exe" 2>/dev/null)" = "$program (deleted)" ]; then
            exe=${exe%/exe}
            printf ' %s' "${exe##*/}"
        fi
    done
}

install_program() {
    check_url
    [ -z "$systemd" ] || check_systemd
    mkdir -p "$bin"
    find_place
    # Beside the program: /tmp may be on another disk, or forbid to run programs.
    temporary=$(mktemp -d "${program%/*}/.warung-install.XXXXXX")
    trap 'rm -rf "$temporary"' EXIT
    trap 'exit 1' HUP INT TERM
    download
    [ -z "$systemd" ] || [ -n "$unpacked" ] || fail "--systemd: $file holds no unit"
    [ ! -e "$program" ] || cp -p "$program" "$temporary/before"
    mv -f "$temporary/warung" "$program"
    echo "installed $new as $program"
    if [ -n "$systemd" ]; then
        add_service
        systemctl restart warung || take_back
    fi
    advise
}

# The service does not start with the new program: the one from before runs on.
take_back() {
    [ -e "$temporary/before" ] || fail "the service did not start: journalctl -u warung"
    mv -f "$temporary/before" "$program"
    systemctl restart warung || true
    fail "the service did not start; the program from before is back: journalctl -u warung"
}

advise() {
    if [ -n "$systemd" ]; then
        echo "it listens on 127.0.0.1:3000; settings: /etc/warung/warung.toml"
        echo "master key: /var/lib/warung/master.key"
        return
    fi
    running=$(still_running)
    if [ -n "$running" ]; then
        echo "the program from before is still running (process$running): restart it, and the new one runs"
        return
    fi
    case :$PATH: in
        *":$bin:"*) echo "start it: warung serve" ;;
        *) echo "start it: $bin/warung serve   ($bin is not in PATH)" ;;
    esac
    [ -e "$temporary/before" ] ||
        echo "it makes a master key on its first start and keeps it in warung-data/master.key"
}

uninstall() {
    if [ "$(id -u)" = 0 ] && [ -e /etc/systemd/system/warung.service ]; then
        [ ! -d /run/systemd/system ] || systemctl disable --now --quiet warung
        rm -f /etc/systemd/system/warung.service
        [ ! -d /run/systemd/system ] || systemctl daemon-reload
        echo "removed the service; kept: /etc/warung, /var/lib/warung"
    fi
    [ -e "$bin/warung" ] || fail "there is no $bin/warung"
    rm -f "$bin/warung"
    echo "removed $bin/warung; data folders stay"
}

main() {
    url=${INSTALL_URL:-} unsigned='' bin='' systemd='' remove=''
    while [ $# -gt 0 ]; do
        case $1 in
            --url | --bin | --key)
                [ $# -ge 2 ] || fail "$1 needs a value"
                case $1 in
                    --url) url=$2 ;;
                    --bin) bin=$2 ;;
                    --key) public_key=$(tail -n 1 "$2") || fail "cannot read $2" ;;
                esac
                shift ;;
            --unsigned) unsigned=yes ;;
            --systemd) systemd=yes ;;
            --uninstall) remove=yes ;;
            --help | -h) usage; exit 0 ;;
            *) usage >&2; fail "unknown option: $1" ;;
        esac
        shift
    done
    if [ -z "$bin" ]; then
        if [ "$(id -u)" = 0 ]; then bin=/usr/local/bin; else bin=${HOME:?}/.local/bin; fi
    fi
    case $bin in /*) ;; *) bin=$PWD/$bin ;; esac
    if [ -n "$remove" ]; then uninstall; else install_program; fi
}

main "$@"
