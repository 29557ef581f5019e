PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: check test integration

.venv/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

check: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: .venv/.installed
	$(BIN)/pytest

integration: .venv/.installed
	@echo "integration: no server is used yet"
