# Everything a person does with this repository. `make help` lists it.
#
# One cargo profile serves every target, because RocksDB takes about 15 minutes to compile. Set
# CARGO_TARGET_DIR to a folder outside the clone and the next clone compiles only Binnacle itself.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

export CARGO_TARGET_DIR ?= $(CURDIR)/target
# ccache, where it is installed, spares the second compilation of RocksDB.
export PATH := /usr/lib/ccache:$(PATH)

CARGO := cargo
BIN := $(CARGO_TARGET_DIR)/release
DEMO_SECONDS ?= 0
SHARED := $(abspath $(CURDIR)/../shared)
export BINNACLE_PROMQLTEST ?= $(SHARED)/promqltest

.PHONY: help
help: ## This list
	@grep -hE '^[a-z][a-z0-9-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

.PHONY: build-deps
build-deps: ## Install what the build needs (Debian, root)
	@tests/packages.sh build

.PHONY: test-deps
test-deps: ## Install what the tests compare with (Debian, root)
	@tests/packages.sh build test cgroup2
	@tests/peers.sh
	@tests/clients.sh

.PHONY: build
build: build-deps ## Build both binaries and the demo
	$(CARGO) build --release --workspace --bins

.PHONY: demo
demo: build ## The whole platform on this machine; DEMO_SECONDS=120 ends by itself with a verdict
	@$(BIN)/binnacle-demo run --seconds $(DEMO_SECONDS) --manifests deploy/demo

.PHONY: test
test: build-deps ## All tests; what needs root or a package says so when it is skipped
	$(CARGO) build --release --workspace --bins
	@tests/run.sh

.PHONY: test-crash
test-crash: ## The long crash test of the database: 200 kills under load
	BINNACLE_CRASH_ROUNDS=200 $(CARGO) test --release --workspace --test crash -- --nocapture

.PHONY: test-load
test-load: build ## 100 dashboards while samples come in, for 3 minutes; the short run is part of `make test`
	BINNACLE_LOAD_SECONDS=80 $(CARGO) test --release --workspace --test load -- --nocapture

.PHONY: test-cgroup2
test-cgroup2: ## The agent's cgroup and pod tests on an emulated machine with cgroup v2 (part of `make test`)
	@tests/packages.sh build cgroup2
	@tests/cgroup2/run.sh cgroup:: pods::

.PHONY: test-rotation
test-rotation: ## The long rotation test of the log tailer alone: 1,000 rotations with kills
	BINNACLE_ROTATIONS=1000 $(CARGO) test --release --workspace --lib as_many_rotations -- --nocapture

.PHONY: test-torture
test-torture: build ## Log lines through 1,000 rotations while the real agent and server are killed
	BINNACLE_TORTURE_ROTATIONS=1000 $(CARGO) test --release --workspace --test torture -- --nocapture

FUZZ_SECONDS ?= 60
.PHONY: fuzz
fuzz: ## Noise and damaged input at decoders, parsers and endpoints, FUZZ_SECONDS (60) each, a new seed each time
	BINNACLE_FUZZ_SECONDS=$(FUZZ_SECONDS) BINNACLE_FUZZ_SEED=$$RANDOM \
	  $(CARGO) test --release --workspace --test fuzz -- --nocapture

.PHONY: bench
bench: build ## Beside VictoriaMetrics and Prometheus; BENCH="--series 100000 --hours 1" for another size
	@tests/peers.sh
	@$(BIN)/binnacle-bench $(BENCH)

.PHONY: bench-agent
bench-agent: build ## The agent on a node with 100 containers, beside node_exporter (root, cgroup v1)
	@$(BIN)/binnacle-bench-agent $(BENCH)

.PHONY: bench-logs
bench-logs: build ## The log store beside grep and zstd, and the agent; BENCH="--megabytes 5000" for the design's size
	@$(BIN)/binnacle-bench-logs $(BENCH)

.PHONY: check
check: ## What a change must pass before review: format, clippy, licences, docs
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --release --workspace --no-deps --quiet
	@tests/packages.sh deny
	$(CARGO) deny --log-level warn check licenses bans sources

.PHONY: clean
clean: ## Remove what was built
	$(CARGO) clean
