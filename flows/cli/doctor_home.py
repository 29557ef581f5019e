"""What `engage doctor` says about a home and its servers: store, outbox, MLflow, champion, Prefect, worker, schedules, engine server, clock.

Looks only: nothing is made, migrated or repaired.
"""

import os
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from engage.config import CycleConfig
from engage.engines.base import Message, Prompt, Sampling, Side
from engage.errors import EngageError, StoreError, in_one_line
from engage.files.sizes import disk_bytes, shown_size
from engage.home import HOME_MODE, Home, home_mode
from engage.masking import mask_urls
from flows.cli.findings import Finding

WAIT_S = 2.0
CLOCK_S = 300.0
ASK_S = 20.0


def examine_home(home: Home) -> Iterator[Finding]:
    """Permissions, store, outbox and clock."""
    if not home.path.exists():
        yield Finding(True, f"home {home.path}: not made yet, the first cycle makes it")
        return
    closed = [
        path
        for path in (home.path, home.database, home.outbox, home.mlflow_file)
        if path.exists() and not os.access(path, os.W_OK)
    ]
    for path in closed:
        yield Finding(
            False, f"{path}: this user may not write it", f"make it writable for this user: chown or chmod {path}"
        )
    yield from _permissions(home)
    yield from _store(home)
    yield from _outbox(home)
    yield _sizes(home)
    newest = max(
        (path.stat().st_mtime for path in (home.path, home.database, home.mlflow_file) if path.exists()), default=0.0
    )
    if (ahead := newest - time.time()) > CLOCK_S:
        yield Finding(
            False,
            f"the home was changed {ahead / 60:.0f} minutes in the future by this machine's clock",
            "set the clock: ids of cycles and schedules come from it",
        )


def _permissions(home: Home) -> Iterator[Finding]:
    """Who else on this machine may enter the home; nothing if that is nobody, or as ENGAGE_HOME_MODE wants it."""
    mode, wanted = stat.S_IMODE(home.path.stat().st_mode), home_mode()
    if mode & 0o077 & ~wanted:
        yield Finding(
            False,
            f"home {home.path}: other accounts of this machine may read its conversations (mode {mode:o}); `chmod {wanted:o} {home.path}` "
            f"closes it, and {HOME_MODE} allows it",
        )


def _sizes(home: Home) -> Finding:
    """The bytes of the home by kind."""
    kinds = {
        "database": [home.database],
        "copy for readers": [home.snapshot],
        "copies from before upgrades": list(home.path.glob(f"{home.database.name}.schema-*")),
        "outbox": [home.outbox],
        "cycles and adapters": [home.cycle("any").parent],
        "MLflow": [home.mlflow_file, home.artifacts],
        "services": [home.path / "services"],
    }
    total, sizes = disk_bytes([home.path]), {name: disk_bytes(places) for name, places in kinds.items()}
    listed = ", ".join(f"{name} {shown_size(count)}" for name, count in sizes.items() if count)
    return Finding(
        True,
        f"the home takes {shown_size(total)}" + (f": {listed} (`engage prune` makes it smaller)" if listed else ""),
    )


def _store(home: Home) -> Iterator[Finding]:
    from engage.store import health

    if not home.database.exists():
        yield Finding(True, f"store {home.database}: not made yet, the first cycle makes it")
        return
    found = health(home.database, WAIT_S)
    what = f"store {home.database}: {found.size / 1e6:.1f} MB"
    if found.locked:
        yield Finding(False, f"{what}; {found.problem.partition(': ')[2]}")
    elif found.problem:
        yield Finding(False, what, found.problem)
    elif found.version is not None and found.version < found.newest:
        yield Finding(
            False, f"{what}, schema {found.version}; the next command that opens it brings it to {found.newest}"
        )
    else:
        yield Finding(True, f"{what}, schema {found.newest}, open in no other program")


def _outbox(home: Home) -> Iterator[Finding]:
    from engage.store import Outbox

    waiting = len(Outbox(home.outbox).pending())
    aside = len(list(home.outbox.glob("*.damaged")))
    yield Finding(
        True, f"outbox: {waiting} files wait for the store" + ("; the next command stores them" if waiting else "")
    )
    if aside:
        yield Finding(
            False,
            f"outbox: {aside} damaged files were set aside",
            f"look at {home.outbox}/*.damaged; delete them, and run their cycle again to search their scenarios anew",
        )


def examine_tracking(home: Home, config: CycleConfig) -> Iterator[Finding]:
    """MLflow, and whether the champion is there and fits the configured model."""
    if home.own_tracking and not home.mlflow_file.exists():
        yield Finding(True, f"MLflow {home.mlflow_file}: not made yet, the first cycle makes it")
        return
    from flows.cli.running import quieten

    quieten(verbose=False)
    from engage.workspace import Workspace

    where = mask_urls(home.tracking_uri)
    try:
        champion = Workspace(home).tracker.champion()
    except StoreError as error:
        yield Finding(False, f"MLflow {where} or its registry cannot be used", str(error))
        return
    yield Finding(True, f"MLflow {where} answers")
    if champion is None:
        yield Finding(True, "champion: none yet, nights start from the configured policy")
        return
    from engage.evaluation import check_adapters

    what = f"champion: version {champion.version}, {champion.adapter}"
    try:
        check_adapters(config.engine, (), str(champion.adapter))
    except EngageError as error:
        yield Finding(False, what, str(error))
    else:
        yield Finding(True, what)


def examine_prefect() -> Iterator[Finding]:
    """The server, the pool's worker, and each schedule: next run, last night, changes of its profile."""
    from flows.cli.prefect_client import connected
    from flows.cli.started import use_own_server

    use_own_server()
    server = os.environ.get("PREFECT_API_URL")
    if not server:
        yield Finding(True, "no Prefect server configured: flows run in process")
        return
    try:
        with connected() as client:
            client.hello().raise_for_status()
            yield Finding(True, f"Prefect server {mask_urls(server)}")
            yield from _schedules(client)
    except EngageError as error:
        yield Finding(False, f"Prefect server {mask_urls(server)} does not answer", str(error))


def _schedules(client: Any) -> Iterator[Finding]:
    from flows.cli.schedules import FLOW, drifted, schedules
    from flows.cli.workers import online

    found = schedules(client)
    workers = online(client)
    if workers:
        yield Finding(True, f"worker: {', '.join(workers)}")
    elif found:
        yield Finding(False, "worker: none is online, so nothing that is scheduled runs", "start one: `engage up`")
    for one in found:
        name = f"{FLOW}/{one.name}"
        if one.paused:
            yield Finding(False, f"{name}: paused (`engage schedule --resume` lets it run again)")
        elif one.next_at is None or one.next_at.astimezone(UTC) < datetime.now(UTC):
            yield Finding(
                False,
                f"{name}: no run is due ({one.at})"
                if one.next_at is None
                else f"{name}: a run is late, due {one.next_at:%Y-%m-%d %H:%M}",
            )
        else:
            yield Finding(True, f"{name}: next run {one.next_at:%Y-%m-%d %H:%M} ({one.at})")
        if one.last_state in ("Failed", "Crashed", "TimedOut"):
            yield _not_completed(f"{name}: the last night, {one.last}, has {one.last_state.lower()}", one.last)
        elif one.last:
            yield Finding(True, f"{name}: last night {one.last}, {one.last_state.lower()}")
        if one.drift:
            yield Finding(False, f"{name} {drifted(one)}")


def _not_completed(what: str, cycle_id: str) -> Finding:
    """A night that Prefect counts as ended before its end; the home knows whether it was finished since, and what goes on with it."""
    from engage.keeping import at_work

    home = Home.from_env()
    last = at_work.read(home, cycle_id)
    night = last and at_work.foremost(last)
    if night and at_work.state(home, night) == at_work.COMPLETED:
        return Finding(True, f"{what}, and was finished since")
    go_on = f"; `{night.again}` goes on with it" if night and night.again else ""
    return Finding(False, what, f"read its log on Prefect's page{go_on}")


def examine_server(config: CycleConfig) -> Iterator[Finding]:
    """A real request to each model server; nothing for an engine without one."""
    import asyncio

    if config.engine.kind != "openai":
        return
    from engage.engines import close_engines, shared_engine

    servers = config.engine.openai.model_copy(update={"timeout_s": ASK_S, "retry_s": 0.0})
    engine_config = config.engine.model_copy(update={"openai": servers})
    try:
        for side in Side:
            prompt = Prompt("doctor", side, (Message("user", "Say yes."),), adapter="")
            began_s = time.monotonic()
            try:
                (answer,) = asyncio.run(shared_engine(engine_config).complete(prompt, Sampling(max_tokens=4), [0]))
            except EngageError as error:
                yield Finding(False, f"the {side}'s model server does not answer", in_one_line(mask_urls(str(error))))
            else:
                yield Finding(
                    True,
                    f"the {side}'s model server answers in {time.monotonic() - began_s:.1f} s ({answer.finish_reason})",
                )
    finally:
        close_engines()
