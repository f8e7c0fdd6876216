# Shared by the scripts beside it; sourced, never run.
# shellcheck shell=bash

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
TARGET_DIR="${CARGO_TARGET_DIR:-$ROOT/target}"
case "$TARGET_DIR" in /*) ;; *) TARGET_DIR="$ROOT/$TARGET_DIR" ;; esac
export CARGO_TARGET_DIR="$TARGET_DIR"
TOOLS="$TARGET_DIR/tools"
export PATH="$TOOLS/bin:$PATH"

# shellcheck disable=SC2034 # of setup-test.sh
CARGO_DENY_VERSION=0.20.2

step() { printf '\n== %s\n' "$*" >&2; }
say() { printf '   %s\n' "$*" >&2; }

# fail MESSAGE [HOW TO REPAIR IT]
fail() {
    printf '\nerror: %s\n' "$1" >&2
    if [ $# -gt 1 ]; then printf '  fix: %s\n' "$2" >&2; fi
    exit 1
}

# version_at_least HAVE WANT, for dotted numbers
version_at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

sha256_of() {
    if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1
}

# Prints a Python that is at least 3.11. The bare `python3` of macOS is never run: without the
# command line tools it opens a dialog.
find_python() {
    local candidate path
    for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
        [ -n "$candidate" ] || continue
        path="$(command -v "$candidate" || true)"
        [ -n "$path" ] || continue
        if [ "$path" = /usr/bin/python3 ] && [ "$(uname -s)" = Darwin ] && ! xcode-select -p >/dev/null 2>&1; then
            continue
        fi
        if "$path" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$path"
            return 0
        fi
    done
    fail "no Python 3.11 or newer found" "install Python 3.11, or name one: PYTHON=/path/to/python3.11 make test"
}

# ensure_venv DIR LOCK: a venv that holds exactly what the lock says, wheels with these hashes only.
# It is made anew when the lock or the Python changes, and when an earlier attempt broke off.
ensure_venv() {
    local dir="$1" lock="$2" python stamp
    python="$(find_python)"
    stamp="$(sha256_of "$lock") $("$python" --version 2>&1)"
    if [ -f "$dir/.stamp" ] && [ "$(cat "$dir/.stamp")" = "$stamp" ] && "$dir/bin/python" -c '' 2>/dev/null; then
        return 0
    fi
    say "making the venv ${dir#"$ROOT"/}"
    rm -rf "$dir"
    if ! "$python" -m venv "$dir"; then
        fail "$python cannot make a virtual environment" "on Debian and Ubuntu: apt-get install python3-venv"
    fi
    "$dir/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
        --require-hashes --requirement "$lock" >&2
    printf '%s' "$stamp" >"$dir/.stamp"
}
