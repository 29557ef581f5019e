"""`nightly` as a scheduled Prefect deployment on a work pool; a worker of that pool runs it when due."""

import asyncio
import os
import re
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from zoneinfo import available_timezones

from rich.console import Console

from engage import __version__
from engage.config import CycleConfig, load_cycle_scenarios
from engage.errors import ConfigError
from engage.home import Home
from engage.masking import MASK, mask_setting
from engage.profiles import profile_name
from engage.store import TrajectoryStore
from engage.training import read_human
from engage.webhook import check_address
from flows.cli.carrying import absolute_config, environment
from flows.cli.prefect_client import connected
from flows.cli.profiles import Asked
from flows.cli.schedules import ASKED_BY, asked_by, earlier
from flows.cli.started import use_own_server
from flows.cli.workers import POOL, ensure_pool
from tasks.notifying import BLOCK

CONCURRENCY = 1
DEFAULT_AT = "02:00"
CRON_FIELDS = 5
FROZEN = (
    "Settings, paths and the home are those of the moment of scheduling; code, scenario files and adapters are read when the night runs. To "
    "change settings, schedule again; `engage schedule --list` says if the profile has changed since."
)
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


@dataclass(frozen=True)
class When:
    """When to run: a time of day, or cron text; in a time zone (None: that of the earlier schedule, else this machine's)."""

    at: str | None = None
    cron: str | None = None
    zone: str | None = None
    skip: bool = False
    """Whether a night that is due while another runs is left out, instead of waiting for its end."""
    notify: str | None = None
    """Address of a webhook for messages; None: that of the earlier schedule, empty: none."""


def plan_nightly(when: When, profile: str, overrides: Sequence[str], modules: Sequence[str] = ()) -> Plan:
    """Plan the run, independent of the current folder and environment; raises an EngageError for anything that could not run later."""
    name = profile_name(profile)
    if banned := sorted(set(name) & set("/%&<>")):
        raise ConfigError(f"profile {name!r}: Prefect takes no {banned[0]!r} in a schedule's name; rename the file")
    cron = _cron(when)
    config = absolute_config(Asked.by(profile, overrides, modules).config())
    if MASK in config.model_dump_json():
        raise ConfigError(
            "engine.openai holds a password or a key (in base_urls or extra_body), and a schedule keeps its settings in the open: "
            "put it into the environment variable that api_key_env names, on the machine of the worker"
        )
    load_cycle_scenarios(config.scenarios)
    if config.human.corpora:
        read_human(config.human, TrajectoryStore(Home.from_env().database))
    carried, secret = environment(config, os.environ)
    zone = _zone("--timezone", when.zone) if when.zone else time_zone()
    return Plan(name, cron, zone, config, carried, secret)


def _cron(when: When) -> str:
    """The cron text; ConfigError for a wrong time of day or a wrong cron text."""
    if when.cron is None:
        at = DEFAULT_AT if when.at is None else when.at
        match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", at)
        if not match:
            raise ConfigError(f"--at {at!r}: write a time of day, such as 02:00")
        return f"{int(match[2])} {int(match[1])} * * *"
    if when.at is not None:
        raise ConfigError("--at and --cron: give one of them")
    from prefect.server.schemas.schedules import CronSchedule

    fields = when.cron.split()
    try:
        if len(fields) != CRON_FIELDS and not when.cron.startswith("@"):
            raise ValueError(f"{len(fields)} fields: a sixth one would be seconds")
        asyncio.run(CronSchedule(cron=when.cron).get_dates(1))  # one without a date stops all schedules of the server
    except ValueError as error:
        raise ConfigError(
            f"--cron {when.cron!r:.80}: write minute, hour, day, month and day of the week, such as '0 2 * * 1-5', for days that exist"
        ) from error
    return when.cron


def schedule_nightly(
    console: Console, when: When, profile: str, overrides: Sequence[str], modules: Sequence[str] = ()
) -> None:
    """Register the deployment `nightly/PROFILE`; scheduling it again replaces the time and the settings and keeps the time zone."""
    use_own_server()
    plan = plan_nightly(when, profile, overrides, modules)
    address = check_address(when.notify) if when.notify else None
    with connected() as client:
        ensure_pool(client)
        zone, block = earlier(client, plan.name)
    plan = plan if when.zone else replace(plan, zone=zone or plan.zone)
    block = _keep(plan.name, address) if address else block if when.notify is None else None
    own = {ASKED_BY: asked_by(profile, overrides), **({BLOCK: block} if block else {})}
    _deploy(plan, when.skip, own, description(plan, profile, overrides))
    often = f"every day at {when.at or DEFAULT_AT}" if when.cron is None else f"at {plan.cron}"
    console.print(f"nightly/{plan.name} is scheduled {often} ({plan.zone}).", highlight=False)
    console.print(FROZEN, soft_wrap=True)
    if block:
        console.print(
            f"Messages go to the webhook in Prefect's Secret block {block}, which the server keeps encrypted.",
            soft_wrap=True,
        )
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
        "A worker runs it when due: `engage up` starts one, or leave `.venv/bin/prefect worker start --pool "
        f"{POOL}` running.",
        highlight=False,
        soft_wrap=True,
    )


def _keep(name: str, address: str) -> str:
    """Keep the address of a webhook in a Secret block of the server; returns the block's name."""
    from prefect.blocks.system import Secret

    block = f"engage-notify-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-') or 'profile'}"
    Secret(value=address).save(block, overwrite=True)
    return block


def _deploy(plan: Plan, skip: bool, own: dict[str, str], text: str) -> None:
    """Register the deployment; `own` are variables of the run beside those of the plan."""
    from prefect import flow
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.schedules import Cron

    limit = ConcurrencyLimitConfig(limit=CONCURRENCY, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    flow.from_source(source=str(CLONE), entrypoint=ENTRYPOINT).deploy(
        name=plan.name,
        description=text,
        version=clone_version(),
        tags=[f"profile:{plan.name}"],
        work_pool_name=POOL,
        schedules=[Cron(plan.cron, timezone=plan.zone)],
        parameters={"config": plan.config.model_dump(mode="json")},
        job_variables={"env": {**plan.environment, **own}},
        concurrency_limit=limit if skip else CONCURRENCY,
        build=False,
        push=False,
        print_next_steps=False,
        ignore_warnings=True,
    )


def description(plan: Plan, profile: str, overrides: Sequence[str]) -> str:
    """Markdown for the deployment's page: what runs, with which settings, from which code."""
    overridden = ", ".join(f"`{mask_setting(override)}`" for override in overrides) or "none"
    return (
        "One cycle of engage: searches simulated conversations, trains a candidate on the pairs, compares it with the champion and "
        f"promotes it if it is better.\n\n- profile: `{profile}`; overrides: {overridden}\n- home: `{plan.environment['ENGAGE_HOME']}`\n"
        f"- code: `{CLONE}`, at commit {clone_version()} when it was scheduled\n\n{FROZEN}"
    )


def clone_version() -> str:
    """The commit of this clone, with `-changed` if files differ from it; the version of engage where git does not know it."""
    command = ["git", "-C", str(CLONE), "describe", "--always", "--dirty=-changed", "--abbrev=10", "--exclude=*"]
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    return __version__


def time_zone() -> str:
    """The IANA name of this machine's time zone, UTC if it is unknown; ConfigError if TZ is not an IANA name."""
    given = os.environ.get("TZ")
    if given is None:
        names = [os.path.realpath("/etc/localtime").partition("zoneinfo/")[2], _text("/etc/timezone")]
        return next((name for name in names if name in available_timezones()), "UTC")
    name = given.lstrip(":").partition("zoneinfo/")[2] or given.lstrip(":") or "UTC"
    return _zone("TZ", name, given)


def _zone(where: str, name: str, given: str | None = None) -> str:
    if name not in available_timezones() or "localtime" in name:
        raise ConfigError(
            f"{where} is {given or name!r}, not the IANA name of a time zone; set it to one, such as Europe/Berlin or UTC"
        )
    return name


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
