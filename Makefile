# `make help` lists the targets. Everything is installed into .venv; a stamp makes the second time instant.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
CHROMIUM := $(VENV)/.chromium
JOBS   ?= auto

.DEFAULT_GOAL := help
.PHONY: help setup demo test check browser-check format bench soak screenshots lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml requirements.lock browser/package-lock.json
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "meshlearn needs Python 3.11 or newer with venv: apt-get install python3-venv"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing meshlearn and what it needs into $(VENV) (a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	@touch $@

$(CHROMIUM): $(STAMP)
	@tools/ensure_chromium.sh $(VENV)
	@touch $@

setup: $(STAMP) $(CHROMIUM) ## install everything into .venv, and a browser for the tests

demo: $(STAMP) ## four peers train on handwritten digits over WebRTC, live in the terminal
	@$(BIN)/meshlearn demo $(ARGS)

test: setup browser-check ## run every test, Python and TypeScript, and lint and type-check TypeScript
	@$(BIN)/python -m pytest -n $(JOBS)
	@$(BIN)/python browser/build_hook.py --run test

check: browser-check ## lint and type-check, Python and TypeScript
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy

# A prerequisite, so that `make check test` does it once. It builds the page, too.
browser-check: $(STAMP)
	@$(BIN)/python browser/build_hook.py --run check

format: $(STAMP) ## format the code
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .
	@$(BIN)/python browser/build_hook.py --run format

bench: setup ## run the benchmarks; each figure beside its limit
	@$(BIN)/meshlearn bench

soak: setup ## thousands of simulated worlds, each checked after every step; then a tab hidden for two minutes
	@$(BIN)/python -m sims.soak
	@$(BIN)/python browser/build_hook.py
	@MESHLEARN_SOAK=1 $(BIN)/python -m pytest -q -s tests/browser/test_mesh.py

screenshots: setup ## pictures of the page at three widths, dark and light
	@$(BIN)/python -m tools.screenshots

lock: ## resolve the newest versions that pyproject.toml allows into requirements.lock
	@rm -rf $(VENV)/lock && $(PYTHON) -m venv $(VENV)/lock
	@$(VENV)/lock/bin/pip install --quiet --disable-pip-version-check '.[dev]'
	@$(VENV)/lock/bin/pip freeze --exclude meshlearn > requirements.lock && rm -rf $(VENV)/lock

clean: ## remove what was built and installed
	@rm -rf $(VENV) build dist signaling/page/dist
