# `make help` lists the targets. Everything is installed into .venv; a stamp makes the second time instant.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
JOBS   ?= auto

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml requirements.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "meshlearn needs Python 3.11 or newer with venv: apt-get install python3-venv"; exit 2; }
	@echo "installing meshlearn and what it needs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	@touch $@

setup: $(STAMP) ## install everything into .venv

demo: setup ## four peers train on handwritten digits over WebRTC, live in the terminal
	@$(BIN)/meshlearn demo

test: setup ## run every test
	@$(BIN)/python -m pytest -n $(JOBS)

check: setup ## lint and type-check
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup ## format the code
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

bench: setup ## run the benchmarks; each figure beside its limit
	@$(BIN)/meshlearn bench

lock: ## resolve the newest versions that pyproject.toml allows into requirements.lock
	@rm -rf $(VENV)/lock && $(PYTHON) -m venv $(VENV)/lock
	@$(VENV)/lock/bin/pip install --quiet --disable-pip-version-check '.[dev]'
	@$(VENV)/lock/bin/pip freeze --exclude meshlearn > requirements.lock && rm -rf $(VENV)/lock

clean: ## remove what was built and installed
	@rm -rf $(VENV) build dist
