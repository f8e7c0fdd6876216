#!/usr/bin/env bash
# A release archive of this machine's kind with its checksum, and a Homebrew formula that names both.
#
#   scripts/release.sh [FOLDER]          (default: release/ below the target directory)
#
# RELEASE_TARGET=aarch64-apple-darwin builds for another target, whose toolchain has to be there;
# RELEASE_URL=https://… is the folder that the archive will be fetched from, and RELEASE_HOMEPAGE the project's page,
# for the formula.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

HOST="$(rustc -vV | sed -n 's/^host: //p')"
TARGET="${RELEASE_TARGET:-$HOST}"
VERSION="$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)"
NAME="mlx-gateway-$VERSION-$TARGET"
OUT="${1:-$TARGET_DIR/release-archives}"
mkdir -p "$OUT"
OUT="$(cd "$OUT" && pwd)"

step "build $NAME"
BEGUN=$SECONDS
if [ "$TARGET" = "$HOST" ]; then
    cargo build --profile dist --locked --bin mlx-gateway
    PROGRAM="$TARGET_DIR/dist/mlx-gateway"
else
    cargo build --profile dist --locked --bin mlx-gateway --target "$TARGET"
    PROGRAM="$TARGET_DIR/$TARGET/dist/mlx-gateway"
fi
say "built in $((SECONDS - BEGUN)) s"

step "archive"
STAGE="$(mktemp -d)"
trap 'rm -rf "$STAGE"' EXIT
mkdir -p "$STAGE/$NAME/completions" "$STAGE/$NAME/docs"
install -m 0755 "$PROGRAM" "$STAGE/$NAME/mlx-gateway"
# On Macs debug information is not in the program.
case "$TARGET" in *-linux-*) strip --strip-debug "$STAGE/$NAME/mlx-gateway" ;; esac
install -m 0644 README.md LICENSE CHANGELOG.md config.toml "$STAGE/$NAME/"
install -m 0644 docs/*.md docs/openapi.json "$STAGE/$NAME/docs/"
if [ "$TARGET" = "$HOST" ]; then
    for shell in bash fish zsh; do
        "$PROGRAM" completions "$shell" >"$STAGE/$NAME/completions/mlx-gateway.$shell"
    done
fi
tar -C "$STAGE" -czf "$OUT/$NAME.tar.gz" "$NAME"
SHA256="$(sha256_of "$OUT/$NAME.tar.gz")"
printf '%s  %s\n' "$SHA256" "$NAME.tar.gz" >"$OUT/$NAME.tar.gz.sha256"
say "$OUT/$NAME.tar.gz"
say "sha256 $SHA256"

step "formula"
sed -e "s|@VERSION@|$VERSION|g" -e "s|@SHA256@|$SHA256|g" \
    -e "s|@URL@|${RELEASE_URL:-file://$OUT}/$NAME.tar.gz|g" \
    -e "s|@HOMEPAGE@|${RELEASE_HOMEPAGE:-file://$OUT}|g" \
    packaging/homebrew/mlx-gateway.rb.in >"$OUT/mlx-gateway.rb"
say "$OUT/mlx-gateway.rb"
