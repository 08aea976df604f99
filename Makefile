# Two commands for a newcomer: `make run` and `make test`. Only Python >= 3.11 and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Python keeps what it compiles. Or else each worker and each process of a test compiles it anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test integration demo install format lint check javascript javascript-checked lock bench clean

help: ## list the verbs
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

# Works with Python 2 too, so that the oldest python can say that it is too old.
OLD_ENOUGH := import sys; found = ".".join(map(str, sys.version_info[:3])); \
	sys.exit(None if sys.version_info >= (3, 11) else \
	"$(PYTHON) is Python " + found + ", but 3.11 or later is needed. Name one: make $(MAKECMDGOALS) PYTHON=python3.12")

# $(call venv,.[extra]) installs into .venv. What an interrupted try has left is made anew, and so
# is a .venv of an older Python.
define venv
@$(PYTHON) -c '$(OLD_ENOUGH)'
@if test -e $(VENV)/unfinished || ! $(BIN)/python -c '$(OLD_ENOUGH)' 2>/dev/null; then rm -rf $(VENV); fi
@mkdir -p $(VENV) && touch $(VENV)/unfinished
$(PYTHON) -m venv $(VENV)
$(BIN)/pip install --quiet --disable-pip-version-check --editable '$(1)'
@rm $(VENV)/unfinished
@touch $@ $(VENV)/run.stamp
endef

# A stamp for each set of packages, so that the second time is quick.
$(VENV)/run.stamp: pyproject.toml
	$(call venv,.[client])

$(VENV)/test.stamp: pyproject.toml
	$(call venv,.[test])

$(VENV)/bench.stamp: pyproject.toml
	$(call venv,.[bench])

install: $(VENV)/run.stamp ## make .venv and install the service there

run: $(VENV)/run.stamp ## serve on 0.0.0.0:8001
	$(BIN)/rt-audio serve

# Several processes, as many tests wait; by file, since a file's tests share what it starts.
PYTEST := $(BIN)/pytest --numprocesses=3 --dist=loadfile

# To measure the branch coverage takes as much processor time as the tests themselves: CI does it.
test: $(VENV)/test.stamp ## run the test suite
	$(PYTEST) -m 'not integration' $(COVERAGE)

integration: $(VENV)/test.stamp ## run the tests with Chromium, Prometheus, HAProxy, docker-compose
	$(PYTEST) -m integration

demo: $(VENV)/run.stamp ## start the service, stream speech through it, show what moved
	$(BIN)/python -m tests.demo

format: $(VENV)/test.stamp ## rewrite the sources in the project's format
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lint: $(VENV)/test.stamp ## ruff's format and lint
	$(BIN)/ruff format --check
	$(BIN)/ruff check

check: lint javascript ## lint, and the types of Python and of the console's JavaScript
	$(BIN)/mypy

# One version of each, because the next may find more. TypeScript reads the types in the
# JavaScript's comments, AsyncAPI's own parser the description of the calls.
TYPESCRIPT := 5.9.3
ASYNCAPI := 3.6.6

$(VENV)/npm.stamp: Makefile | $(VENV)/test.stamp
	npm install --silent --no-audit --no-fund --prefix $(VENV)/npm typescript@$(TYPESCRIPT) @asyncapi/parser@$(ASYNCAPI)
	touch $@

javascript:
	@if command -v node >/dev/null && command -v npm >/dev/null; then $(MAKE) --no-print-directory javascript-checked; \
	else echo "SKIPPED: the console's JavaScript was not checked, for want of node and npm"; fi

javascript-checked: $(VENV)/npm.stamp
	@for file in $$(find service/console -name '*.js'); do \
		node --input-type=module --check - < $$file || { echo "in $$file"; exit 1; }; done
	$(VENV)/npm/node_modules/.bin/tsc --project tests/console/tsconfig.json

# For Python 3.11 and later on Linux, each file of each release by its hash; cffi is Trio's on Windows.
LOCK = $(VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version=3.11 --generate-hashes \
	--custom-compile-command='make lock' --no-annotate --no-emit-package=cffi --no-emit-package=pycparser --output-file

lock: $(VENV)/run.stamp ## pin anew, with hashes, what the image ships and what builds it
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(LOCK) deploy/requirements.txt pyproject.toml
	printf 'cyclonedx-bom\nsetuptools\n' | $(LOCK) deploy/requirements-build.txt -

bench: $(VENV)/bench.stamp ## the quick benchmarks
	$(BIN)/python benchmarks/codec_performance.py --quick
	$(BIN)/python benchmarks/streams.py --quick

clean: ## remove what the other verbs made
	rm -rf $(VENV) build dist *.egg-info benchmarks/.build tests/.autobahn tests/.screenshots .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
