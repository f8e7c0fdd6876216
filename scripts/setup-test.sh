#!/usr/bin/env bash
# Installs what `make test` needs beyond Rust 1.95, Node 20 and Python 3.11: Rust components through
# rustup, everything else below the target directory. Quick when nothing is missing.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

RUST_MINIMUM=1.95.0
NODE_MINIMUM=20.0.0

check_tools() {
    command -v cargo >/dev/null || fail "cargo is not on PATH" "install Rust $RUST_MINIMUM or newer with rustup"
    local rust node
    rust="$(rustc --version | cut -d ' ' -f 2)"
    version_at_least "$rust" "$RUST_MINIMUM" || fail "Rust $rust is too old" "rustup update (at least $RUST_MINIMUM is needed)"
    command -v node >/dev/null || fail "node is not on PATH" "install Node $NODE_MINIMUM or newer"
    node="$(node --version)"
    version_at_least "${node#v}" "$NODE_MINIMUM" || fail "Node $node is too old" "install Node $NODE_MINIMUM or newer"
    command -v npm >/dev/null || fail "npm is not on PATH" "install the npm that belongs to Node"
    command -v cc >/dev/null || fail "no C compiler (cc) on PATH" "on Debian and Ubuntu: apt-get install gcc libc6-dev; on macOS: xcode-select --install"
    find_python >/dev/null
}

ensure_rust_parts() {
    local missing=()
    cargo fmt --version >/dev/null 2>&1 || missing+=(rustfmt)
    cargo clippy --version >/dev/null 2>&1 || missing+=(clippy)
    if [ ${#missing[@]} -gt 0 ]; then
        command -v rustup >/dev/null || fail "${missing[*]} missing, and no rustup to add it" "install rustfmt and clippy with the package manager that Rust came from"
        rustup component add "${missing[@]}"
    fi
    if [ ! -d "$(rustc --print sysroot)/lib/rustlib/aarch64-apple-darwin/lib" ]; then
        command -v rustup >/dev/null || fail "the standard library for aarch64-apple-darwin is missing, and no rustup to add it" "install Rust with rustup"
        rustup target add aarch64-apple-darwin
    fi
}

# Built without optimisation: a third of the time, and it runs for two seconds.
ensure_cargo_deny() {
    if cargo deny --version 2>/dev/null | grep -q "^cargo-deny "; then return 0; fi
    say "building cargo-deny $CARGO_DENY_VERSION, once (about two minutes)"
    CARGO_TARGET_DIR="$TOOLS/build" cargo install --quiet --locked --debug --root "$TOOLS" "cargo-deny@$CARGO_DENY_VERSION" ||
        fail "cargo-deny could not be installed" "cargo install --locked cargo-deny@$CARGO_DENY_VERSION"
    rm -rf "$TOOLS/build"
}

# The browser that the pages are tested with.
ensure_chromium() {
    local place
    for place in "${CHROMIUM:-}" /usr/bin/chromium /usr/bin/chromium-browser /usr/bin/google-chrome \
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" /Applications/Chromium.app/Contents/MacOS/Chromium; do
        if [ -n "$place" ] && [ -x "$place" ]; then return 0; fi
    done
    local how="install Chromium or Chrome, or name one: CHROMIUM=/path make test"
    command -v apt-get >/dev/null || fail "no Chromium for the tests of the pages" "$how"
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null || fail "no Chromium for the tests of the pages" "apt-get install chromium (as root)"
        as_root=(sudo -n)
    fi
    say "installing chromium"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive sh -c \
        'apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-inter fonts-liberation' >&2 ||
        fail "chromium could not be installed" "$how"
}

# unpacked PACKAGE PROGRAM USE: unless it is on PATH, unpacks Debian's package below the target directory and links
# its program. The package is not installed: nothing of it is started.
unpacked() {
    local package="$1" program="$2" use="$3"
    if command -v "$package" >/dev/null; then return 0; fi
    local how="install it, so that \`$package\` is on PATH (on macOS: brew install $package)"
    if ! { command -v apt-get && command -v dpkg-deb; } >/dev/null; then
        fail "no $package $use" "$how"
    fi
    say "unpacking $package"
    local place="$TOOLS/$package"
    rm -rf "$place" && mkdir -p "$place" "$TOOLS/bin"
    (cd "$place" && { apt-get download -qq "$package" || { apt-get update -qq && apt-get download -qq "$package"; }; } &&
        dpkg-deb -x "$package"_*.deb . && rm -f "$package"_*.deb) >&2 || fail "$package could not be fetched" "$how"
    ln -sf "$place/$program" "$TOOLS/bin/$package"
}

check_tools
ensure_rust_parts
ensure_chromium
unpacked prometheus usr/bin/prometheus "for the tests of /metrics"
unpacked nginx usr/sbin/nginx "for the test of the pages behind a reverse proxy"
ensure_cargo_deny
