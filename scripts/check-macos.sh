#!/usr/bin/env bash
# Type-checks the library and the binary for aarch64-apple-darwin. On other systems zig stands in for
# Apple's C compiler, which the crates with C in them (SQLite, ring, mimalloc) ask for.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

MACOS=aarch64-apple-darwin
step "type-check for $MACOS"

if [ "$(uname -s)" = Darwin ]; then
    exec cargo check --quiet --locked --target "$MACOS" --lib --bins
fi

VENV="$TOOLS/macos-venv"
ensure_venv "$VENV" "$ROOT/scripts/check-macos.lock.txt"

# zig and cargo-zigbuild keep their caches below the target directory, so that a read-only or missing
# home directory does not matter. zig is found through the venv's Python.
export ZIG_GLOBAL_CACHE_DIR="$TOOLS/zig-cache"
export ZIG_LOCAL_CACHE_DIR="$TOOLS/zig-cache"
export CARGO_ZIGBUILD_CACHE_DIR="$TOOLS/zigbuild-cache"
export PATH="$VENV/bin:$PATH"
exec cargo-zigbuild check --quiet --locked --target "$MACOS" --lib --bins
