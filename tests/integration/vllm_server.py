"""A real vLLM server on this machine: the CPU build, from its own environment, serving the embedded model."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx

from engage.models import resolve_model

SERVED = "embedded"
ARGUMENTS = (
    "--host=127.0.0.1",
    f"--served-model-name={SERVED}",
    "--max-model-len=2048",
    "--enforce-eager",
    "--block-size=32",
    "--no-enable-chunked-prefill",  # on a CPU, a seeded prompt that is computed in pieces ends the server
    "--enable-prefix-caching",
    "--enable-prompt-tokens-details",
    "--enable-lora",
    "--max-loras=2",
    '--override-generation-config={"repetition_penalty": 1.5}',  # as a model's own configuration may say
)


class VllmServer:
    """Started on a free port, killed as a machine's failure would, started again on the same port."""

    def __init__(self, venv: Path, log: Path) -> None:
        self.venv, self.log = venv, log
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Wait until it answers; the seconds that took."""
        command = [self.venv / "bin" / "python", "-m", "vllm.entrypoints.openai.api_server"]
        settings = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_CPU_KVCACHE_SPACE": "2", "DO_NOT_TRACK": "1"}
        began = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, f"--model={resolve_model('embedded').path}", f"--port={self.port}", *ARGUMENTS],
                env={**os.environ, **settings},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        while time.monotonic() - began < 400:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=2).is_success:
                    return time.monotonic() - began
            if self.process.poll() is not None:
                break
            time.sleep(0.5)
        self.kill()
        raise RuntimeError(f"vLLM does not start: {self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        """All its processes at once, without a word."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
