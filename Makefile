# Every way to build, try and check Tidemill. `make` alone prints this list.

# Profile and features are the same everywhere but in `dist` and `bench`, so that one set of compiled dependencies serves
# the demo, the tests and the inner loop.
TARGET := $(or $(CARGO_TARGET_DIR),target)
CARGO ?= cargo
# Workspaces of their own, since they compile for wasm; here they are built natively, which is how their tests run.
APART := $(wildcard plugins/Cargo.toml sdk/rust/Cargo.toml)
APART_TARGET := $(abspath $(TARGET))/plugins
# Linted without its feature `link`: libFuzzer itself is C++, and is not needed to look at ours.
FUZZ_TARGET := $(abspath $(TARGET))/fuzz

.DEFAULT_GOAL := help
.PHONY: help demo test test-servers lint bench plugins fuzz dist clean tools postgres

help: ## this list
	@echo "make TARGET [ARGS=\"...\"]"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-15s %s\n", $$1, $$2 }'

demo: tools postgres ## the main job on this machine: Postgres to search index (ARGS="--rows 20000 --seconds 5 --keep")
	@echo "building Tidemill (the first time 6 to 12 minutes on two cores, then seconds)"
	@$(CARGO) build --locked --workspace --bin tidemill
	@echo "running the demo (usually under a minute)"
	@$(TARGET)/debug/tidemill demo $(ARGS)

test: tools postgres ## all tests but those of real search servers
	@echo "building the tests (the first time 6 to 12 minutes on two cores) and running them (some minutes)"
	$(CARGO) test --locked --workspace -- --skip servers:: $(ARGS)
	@set -e; for manifest in $(APART); do set -x; \
	$(CARGO) test --locked --workspace --manifest-path $$manifest --target-dir $(APART_TARGET) -- $(ARGS); { set +x; } 2>/dev/null; done

test-servers: tools postgres ## the tests of real OpenSearch, Elasticsearch and Postgres versions, which it downloads
	@echo "fetching the servers (the first time half a minute to some minutes)"
	@scripts/servers/prefetch.sh
	@$(CARGO) test --locked --workspace --test suite -- --list servers:: | grep -q ': test$$' || \
	{ echo "no test is in a module called servers"; exit 1; }
	$(CARGO) test --locked --workspace --test suite -- servers:: --test-threads=1 $(ARGS)

lint: tools ## formatting, clippy with warnings denied, the scripts, the committed files, licences
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@set -e; for manifest in $(APART); do set -x; $(CARGO) fmt --all --check --manifest-path $$manifest; \
	$(CARGO) clippy --locked --workspace --all-targets --manifest-path $$manifest --target-dir $(APART_TARGET) -- -D warnings; \
	{ set +x; } 2>/dev/null; done
	$(CARGO) fmt --check --manifest-path tests/fuzz/Cargo.toml
	$(CARGO) clippy --locked --no-default-features --all-targets --manifest-path tests/fuzz/Cargo.toml --target-dir $(FUZZ_TARGET) -- -D warnings
	scripts/check-files.sh
	scripts/check-dependencies.sh
	@if command -v shellcheck >/dev/null; then shellcheck -x -S warning -P SCRIPTDIR .ci/run scripts/*.sh scripts/servers/*.sh; \
	else echo "shellcheck is not here: the scripts were not checked"; fi

bench: tools postgres ## the benchmarks, in the release profile: the first build takes some 15 minutes (ARGS=end_to_end ROWS=500000 PAIRS=9)
	$(CARGO) bench --locked --workspace --bench '*' -- $(ARGS)

plugins: tools ## make the shipped plugins anew from their source
	scripts/plugins.sh $(ARGS)

fuzz: tools ## fuzz the parsers, each for 20 seconds (ARGS="pgoutput 600": one target and its seconds)
	@scripts/fuzz.sh $(ARGS)

dist: tools ## an archive with the release binary, completions and licences, in $(TARGET)/dist
	scripts/dist.sh

clean: ## remove what was built here; downloaded servers stay in their cache
	$(CARGO) clean

tools:
	@scripts/ensure-build-tools.sh

postgres:
	@scripts/ensure-postgres.sh >/dev/null
