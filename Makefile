# Common tasks; run `make` to list the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
#: Databases of tests with fakes are in memory, where the system has such a folder.
IN_MEMORY := $(if $(wildcard /dev/shm),TMPDIR=/dev/shm)
#: Tests on real servers run in groups, each in order (tests/support/scheduling.py); all other tests run in random order.
FAST := -m "not real and not browser" -n auto
CATALOGS := portal/translations
#: Not the command pybabel: the catalogs are read by a module of the portal.
BABEL := $(BIN)/python -m babel.messages.frontend --quiet
LOCK := --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-emit-index-url --no-emit-find-links
REAL := -p no:randomly -rs -n 4 --dist loadscope --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo run test test-fast check bench lock translations sbom audit clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 16

demo: $(VENV)/installed ## Start a demo: the portal with a test provider and a test mail server
	@$(BIN)/python -m portal run --sandbox

run: $(VENV)/installed ## Start the portal
	@$(BIN)/python -m portal run

test: $(VENV)/tested ## Set up and run all tests
	@tests/prepare
	$(IN_MEMORY) $(PYTEST) $(FAST)
	@if tests/prepare --has postgresql; then $(IN_MEMORY) $(PYTEST) $(FAST) --database postgresql; \
	elif [ -n "$$CI" ]; then echo "not installed: postgresql"; exit 1; \
	else echo "Skipped: the same tests on PostgreSQL (install postgresql)"; fi
	$(PYTEST) $(REAL) -m "real or browser"

test-fast: $(VENV)/tested ## Run the tests that need a second or less, on SQLite
	$(IN_MEMORY) $(PYTEST) -m "not real and not browser and not slow" -n auto

check: $(VENV)/tested ## Check style (ruff) and types (mypy)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/tested ## Run the benchmarks; ONLY=NAME runs one
	$(BIN)/python -m tests.bench $(ONLY)

lock: $(VENV)/tested ## Compile requirements.in and tests/requirements.in to pinned versions with hashes
	$(BIN)/uv pip compile $(LOCK) requirements.in -o requirements.txt
	$(BIN)/uv pip compile $(LOCK) tests/requirements.in -o tests/requirements.txt
	$(BIN)/uv pip compile $(LOCK) tests/servers/canaille/requirements.in -o tests/servers/canaille/requirements.txt
	$(BIN)/uv pip compile $(LOCK) tests/servers/django_oauth_toolkit/requirements.in -o tests/servers/django_oauth_toolkit/requirements.txt

translations: $(VENV)/tested ## Update the catalogs of all languages with the messages of the code
	$(BABEL) extract --mapping portal/translations/babel.cfg --keywords "_n:1,2" --no-location --sort-output \
		--project mail-token-portal --output $(CATALOGS)/messages.pot .
	$(BABEL) update --no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date --width 120 \
		--input-file $(CATALOGS)/messages.pot --output-dir $(CATALOGS)
	rm $(CATALOGS)/messages.pot

sbom: $(VENV)/tested ## Write the software bill of materials to sbom.json (CycloneDX)
	$(BIN)/cyclonedx-py requirements requirements.txt --pyproject pyproject.toml --output-file sbom.json

audit: $(VENV)/tested ## Look for known vulnerabilities of the pinned packages (needs the internet)
	$(BIN)/uv tool run pip-audit --require-hashes --disable-pip -r requirements.txt

clean: ## Remove installed packages and caches; keep the data
	rm -rf $(VENV) tests/servers/provider/node_modules .pytest_cache .mypy_cache .ruff_cache

$(VENV)/installed: requirements.txt $(wildcard $(CATALOGS)/*/LC_MESSAGES/*.po)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is required; set PYTHON=/path/to/python")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.txt
	$(BABEL) compile --directory $(CATALOGS)
	@touch $@

$(VENV)/tested: $(VENV)/installed tests/requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement tests/requirements.txt
	@touch $@
