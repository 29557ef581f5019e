"""One vLLM engine with one model and its loaded adapters; created and used on one event loop."""

import asyncio
import dataclasses
import importlib.util
import itertools
import logging
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from engage.engines.vllm.config import MISSING, arguments
from engage.engines.vllm.serving import largest_rank
from engage.errors import ConfigError, EngageError, EngineError, ModelError
from engage.models import ADAPTER_WEIGHTS, ModelRef, adapter_fingerprint, check_adapter

QUIET = "ERROR"
LOOK = "VLLM_LOGGING_LEVEL=INFO in the environment shows why"
_CAUSE = re.compile(r"\b(\w+(?:Error|Exception): .+)")


def prepare() -> None:
    """Set the environment that vLLM reads when it is imported; ConfigError if vLLM is not installed.

    Its child processes are spawned, because the threads of this process do not survive a fork.
    """
    if importlib.util.find_spec("vllm") is None:
        raise ConfigError(MISSING)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", QUIET)
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")


class Served:
    """See the module. `rows` sequences are running; vLLM runs at most `slots` at a time."""

    def __init__(self, ref: ModelRef, given: dict[str, Any], shared_by: int) -> None:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM

        known = [field.name for field in dataclasses.fields(AsyncEngineArgs) if field.init]
        all_arguments = arguments(given, known, cpu=current_platform.is_cpu(), shared_by=shared_by)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the engine
        try:
            with _written_to(self._log):
                self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(model=str(ref.path), **all_arguments))
        except Exception as error:
            raise ConfigError(
                f"vLLM does not start with {ref.name}: {self.reason_of(error)}; correct engine.vllm.engine_args"
            ) from error
        self._watch = _end_with_this_process()
        settings = self._llm.vllm_config
        self.rows, self.slots = 0, int(settings.scheduler_config.max_num_seqs)
        self._ref = ref
        self._max_length = int(settings.model_config.max_model_len)
        self._max_rank = int(settings.lora_config.max_lora_rank) if settings.lora_config else 0
        self._fingerprints: dict[tuple[str, int, int], str] = {}
        self._adapters: dict[str, asyncio.Task[Any]] = {}
        self._request_ids, self._adapter_ids = itertools.count(), itertools.count(1)

    async def generate(self, key: str, tokens: Sequence[int], adapter: Any, asked: dict[str, Any]) -> Any:
        """vLLM's final output for one sequence; `asked` are its sampling parameters."""
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        if len(tokens) + asked["max_tokens"] > self._max_length:
            needed = f"{len(tokens)} prompt tokens and {asked['max_tokens']} new ones"
            raise EngineError(f"{needed} are more than max_model_len, {self._max_length}", key)
        sampling = SamplingParams(**{"detokenize": False, **asked}, output_kind=RequestOutputKind.FINAL_ONLY)
        prompt, request_id = {"prompt_token_ids": list(tokens)}, str(next(self._request_ids))
        self.rows += 1
        try:
            outputs = self._llm.generate(prompt, sampling, request_id, lora_request=adapter)
            return [output async for output in outputs][-1]
        finally:
            self.rows -= 1

    async def adapter(self, folder: str | None) -> Any:
        """vLLM's handle for the adapter in a folder, loaded on first use; if its weights change, it becomes another adapter.

        vLLM separates cached prefixes by the adapter's name. ModelError if the adapter does not fit this model.
        """
        if folder is None:
            return None
        fingerprint = self._fingerprint(folder)
        if fingerprint not in self._adapters:
            self._adapters[fingerprint] = asyncio.create_task(self._load(folder, fingerprint))
        try:
            return await asyncio.shield(self._adapters[fingerprint])
        except Exception:
            self._adapters.pop(fingerprint, None)
            raise

    async def _load(self, folder: str, fingerprint: str) -> Any:
        from vllm.lora.request import LoRARequest

        rank = largest_rank(Path(folder))
        if rank > self._max_rank:
            raise ModelError(
                f"{folder}: its rank {rank} is above vLLM's {self._max_rank}; set engine.vllm.engine_args.max_lora_rank"
            )
        request = LoRARequest(f"engage-{fingerprint[:16]}", next(self._adapter_ids), str(Path(folder).resolve()))
        await self._llm.add_lora(request)  # loaded here, because a failure within a batch would end the engine
        return request

    def _fingerprint(self, folder: str) -> str:
        """Fingerprint of the adapter's weights; checked and read again only if the file has changed."""
        try:
            state = (Path(folder) / ADAPTER_WEIGHTS).stat()
        except OSError:
            return adapter_fingerprint(folder)  # raises ModelError with what is missing
        known = (folder, state.st_size, state.st_mtime_ns)
        if known not in self._fingerprints:
            check_adapter(folder, self._ref)
            self._fingerprints[known] = adapter_fingerprint(folder)
        return self._fingerprints[known]

    def reason_of(self, error: Exception) -> str:
        """The error in one line; if it only says that vLLM's processes failed, the cause comes from what they wrote."""
        if isinstance(error, EngageError):
            return str(error)
        said = " ".join(str(error).split()) or "no reason given"
        if type(error).__name__ == "EngineDeadError" or "root cause" in said:
            self._log.seek(0)
            written = self._log.read().decode(errors="replace")
            causes = [cause for cause in _CAUSE.findall(written) if "root cause" not in cause]
            what = "vLLM's engine has ended"
            return f"{what} ({causes[0][:300]})" if causes else f"{what} ({LOOK})"
        return f"{type(error).__name__}: {said[:300]}"

    def close(self) -> None:
        self._watch.kill()
        self._watch.communicate()
        self._llm.shutdown()
        del self._llm  # at the interpreter's exit it would fail noisily
        self._log.close()


def _end_with_this_process() -> subprocess.Popen[bytes]:
    """Start a shell that kills vLLM's workers when this process dies; they would otherwise keep the GPU memory."""
    import psutil

    children = psutil.Process().children(recursive=True)
    pids = [str(child.pid) for child in children if "".join(child.cmdline()).startswith("VLLM::")]
    script = 'cat > /dev/null; test $# = 0 || kill -9 "$@" 2> /dev/null'
    return subprocess.Popen(["/bin/sh", "-c", script, "sh", *pids], stdin=subprocess.PIPE, start_new_session=True)


@contextmanager
def _written_to(log: IO[bytes]) -> Iterator[None]:
    """Redirect the standard error of processes started in this context to `log`, unless the user asked for vLLM's messages."""
    if os.environ["VLLM_LOGGING_LEVEL"] != QUIET:
        yield
        return
    logging.getLogger("vllm").setLevel(logging.CRITICAL)  # failures are reported in one sentence instead
    kept = os.dup(2)
    os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
