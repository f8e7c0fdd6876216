#!/usr/bin/env bash
# Many clients on more models than fit, while backends are killed and the configuration changes.
# Prints the tally; fails when a request ended in an undocumented way or anything is left behind.
#
#   scripts/soak.sh [SECONDS]
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

SOAK_SECONDS="${1:-120}"
export SOAK_SECONDS
step "soak for $SOAK_SECONDS s"
cargo build --quiet --locked --bin mlx-gateway --example fake_mlx_server
exec cargo test --quiet --locked --test soak -- --nocapture
