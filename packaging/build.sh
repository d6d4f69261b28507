#!/usr/bin/env bash
# Builds the static program of a release: packaging/build.sh [--sandbox] [TARGET...]
#
#   target/TARGET/release/warung           the program
#   target/TARGET/release/warung-sandbox   with --sandbox: the same with the simulated WhatsApp network
#   target/TARGET/release/manual/          with --sandbox: man pages and completions
#
# Without a TARGET it builds for this processor, with nothing but Rust and a C compiler. Other
# targets need
#   rustup target add TARGET          the standard library
#   cargo install cargo-zigbuild      and zig (pip install ziglang), which brings the C library
# The standard library of a release for this processor is built from its source, without what prints
# backtraces: that is a quarter of a megabyte, and a stripped program has none to print. It needs
# `rustup component add rust-src`. Where that cannot be had, the ready one is taken, and instructions
# that are repeated become functions, so that the program is not larger than a release may be; that
# may be slower. A target whose standard library cannot be had ready is built with BUILD_STD=all: its
# sandbox build takes the source too. Where cargo-auditable is installed, the program lists its crates
# for `cargo audit bin`. The same sources, tools and libraries make the same program in any folder:
# packaging/tests/reproducible.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

sandbox=
if [ "${1-}" = --sandbox ]; then
  sandbox=yes
  shift
fi
folder=$(realpath -m "${CARGO_TARGET_DIR:-target}")
crates=$(realpath -m "${CARGO_HOME:-$HOME/.cargo}")/registry/src
library=$(rustc --print sysroot)/lib/rustlib/src/rust/library
host=$(rustc -vV | sed -n 's/^host: //p')
[ $# -gt 0 ] || set -- "$host"
audit=()
if command -v cargo-auditable >/dev/null; then audit=(auditable); fi

build() { # TARGET CARGO_ARGUMENTS...
  local target=$1
  shift
  local verb=build std=() flags
  [ "$target" = "$host" ] || verb=zigbuild
  # Neither the builder's home folder nor that of the sources gets into the program. The last that fits holds.
  flags="'--remap-path-prefix=$PWD=/warung', '--remap-path-prefix=$folder=/target', '--remap-path-prefix=$crates=/crates'"
  if [ "${BUILD_STD-}" = all ] ||
    { [ "$target $1" = "$host --release" ] && [ -f "$library/Cargo.toml" ]; }; then
    std=("-Zbuild-std=std,panic_unwind" "-Zbuild-std-features=")
    flags="$flags, '--remap-path-prefix=$library=/rust'"
    # Then zig brings what a ready standard library would: the C library's start files and libunwind.
    [ "$target" = "$host" ] || flags="$flags, '-Clink-self-contained=no'"
    export RUSTC_BOOTSTRAP=1
  else
    unset RUSTC_BOOTSTRAP
    [ "$target $1" != "$host --release" ] || flags="$flags, '-Cllvm-args=-enable-machine-outliner=always'"
  fi
  local c_flags="CFLAGS_${target//-/_}"
  env "$c_flags=${!c_flags-} -ffile-prefix-map=$folder=/target -ffile-prefix-map=$crates=/crates" \
    cargo "${audit[@]}" "$verb" --locked --config packaging/release.toml \
    --config "target.$target.rustflags=[$flags]" --target "$target" "${std[@]}" "$@"
}

judge() { # FILE
  local headers
  headers=$(readelf -lW "$1")
  if grep -q INTERP <<<"$headers" || readelf -dW "$1" 2>/dev/null | grep -q NEEDED; then
    echo "$1 is not static" >&2
    exit 1
  fi
  printf '%s: %s bytes, static\n' "$1" "$(stat -c %s "$1")"
}

# `warung version` says of which commit it was built.
WARUNG_BUILD_COMMIT=${WARUNG_BUILD_COMMIT-$(git rev-parse HEAD 2>/dev/null || true)}
export WARUNG_BUILD_COMMIT

# A sandbox build for this processor writes the manual, which is the same for all.
manual() { # TARGET
  local writer=$folder/$1/release/warung-sandbox
  if [ "$1" != "$host" ]; then
    cargo build --locked --profile sandbox --features sandbox
    writer=$folder/sandbox/warung
  fi
  rm -rf "$folder/$1/release/manual"
  "$writer" manual "$folder/$1/release/manual"
}

for target; do
  build "$target" --release
  judge "$folder/$target/release/warung"
  [ -n "$sandbox" ] || continue
  build "$target" --profile sandbox --features sandbox
  cp "$folder/$target/sandbox/warung" "$folder/$target/release/warung-sandbox"
  judge "$folder/$target/release/warung-sandbox"
  manual "$target"
done
