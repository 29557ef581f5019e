"""`nightly` as a scheduled Prefect deployment on a work pool; a worker of that pool runs it when due."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from engage.config import Home, load_config
from engage.errors import ConfigError
from engage.masking import MASK, mask_urls

POOL = "engage"
CLONE = Path(__file__).resolve().parents[1]


def schedule_nightly(console: Console, at: str, profile: str, overrides: Sequence[str]) -> None:
    """Register the deployment `nightly/PROFILE`, every day at `at`; scheduling it again replaces time and settings."""
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", at)
    if not match:
        raise ConfigError(f"--at {at!r}: write a time of day, such as 02:00")
    config = load_config(profile, overrides)
    if MASK in config.model_dump_json():
        raise ConfigError(
            "engine.openai holds a password or a key (in base_urls or extra_body), and a schedule keeps its settings in the open: "
            "put it into the environment variable that api_key_env names, on the machine of the worker"
        )
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    from prefect import flow
    from prefect.schedules import Cron

    zone, name = _time_zone(), Path(profile).stem
    _ensure_pool()
    nightly = flow.from_source(source=str(CLONE), entrypoint="flows/nightly.py:nightly")
    nightly.deploy(
        name=name,
        work_pool_name=POOL,
        schedules=[Cron(f"{int(match[2])} {int(match[1])} * * *", timezone=zone)],
        parameters={"config": config.model_dump(mode="json")},
        job_variables={"env": {"ENGAGE_HOME": str(Home.from_env().path)}},
        concurrency_limit=1,
        build=False,
        push=False,
        print_next_steps=False,
        ignore_warnings=True,
    )
    console.print(f"nightly/{name} is scheduled every day at {at} ({zone}).", highlight=False)
    console.print(
        f"A worker runs it when due; start one and leave it running: .venv/bin/prefect worker start --pool {POOL}",
        highlight=False,
        soft_wrap=True,
    )


def _ensure_pool() -> None:
    """The process work pool on the configured server; ConfigError where no server answers."""
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if not url:
        raise ConfigError(
            "no Prefect server is configured; run `.venv/bin/prefect server start` in another terminal, then "
            "`export PREFECT_API_URL=http://127.0.0.1:4200/api`, and schedule again"
        )
    try:
        with get_client(sync_client=True) as client:
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    except ObjectAlreadyExists:
        return
    except httpx.HTTPError as error:
        raise ConfigError(
            f"the Prefect server at {mask_urls(url)} does not answer ({mask_urls(str(error))}); start it or correct "
            "PREFECT_API_URL"
        ) from error


def _time_zone() -> str:
    """The machine's own zone by its IANA name; UTC where it cannot be told."""
    name = os.environ.get("TZ", "").lstrip(":")
    return name or os.path.realpath("/etc/localtime").partition("zoneinfo/")[2] or "UTC"
