# Everything a change must pass: `make check`. It is what CI runs, too.
PY ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
# Ray puts sockets below this folder, and a socket's path may have 107 bytes at most.
export RAY_TMPDIR ?= /tmp

.DEFAULT_GOAL := help
.PHONY: help check lint types test test-ray sim drill tables bench

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

check: lint types test test-ray ## the whole gate: lint, types, every test

lint: ## ruff: rules and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: ## mypy, strict
	$(PY) -m mypy

test: ## the fast tests (no Ray), with branch coverage of core, storage and runtime
	$(PY) -m pytest -q -m "not ray" --cov --cov-report=term --cov-fail-under=90

test-ray: ## the tests that start a Ray cluster
	$(PY) -m pytest -q -m ray

sim: ## the simulator: SEED=first, SEEDS=how many, BUGS=1 hunts the planted bugs as well
	$(PY) -m openclaw_ray.sim --seed $(or $(SEED),0) --seeds $(or $(SEEDS),60) $(if $(BUGS),--bugs)

drill: ## parts of a live cluster are killed under load: MINUTES=5 SEED=7
	$(PY) -c "from openclaw_ray.cli import main; main()" drill --minutes $(or $(MINUTES),5) $(if $(SEED),--seed $(SEED))

tables: ## the pages under docs/ that are written from what the tests bring out
	$(PY) -m tests.actors.verb_table
	$(PY) -m tests.guarantees.table

bench: ## the benchmarks, with their ratios to bare Ray
	$(PY) -m benchmarks
