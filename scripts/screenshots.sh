#!/usr/bin/env bash
# Pictures of every screen at three widths, light and dark, with a page that shows them all, below the
# target directory.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

cargo build --quiet --locked --bin mlx-gateway --example fake_mlx_server --example fake_hub
cd web
node e2e/screenshots.mjs "$TARGET_DIR/screenshots" "${1:-}"
