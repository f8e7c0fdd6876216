#!/usr/bin/env bash
# Coding assistants for the terminal against the gateway, as tests/assistants/run.py tells; a gigabyte of
# programs is fetched for it, so `make test` leaves it out.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

step "coding assistants"
# Their own install scripts put the programs for this machine in place.
npm ci --prefix tests/assistants --no-audit --no-fund --loglevel error >&2
cargo build --quiet --locked --bin mlx-gateway --example fake_mlx_server
exec python3 tests/assistants/run.py \
    --gateway "$TARGET_DIR/debug/mlx-gateway" \
    --fake "$TARGET_DIR/debug/examples/fake_mlx_server" \
    "$@"
