#!/usr/bin/env bash
# Builds the static programs of a release: packaging/build.sh [TARGET...]
#
#   target/TARGET/release/warung           the program
#   target/TARGET/release/warung-sandbox   the same with the simulated WhatsApp network
#
# Without a TARGET it builds for this processor, with nothing but Rust and a C compiler. Other
# targets need
#   rustup target add TARGET          the standard library
#   cargo install cargo-zigbuild      and zig (pip install ziglang), which brings the C library
# A target whose standard library cannot be had ready is built with BUILD_STD=1 from its source
# (rustup component add rust-src).
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${CARGO_TARGET_DIR:-target}
host=$(rustc -vV | sed -n 's/^host: //p')
[ $# -gt 0 ] || set -- "$host"

build() { # TARGET CARGO_ARGUMENTS...
  local target=$1
  shift
  local command=(cargo build) std=()
  [ "$target" = "$host" ] || command=(cargo zigbuild)
  if [ -n "${BUILD_STD-}" ]; then
    # Then zig brings what a ready standard library would: the C library's start files and libunwind.
    std=("-Zbuild-std=std,panic_unwind" --config "target.$target.rustflags=['-Clink-self-contained=no']")
    export RUSTC_BOOTSTRAP=1
  fi
  "${command[@]}" --locked --config packaging/release.toml --target "$target" "${std[@]}" "$@"
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

for target; do
  build "$target" --release
  build "$target" --profile sandbox --features sandbox
  cp "$folder/$target/sandbox/warung" "$folder/$target/release/warung-sandbox"
  judge "$folder/$target/release/warung"
  judge "$folder/$target/release/warung-sandbox"
done
