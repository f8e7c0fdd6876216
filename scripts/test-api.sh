#!/usr/bin/env bash
# The admin API against its own description (docs/openapi.json), as tests/sdk/api.py tells.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

step "API description"
ensure_venv "$TOOLS/api-venv" tests/sdk/api.lock.txt
cargo build --quiet --locked --bin mlx-gateway
exec "$TOOLS/api-venv/bin/python" tests/sdk/api.py \
    --gateway "$TARGET_DIR/debug/mlx-gateway" \
    --schemathesis "$TOOLS/api-venv/bin/schemathesis"
