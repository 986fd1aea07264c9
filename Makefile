# Each target is one line that a person could type; `make smoke` and `make test` also do all the set-up.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
EXTRAS := test,judge,perf,dashboard$(if $(shell command -v nvidia-smi),$(shell echo ,gpu,swanlab))

# Each command starts processes that import the harness: without its compiled modules each takes a third longer.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help smoke demo new test suite lint judge chat report doctor bench dashboard clean-stale
.DEFAULT_GOAL := help

help: ## this list
	@echo "make TARGET [ARGS='...']    the first target also installs .venv: 5-15 min, 3 GB (with CUDA 8 GB)"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'
	@echo "without a GPU: make demo TORCH_INDEX=<PyTorch's CPU index> saves 5 GB"

.venv/.ready: pyproject.toml constraints.txt
	@echo "installing into .venv: 5 to 15 minutes, about 3 GB (with CUDA about 8 GB)"
	$(PYTHON) -m venv .venv
	$(PIP) install --constraint constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX) )torch
	$(PIP) install --constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $@

demo: .venv/.ready ## 2 tiny models from training to the report: 2 min, 100 MB, no GPU
	$(BIN)/python -m bakeoff demo $(ARGS)

new: .venv/.ready ## write a matrix of your own, my_matrix.yaml, with questions
	$(BIN)/python -m bakeoff new --out my_matrix.yaml $(ARGS)

smoke: .venv/.ready ## the whole chain on all tiny models, into reports/: 2-4 min
	$(BIN)/pytest benchmarks/ --rows smoke --html=reports/ $(ARGS)

test: lint suite ## the harness's own tests: 15-20 min on two cores

.venv/.ray: .venv/.ready # what the tests of a real Ray need; without it they are skipped, and say so
	$(PIP) install --constraint constraints.txt --editable '.[ray]' && touch $@ || echo "no ray here: its tests are skipped"

suite: .venv/.ready .venv/.ray
	$(BIN)/pytest tests/ -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: .venv/.ready ## ruff and mypy: 1 min
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

judge: .venv/.ready ## the page where people rate replies, http://127.0.0.1:7860
	$(BIN)/python -m judge $(ARGS)

report: .venv/.ready ## every page again from the store, without running anything
	$(BIN)/python -m bakeoff.report $(ARGS)

doctor: .venv/.ready ## what would go wrong, before it does
	$(BIN)/pytest --doctor $(ARGS)

chat: .venv/.ready ## talk to a deployed model: make chat MODEL=tiny-qwen2
	$(BIN)/python -m bakeoff.chat $(MODEL) $(ARGS)

dashboard: .venv/.ready ## EvalScope's own viewer on the results, loopback only
	$(BIN)/python -m bakeoff.evalscope dashboard store/models $(ARGS)

bench: .venv/.ready ## what docs/performance.md records of this machine: 10 min
	$(BIN)/python bench/smoke.py
	$(BIN)/python bench/evaluation.py

clean-stale: .venv/.ready ## what no row refers to any more: list it, ask, remove it
	$(BIN)/python -m bakeoff.stale $(ARGS)
