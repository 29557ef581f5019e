#!/usr/bin/env bash
# Measures this machine's GPU in under ten minutes and without a network; prints a table and writes gpu_check.json, which can be
# sent to somebody. Takes `--quick` (does it work at all), `--only engine,search`, `--set KEY=VALUE`; `--help` lists all.
# ENGAGE and PYTHON name another command line and interpreter than those of .venv.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" -m engage.bench.gpu_check --engage "${ENGAGE:-.venv/bin/engage}" "$@"
