# Two commands for a newcomer: make demo, make test. Each sets up .venv by itself.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
# Number of test processes; it may exceed the cores, because many tests mostly wait.
JOBS ?= 3

.PHONY: demo test lint format bench package chaos clean

demo: $(VENV)/.run  ## one validator and three miners at work for 20 seconds
	$(BIN)/bettensor demo

test: lint  ## all checks and tests
	$(BIN)/pytest -n $(JOBS) --dist worksteal --cov --cov-fail-under=95

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@# mypy follows folders, not the import hook of an editable install
	@rm -rf build/types && mkdir -p build/types/bettensor
	@ln -s $(CURDIR)/bus $(CURDIR)/actors $(CURDIR)/neurons $(CURDIR)/neurons/package/* build/types/bettensor
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.run  ## all measurements of docs/performance.md, in 8 to 12 minutes
	$(BIN)/bettensor bench

chaos: $(VENV)/.dev  ## kill validators and miners at random instants: make chaos ROUNDS=300 SEED=7
	ROUNDS=$(or $(ROUNDS),300) SEED=$(or $(SEED),1) $(BIN)/pytest -q tests/loopback/test_chaos.py

package: $(VENV)/.dev  ## build wheel and sdist, install each into an empty environment, and run the demo there
	rm -rf dist build && $(BIN)/python -m build
	for artefact in dist/*; do \
		rm -rf build/clean && $(PYTHON) -m venv build/clean \
		&& build/clean/bin/pip install --quiet --disable-pip-version-check $$artefact \
		&& (cd build && clean/bin/bettensor --version && clean/bin/bettensor demo --duration 5 --json) || exit 1; \
	done

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; on Debian: apt install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python's venv is missing; on Debian or Ubuntu: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python pyproject.toml
	@echo "installing packages into $(VENV); this takes some minutes the first time"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	@echo "installing packages into $(VENV); this takes some minutes the first time"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist ./*.egg-info
