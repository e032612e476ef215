# `make demo` and `make test` need Python 3.11 or newer, git, make and a package index; everything else goes into .venv.

PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
VENV := .venv
RUN := $(VENV)/bin/python
QUICK := not slow and not clients and not browser and not postgres and not docker

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The build's own requirements are pinned too: older pip reads the first name, newer pip the second.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT := $(CURDIR)/constraints.txt

.PHONY: help demo test test-slow test-docker test-postgres test-clients check format docs bench clean

help:
	@echo "make demo    an agent deploys a real service, governed; nothing to configure"
	@echo "make test    the tests a developer waits for"
	@echo "make check   lint, format, types, layers, generated pages"
	@echo "make bench   measure the claims; writes bench/results.json"
	@echo "make docs    write docs/reference and the tools' schemas anew from the code"

$(VENV)/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --editable ".[dev,postgres,otel]"
	@touch $@

demo: $(VENV)/.ready
	@$(RUN) -m sandbox.demo $(if $(JSON),--json)

test: $(VENV)/.ready
	$(RUN) -m pytest -q -n 2 --dist worksteal -m "$(QUICK)"

test-slow: $(VENV)/.ready
	$(RUN) -m pytest -q -m "slow and not clients and not browser and not postgres and not docker"

test-docker: $(VENV)/.ready
	$(RUN) -m pytest -q -n 2 --dist worksteal -m docker

test-postgres: $(VENV)/.ready
	$(RUN) -m pytest -q -n 2 --dist worksteal -m postgres

test-clients: $(VENV)/.ready
	$(RUN) -m pytest -q -m "clients or browser"

check: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright
	$(VENV)/bin/lint-imports --no-logo
	$(RUN) docs/generate.py --check
	$(RUN) -m pytest -q tests/test_architecture.py tests/test_docs.py $(wildcard tests/tools/test_golden.py)

format: $(VENV)/.ready
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs: $(VENV)/.ready
	$(RUN) docs/generate.py

bench: $(VENV)/.ready
	$(RUN) -m bench

clean:
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache .demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
