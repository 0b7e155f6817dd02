# Everything a fresh machine needs is made here: `make demo` shows the dispenser, `make test` proves it.

VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install -qq --disable-pip-version-check
# Tests of one file share what is slow to start, so they stay on one worker.
PYTEST := $(BIN)/pytest -n auto --dist loadscope
# Of the simulation: see `soak` and `replay`.
SEEDS  := 100000
SEED   := 0
# Of the kill loop: see `soak`.
KILLS  := 10000

# Of each fuzzed reader: see `fuzz`.
SECONDS := 60

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint soak replay fuzz bench bench-quick env clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/.server  ## the productivity tracker, start to end, with an emulated provider
	@$(BIN)/dispenser demo

test: lint  ## every check: lint, types, layers, tests (against real RabbitMQ, Redis and PostgreSQL)
	@echo "tests"
	@$(PYTEST)

lint: $(VENV)/.test  ## style, types and layers alone
	@echo "style"
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@echo "types"
	@$(BIN)/mypy
	@echo "layers"
	@$(BIN)/lint-imports

soak: $(VENV)/.test  ## for hours: tests that take minutes, KILLS=10000, then SEEDS=100000 runs of the simulation
	@$(PYTEST) -q -o timeout=0 -m slow
	@DISPENSER_TEST_KILLS=$(KILLS) $(PYTEST) -n 4 -q -rP -o timeout=0 tests/acceptance/test_kill_loop.py tests/integration/test_audit_killed.py
	@SIMULATION_SEEDS=$(SEEDS) $(PYTEST) -q -o timeout=0 --maxfail=3 tests/simulation/test_simulation.py

replay: $(VENV)/.test  ## one run of the simulation, with all that happens in it: SEED=42
	@PYTHONPATH=.:tests $(BIN)/python -m simulation $(SEED)

fuzz: $(VENV)/.test  ## a minute of atheris each on frames, token answers and policy files: SECONDS=60
	@$(PIP) --editable '.[fuzz]'
	@mkdir -p build/fuzz
	@for entry in frame token_answer policy_file; do \
		PYTHONPATH=.:tests $(BIN)/python -m fuzz $$entry $(SECONDS) > build/fuzz/$$entry.log 2>&1 \
			|| { tail -n 40 build/fuzz/$$entry.log; exit 1; }; \
		echo "$$entry: $$(grep stat::number_of_executed_units build/fuzz/$$entry.log)"; \
	done

bench: $(VENV)/.test  ## minutes: ours beside its peers, as a table, build/bench.json, bench.md and bench.svg
	@PYTHONPATH=.:tests $(BIN)/python -m bench

bench-quick: $(VENV)/.test  ## a hundredth of it in under a minute, to see that it runs
	@PYTHONPATH=.:tests $(BIN)/python -m bench --quick

env: .env  ## passwords for compose.yaml, in a new .env

.env:
	@umask 077; \
	password() { echo "$$1_PASSWORD=$$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"; }; \
	{ password POSTGRES; for server in RABBITMQ REDIS POSTGRES; do \
		for role in OPERATOR SERVE GATEWAY REFRESHER SCHEDULER JANITOR; do password $${server}_$$role; done; \
	done; } > $@
	@echo "wrote .env: it holds passwords, keep it out of version control"

clean:  ## remove the virtual environment and every cache
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.server: $(BIN)/python pyproject.toml
	@echo "installing the dispenser into $(VENV)"
	@$(PIP) --editable '.[server]'
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml
	@echo "installing the dispenser and what its tests need into $(VENV)"
	@$(PIP) --editable '.[server,postgres,test]'
	@touch $@ $(VENV)/.server

$(BIN)/python:
	@sh .ci/venv $(VENV)
