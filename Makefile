# Each target is one line that a person could type; `make smoke` and `make test` also do all the set-up.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
EXTRAS := test,judge,perf,dashboard$(if $(shell command -v nvidia-smi),$(shell echo ,gpu,swanlab))

.PHONY: smoke test lint judge chat report doctor bench dashboard clean-stale
.DEFAULT_GOAL := smoke

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) install --constraint constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX) )torch
	$(PIP) install --constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $@

smoke: .venv/.ready ## the whole chain on tiny models, into reports/
	$(BIN)/pytest benchmarks/ --rows smoke --html=reports/ $(ARGS)

test: .venv/.ready lint ## the harness's own tests
	$(BIN)/pytest tests/ -n 2 --dist loadfile $(ARGS)

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

judge: .venv/.ready ## the page for human judgement, http://127.0.0.1:7860
	$(BIN)/python -m judge $(ARGS)

report: .venv/.ready ## every page again from the store, without running anything
	$(BIN)/python -m bakeoff.report $(ARGS)

doctor: .venv/.ready ## what would go wrong, before it does
	$(BIN)/pytest --doctor $(ARGS)

chat: .venv/.ready ## talk to a deployed model: make chat MODEL=tiny-qwen2
	$(BIN)/python -m bakeoff.chat $(MODEL) $(ARGS)

dashboard: .venv/.ready ## EvalScope's own viewer on the results, loopback only
	$(BIN)/python -m bakeoff.evalscope dashboard store/models $(ARGS)

bench: .venv/.ready ## what docs/performance.md records of this machine
	$(BIN)/python bench/smoke.py
	$(BIN)/python bench/evaluation.py

clean-stale: .venv/.ready ## what no row refers to any more: list it, ask, remove it
	$(BIN)/python -m bakeoff.stale $(ARGS)
