"""`nightly` as a scheduled Prefect deployment on a work pool; a worker of that pool runs it when due."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import available_timezones

from rich.console import Console

from engage.config import CycleConfig, load_cycle_scenarios
from engage.errors import ConfigError
from engage.masking import MASK, mask_urls
from engage.training import read_human
from flows.cli.carrying import absolute_config, environment
from flows.cli.profiles import Asked

POOL = "engage"
CONCURRENCY = 1
ENTRYPOINT = "flows/nightly.py:nightly"
CLONE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Plan:
    """One scheduled night, not yet sent to Prefect. `secret` names variables that must be set in the worker's own environment."""

    name: str
    cron: str
    zone: str
    config: CycleConfig
    environment: dict[str, str]
    secret: list[str]


def plan_nightly(at: str, profile: str, overrides: Sequence[str], modules: Sequence[str] = ()) -> Plan:
    """Plan the run, independent of the current folder and environment; raises an EngageError for anything that could not run later."""
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", at)
    if not match:
        raise ConfigError(f"--at {at!r}: write a time of day, such as 02:00")
    name = Path(profile).stem
    if banned := sorted(set(name) & set("/%&<>")):
        raise ConfigError(f"profile {name!r}: Prefect takes no {banned[0]!r} in a schedule's name; rename the file")
    config = absolute_config(Asked.by(profile, overrides, modules).config())
    if MASK in config.model_dump_json():
        raise ConfigError(
            "engine.openai holds a password or a key (in base_urls or extra_body), and a schedule keeps its settings in the open: "
            "put it into the environment variable that api_key_env names, on the machine of the worker"
        )
    load_cycle_scenarios(config.scenarios)
    if config.human.corpora:
        read_human(config.human)
    carried, secret = environment(config, os.environ)
    return Plan(name, f"{int(match[2])} {int(match[1])} * * *", time_zone(), config, carried, secret)


def schedule_nightly(
    console: Console, at: str, profile: str, overrides: Sequence[str], modules: Sequence[str] = ()
) -> None:
    """Register the deployment `nightly/PROFILE` for every day at `at`; scheduling it again replaces the time and the settings."""
    plan = plan_nightly(at, profile, overrides, modules)
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    from prefect import flow
    from prefect.schedules import Cron

    _ensure_pool()
    nightly = flow.from_source(source=str(CLONE), entrypoint=ENTRYPOINT)
    nightly.deploy(
        name=plan.name,
        work_pool_name=POOL,
        schedules=[Cron(plan.cron, timezone=plan.zone)],
        parameters={"config": plan.config.model_dump(mode="json")},
        job_variables={"env": plan.environment},
        concurrency_limit=CONCURRENCY,
        build=False,
        push=False,
        print_next_steps=False,
        ignore_warnings=True,
    )
    console.print(f"nightly/{plan.name} is scheduled every day at {at} ({plan.zone}).", highlight=False)
    for sentence in plan.config.unused():
        console.print(sentence, soft_wrap=True)
    for name, value in plan.environment.items():
        console.print(f"  with {name}={value}", soft_wrap=True)
    if plan.secret:
        console.print(
            f"The worker's own environment must hold {', '.join(plan.secret)}: keys and passwords are not stored.",
            soft_wrap=True,
        )
    console.print(
        f"A worker runs it when due; start one and leave it running: .venv/bin/prefect worker start --pool {POOL}",
        highlight=False,
        soft_wrap=True,
    )


def _ensure_pool() -> None:
    """Create the process work pool on the configured server if it is missing; ConfigError if no server answers."""
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


def time_zone() -> str:
    """The IANA name of this machine's time zone, UTC if it is unknown; ConfigError if TZ is not an IANA name."""
    given = os.environ.get("TZ")
    if given is None:
        names = [os.path.realpath("/etc/localtime").partition("zoneinfo/")[2], _text("/etc/timezone")]
        return next((name for name in names if name in available_timezones()), "UTC")
    name = given.lstrip(":").partition("zoneinfo/")[2] or given.lstrip(":") or "UTC"
    if name not in available_timezones() or "localtime" in name:
        raise ConfigError(
            f"TZ is {given!r}, not the IANA name of a time zone; set it to one, such as Europe/Berlin or UTC"
        )
    return name


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
