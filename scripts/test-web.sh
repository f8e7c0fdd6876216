#!/usr/bin/env bash
# The pages: types, lint, units, budgets, and the real gateway in a real browser. Arguments are parts of names
# of browser tests.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

step "pages: types"
cargo build --quiet --locked --bin mlx-gateway --example fake_mlx_server --example fake_hub
cd web
[ -d node_modules ] || fail "the pages were left out of the build" "install Node 20 with npm, and unset MLX_GATEWAY_WEB"
npm run --silent check

step "pages: format and lint"
npm run --silent lint

step "pages: units"
npm test --silent

step "pages: budgets"
npm run --silent budgets

step "pages: in a browser"
# A browser that stands still fails after a quarter of an hour; all of them take three minutes.
node --test --test-force-exit --test-timeout 900000 --test-concurrency 1 --test-reporter spec ${1:+--test-name-pattern "$1"} e2e/*.test.mjs
