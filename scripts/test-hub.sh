#!/usr/bin/env bash
# What the gateway fetches from a hub, as the Hugging Face tools' own library sees it: tests/hub/python/cache.py
# tells. Arguments go to it.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

step "the Hugging Face library over the gateway's downloads"
ensure_venv "$TOOLS/hub-venv" tests/hub/python/requirements.lock.txt

cargo build --quiet --locked --bin mlx-gateway --example fake_hub
exec "$TOOLS/hub-venv/bin/python" tests/hub/python/cache.py \
    --gateway "$TARGET_DIR/debug/mlx-gateway" \
    --hub "$TARGET_DIR/debug/examples/fake_hub" \
    "$@"
