# Everything here needs only Python (3.10 or newer) and make.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt

# Neither tests nor demo need a model hub: without this, transformers would ask one.
export HF_HUB_OFFLINE := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Each folder of tests, and each file beside them, has a process of its own, since libraries keep state
# that others would see. Inside, test files share the cores, at most four at a time.
PARTS := $(sort $(dir $(wildcard tests/*/test_*.py))) $(wildcard tests/test_*.py)
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

# What the compiled library is made from: after a change the package is installed again.
COMPILED := hatch_build.py $(wildcard src/rankwright/engine/native/*.cpp src/rankwright/engine/native/*.h)

.DEFAULT_GOAL := help
.PHONY: help setup demo test quick lint types clean

help: ## Show this list
	@echo "make TARGET, where TARGET is one of:"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Another Python: make setup PYTHON=python3.12. Options of the demo: make demo ARGS=--quick"

setup: .venv/.ready ## Make .venv with everything that development needs

demo: .venv/.ready-demo ## Train, judge and save a code-search reranker, without any download of models
	$(BIN)/rankwright demo --overwrite $(ARGS)

test: setup ## Run all tests, the linter, the format check and the type check
	failed=; for part in $(PARTS); do $(PYTEST) $$part || failed="$$failed $$part"; done; \
	  if [ -n "$$failed" ]; then echo "Tests failed in:$$failed" >&2; exit 1; fi
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

quick: setup ## Run the tests that take seconds
	set -e; for part in $(PARTS); do $(PYTEST) -m "not slow" $$part || [ $$? = 5 ]; done

lint: setup ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## Check types
	$(BIN)/mypy

clean: ## Remove caches and build products; .venv stays
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -type d -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

# A stamp is newer than what it depends on once the installation has succeeded.
.venv/.ready: pyproject.toml constraints.txt $(COMPILED) | $(BIN)/python
	@echo "Installing Rankwright and its development tools into .venv (some minutes)"
	$(INSTALL) -e ".[dev]"
	@touch .venv/.ready .venv/.ready-demo

.venv/.ready-demo: pyproject.toml constraints.txt $(COMPILED) | $(BIN)/python
	@echo "Installing Rankwright into .venv (some minutes)"
	$(INSTALL) -e ".[demo]"
	@touch .venv/.ready-demo

$(BIN)/python:
	@command -v $(PYTHON) > /dev/null || { echo "'$(PYTHON)' was not found. Install Python 3.10 or newer, or name yours: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "Rankwright needs Python 3.10 or newer, and $(PYTHON) is %d.%d. Name a newer one: make setup PYTHON=python3.12" % tuple(sys.version_info[:2]))'
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip || echo "pip could not be upgraded; going on with the one there is."
