#!/usr/bin/env bash
# Make the engine's lock files anew from the .in files beside them.
#
#   scripts/lock-engine.sh [UV]
#
# One lock serves Python 3.11 and 3.12: it is resolved for 3.11, and 3.12 has to accept the same
# versions. Wheels only; the oldest systems that MLX's own wheels run on are named below.
set -euo pipefail

uv=${1:-uv}
cd "$(dirname "${BASH_SOURCE[0]}")/../src/backends/engine/locks"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export MACOSX_DEPLOYMENT_TARGET=14.0

# compile IN OUT PLATFORM PYTHON [OPTION...]
compile() {
  local in=$1 out=$2 platform=$3 python=$4
  shift 4
  "$uv" pip compile --quiet --no-config --no-header --no-annotate --no-emit-index-url \
    --generate-hashes --only-binary :all: --python-platform "$platform" \
    --python-version "$python" "$@" "$in" -o "$out"
}

pins() { grep -o '^[A-Za-z0-9._-]*==[^ ;\\]*' "$1" | sort; }

# The same file has to come out on both architectures and both Pythons.
compile linux-text.in "$work/linux" x86_64-manylinux_2_35 3.11 --no-deps
for platform in x86_64-manylinux_2_35 aarch64-manylinux_2_35; do
  for python in 3.11 3.12; do
    compile linux-text.in "$work/other" "$platform" "$python" --no-deps
    cmp "$work/linux" "$work/other"
  done
done
cp "$work/linux" linux-text.txt

# 3.12 needs a few back-ports less; what it needs has to be there in the same version.
for name in macos-full macos-multimodal; do
  compile "$name.in" "$work/$name" aarch64-apple-darwin 3.11
  pins "$work/$name" >"$work/pins"
  compile "$name.in" "$work/other" aarch64-apple-darwin 3.12 --constraint "$work/pins"
  missing=$(comm -13 "$work/pins" <(pins "$work/other"))
  [ -z "$missing" ] || { echo "$name: Python 3.12 also needs: $missing" >&2; exit 1; }
  cp "$work/$name" "$name.txt"
done
