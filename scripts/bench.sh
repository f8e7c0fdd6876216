#!/usr/bin/env bash
# Compares the gateway with nginx and a direct connection under load, counts instructions per request, and measures
# plugin calls. See benches/README.md. With arguments, runs only the load comparison, with these arguments.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

[ "$(uname -s)" = Linux ] || fail "CPU and memory are read from /proc: the benchmark needs Linux"
command -v nginx >/dev/null || fail "nginx is not on PATH" "apt-get install nginx-light"
command -v valgrind >/dev/null || fail "valgrind is not on PATH" "apt-get install valgrind"

cargo bench --locked --bench load -- "$@"
if [ $# -eq 0 ]; then
    cargo bench --locked --bench load -- --instructions
    cargo bench --locked --bench tools
fi
