"""A training in several processes of this machine, one per GPU, or on the CPU for a trial: the same adapter as in one, up to rounding.

torch.distributed joins them (nccl, or gloo without a GPU), and accelerate, inside the trainers, deals the batches out and averages the
gradients. Each optimiser step has the rows that it has in one process. The first process writes checkpoints, adapter and card.
Knows nothing of losses.
"""

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import ceil, gcd
from pathlib import Path
from typing import Any

from engage.errors import ConfigError, EngageError

OnStep = Callable[[int, dict[str, float]], None]
POLL_S = 0.2


def joined() -> int:
    """How many processes train together, this one included."""
    import torch.distributed as group

    return group.get_world_size() if group.is_available() and group.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes."""
    import torch.distributed as group

    return joined() == 1 or group.get_rank() == 0


def check_processes(processes: int, batch_size: int, gradient_accumulation: int, method: str) -> None:
    """ConfigError if so many processes cannot share out the rows of an optimiser step, or are more than the GPUs."""
    import torch

    rows = batch_size * gradient_accumulation
    if rows % processes:
        raise ConfigError(
            f"align.processes = {processes} does not divide the {rows} rows of an optimiser step "
            f"(align.{method}.batch_size × gradient_accumulation); change one of the three"
        )
    cards = torch.cuda.device_count() if torch.cuda.is_available() else processes
    if processes > cards:
        raise ConfigError(f"align.processes = {processes}, but this machine has {cards} GPUs; set at most that")


def share(batch_size: int, gradient_accumulation: int, processes: int) -> tuple[int, int]:
    """Batch size and batches per step of each process, which together make one step; fewer batches, before smaller ones."""
    fewer = gcd(gradient_accumulation, processes)
    return batch_size * fewer // processes, gradient_accumulation // fewer


def even_rows(count: int, batch_size: int, gradient_accumulation: int) -> list[tuple[int, float]]:
    """Index and weight of each row of an epoch, such that the last step is as full as the others.

    accelerate would fill it with rows of the epoch's beginning. Here it is filled with its own rows at weight 0, and the others
    weigh as much as in one process, which takes the mean over the step's batches of each batch's mean.
    """
    step = batch_size * gradient_accumulation
    first = count - count % step
    rows = [(index, 1.0) for index in range(first)]
    batches = ceil((count - first) / batch_size)
    for index in range(first, count):
        size = min(batch_size, count - index + (index - first) % batch_size)
        rows.append((index, step / (batches * size)))
    return rows + [(first + place % (count - first), 0.0) for place in range(-len(rows) % step)]


def dataset_of(rows: Sequence[dict[str, Any]], folder: Path) -> Any:
    """The rows as a Dataset. For several processes it is in `folder`: trl's first one hands the others the reference's figures in a file beside it."""
    import torch
    from datasets import Dataset

    dataset = Dataset.from_list(list(rows))
    if joined() == 1:
        return dataset
    if is_first():
        shutil.rmtree(folder, ignore_errors=True)
        dataset.save_to_disk(folder)
    torch.distributed.barrier()
    return Dataset.load_from_disk(folder)


def in_processes(processes: int, work: Callable[[OnStep | None], Any], on_step: OnStep | None) -> None:
    """Run `work(on_step)`; with more than one process, in that many fresh ones, which import it (so it must be picklable).

    `on_step` is called in this process with what the first one reports. If one of them fails or is killed, all end. Raises the
    EngageError that one of them raised, or what torch makes of another error.
    """
    if processes == 1:
        work(on_step)
        return
    from torch import multiprocessing

    logging.getLogger("torch.multiprocessing.spawn").setLevel(
        logging.ERROR
    )  # it would warn of each process that it ends
    reports = multiprocessing.get_context("spawn").SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="engage-training-") as shared:
        started = multiprocessing.spawn(
            _work, (processes, Path(shared), work, reports), processes, join=False, daemon=True
        )
        try:
            while not started.join(POLL_S):
                _pass_on(reports, on_step)
            _pass_on(reports, on_step)
        except multiprocessing.ProcessExitedException as error:
            _pass_on(reports, on_step)
            raise EngageError(
                f"a process of the training was killed ({error}); with enough memory the same command resumes it"
            ) from error
        except multiprocessing.ProcessRaisedException:
            _pass_on(reports, on_step)
            raise
        finally:
            for process in started.processes:
                process.kill()
                process.join()


def _pass_on(reports: Any, on_step: OnStep | None) -> None:
    """Call `on_step` with the steps reported since; raise the error if one was reported."""
    while not reports.empty():
        report = reports.get()
        if isinstance(report, EngageError):
            raise report from None
        if on_step is not None:
            on_step(*report)


def _work(rank: int, processes: int, shared: Path, work: Callable[[OnStep | None], Any], reports: Any) -> None:
    """One of the processes: join the others, then work."""
    import torch

    cards = torch.cuda.is_available()
    if cards:
        torch.cuda.set_device(rank)
    threads = max(1, torch.get_num_threads() // processes)
    torch.set_num_threads(threads)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    os.environ.update({name: str(value) for name, value in places.items()}, ACCELERATE_USE_CPU=str(not cards))
    if sys.platform == "linux":  # they are on one machine: nothing listens on the network
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    meeting = f"file://{shared / 'meeting'}"
    torch.distributed.init_process_group("nccl" if cards else "gloo", meeting, rank=rank, world_size=processes)
    try:
        work((lambda step, metrics: reports.put((step, metrics))) if rank == 0 else None)
    except EngageError as error:
        reports.put(error)
        raise
    finally:
        with suppress(RuntimeError):
            torch.distributed.destroy_process_group()
