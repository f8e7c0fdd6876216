#!/usr/bin/env bash
# Unit, integration and documentation tests; arguments are filters. Without target flags cargo builds
# the examples too, among them the fake model server that the tests start.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

# For how long each parser of foreign bytes is fuzzed; by hand a second is enough.
export MLX_GATEWAY_FUZZ_SECONDS="${MLX_GATEWAY_FUZZ_SECONDS:-20}"

step "tests"
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --locked --no-tests pass "$@"
    step "documentation tests"
    cargo test --quiet --locked --doc
else
    say "without cargo-nextest (faster, a process per test): cargo install --locked cargo-nextest"
    cargo test --locked -- "$@"
fi
