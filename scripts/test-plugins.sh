#!/usr/bin/env bash
# Plugins: the components built anew from their sources, the same tests over them as over the committed ones,
# what docs/plugins.md tells authors to do, and the MCP project's conformance suite. See tests/plugins/run.py.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

CONFORMANCE_NODE=22.0.0
SUITE="$TOOLS/conformance"

# The suite and, where this machine's Node is too old for it, another one from the same lock.
ensure_suite() {
    local stamp
    stamp="$(sha256_of tests/plugins/conformance/package-lock.json)"
    if [ -f "$SUITE/.stamp" ] && [ "$(cat "$SUITE/.stamp")" = "$stamp" ]; then return 0; fi
    say "installing the conformance suite"
    rm -rf "$SUITE"
    mkdir -p "$SUITE"
    cp tests/plugins/conformance/package.json tests/plugins/conformance/package-lock.json tests/plugins/conformance/.npmrc "$SUITE/"
    npm ci --prefix "$SUITE" --ignore-scripts --no-audit --no-fund --loglevel error >&2
    printf '%s' "$stamp" >"$SUITE/.stamp"
}

# Prints a Node that the suite runs on.
suite_node() {
    local candidate version
    for candidate in "$(command -v node)" "$SUITE"/node_modules/node-*/bin/node; do
        version="$("$candidate" --version 2>/dev/null || true)"
        if [ -n "$version" ] && version_at_least "${version#v}" "$CONFORMANCE_NODE"; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    fail "the conformance suite needs Node $CONFORMANCE_NODE, and none is packaged for this machine" "install Node 22 or newer"
}

scripts/plugins.sh --check

step "plugins: the registry's tests over the components just built"
MLX_GATEWAY_TEST_PLUGINS="$TARGET_DIR/plugins/wasm32-wasip2/release" cargo test --quiet --locked --lib tools::registry

step "plugins: what authors do, and conformance"
ensure_suite
NODE="$(suite_node)"
cargo build --quiet --locked --bin mlx-gateway
exec "$(find_python)" tests/plugins/run.py \
    --gateway "$TARGET_DIR/debug/mlx-gateway" \
    --cargo-target "$TARGET_DIR/plugins-docs" \
    --suite "$SUITE" \
    --node "$NODE"
