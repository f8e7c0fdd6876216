# The two that matter: `make run` and `make test`. Both work on a machine with Rust 1.95, Node 20 and
# Python 3.11; what else they need they install below the target directory, or they name the command
# that installs it.

CARGO_TARGET_DIR ?= target
override CARGO_TARGET_DIR := $(abspath $(CARGO_TARGET_DIR))
export CARGO_TARGET_DIR
# Tools that `make setup-test` installs.
export PATH := $(CARGO_TARGET_DIR)/tools/bin:$(PATH)

CARGO ?= cargo
ARGS ?=
SECONDS ?= 120

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test test-rust test-plugins test-sdk test-hub test-api test-web test-assistants screenshots lint check-macos soak bench fuzz setup-test fmt plugins release first-token test-first-token

help: ## What there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

run: ## Start the gateway with ./config.toml (more arguments: make run ARGS="--listen 127.0.0.1:8080")
	$(CARGO) run --release --locked -- serve $(ARGS)

test: lint check-macos test-rust test-plugins test-sdk test-assistants test-hub test-first-token test-api test-web ## Everything that decides whether a change is good
	@echo "make test: all good"

lint: setup-test ## Format, clippy, documentation, dependencies
	scripts/lint.sh

check-macos: setup-test ## Type-check for aarch64-apple-darwin, on any machine
	scripts/check-macos.sh

fuzz: setup-test ## Every parser of foreign bytes with other bytes than `make test`, and for longer than its 20 s (make fuzz SECONDS=120)
	MLX_GATEWAY_FUZZ_ANEW=1 MLX_GATEWAY_FUZZ_SECONDS=$(SECONDS) scripts/test-rust.sh --test fuzz

test-rust: setup-test ## Unit and integration tests, the real engine among them
	scripts/test-rust.sh $(ARGS)

test-plugins: setup-test ## The plugins built anew, plugins in Rust, JavaScript and Python, MCP conformance
	scripts/test-plugins.sh

test-sdk: setup-test ## The official OpenAI and MCP clients for Python and JavaScript against the built gateway
	scripts/test-sdk.sh

test-assistants: setup-test ## Codex, Claude Code and opencode against the built gateway; fetches a gigabyte once
	scripts/test-assistants.sh

test-web: setup-test ## The pages: types, units, budgets, and the built gateway in a browser
	scripts/test-web.sh $(ARGS)

screenshots: setup-test ## Pictures of every screen below the target directory (make screenshots ARGS=^chat)
	scripts/screenshots.sh $(ARGS)

test-hub: setup-test ## The Hugging Face library over what the gateway has fetched
	scripts/test-hub.sh

test-first-token: setup-test ## The same as `first-token` with the program of the tests
	scripts/first-token.sh "$(CARGO_TARGET_DIR)/debug/mlx-gateway"

soak: ## 200 clients on 6 profiles with room for 2, kills and reloads (make soak SECONDS=120)
	scripts/soak.sh $(SECONDS)

test-api: setup-test ## The admin API against its own description
	scripts/test-api.sh

bench: ## Compare with nginx under load, count instructions per request, measure plugin calls
	scripts/bench.sh $(ARGS)

release: ## An archive with its checksum and a Homebrew formula, below the target directory
	scripts/release.sh $(ARGS)

first-token: ## From this clone (or ARGS=ARCHIVE) to the demo model's first token with empty caches, with the times
	scripts/first-token.sh $(ARGS)

setup-test: ## Install what the tests need and is missing
	@scripts/setup-test.sh

fmt: ## Format the Rust code
	$(CARGO) fmt

plugins: ## Rebuild the plugins that ship with the gateway (their components are committed)
	scripts/plugins.sh
