# Everything a developer types. Bare `make` lists the targets.

PYTHON ?= python3
SEED ?= 1
ARGS ?=
PYTEST_ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
# Wheels only: building a package from source would fetch build tools that no hash covers.
INSTALL := $(PIP) install --quiet --require-hashes --only-binary :all: -r
EDITABLE := $(PIP) install --quiet --no-deps --no-build-isolation -e .
LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet
CODE := agent drivers fleet simulators benchmarks

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup check test run bench sim sim-long chaos campaign fuzz mutants docs package lock clean system-packages

help:
	@printf 'make TARGET, where TARGET is one of\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: .venv/run.stamp ## start a simulated district and its fleet manager; ARGS="--help" for more; Ctrl-C stops it
	@mkdir -p build/run
	@exec $(BIN)/armoire-sim district --dir build/run $(ARGS)

setup: .venv/dev.stamp ## install everything a developer needs into .venv

check: .venv/dev.stamp ## format, lint, types, import layers, tidiness
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy --strict --no-error-summary $(CODE)
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest --quiet -p no:xdist tests/test_tidy.py tests/test_docs.py

test: .venv/dev.stamp system-packages check ## the check and all tests, with coverage; PYTEST_ARGS="-k name" for some
	@mkdir -p build/coverage
	$(BIN)/python -m pytest --quiet -n 2 --dist loadgroup --cov --cov-report=html --cov-report=term:skip-covered $(PYTEST_ARGS)

bench: .venv/dev.stamp ## measure; tables on the screen, JSON lines under build/bench
	$(BIN)/python -m benchmarks $(ARGS)

sim: .venv/dev.stamp ## run the seeded simulation of the synchronisation; SEED=7 replays one
	$(BIN)/python -m tests.sync_simulation --seed $(SEED) $(ARGS)

sim-long: .venv/dev.stamp ## the same with ten thousand seeds, on every core
	$(BIN)/python -m tests.sync_simulation --seed $(SEED) --runs 10000 $(ARGS)

chaos: .venv/dev.stamp ## kill, freeze and cut off real brokers, manager and cabinets, then count; SEED=7, ARGS="--minutes 10", ARGS="--help" for more
	$(BIN)/python -m tests.chaos --seed $(SEED) $(ARGS)

campaign: .venv/dev.stamp ## ten million adversarial commands, and the reference junctions searched to the end; SEED=7, ARGS="--help" for more
	$(BIN)/python -m tests.proof --seed $(SEED) $(ARGS)

fuzz: .venv/dev.stamp ## mutate a million times what every parser of outside bytes is fed; SEED=7, ARGS="--help" for more
	$(BIN)/python -m tests.attack.sync.fuzz --seed $(SEED) $(ARGS)

mutants: .venv/dev.stamp ## put one fault at a time into the kernel and see that a test notices; ARGS="--help" for more
	nice -n 19 $(BIN)/python -m tests.proof.mutants $(ARGS)

docs: .venv/dev.stamp ## check that what the documents say is still there
	$(BIN)/python -m pytest --quiet -p no:xdist tests/test_docs.py

package: .venv/dev.stamp ## build the wheel into build/dist
	@rm -rf build/lib build/bdist.*  # What was deleted since must not be packed again.
	$(BIN)/python -m build --wheel --no-isolation --outdir build/dist .

lock: ## resolve the dependencies anew into the two lock files (needs uv); ARGS=--upgrade for newer ones
	@command -v uv >/dev/null || { echo "make lock needs the program uv: python3 -m pip install uv" >&2; exit 1; }
	$(LOCK) $(ARGS) --extra gateway --extra fleet --extra sim --extra build -o requirements.lock
	$(LOCK) $(ARGS) --extra gateway --extra fleet --extra sim --extra dev -c requirements.lock -o requirements-dev.lock

clean: ## remove what was built (.venv stays)
	rm -rf build *.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find $(CODE) tests -name __pycache__ -type d -prune -exec rm -rf {} +

system-packages:
	@scripts/system-packages

.venv/bin/python:
	@PYTHON="$(PYTHON)" scripts/venv .venv

# pyproject.toml too, because the entry points come from it.
.venv/run.stamp: requirements.lock pyproject.toml | .venv/bin/python
	@echo "installing what Armoire needs to run into .venv"
	@$(INSTALL) requirements.lock
	@$(EDITABLE)
	@touch $@

.venv/dev.stamp: requirements-dev.lock pyproject.toml | .venv/bin/python
	@echo "installing what developing Armoire needs into .venv"
	@$(INSTALL) requirements-dev.lock
	@$(EDITABLE)
	@touch .venv/run.stamp $@
