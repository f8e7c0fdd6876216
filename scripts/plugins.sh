#!/usr/bin/env bash
# Tests the plugins below plugins/ and the one of the tests on this machine, builds them for wasm32-wasip2, and
# puts the components beside their sources. With --check nothing is written: it fails when a plugin has grown
# beyond its bound, or does not build.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT/plugins"

SIZE_MAX=200000
TARGET=wasm32-wasip2

if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$TARGET/lib" ]; then
    command -v rustup >/dev/null || fail "the standard library for $TARGET is missing, and no rustup to add it" "install Rust with rustup"
    rustup target add "$TARGET"
fi
export CARGO_TARGET_DIR="$TARGET_DIR/plugins"
# No path of this machine ends up in a component, nor where its crates came from.
cargo fetch --locked --quiet
CARGO_DIR="${CARGO_HOME:-$HOME/.cargo}"
FLAGS=("--remap-path-prefix=$CARGO_DIR=/cargo" "--remap-path-prefix=$ROOT=/src")
for crates in "$CARGO_DIR"/registry/src/*; do
    FLAGS+=("--remap-path-prefix=$crates=/crates")
done
CARGO_ENCODED_RUSTFLAGS="$(IFS=$'\x1f' && printf '%s' "${FLAGS[*]}")"
export CARGO_ENCODED_RUSTFLAGS

step "plugins: tests"
cargo test --locked --quiet
step "plugins: components"
cargo build --locked --quiet --release --target "$TARGET"
for folder in calculator get_weather ../tests/plugins/test_tools; do
    name="$(basename "$folder")"
    built="$CARGO_TARGET_DIR/$TARGET/release/$name.wasm"
    size="$(wc -c <"$built")"
    say "$name: $size bytes"
    # The one for tests alone is never shipped.
    [ "$name" = test_tools ] || [ "$size" -lt "$SIZE_MAX" ] || fail "$name has $size bytes, $SIZE_MAX at most"
    if [ "${1:-}" != --check ]; then cp "$built" "$folder/$name.wasm"; fi
done
