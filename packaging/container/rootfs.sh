#!/bin/sh
# Makes the folder that the container image is built from:
#
#   packaging/container/rootfs.sh BINARY FOLDER && docker build -t warung FOLDER
#
# An image from scratch has no chown and no mkdir. So its files come as an archive that says who owns
# what: the program and the licences are root's, and only /data is the gateway's.
set -eu

[ $# -eq 2 ] || { echo "usage: $0 BINARY FOLDER" >&2; exit 2; }
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
binary=$1 folder=$2

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
cp "$binary" "$stage/warung"
# In a release they lie beside this folder, in the sources above it.
top=$here/..
[ -e "$top/LICENSE" ] || top=$here/../..
mkdir "$stage/licenses" "$stage/data"
cp "$top/LICENSE" "$top"/LICENSES/*.txt "$here/../THIRD-PARTY.txt" "$stage/licenses/"

# Times are fixed, so that the same binary makes the same image.
add() {
    owner=$1 mode=$2 name=$3
    tar -C "$stage" --append --file "$stage/rootfs.tar" --format ustar --numeric-owner \
        --owner "$owner" --group "$owner" --mode "$mode" --sort name --mtime "@${SOURCE_DATE_EPOCH:-0}" "$name"
}
add 0 0755 warung
add 0 u=rwX,go=rX licenses
add 65532 0700 data

mkdir -p "$folder"
mv "$stage/rootfs.tar" "$folder/rootfs.tar"
cp "$here/Dockerfile" "$here/compose.yml" "$folder/"
