#!/usr/bin/env bash
# Format, clippy, documentation and dependencies.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

# What a test, a bench or an example may do and the product may not.
TEST_MAY=(
    -A clippy::unwrap_used -A clippy::expect_used -A clippy::panic -A clippy::unreachable
    -A clippy::get_unwrap -A clippy::unwrap_in_result -A clippy::print_stdout -A clippy::print_stderr
    -A clippy::disallowed_methods -A clippy::string_slice -A clippy::too_many_lines
    -A clippy::cast_possible_wrap -A clippy::exit
)

step "format"
cargo fmt --check

step "clippy: the library and the binary"
cargo clippy --quiet --locked --lib --bins -- -D warnings

step "clippy: tests, benches, examples"
cargo clippy --quiet --locked --all-targets -- -D warnings "${TEST_MAY[@]}"

step "documentation: links lead somewhere, what is public says what it is"
SAID="$(RUSTDOCFLAGS="-W missing-docs" cargo doc --quiet --color never --message-format short --locked --no-deps --lib \
    --document-private-items 2>&1)" || fail "$SAID"
# The lint asks for fields and variants too, which say it by their names and types.
SAID="$(grep -E '^[^ ]+:[0-9]+:[0-9]+: ' <<<"$SAID" | grep -v -E 'missing documentation for a (struct field|variant)$' || true)"
[ -z "$SAID" ] || fail "$SAID"

step "dependencies: bans, licences, sources"
cargo deny --locked check --hide-inclusion-graph bans licenses sources
