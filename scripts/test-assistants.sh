#!/usr/bin/env bash
# Coding assistants for the terminal against the gateway, as tests/assistants/run.py tells. A gigabyte of
# programs comes from the npm registry for it, once.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

step "coding assistants"
# What the lock says, by its hashes. Not `npm ci`: that asks for the programs of all other platforms too, which not
# every mirror has. Their own install scripts put those for this machine in place.
fetch() { npm install --no-save --prefix tests/assistants --no-audit --no-fund --loglevel error >&2; }
stamp="$(sha256_of tests/assistants/package-lock.json) $(node --version) $(uname -sm)"
if [ "$(cat tests/assistants/node_modules/.stamp 2>/dev/null)" != "$stamp" ]; then
    fetch || { say "the download failed; once more"; fetch; } \
        || fail "the assistants could not be fetched" "make the npm registry reachable, and run make test-assistants again"
    printf '%s' "$stamp" >tests/assistants/node_modules/.stamp
fi
cargo build --quiet --locked --bin mlx-gateway --example fake_mlx_server
exec python3 tests/assistants/run.py \
    --gateway "$TARGET_DIR/debug/mlx-gateway" \
    --fake "$TARGET_DIR/debug/examples/fake_mlx_server" \
    "$@"
