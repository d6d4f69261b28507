#!/bin/sh
# Makes the files of a release from built binaries:
#
#   packaging/checksums.sh FOLDER TARGET=BINARY...
#   packaging/checksums.sh dist x86_64-unknown-linux-musl=target/.../warung
#
# Each target gets FOLDER/warung-VERSION-TARGET.tar.gz. SHA256SUMS then lists every file of FOLDER,
# Debian packages that lie there too; install.sh installs nothing that it does not list.
set -eu

[ $# -ge 2 ] || { echo "usage: $0 FOLDER TARGET=BINARY..." >&2; exit 2; }
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
folder=$1
shift
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)
mkdir -p "$folder"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

for pair; do
    target=${pair%%=*} binary=${pair#*=}
    [ "$target" != "$pair" ] || { echo "not TARGET=BINARY: $pair" >&2; exit 2; }
    name=warung-$version-$target
    mkdir "$stage/$name"
    cp "$binary" "$stage/$name/warung"
    chmod 755 "$stage/$name/warung"
    cp "$root/LICENSE" "$root/README.md" "$root/CHANGELOG.md" "$root/packaging/install.sh" \
        "$root/packaging/systemd/warung.service" "$root/packaging/debian/warung.toml" "$stage/$name/"
    cp -R "$root/packaging/cpanel" "$root/packaging/container" "$stage/$name/"
    rm -f "$stage/$name/cpanel/.shellcheckrc"
    # Times, order and owners are fixed, so that the same binary makes the same file.
    tar -C "$stage" --create --sort name --format ustar --numeric-owner --owner 0 --group 0 \
        --mtime "@${SOURCE_DATE_EPOCH:-0}" --mode 'u=rwX,go=rX' "$name" \
        | gzip -9n >"$folder/$name.tar.gz"
done

cd "$folder"
rm -f SHA256SUMS
sha256sum -- * >"$stage/SHA256SUMS"
mv "$stage/SHA256SUMS" SHA256SUMS
cat SHA256SUMS
