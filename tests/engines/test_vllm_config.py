"""The vLLM engine's settings and messages without vLLM; tests/integration tests the engine itself."""

import json
import sys

import pytest

from engage.engines import EngineConfig, engine_identity, shared_engine
from engage.engines.vllm.config import arguments
from engage.engines.vllm.serving import lora_rank
from engage.errors import ConfigError

KNOWN = ("model", "tokenizer", "max_model_len", "gpu_memory_utilization", "block_size", "enable_lora")


def build(given, cpu=False, shared_by=1):
    return arguments(given, KNOWN, cpu=cpu, shared_by=shared_by)


def test_a_missing_vllm_is_reported_in_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ConfigError) as told:
        shared_engine(EngineConfig(kind="vllm"))
    assert "pip install 'engage[vllm]'" in str(told.value) and "on a CPU see deployments/README.md" in str(told.value)
    assert "\n" not in str(told.value)


def test_an_unknown_argument_is_named_with_the_nearest_known_one():
    with pytest.raises(ConfigError, match=r"engine\.vllm\.engine_args\.max_modellen: .* did you mean max_model_len\?"):
        build({"max_modellen": 2048})
    with pytest.raises(ConfigError, match="vllm serve --help"):
        build({"zzz": 1})


def test_the_model_is_not_named_twice():
    with pytest.raises(ConfigError, match=r"engine_args\.model: is set by engine\.policy_model"):
        build({"model": "other"})


def test_given_arguments_override_the_defaults():
    found = build({"enable_lora": False, "block_size": 64}, cpu=True)
    assert (found["enable_lora"], found["block_size"], found["enable_prefix_caching"]) == (False, 64, True)


def test_on_a_cpu_chunked_prefill_is_off_because_it_ends_seeded_requests():
    assert build({}, cpu=True)["enable_chunked_prefill"] is False
    assert "enable_chunked_prefill" not in build({})


@pytest.mark.parametrize(
    ("shape", "rank"),
    [({"r": 8}, 8), ({"r": 8, "rank_pattern": {"q_proj": 64}}, 64), ({"r": 9, "rank_pattern": None}, 16)],
)
def test_the_rank_to_serve_is_that_of_the_largest_module(tmp_path, shape, rank):
    (tmp_path / "adapter_config.json").write_text(json.dumps(shape))
    assert lora_rank(tmp_path) == rank


def test_two_engines_share_a_gpu_by_default():
    assert build({}, shared_by=2)["gpu_memory_utilization"] == 0.45
    assert build({"gpu_memory_utilization": 0.3}, shared_by=2)["gpu_memory_utilization"] == 0.3
    assert "gpu_memory_utilization" not in build({})


def test_the_weights_are_part_of_the_identity_as_with_the_embedded_engine():
    assert engine_identity(EngineConfig(kind="vllm")) == engine_identity(EngineConfig())
