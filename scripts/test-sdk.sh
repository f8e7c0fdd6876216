#!/usr/bin/env bash
# The official OpenAI and MCP clients for Python and JavaScript against the gateway, as tests/sdk/run.py
# tells; arguments go to it (--backends fake, --clients js).
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

step "SDK tests"
ensure_venv "$TOOLS/sdk-venv" tests/sdk/python/requirements.lock.txt
npm ci --prefix tests/sdk/js --ignore-scripts --no-audit --no-fund --loglevel error >&2

cargo build --quiet --locked --bin mlx-gateway --example fake_mlx_server
# The engine that tests/real_engine*.rs have installed serves here too.
exec "$TOOLS/sdk-venv/bin/python" tests/sdk/run.py \
    --gateway "$TARGET_DIR/debug/mlx-gateway" \
    --fake "$TARGET_DIR/debug/examples/fake_mlx_server" \
    --real-data "$TARGET_DIR/tmp/real-engine" \
    "$@"
