"""Settings of the vLLM engine and the arguments made from them, in a module of their own that does not import vLLM."""

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from engage.errors import ConfigError

OURS = ("model", "tokenizer")
MISSING = (
    "engine.kind = \"vllm\" needs vLLM, which is not installed: pip install 'engage[vllm]' where there is a GPU; "
    "on a CPU see deployments/README.md"
)
_DEFAULTS = {"enable_prefix_caching": True, "enable_lora": True, "max_loras": 4, "disable_log_stats": True}
# On a CPU, vLLM's engine ends when it prefills a seeded request in chunks ("CPU Generator does not use offset").
CPU_DEFAULTS = {"block_size": 32, "enable_chunked_prefill": False, "enforce_eager": True}
CPU_CACHE_BYTES = 2 * 1024**3
_MEMORY_ARGUMENTS = {"gpu_memory_utilization", "kv_cache_memory_bytes"}


_SECRET = re.compile(r"(^|_)(tokens?|keys?|secrets?|passwords?|credentials?)$", re.IGNORECASE)


def _no_secret(given: dict[str, Any] | None) -> dict[str, Any] | None:
    """The arguments; ConfigError, which does not show it, for a secret among them: settings are kept in the store, Prefect and MLflow."""
    for name, value in (given or {}).items():
        if isinstance(value, str) and _SECRET.search(name):
            raise ConfigError(
                f"engine.vllm.engine_args.{name} is a secret, which the store, Prefect and MLflow would keep; put it into the "
                "environment, such as HF_TOKEN"
            )
    return given


Arguments = Annotated[dict[str, Any], AfterValidator(_no_secret)]


class VllmConfig(BaseModel):
    """Arguments for vLLM's own engine. To see its messages, set `VLLM_LOGGING_LEVEL=INFO` in the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine_args: Arguments = Field(
        {},
        description="arguments for vLLM's AsyncEngineArgs, such as max_model_len, gpu_memory_utilization, "
        "max_num_seqs, max_loras, max_lora_rank, dtype, enforce_eager",
    )
    simulator_engine_args: Arguments | None = Field(
        None, description="the same for the simulator, if its model differs from the policy's; if unset, engine_args"
    )

    @property
    def sizes_memory(self) -> bool:
        """Whether the arguments say how much memory an engine takes."""
        return bool(_MEMORY_ARGUMENTS & self.engine_args.keys())


def arguments(given: Mapping[str, Any], known: Collection[str], *, cpu: bool, shared_by: int) -> dict[str, Any]:
    """Our defaults, overridden by the given arguments; `shared_by` engines share the device. ConfigError names a wrong argument."""
    for name in given:
        where = f"engine.vllm.engine_args.{name}"
        if name in OURS:
            raise ConfigError(f"{where}: is set by engine.policy_model and engine.simulator_model; leave it out")
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]}?" if close else "see `vllm serve --help`, with _ for -"
            raise ConfigError(f"{where}: vLLM has no such engine argument; {hint}")
    defaults: dict[str, Any] = {**_DEFAULTS, **(CPU_DEFAULTS if cpu else {})}
    if cpu and not _MEMORY_ARGUMENTS & given.keys():
        defaults["kv_cache_memory_bytes"] = CPU_CACHE_BYTES
    elif shared_by > 1:
        defaults["gpu_memory_utilization"] = 0.9 / shared_by
    return defaults | dict(given)
