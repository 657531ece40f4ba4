# Everything a person types. `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do \
	command -v $$name >/dev/null && $$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& { command -v $$name; break; }; done)
BIN := .venv/bin
# Tests run in this many processes; each has a PostgreSQL of its own. One more than two processors,
# because much of the time they wait for servers to start and end.
JOBS ?= 3

.PHONY: help install demo up test test-long check check-types check-style format lock benchmarks clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: .venv/runtime  ## The main job, end to end: events in, audiences and a decision out
	@$(BIN)/cdp demo

up: .venv/runtime  ## The whole stack until Ctrl-C: HTTP on :3000, Dagster on :3001
	@$(BIN)/cdp up

test: .venv/development  ## All tests
	@$(BIN)/pytest -n $(JOBS) --dist loadgroup $(ARGS)

test-long: .venv/development  ## The tests that take minutes each: BigQuery against PostgreSQL, the walkthrough
	@$(BIN)/pytest -m long -o faulthandler_timeout=3600 $(ARGS)

check: .venv/development  ## Lint, format, types, SQL lint
	@$(MAKE) --no-print-directory --output-sync -j $(JOBS) check-types check-style

check-types: .venv/development
	@$(BIN)/mypy

check-style: .venv/development
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python .ci/sqlfluff.py lint --processes $(JOBS) models

format: .venv/development  ## Format Python and SQL
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format --quiet .
	@$(BIN)/python .ci/sqlfluff.py fix --quiet models

install: .venv/development  ## Make .venv with everything, development tools included

benchmarks: .venv/development  ## Print every figure that the documents quote (long)
	@for file in benchmarks/*/run.py; do echo "== $$file"; $(BIN)/python -m $$(echo $${file%.py} | tr / .) || exit 1; done

lock: .venv/runtime  ## Resolve pyproject.toml into the two lock files again
	@$(BIN)/uv pip compile --quiet --universal --no-emit-index-url --no-header \
		--custom-compile-command 'make lock' pyproject.toml -o requirements.txt
	@$(BIN)/uv pip compile --quiet --universal --no-emit-index-url --no-header \
		--custom-compile-command 'make lock' --group dev pyproject.toml -o requirements-dev.txt

clean:  ## Remove .venv and caches; `cdp reset` removes the data
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dbt_project/target

.venv/bin/uv:
	@test -n "$(PYTHON)" || { echo "CPython 3.11, 3.12 or 3.13 is needed. Install one, or run: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "$(PYTHON) cannot make a virtual environment. On Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/pip install --quiet --disable-pip-version-check uv

# uv's own cache makes a second clone fast; the stamps make a second `make` free. Compiled once here:
# where Python may not write bytecode, every start compiles what it imports, for seconds.
.venv/runtime: .venv/bin/uv requirements.txt pyproject.toml
	@echo "Installing the dependencies (once)"
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

.venv/development: .venv/runtime requirements-dev.txt
	@echo "Installing the development tools (once)"
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements-dev.txt
	@touch $@
