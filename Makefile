# Everything a developer runs. A bare `make` prints what each target does.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
DB ?= sqlite
ROWS ?= 2000000
RUNS ?= 3
ROUNDS ?=
AGENTS ?= 1000
MINUTES ?= 10
SECONDS ?=
LIVE ?=
SEED ?=
ONLY ?=
EXAMPLES ?=
# files of tests at a time; they mostly wait, for servers and clocks
WORKERS ?= 2
ARCH ?= amd64

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'
	@echo; echo "  Variables: DB=sqlite|mariadb|postgresql LIVE=1 (demo), ROWS=N RUNS=N (bench), MINUTES=N or ROUNDS=N, SEED=N (test-faults),"; echo "             SECONDS=N SEED=N (test-workloads, fuzz), ONLY=pgbench|sysbench|ddl (test-workloads), WORKERS=N (test),"; echo "             AGENTS=N MINUTES=N SEED=N (bench-fleet), EXAMPLES=N SEED=N (test-api)"

.PHONY: setup
setup: ## make the private environment .venv and install what is missing (apt where it is root); safe to repeat
	@packaging/setup.sh full

.PHONY: setup-runtime
setup-runtime:
	@packaging/setup.sh $(DB)

.PHONY: demo
demo: setup-runtime ## three departments, a collector, a writer, kill -9 in the middle, an independent comparison; LIVE=1 goes on, with the console
	@$(BIN)/python -m tests.servers $(DB) -- $(BIN)/forebay-collector demo $(if $(LIVE),--live)

.PHONY: test
test: setup lint ## every test that runs here: unit, contract, fidelity, integration and end to end, on real servers; WORKERS=
	$(BIN)/pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: lint
lint: setup ## ruff, mypy --strict, import-linter, buf lint, and that generated code is current
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd proto && ../$(BIN)/buf lint
	$(BIN)/python proto/generate.py --check

.PHONY: test-browser
test-browser: setup ## people's ways through the console in Chromium, and its screenshots in docs/images
	FOREBAY_IMAGES=docs/images $(BIN)/pytest -q tests/browser

.PHONY: test-api
test-api: setup ## schemathesis against the API's own description, EXAMPLES= of each kind and operation (100); SEED=
	$(BIN)/python -m tests.programs.fuzzing --examples $(or $(EXAMPLES),100) $(if $(SEED),--seed $(SEED))

.PHONY: test-faults
test-faults: setup ## MINUTES= of every kind of fault (docs/faults.md); ROUNDS= instead: kill -9 rounds over seven sources; SEED= replays
	$(BIN)/python -m $(if $(ROUNDS),tests.faults.kill_rounds --rounds $(ROUNDS),tests.faults --minutes $(MINUTES)) $(SEED:%=--seed %)

.PHONY: test-mutations
test-mutations: setup ## six ways to break an invariant, each in a copy of the tree: which tests catch it
	$(BIN)/python -m tests.mutations

.PHONY: fuzz
fuzz: setup ## the compiled decoders under AddressSanitizer against their references, SECONDS= each (600); SEED=
	$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED))

.PHONY: test-workloads
test-workloads: setup ## log capture under pgbench, sysbench and DDL with kill -9, compared independently; SECONDS= each, ONLY=, SEED=
	$(BIN)/python -m tests.workloads --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only $(ONLY))

.PHONY: test-verify
test-verify: setup ## differences planted in the platform under a workload are found, named, repaired: ROWS= RATE= (1000) SEED=
	$(BIN)/python -m tests.verifying --rows $(ROWS) --rate $(or $(RATE),1000) $(if $(SEED),--seed $(SEED))

.PHONY: test-trace
test-trace: setup ## a hundred rows of a running fleet, drawn by lot, traced and compared with what their sources kept themselves
	$(BIN)/pytest -q tests/end_to_end/test_trace.py

.PHONY: bench
bench: setup ## speed and memory next to the databases' own clients, ROWS= rows, medians of RUNS=; writes build/bench.json
	$(BIN)/python -m bench.run --rows $(ROWS) --runs $(RUNS)

.PHONY: bench-fleet
bench-fleet: setup ## AGENTS= simulated agents on one collector for MINUTES=, figures and bounds; writes build/fleet.json; SEED=
	$(BIN)/python -m bench.fleet.run --agents $(AGENTS) --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

.PHONY: bench-appliance
bench-appliance: setup ## the agent in a memory cgroup of 256 MiB: ROWS= copied, the log followed, then MINUTES= idle (root); writes build/appliance.json
	$(BIN)/python -m bench.appliance --rows $(ROWS) --minutes $(MINUTES)

.PHONY: test-spark
test-spark: setup ## a real Spark reads history and mirror, before and after compaction (needs Java 17; not in CI)
	packaging/setup.sh spark
	$(BIN)/python -m tests.spark.run

.PHONY: packages
packages: ## self-contained .deb, .rpm and offline bundle in build/packages/out; ARCH=amd64,arm64
	packaging/setup.sh packages
	PYTHONPATH=packaging .venv-packages/bin/python -m forebay_packages --arch $(ARCH)

.PHONY: test-systemd
test-systemd: setup packages ## the packages in pristine Debian roots booted by systemd, and the guides followed there from the top (root; not in CI)
	$(BIN)/pytest -q -s tests/systemd --boot

.PHONY: proto
proto: setup ## generate forebay_wire/v1 anew from the .proto files
	$(BIN)/python proto/generate.py

.PHONY: reference
reference: setup ## write docs/reference anew from the programs: settings, commands, error codes, metrics
	$(BIN)/python -m tests.handbook

.PHONY: format
format: setup ## format the code
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

.PHONY: lock
lock: setup ## lock the dependencies anew, with hashes and without addresses
	for name in agent collector dev; do \
	  $(BIN)/uv pip compile -q --upgrade --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	    --no-emit-find-links requirements/$$name.in -o requirements/$$name.lock || exit 1; done

.PHONY: clean
clean: ## remove the environment and everything built
	rm -rf .venv .venv-packages build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find agent collector proto \( -name '*.so' -o -name '*.egg-info' -o -name __pycache__ -o -path '*/kernel/*.c' \) -prune -exec rm -rf {} +
