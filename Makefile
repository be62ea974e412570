# For newcomers: make demo. For contributors: make check at each change, and make test before they hand it in.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
# Number of test processes; it may exceed the cores, because many tests mostly wait.
JOBS ?= 4
EXISTING := $(VENV)/existing-10 $(VENV)/existing-9
TOOLS := $(VENV)/tools
# No local folder and no index of this machine gets into the files. What is newer than AGE is not taken yet.
RESOLVE = env -u UV_FIND_LINKS -u UV_INDEX -u UV_EXTRA_INDEX_URL $(TOOLS)/bin/uv pip compile --quiet --no-config --universal \
	--python-version 3.11 --generate-hashes --no-annotate --default-index https://pypi.org/simple \
	--custom-compile-command "make lock" $(if $(UPGRADE),--upgrade --exclude-newer "$(or $(AGE),7 days)")
PYTEST = $(BIN)/pytest -v -n $(JOBS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo check test lint format bench chaos week attack autobahn fuzz lock audit package clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*  ## /\1|/p' Makefile | while IFS='|' read -r target what; do \
		printf 'make %-9s%s\n' "$$target" "$$what"; done

demo: $(VENV)/.run $(if $(MIXED),$(VENV)/existing-10)  ## one validator and three miners at work, for a minute at most; MIXED=1: also two of bittensor 10
	@$(BIN)/bettensor demo $(if $(MIXED),--existing 2)

check:  ## what each change needs: format, lint, types, and the tests that take no longer than a minute together
	@echo "make check: format, lint and types, then the quick tests: one minute to one and a half on 2 cores"
	@$(FIRST_TIME)
	@$(MAKE) --no-print-directory lint
	@echo "== tests, without those that are marked slow"
	$(PYTEST) -m "not slow"

test:  ## everything: format, lint, types, and all tests with branch coverage
	@echo "make test: format, lint and types in half a minute, then all tests: 8 minutes on 2 cores"
	@$(FIRST_TIME)
	@$(MAKE) --no-print-directory lint
	@echo "== bittensor 10 and 9, each in an environment of its own: real existing neurons for the tests"
	@$(MAKE) --no-print-directory --jobs=2 $(EXISTING)
	@echo "== tests, all of them"
	$(PYTEST) --cov --cov-fail-under=95

lint: $(VENV)/.dev  ## format, lint and types alone
	@echo "== format"
	$(BIN)/ruff format --check .
	@echo "== lint"
	$(BIN)/ruff check .
	@echo "== types"
	@# mypy follows folders, not the import hook of an editable install
	@mkdir -p build/types/bettensor
	@ln -sfn "$(CURDIR)"/bus "$(CURDIR)"/actors "$(CURDIR)"/neurons "$(CURDIR)"/neurons/package/* build/types/bettensor
	$(BIN)/mypy

format: $(VENV)/.dev  ## apply the automatic fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.run  ## all measurements of docs/performance.md, in 8 to 12 minutes
	$(BIN)/bettensor bench

chaos: $(VENV)/.dev  ## kill validators and miners at random instants: make chaos ROUNDS=300 SEED=7
	ROUNDS=$(or $(ROUNDS),300) SEED=$(or $(SEED),1) $(BIN)/pytest -q tests/loopback/test_chaos.py

week: $(VENV)/.dev  ## a simulated week with existing neurons, in half a minute: make week DAYS=7 SEED=3
	DAYS=$(or $(DAYS),7) SEED=$(or $(SEED),1) $(BIN)/pytest -q tests/actors/test_mixed_week.py

attack: $(VENV)/.dev  ## try all attacks of docs/security.md on real neurons, in 12 to 18 minutes, and write their table anew: make attack NAMES=head
	$(BIN)/python -m tests.attacks $(NAMES)

autobahn: $(VENV)/.dev  ## RFC 6455 by the Autobahn test suite, against our listener and our dialer, in 3 minutes
	$(BIN)/python -m tests.autobahn
	$(BIN)/python -m tests.test_docs

fuzz: $(VENV)/.dev  ## every reader of what others say, by a coverage-guided fuzzer: make fuzz MINUTES=5
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz $(or $(MINUTES),5) $(RUNS)
	$(BIN)/python -m tests.test_docs

lock: $(TOOLS)/.made  ## the packages of image and CI, with hashes, into .ci: make lock UPGRADE=yes AGE="7 days"
	@echo "== the packages of image and CI, with hashes, into .ci"
	@$(RESOLVE) pyproject.toml --extra dev --output-file .ci/requirements-dev.txt
	@$(RESOLVE) pyproject.toml --constraint .ci/requirements-dev.txt --output-file .ci/requirements-run.txt
	@$(RESOLVE) --group build --constraint .ci/requirements-dev.txt --output-file .ci/requirements-build.txt
	@$(RESOLVE) --group tools --output-file .ci/requirements-tools.txt
	@! cmp -s .ci/requirements-tools.txt $(TOOLS)/.made || touch $(TOOLS)/.made

audit: $(TOOLS)/.made  ## known vulnerabilities of the packages in the image, and their list: build/sbom.json
	@.ci/audit $(TOOLS)/bin/python

package: $(VENV)/.dev  ## build wheel and sdist, install each into an empty environment, and run the demo there
	rm -rf dist build && $(BIN)/python -m build $(if $(LOCKED),--no-isolation)
	for artefact in dist/*; do \
		rm -rf build/clean && $(PYTHON) -m venv build/clean \
		&& build/clean/bin/pip install --quiet --disable-pip-version-check $$artefact \
		&& (cd build && clean/bin/bettensor --version && clean/bin/bettensor demo --duration 5 --json) || exit 1; \
	done

# REQUIRE_EXISTING=yes: fail if one cannot be made; otherwise the tests that need it are skipped, and say why
.PHONY: $(EXISTING)
$(EXISTING): $(VENV)/.run
	@$(BIN)/python -m bettensor.neurons.existing.environment $@ $(@:$(VENV)/existing-%=%) $(if $(REQUIRE_EXISTING),--required)

clean:  ## remove all that make has made
	rm -rf $(VENV) .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist ./*.egg-info

# --- the packages. The set-up may be interrupted at every instant, also by SIGKILL, and run by two at once.
# LOCKED=yes: exactly the packages of .ci/requirements-dev.txt, checked by their hashes, and no build of another one.

STAMPS := $(VENV)/.run $(VENV)/.dev
CHANGING := $(VENV)/.changing
AS_LOCKED := $(VENV)/.locked
# The files are whole, so nothing else is looked for; the pip of Debian's Python 3.11 could not find hashes for extras.
HASHED := --disable-pip-version-check --require-hashes --only-binary :all: --no-deps --requirement
# The environment works, and runs this checkout: neither its Python nor this folder has been replaced or moved.
WORKS := $(filter ok,$(shell $(BIN)/python -I -c "import bettensor, os; \
	print('ok' if os.path.samefile(bettensor.__file__, 'neurons/package/__init__.py') else '')" 2>/dev/null))
# The same, and if locked packages are asked for, it has no others.
FITS := $(and $(WORKS),$(if $(LOCKED),$(wildcard $(AS_LOCKED)),yes))
FIRST_TIME = test -n "$(and $(FITS),$(wildcard $(VENV)/.dev))" || echo "first, this time only: packages, 1 to 2 minutes"

.PHONY: again
$(STAMPS): pyproject.toml $(if $(LOCKED),.ci/requirements-dev.txt) $(if $(FITS),,again)
$(TOOLS)/.made: .ci/requirements-tools.txt

ifndef HAS_LOCK
# pip inherits the lock: if only make is killed, the next one waits until its pip has ended
LOCK := $(shell command -v flock)
$(STAMPS) $(TOOLS)/.made:
	@test -z "$(LOCK)" || $(LOCK) --nonblock Makefile true || echo "waiting for another make, which sets up $(VENV)"
	@$(LOCK:%=% Makefile) $(MAKE) --no-print-directory HAS_LOCK=yes $@
else
# No stamp stands while packages change. If a change was interrupted, nothing of it is trusted.
TRUSTED := $(and $(FITS),$(if $(wildcard $(CHANGING)),,yes))
$(VENV)/.dev: EXTRA := [dev]
$(STAMPS):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; on Debian: apt install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python's venv is missing; on Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@echo "== packages, into $(VENV)"
	@mkdir -p $(VENV) && touch $(CHANGING) && rm -f $(STAMPS) $(AS_LOCKED)
	$(if $(TRUSTED),,rm -rf $(VENV)/* && $(PYTHON) -m venv $(VENV))
ifdef LOCKED
	$(BIN)/python -m pip install $(HASHED) .ci/requirements-dev.txt
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m pip check
	@touch $(AS_LOCKED)
else
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.$(EXTRA)'
endif
	@rm $(CHANGING) && touch $(VENV)/.run $@

$(TOOLS)/.made:
	@rm -rf $(TOOLS) && $(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet $(HASHED) .ci/requirements-tools.txt
	@cp .ci/requirements-tools.txt $@
endif
