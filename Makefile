# `make demo` and `make test` need Python >= 3.11 and Maven; everything else is set up in .venv and in the user's cache.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q
REQUIREMENTS := pyproject.toml constraints.txt Makefile

# The first Python that is new enough and can make environments; choose another with `make PYTHON=python3.13 ...`.
PYTHONS := $(if $(PYTHON),$(PYTHON),python3.11 python3.12 python3.13 python3.14 python3 python)
JOBS := 2
GOOD_PYTHON := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench bench-peers test-long chaos lint check clean system

help: ## say what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup: $(VENV)/installed-test ## set up .venv with all that tests and demo need

demo: $(VENV)/installed-demo ## the main job on real flights, with a kill in the middle; KEEP=1 leaves it up, JSON=file
	@$(BIN)/streams demo $(if $(KEEP),--keep) $(if $(JSON),--json $(JSON))

test: $(VENV)/installed-test ## run the tests, on real brokers and real registries: attacks alone, all others JOBS=2 at a time
	@status=0; \
	$(BIN)/pytest --ignore=tests/faults -n $(or $(JOBS),0) --dist loadfile || status=$$?; \
	[ $$status != 2 ] || exit 2; \
	$(BIN)/pytest tests/faults || status=$$?; \
	exit $$status

bench: $(VENV)/installed-test ## measure throughput, latency and recovery on this machine; JSON=file
	@$(BIN)/python -m tests.bench $(if $(JSON),--json $(JSON))

bench-peers: $(VENV)/installed-test ## the same, with Kafka Streams in turns; needs a JDK
	@$(BIN)/python -m tests.bench --runs 3 --workers 1,2 --peers $(if $(JSON),--json $(JSON))

test-long: $(VENV)/installed-test ## run the long tier
	@$(BIN)/pytest -m long

chaos: $(VENV)/installed-test ## attack for up to half an hour: PART=kills|brokers|zombies|endtxn|churn|clocks|state|markers|monitor|tickets|fuzz|soak SEED= TIME=
	@$(BIN)/python -m tests.faults $(PART) $(if $(SEED),--seed $(SEED)) $(if $(TIME),--time $(TIME))

lint: $(VENV)/installed-test ## style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

check: lint test ## what must hold before a commit

clean: ## remove the environment and all caches of this folder; a running stack is ended first
	@if [ -x $(BIN)/streams ]; then $(BIN)/streams dev down; $(BIN)/streams dev down --dir .answeronce/demo; fi
	rm -rf $(VENV) .answeronce .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up: a stamp file per set of extras, so that a second `make` has nothing to do

$(VENV)/installed-test: $(VENV)/bin/python $(REQUIREMENTS) | system
	@echo "Installing answeronce with its tests ..."
	@$(PIP) -c constraints.txt -e '.[test]'
	@touch $(VENV)/installed-demo $@

$(VENV)/installed-demo: $(VENV)/bin/python $(REQUIREMENTS) | system
	@echo "Installing answeronce with its demo ..."
	@$(PIP) -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/bin/python:
	@for python in $(PYTHONS); do \
	  if $$python -c '$(GOOD_PYTHON)' 2>/dev/null; then \
	    echo "Making $(VENV) with $$($$python --version) ..."; \
	    exec $$python -m venv $(VENV); \
	  fi; \
	done; \
	echo "None of [$(PYTHONS)] is a Python >= 3.11 that can make environments." >&2; \
	echo "Install one (apt-get install python3 python3-venv, brew install python@3.13), or say which:" >&2; \
	echo "  make PYTHON=/path/to/python3.12 setup" >&2; \
	exit 1

# What pip cannot install. Checked before the long download, not after it.
system:
	@command -v mvn >/dev/null || { \
	  echo "Maven is missing: it fetches the local broker and registry." >&2; \
	  echo "  apt-get install maven    or    brew install maven" >&2; exit 1; }
	@case "$$(uname -s)" in \
	Linux) $(BIN)/python -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null || { \
	  echo "LightGBM needs the system library libgomp1, which is missing." >&2; \
	  echo "  apt-get install libgomp1    or    dnf install libgomp" >&2; exit 1; };; \
	Darwin) ls /opt/homebrew/opt/libomp/lib/libomp.dylib /usr/local/opt/libomp/lib/libomp.dylib \
	           /opt/local/lib/libomp/libomp.dylib 2>/dev/null | grep -q . || { \
	  echo "LightGBM needs the library libomp, which is missing." >&2; \
	  echo "  brew install libomp" >&2; exit 1; };; \
	esac

system: $(VENV)/bin/python
