#!/usr/bin/env bash
# The load comparison (the gateway, nginx and a direct connection), then what calls of plugins cost. See
# benches/README.md. Arguments go to the load comparison, which then is all that runs.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

[ "$(uname -s)" = Linux ] || fail "CPU and memory are read from /proc: the benchmark needs Linux"
command -v nginx >/dev/null || fail "nginx is not on PATH" "apt-get install nginx-light"

cargo bench --locked --bench load -- "$@"
if [ $# -eq 0 ]; then cargo bench --locked --bench tools; fi
