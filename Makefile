# Everyday life with the portal; `make` alone explains itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
#: Tests on real servers tell one story each, in order; the others run in any order.
FAST := -m "not real and not browser" -n auto
REAL := -p no:randomly -rs

.DEFAULT_GOAL := help
.PHONY: help demo run test check bench clean

help: ## Show what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

demo: $(VENV)/installed ## Try it out: the portal with a provider and a mail server of its own
	@$(BIN)/python -m portal run --sandbox

run: $(VENV)/installed ## Start the portal for real
	@$(BIN)/python -m portal run

test: $(VENV)/tested ## Set up and run all tests
	@tests/prepare
	$(PYTEST) $(FAST)
	@if tests/prepare --has postgresql; then $(PYTEST) $(FAST) --database postgresql; \
	elif [ -n "$$CI" ]; then echo "not installed: postgresql"; exit 1; \
	else echo "Skipped: the same tests on PostgreSQL (install postgresql)"; fi
	$(PYTEST) $(REAL) -m "real or browser"

check: $(VENV)/tested ## Look at style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/tested ## Measure
	$(BIN)/python -m tests.bench

clean: ## Remove what was installed here; the data stays
	rm -rf $(VENV) tests/servers/provider/node_modules .pytest_cache .mypy_cache .ruff_cache

$(VENV)/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.txt
	@touch $@

$(VENV)/tested: $(VENV)/installed tests/requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
	@touch $@
