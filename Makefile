# make run   sets up .venv and runs the main pipeline on the embedded data
# make test  sets up .venv and passes lint, types, layers and tests
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: run test lint unit clean

run: $(READY)
	$(BIN)/orchestrator run pipelines/detection.yaml

test: lint
	$(BIN)/python -m pytest tests/unit --numprocesses 2
	$(BIN)/python -m pytest tests/contract tests/zoo --numprocesses 2
	$(BIN)/python -m pytest tests/integration

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

unit: $(READY)
	$(BIN)/python -m pytest tests/unit --numprocesses 2

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv runs pipelines/runs
