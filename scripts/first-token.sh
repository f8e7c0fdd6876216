#!/usr/bin/env bash
# From a program to the first token of the demo model, with an empty home folder and empty caches; prints the times.
#
#   scripts/first-token.sh [PROGRAM|ARCHIVE.tar.gz]     (default: the release build of this clone, built first)
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

WORK="$(mktemp -d)"
GATEWAY=
finish() {
    if [ -n "$GATEWAY" ]; then
        kill "$GATEWAY" 2>/dev/null || true
        wait "$GATEWAY" 2>/dev/null || true
    fi
    rm -rf "$WORK"
}
trap finish EXIT
BEGUN="$(date +%s)"
took() { say "$1 after $(($(date +%s) - BEGUN)) s"; }

case "${1:-}" in
"")
    step "from the clone"
    (cd "$ROOT" && cargo build --release --locked --bin mlx-gateway)
    PROGRAM="$TARGET_DIR/release/mlx-gateway"
    took "built"
    ;;
*.tar.gz)
    step "from the archive $1"
    if [ -f "$1.sha256" ]; then
        [ "$(cut -d ' ' -f 1 "$1.sha256")" = "$(sha256_of "$1")" ] || fail "the archive's hash is not the one beside it"
    fi
    tar -C "$WORK" -xzf "$1"
    PROGRAM="$(echo "$WORK"/mlx-gateway-*/mlx-gateway)"
    took "unpacked"
    ;;
*)
    step "from $1"
    PROGRAM="$(cd "$(dirname "$1")" && pwd)/$(basename "$1")"
    ;;
esac

mkdir -p "$WORK/home"
printf '[server]\nlisten = "127.0.0.1:0"\n\n[[profile]]\nname = "demo"\nmodel = "builtin:demo"\n' >"$WORK/config.toml"
OPTIONS=(--config "$WORK/config.toml" --data-dir "$WORK/data")
CLEAN=(env -i HOME="$WORK/home" PATH="$PATH")
clean() { "${CLEAN[@]}" "$@"; }
# Not by the function: the process that ends it would be a shell's.
"${CLEAN[@]}" "$PROGRAM" serve "${OPTIONS[@]}" 2>"$WORK/log" &
GATEWAY=$!
until clean "$PROGRAM" "${OPTIONS[@]}" status >/dev/null 2>&1; do
    kill -0 "$GATEWAY" 2>/dev/null || { cat "$WORK/log" >&2; fail "the gateway ended instead of serving"; }
    sleep 0.05
done
took "serving"
FIRST="$(clean "$PROGRAM" "${OPTIONS[@]}" run demo "Hello" 2>"$WORK/run")" || { cat "$WORK/run" "$WORK/log" >&2; fail "the demo model did not answer"; }
took "the first answer (\"$FIRST\")"
clean "$PROGRAM" "${OPTIONS[@]}" requests --json | grep -o '"start_ms":[0-9.]*\|"ttft_ms":[0-9.]*' | head -n 2 | while read -r figure; do say "$figure"; done
