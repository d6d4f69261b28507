#!/bin/sh
# Makes the files of a release from built binaries:
#
#   packaging/checksums.sh FOLDER TARGET=BINARY...
#   packaging/checksums.sh dist x86_64-unknown-linux-musl=target/.../warung
#
# Each target gets FOLDER/warung-VERSION-TARGET.tar.gz, and .xz with the program alone; install.sh knows the key of packaging/minisign.pub,
# where that is (PUBLIC_KEY=FILE: another). SHA256SUMS then lists every file of FOLDER, Debian packages that lie there too;
# install.sh installs nothing that it does not list. SIGN_KEY=FILE signs it with that minisign key.
set -eu

[ $# -ge 2 ] || { echo "usage: $0 FOLDER TARGET=BINARY..." >&2; exit 2; }
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
folder=$1
shift
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
mkdir -p "$folder"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

public=${PUBLIC_KEY:-$root/packaging/minisign.pub} key=
if [ -e "$public" ]; then
    key=$(tail -n 1 "$public")
else
    echo "$0: there is no packaging/minisign.pub: the release's install.sh knows no key" >&2
fi
sed "s|^public_key=''\$|public_key='$key'|" "$root/packaging/install.sh" >"$folder/install.sh"

for pair; do
    target=${pair%%=*} binary=${pair#*=}
    [ "$target" != "$pair" ] || { echo "not TARGET=BINARY: $pair" >&2; exit 2; }
    name=warung-$version-$target
    mkdir "$stage/$name"
    cp "$binary" "$stage/$name/warung"
    chmod 755 "$stage/$name/warung"
    cp "$root/LICENSE" "$root/packaging/THIRD-PARTY.txt" "$root/README.md" "$root/CHANGELOG.md" \
        "$folder/install.sh" "$root/packaging/systemd/warung.service" \
        "$root/packaging/debian/warung.toml" "$stage/$name/"
    cp -R "$root/LICENSES" "$root/packaging/cpanel" "$root/packaging/container" "$stage/$name/"
    # What packaging/build.sh left beside the binary; a binary from elsewhere has none.
    sandbox=$(dirname "$binary")/warung-sandbox
    if [ -e "$sandbox" ]; then
        cp "$sandbox" "$stage/$name/warung-sandbox"
        chmod 755 "$stage/$name/warung-sandbox"
    else
        echo "$0: there is no $sandbox (packaging/build.sh --sandbox): $name has none" >&2
    fi
    [ ! -d "$(dirname "$binary")/manual" ] || cp -R "$(dirname "$binary")/manual" "$stage/$name/"
    rm -f "$stage/$name/cpanel/.shellcheckrc"
    # Times, order and owners are fixed, so that the same binary makes the same file.
    tar -C "$stage" --create --sort name --format ustar --numeric-owner --owner 0 --group 0 \
        --mtime "@${SOURCE_DATE_EPOCH:-0}" --mode 'u=rwX,go=rX' "$name" \
        | gzip -9n >"$folder/$name.tar.gz"
    "$root/packaging/pack.sh" "$binary" >"$folder/$name.xz"
done

cd "$folder"
rm -f SHA256SUMS SHA256SUMS.minisig
sha256sum -- * >"$stage/SHA256SUMS"
mv "$stage/SHA256SUMS" SHA256SUMS
cat SHA256SUMS
[ -z "${SIGN_KEY-}" ] || minisign -S -H -s "$SIGN_KEY" -m SHA256SUMS -t "warung $version"
